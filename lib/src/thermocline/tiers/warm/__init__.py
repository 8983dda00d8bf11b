"""The warm tier: Azure Cosmos DB for NoSQL, and the authority over keys wherever it is configured."""

from thermocline.tiers.warm.memory import WarmMemory
from thermocline.tiers.warm.plain import LegacyDocuments

__all__ = ["LegacyDocuments", "WarmMemory"]
