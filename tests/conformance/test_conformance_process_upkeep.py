"""Process memory as the authority of a client that has nothing else: its census and its notes."""

from tests.conformance.tiers import ProcessTier

from thermocline.testing.conformance import CensusConformance, NotesConformance


class TestProcessCensus(ProcessTier, CensusConformance):
    pass


class TestProcessNotes(ProcessTier, NotesConformance):
    pass
