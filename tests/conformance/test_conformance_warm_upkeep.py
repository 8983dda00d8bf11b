"""Cosmos DB keeping itself in order: census, relocation, notes, transactions; on the strict emulator (or what the environment names)."""

from tests.conformance.tiers import WarmTier

from thermocline.testing.conformance import AtomicConformance, CensusConformance, NotesConformance, RelocatesConformance


class Upkept(WarmTier):
    container = "upkeep"


class TestWarmCensus(Upkept, CensusConformance):
    pass


class TestWarmRelocation(Upkept, RelocatesConformance):
    pass


class TestWarmNotes(Upkept, NotesConformance):
    pass


class TestWarmAtomic(Upkept, AtomicConformance):
    oversize = 2_100_000
