"""The cold tier on Azure Blob Storage. `service` is the only file that imports its SDK."""

from thermocline.tiers.cold.memory import ColdMemory
from thermocline.tiers.cold.payloads import StoredPayload

__all__ = ["ColdMemory", "StoredPayload"]
