"""The warm tier: Azure Cosmos DB for NoSQL, and the authority over keys wherever it is configured."""

from thermocline.tiers.warm.memory import WarmMemory

__all__ = ["WarmMemory"]
