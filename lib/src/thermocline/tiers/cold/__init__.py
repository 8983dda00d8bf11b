"""The cold tier on Azure Blob Storage. `service` is the only file that imports its SDK."""

from thermocline.errors import ConfigurationError

try:
    from thermocline.tiers.cold.memory import ColdMemory
    from thermocline.tiers.cold.payloads import StoredPayload
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in ("aiohttp", "azure"):
        raise
    raise ConfigurationError('ColdMemory needs the Blob Storage SDK: pip install "thermocline[blob]"') from error

__all__ = ["ColdMemory", "StoredPayload"]
