"""`MemoryBuilder`, `MemoryClient`, `MemoryRules`, where earlier code looks for them."""

from thermocline.client import MemoryClient
from thermocline.policy import MemoryRules
from thermocline.wiring import MemoryBuilder

__all__ = ["MemoryBuilder", "MemoryClient", "MemoryRules"]
