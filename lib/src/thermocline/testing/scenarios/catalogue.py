"""The scenarios of this library: what each breaks, and what it states. docs/chaos.md shows them with figures."""

from datetime import timedelta
from typing import Final

from thermocline.testing.scenarios import breaking
from thermocline.testing.scenarios.calls import Mix
from thermocline.testing.scenarios.model import AWAY, UNSURE, Scenario
from thermocline.testing.scenarios.needs import Needs

UNTOLD: Final = timedelta(seconds=10)
"""What hot could not be told it is told within two recovery periods of the queue's longest pause, 5 s: the first try may meet what was not mended yet."""
_SHORT: Final = 3.0  # seconds that hot keeps copies where it may forget what it was told
_THROTTLED = frozenset({"Throttled"})
_TO_REDIS = frozenset({"redis"})

_REDIS = (
    Scenario(
        name="redis killed",
        says="Redis is killed, and comes back empty",
        outcome="no call fails; others may be behind what a client could not tell hot, until its queue has (10 s at most)",
        breaks=breaking.kill_redis,
        bounded=UNTOLD,
    ),
    Scenario(
        name="redis killed, and has the word",
        says="the same, and of some keys Redis alone has the word",
        outcome="calls on those fail while it is away, and their acknowledged writes are gone; no other call fails",
        breaks=breaking.kill_redis,
        mix=Mix(only_hot=0.2),
        allowed=AWAY | UNSURE,
        bounded=UNTOLD,
        loses=True,
    ),
    Scenario(
        name="redis restarted empty",
        says="Redis is restarted three times, without its data",
        outcome="no call fails",
        breaks=breaking.restart_redis_empty,
        bounded=UNTOLD,
    ),
    Scenario(
        name="redis restarted with old data",
        says="Redis crashes, and comes back with what it held before",
        outcome="no call fails; hot may be behind for as long as it keeps copies",
        breaks=breaking.roll_redis_back,
        needs=Needs(hot_ttl=_SHORT),
        bounded=UNTOLD,
        rolls_back=True,
    ),
    Scenario(
        name="redis fails over",
        says="a master of a cluster dies, its replica takes over",
        outcome="no call on a key with an authority below fails; what Redis alone held may go back to what the replica had (replication is asynchronous)",
        breaks=breaking.fail_over,
        needs=Needs(redis="cluster", hot_ttl=_SHORT),
        mix=Mix(only_hot=0.2),
        allowed=AWAY | UNSURE,
        bounded=UNTOLD,
        rolls_back=True,
        loses=True,
    ),
    Scenario(
        name="redis slow",
        says="each command of Redis takes 40 ms longer",
        outcome="no call fails",
        breaks=breaking.through("redis", breaking.slow),
        needs=Needs(proxied=_TO_REDIS),
        bounded=UNTOLD,
    ),
    Scenario(
        name="redis blackholed",
        says="requests to Redis vanish, connections stay open",
        outcome="no call fails; each waits for hot's share at most, and soon not at all",
        breaks=breaking.through("redis", breaking.blackhole),
        needs=Needs(proxied=_TO_REDIS),
        bounded=UNTOLD,
    ),
    Scenario(
        name="redis full",
        says="Redis has no memory left, and evicts nothing",
        outcome="no call fails: markers are taken all the same, copies are not",
        breaks=breaking.fill_redis,
        bounded=UNTOLD,
    ),
)

_COSMOS = (
    Scenario(
        name="cosmos throttled at 90 %",
        says="nine of ten requests are answered with 429 (try again after 5 ms)",
        outcome="calls that hot answers go on; others fail",
        breaks=breaking.cosmos(lambda control, seed: control.throttle(retry_after_ms=5, probability=0.9, seed=seed)),
        allowed=AWAY | _THROTTLED | UNSURE,
        bounded=UNTOLD,
    ),
    Scenario(
        name="cosmos 449 storm",
        says="half of the writes are answered with 449 (retry with)",
        outcome="writes take effect once, or fail",
        breaks=breaking.cosmos(lambda control, seed: control.fail(449, kinds=["writes"], probability=0.5, seed=seed)),
        allowed=AWAY | _THROTTLED | UNSURE,
        bounded=UNTOLD,
    ),
    Scenario(
        name="cosmos region gone",
        says="the region answers 503, then nothing at all",
        outcome="calls that hot answers go on, all others say that the authority cannot be asked",
        breaks=breaking.lose_region,
        allowed=AWAY | UNSURE,
        bounded=UNTOLD,
    ),
    Scenario(
        name="cosmos region read-only",
        says="writes are answered with 403/3, as while the write region moves",
        outcome="reads go on; writes fail",
        breaks=breaking.cosmos(lambda control, _: control.lose_region("read_only")),
        allowed=AWAY | UNSURE | {"AccessDenied"},
        bounded=UNTOLD,
    ),
)

_COLD_AND_DISK = (
    Scenario(
        name="blob answers 503",
        says="nine of ten requests to Blob Storage are answered with 503",
        outcome="calls on values that lie in cold may fail; no other does",
        breaks=breaking.through("blob", breaking.busy),
        needs=Needs(cold="blob", proxied=frozenset({"blob"})),
        mix=Mix(large=0.3),
        allowed=AWAY | UNSURE | _THROTTLED,
        bounded=UNTOLD,
    ),
    Scenario(
        name="disk full",
        says="SQLite and the folder can write nothing (embedded tiers, three processes)",
        outcome="reads go on; writes say that there is no room, and those had no effect",
        breaks=breaking.fill_disk,
        needs=Needs(redis="none", warm="sqlite", here=1, apart=2),
        mix=Mix(large=0.1),
        allowed=AWAY | UNSURE | {"TierFull"},
    ),
)

_TIME = (
    Scenario(
        name="a client's clock jumps",
        says="one client's clock goes an hour ahead, then two back",
        outcome="no call fails, and nothing expires early or late by more than a second, as after every correction of a clock",
        breaks=breaking.turn_clients_clock,
        clocks_within=timedelta(seconds=1.5),
    ),
    Scenario(
        name="the server's clock jumps",
        says="Cosmos DB's clock goes an hour ahead, then two back",
        outcome="no call fails; versions go on growing",
        breaks=breaking.turn_servers_clock,
        mix=Mix(ttls=0.0),
    ),
    Scenario(
        name="event loops stall",
        says="the loops of two client processes stand still for up to a second at a time",
        outcome="no answer is wrong; calls may fail, of a stalled process above all",
        breaks=breaking.stall,
        needs=Needs(apart=2),
        allowed=AWAY | UNSURE,
        bounded=UNTOLD,
    ),
)

_ALL = (
    Scenario(
        name="all three tiers at once",
        says="Redis is blackholed, the region gone, nobody listens at the blob service",
        outcome="every call says that it could not be answered; none answers wrongly, then or later",
        breaks=breaking.everything,
        needs=Needs(cold="blob", proxied=frozenset({"redis", "blob"})),
        allowed=AWAY | UNSURE,
        bounded=UNTOLD,
    ),
)

SCENARIOS: Final = (*_REDIS, *_COSMOS, *_COLD_AND_DISK, *_TIME, *_ALL)


def by_name(name: str) -> Scenario:
    """The scenario of this name. Raises KeyError that lists the names."""
    for scenario in SCENARIOS:
        if scenario.name == name:
            return scenario
    raise KeyError(f"there is no scenario {name!r}; there are: {', '.join(one.name for one in SCENARIOS)}")
