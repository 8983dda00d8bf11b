"""Cosmos DB, by the official SDK on the strict emulator (or what the environment names), as the authority."""

from tests.conformance.tiers import WarmTier

from thermocline.testing.conformance import VersionsConformance


class TestWarmVersions(WarmTier, VersionsConformance):
    oversize = 2_100_000
