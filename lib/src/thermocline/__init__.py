"""One memory over three temperatures: hot (Redis), warm (Cosmos DB), cold (Blob Storage)."""
