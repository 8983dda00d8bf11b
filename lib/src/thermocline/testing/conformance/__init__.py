"""What a tier must do, as tests: inherit from the class of each part that your tier plays, and give it a ``tier``.

::

    from thermocline.testing.conformance import VersionsConformance

    class TestMyTier(VersionsConformance):
        @pytest.fixture
        async def tier(self) -> AsyncIterator[MyTier]:
            tier = MyTier(...)
            await tier.connect()
            yield tier
            await tier.close()

The tests are coroutines: run them with pytest-asyncio in auto mode (``asyncio_mode = "auto"``). Each makes keys of its own, so tests may share
one service, and even one container. A tier that takes a clock should be tested with a `ManualClock`: override the fixture ``clock``, and
hand it to your tier; otherwise the suite waits for short real times.

What every tier must do is **base**. The rest is **extended** (`Capability`): a tier that does not do it says so and why, in ``gaps``; its tests are
then skipped with that reason, so the gap is in every report::

    gaps = {Capability.DAMAGE: "the service checks the content itself"}
"""

from thermocline.testing.extra import needed_by

with needed_by(__name__):
    import pytest

for _part in (
    "atomic", "base", "census", "entries", "holds", "leases", "notes", "payloads", "purging", "relocating", "steps",
    *(f"versions_{room}" for room in ("base", "batches", "conditions", "listing", "records", "writes")),
):  # fmt: skip
    pytest.register_assert_rewrite(f"{__name__}.{_part}")

from thermocline.testing.conformance.atomic import AtomicConformance  # noqa: E402
from thermocline.testing.conformance.base import TierConformance  # noqa: E402
from thermocline.testing.conformance.capabilities import Capability  # noqa: E402
from thermocline.testing.conformance.census import CensusConformance  # noqa: E402
from thermocline.testing.conformance.entries import EntriesConformance  # noqa: E402
from thermocline.testing.conformance.holds import HoldsConformance  # noqa: E402
from thermocline.testing.conformance.notes import NotesConformance  # noqa: E402
from thermocline.testing.conformance.payloads import PayloadsConformance  # noqa: E402
from thermocline.testing.conformance.purging import PurgesConformance  # noqa: E402
from thermocline.testing.conformance.relocating import RelocatesConformance  # noqa: E402
from thermocline.testing.conformance.versions import VersionsConformance  # noqa: E402

__all__ = [
    "AtomicConformance",
    "Capability",
    "CensusConformance",
    "EntriesConformance",
    "HoldsConformance",
    "NotesConformance",
    "PayloadsConformance",
    "PurgesConformance",
    "RelocatesConformance",
    "TierConformance",
    "VersionsConformance",
]
