"""What a worker process of the nursery does: memory-worker on the local Functions host, through the change feed or a sweep, dying at a step of it."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.promises.child import Steps
from tests.promises.sweeping_child import RULES, Shifted, stepping
from tests.promises.world import roomy

from thermocline.client import MemoryClient
from thermocline.functions.process import PROCESS
from thermocline.settings import MemorySettings
from thermocline.testing.functions import FunctionsHost
from thermocline.testing.functions.leases import Leases
from thermocline.tiers.cold import ColdMemory
from thermocline.tiers.hot import HotMemory
from thermocline.tiers.warm import WarmMemory

APP = Path(__file__).parents[2] / "apps" / "memory-worker"
LEASE = timedelta(milliseconds=300)  # of the feed: the next worker waits for no longer


async def live(
    say: Callable[[str], None],
    *,
    settings: dict[str, str],
    blob: str,
    blob_key: str,
    name: str,
    work: str = "feed",
    die_at: int | None = None,
    shift: float = 0.0,
) -> None:
    """``work``: "feed", until nothing is left of it, or "sweep", one turn of the timer. ``shift``: seconds that its clock is ahead."""
    steps = Steps(say, die_at)

    async def make(given: MemorySettings) -> MemoryClient:
        assert given.redis_url is not None
        assert given.cosmos_account_uri is not None
        assert given.cosmos_key is not None
        clock = Shifted(shift)
        hot = stepping(HotMemory, steps, ("operate", "operate_many"))(given.redis_url)
        warm = stepping(_Warm, steps)(
            given.cosmos_account_uri,
            given.cosmos_database,
            given.cosmos_container,
            key=given.cosmos_key.get_secret_value(),
        )
        warm.steps = steps
        cold = stepping(ColdMemory, steps)(blob, name, credential=blob_key, create=True)
        client = MemoryClient(hot=hot, warm=warm, cold=cold, lifetimes=RULES, budget=roomy(), clock=clock)
        await client.connect()
        return client

    _step_into(PROCESS, "_make", make)
    _step_into(Leases, "checkpoint", _stepped(steps, "checkpoint", Leases.checkpoint))
    async with FunctionsHost(APP, settings, lease=LEASE, retry_delay=timedelta(milliseconds=1)) as host:
        steps.counting = True
        if work == "feed":
            await host.feed_until_idle(all_ranges=True)
        else:
            await host.fire("sweep")
        steps.counting = False
    say("ACK 1")


class _Warm(WarmMemory):
    steps: Steps

    def letters(self, container: str) -> Any:
        made = super().letters(container)
        _step_into(made, "put", _stepped(self.steps, "letter", made.put))
        return made


def _stepped(steps: Steps, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    async def step(*given: Any, **named: Any) -> Any:
        steps(f"before {name}")
        answer = await method(*given, **named)
        steps(f"after {name}")
        return answer

    return step


def _step_into(place: Any, name: str, method: Callable[..., Any]) -> None:
    setattr(place, name, method)
