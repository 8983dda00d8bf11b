"""The embedded tiers: process memory, SQLite and a folder. They need no service and no extra."""
