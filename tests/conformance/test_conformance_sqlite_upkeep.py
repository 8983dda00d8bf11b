"""SQLite and those who keep it in order."""

from tests.conformance.tiers import SqliteTier

from thermocline.testing.conformance import (
    AtomicConformance,
    CensusConformance,
    NotesConformance,
    PurgesConformance,
    RelocatesConformance,
)


class TestSqliteCensus(SqliteTier, CensusConformance):
    pass


class TestSqliteRelocates(SqliteTier, RelocatesConformance):
    pass


class TestSqlitePurges(SqliteTier, PurgesConformance):
    pass


class TestSqliteNotes(SqliteTier, NotesConformance):
    pass


class TestSqliteAtomic(SqliteTier, AtomicConformance):
    pass
