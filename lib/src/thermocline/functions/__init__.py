"""What the Azure Functions apps do: their triggers stand in ``apps/``, and all that happens behind them here. Nothing here imports the Functions SDK."""

from thermocline.functions.settings import AppSettings

__all__ = ["AppSettings"]
