"""A folder as the authority, and those who keep it in order."""

from tests.conformance.tiers import FolderTier

from thermocline.testing.conformance import CensusConformance, NotesConformance, PurgesConformance, RelocatesConformance


class TestFolderCensus(FolderTier, CensusConformance):
    pass


class TestFolderRelocates(FolderTier, RelocatesConformance):
    pass


class TestFolderPurges(FolderTier, PurgesConformance):
    pass


class TestFolderNotes(FolderTier, NotesConformance):
    pass
