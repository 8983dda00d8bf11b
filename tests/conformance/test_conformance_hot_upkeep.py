"""Redis, one server and a cluster of three, counting the records that live in it alone, and keeping notes."""

from tests.conformance.tiers import RedisTier

from thermocline.testing.conformance import CensusConformance, NotesConformance


class TestHotCensus(RedisTier, CensusConformance):
    pass


class TestHotNotes(RedisTier, NotesConformance):
    pass
