"""A small, strict server of the Cosmos DB for NoSQL surface that azure-cosmos uses; see docs/cosmos-emulator.md.

Run it with `python -m thermocline.testing.cosmos --port N`, or from a test with `process.CosmosProcess`. State is in memory.
Nothing here imports the rest of thermocline.
"""
