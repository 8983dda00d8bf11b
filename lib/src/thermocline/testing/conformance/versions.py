"""`VersionsConformance`: what an authority must do (COHERENCE sections 1, 2 and 4)."""

from thermocline.testing.conformance.versions_batches import VersionBatches
from thermocline.testing.conformance.versions_conditions import VersionConditions
from thermocline.testing.conformance.versions_listing import VersionListing
from thermocline.testing.conformance.versions_records import VersionRecords
from thermocline.testing.conformance.versions_writes import VersionWrites


class VersionsConformance(VersionRecords, VersionWrites, VersionConditions, VersionBatches, VersionListing):
    """Give it ``tier``, a `Versions`.

    ``damage(tier, key)`` changes the stored record's bytes from outside (`Capability.DAMAGE`); ``reopen(tier)`` gives another instance on the same
    store (`Capability.PERSISTENCE`), which the suite closes.
    """
