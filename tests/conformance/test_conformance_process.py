"""Process memory, as hot entries and as the authority of a client that has nothing else."""

from datetime import timedelta

from tests.conformance.tiers import MAX_BYTES, REST, ProcessTier

from thermocline.testing.conformance import EntriesConformance, HoldsConformance, VersionsConformance


class TestProcessEntries(ProcessTier, EntriesConformance):
    oversize = MAX_BYTES // 4
    rest_ms = REST // timedelta(milliseconds=1)


class TestProcessHolds(ProcessTier, HoldsConformance):
    pass


class TestProcessVersions(ProcessTier, VersionsConformance):
    oversize = MAX_BYTES // 4
