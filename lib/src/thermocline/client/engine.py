"""What the parts of one client share: its tiers, guards, routes, codec, clocks, floors. No behaviour of its own beyond small questions."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol, TypeVar

from thermocline import telemetry
from thermocline.client.convoys import Convoys
from thermocline.client.floors import Floors
from thermocline.client.guard import Guard
from thermocline.client.ids import Ids
from thermocline.client.interest import Interest
from thermocline.client.turns import Turns
from thermocline.clock import Clock, Deadline
from thermocline.codec import BYTES, UNCOMPRESSED, Codec, Dictionary, Serialised
from thermocline.errors import ConfigurationError, ThermoclineError
from thermocline.lifetimes import Lifetimes
from thermocline.model import Authority, Envelope, Key, MemoryTier
from thermocline.policy import Plan, Routes
from thermocline.protocols import Entries, Payloads, Versions
from thermocline.resilience import Budget
from thermocline.telemetry import Stats

Result = TypeVar("Result")

OFFLOAD_BYTES: Final = 64 * 1024  # values of more bytes are compressed and decoded off the event loop
WIRE_SECONDS: Final = (
    5.0  # the longest that a request may be under way after its sender gave up; bounds COHERENCE section 4
)
CROWD_SECONDS: Final = 2.0  # that the end of a call may wait until other calls of this client have told hot theirs
LEASE_MS: Final = (
    3_000  # renewed while its read lasts (leases.py); so long the death of its holder holds other readers up
)
SKEW_MS: Final = 1000  # a clock that differs from the server's by more than this is corrected


class Dictionaries(Protocol):
    """What the parts of a client ask of its `DictionaryKeeper`."""

    async def chosen(self, key: Key, plan: Plan, size: int, deadline: Deadline | None = None) -> Dictionary | None: ...

    async def decode(self, envelope: Envelope, kind: Any, deadline: Deadline | None = None) -> Any: ...

    async def fetch(self, envelope: Envelope, deadline: Deadline | None = None) -> None: ...

    async def plain(self, envelope: Envelope, deadline: Deadline | None = None) -> Envelope: ...

    async def opened(self, envelope: Envelope, deadline: Deadline | None = None) -> Envelope: ...

    async def left(self, tenant: str, scope: str | None, deadline: Deadline) -> list[str]: ...


class Nearer(Protocol):
    """What the parts of a client ask of its near cache (`thermocline.client.near.Near`)."""

    async def through(self, key: Key, plan: Plan, asking: Awaitable[Envelope | None]) -> Envelope | None: ...

    async def through_many(
        self,
        keys: Sequence[Key],
        plans: Iterable[Plan],
        asking: Awaitable[Sequence[Envelope | ThermoclineError | None]],
    ) -> Sequence[Envelope | ThermoclineError | None]: ...

    def drop(self, key: Key) -> None: ...

    def clear(self) -> None: ...


@dataclass(slots=True)
class Engine:
    """The shared state. ``authorities`` are the tiers that can have the word, by their stamp."""

    hot: Entries | None
    authorities: Mapping[Authority, Versions]
    cold: Payloads | None
    guards: Mapping[MemoryTier, Guard]
    routes: Routes
    codec: Codec
    clock: Clock
    stats: Stats
    floors: Floors
    budget: Budget
    executor: Executor | None = None
    skew_ms: int = 0
    turns: Turns | None = None  # where an authority tells its time
    interest: Interest | None = None
    sign: Callable[[Authority, Deadline], Awaitable[None]] | None = (
        None  # before a payload is put into cold (owners.py)
    )
    tokens: Any = field(default_factory=secrets.SystemRandom)  # a test seeds it
    ids: Ids = field(init=False)
    lifetimes: Lifetimes = field(default_factory=Lifetimes)
    shelves: Dictionaries | None = None  # dictionaries.py; every client has one once it is wired
    near: Nearer | None = None
    convoys: Convoys | None = None  # where there is a hot tier

    def __post_init__(self) -> None:
        self.ids = Ids(self.tokens)

    def now_ms(self) -> int:
        """The time by which expiry is judged: this machine's clock, corrected by the authority's where they differ by more than a second."""
        now_ms = self.clock.wall_ms() + self.skew_ms
        return now_ms if self.turns is None else now_ms - self.turns.by_ms()

    def hot_deadline(self) -> Deadline:
        """For what hot must be told at the end of a call, whatever is left of the call's own deadline; with time to wait for others at the gate."""
        return Deadline.after(self.budget.seconds(MemoryTier.HOT) + CROWD_SECONDS, self.clock)

    def authority(self, authority: Authority) -> Versions:
        found = self.authorities.get(authority)
        if found is None:
            raise ConfigurationError(f"the tier {authority.name} has the word for this key, but is not configured")
        return found

    def below_hot(self) -> list[Versions]:
        """The authorities of all routes but hot itself, the default's first."""
        stamps = dict.fromkeys(plan.authority for plan in self.routes.plans())
        return [self.authorities[stamp] for stamp in stamps if stamp is not Authority.HOT]

    def durable(self) -> list[Versions]:
        """Every tier below hot that can have the word for a key, whatever this client's routes say; theirs first."""
        stamps = dict.fromkeys((*(plan.authority for plan in self.routes.plans()), *self.authorities))
        return [self.authorities[stamp] for stamp in stamps if stamp is not Authority.HOT]

    def promotes(self, key: Key, plan: Plan) -> bool:
        """The authority is asked for ``key``, which counts as a read of it: whether hot is to have what it answers."""
        return plan.rules.promote_on_read if self.interest is None else self.interest.read(key, plan)

    def expires_ms(self, key: Key, tags: Mapping[str, str] | None, plan: Plan, now_ms: int) -> int:
        """When a record ends whose value is written now without a lifetime of its own, in ms since 1970; 0 never."""
        if not self.lifetimes.given:
            return plan.expires_ms(now_ms)
        in_hot, draw = plan.authority is Authority.HOT, self.tokens.random
        return self.lifetimes.ends_ms(key, tags, now_ms, routed_ms=plan.default_lifetime_ms, in_hot=in_hot, draw=draw)

    def capped(self, written: Envelope) -> Envelope:
        """A record that is to be written, with the end that its ceiling allows at the latest."""
        if not self.lifetimes.given:
            return written
        header = written.header
        ends = self.lifetimes.capped_ms(header.expires_ms, written.key, written.tags, header.modified_ms)
        return written if ends == header.expires_ms else replace(written, header=replace(header, expires_ms=ends))

    def hot_for_ms(self, copy: Envelope, plan: Plan) -> int:
        """How long hot may keep ``copy`` from now; 0: not at all."""
        now_ms = self.now_ms()
        if not self.lifetimes.given:
            return plan.hot_for_ms(copy, now_ms)
        routed, draw = plan.hot_lifetime_ms, self.tokens.random
        return self.lifetimes.hot_for_ms(copy.key, copy.tags, copy.header, now_ms, routed_ms=routed, draw=draw)

    def write_id(self) -> str:
        """Unique, and ordered by time."""
        return self.ids.write_id(self.clock.wall_ms())

    def write_ids(self, count: int) -> list[str]:
        """The same for a batch of one moment."""
        return self.ids.write_ids(self.clock.wall_ms(), count)

    async def signed(self, authority: Authority, deadline: Deadline) -> None:
        """Before a payload is put for a record of this authority: cold knows whose it is."""
        if self.sign is not None:
            await self.sign(authority, deadline)

    def token(self) -> str:
        """A lease's token."""
        return self.ids.token()

    def count_copy(self, copy: Envelope, *, written: bool) -> None:
        """Hot has taken a copy: ``written`` by a write, else promoted."""
        self.stats.count(telemetry.WRITES if written else telemetry.PROMOTIONS, "hot")
        self.stats.count(telemetry.BYTES_RAW, "hot", len(copy.payload) if copy.pointer else copy.header.raw_length)
        self.stats.count(telemetry.BYTES_STORED, "hot", len(copy.payload))

    async def seal(self, key: Key, serialised: Serialised, **fields: Any) -> Envelope:
        if len(serialised.raw) < OFFLOAD_BYTES:
            return self.codec.seal(key, serialised, **fields)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.executor, lambda: self.codec.seal(key, serialised, **fields))

    async def decode(self, envelope: Envelope, kind: Any, deadline: Deadline | None = None) -> Any:
        header = envelope.header
        needed = header.dictionary
        if needed and self.shelves is not None and not self.codec.known.knows(envelope.key.tenant, needed):
            return await self.shelves.decode(envelope, kind, deadline)
        plain = header.serialiser == BYTES and header.compressor == UNCOMPRESSED  # the payload is the value
        if plain or header.raw_length < OFFLOAD_BYTES:
            return self.codec.decode(envelope, kind)
        return await asyncio.get_running_loop().run_in_executor(self.executor, self.codec.decode, envelope, kind)
