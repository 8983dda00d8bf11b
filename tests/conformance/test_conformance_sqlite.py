"""SQLite, in a file of its own."""

from tests.conformance.tiers import SqliteTier

from thermocline.testing.conformance import VersionsConformance


class TestSqliteVersions(SqliteTier, VersionsConformance):
    pass
