"""The optional fourth tier on Azure Table Storage. `service` is the only file that imports its SDK."""

from thermocline.errors import ConfigurationError

try:
    from thermocline.tiers.table.memory import TableMemory
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in ("aiohttp", "azure"):
        raise
    raise ConfigurationError('TableMemory needs the Table Storage SDK: pip install "thermocline[table]"') from error

__all__ = ["TableMemory"]
