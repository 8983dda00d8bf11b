"""Payloads in cold to which no record points, removed after the grace (COHERENCE section 5).

A payload is listed with its ETag; the authorities are asked after that, all that are configured, also those to which this client's routes lead no key: an
application's may. It is removed only as it was listed. So it is safe beside everybody else:

* who is about to set a pointer to it has uploaded or renewed it less than half the grace ago, or the authority lets no such pointer in; then it is too
  young to be looked at, or becomes so, and has another ETag, before it is removed;
* a pointer that was set is at least half the grace old when its payload is old enough, so that no replica of the authority lags that far;
* a reader who holds a pointer to a payload that went asks the authority again.

A key that cannot be told from the path, because a digest stands for its name, is looked for in a census of its scope; where one stands for the scope or the
tenant, or the census is not whole, the payload stays.
"""

from collections.abc import Sequence
from typing import Final

from thermocline.client.engine import Engine
from thermocline.client.held import Held, Sweepable
from thermocline.client.moving.report import SweepReport
from thermocline.client.moving.walk import TOGETHER, page_of
from thermocline.clock import Deadline
from thermocline.errors import InvalidKey, ThermoclineError
from thermocline.keys import from_payload_path, payload_path, scope_of_payload
from thermocline.model import Envelope, Key, MemoryTier
from thermocline.protocols import Census, Versions
from thermocline.writes import PAYLOAD_GRACE_MS

_SHARES: Final = 4.0
_COUNTS_MS: Final = (
    PAYLOAD_GRACE_MS // 4
)  # how long a scope's count serves for later pages; a pointer older than half the grace is in it


class Orphans:
    """The sweeping of one client's payloads."""

    def __init__(self, engine: Engine, report: SweepReport) -> None:
        self._engine = engine
        self._report = report
        self._guard = engine.guards[MemoryTier.COLD]
        self._counted: tuple[str, str] | None = None  # the scope of which ``_pointed`` is
        self._counted_ms = 0  # when that was begun
        self._pointed: set[str] | None = None  # paths of the payloads that its records name; None: that cannot be told

    async def page(self, limit: int, cursor: str | None) -> tuple[int, str | None]:
        """Look at the next payloads. How many these were, and the next page's cursor."""
        engine, report, cold = self._engine, self._report, self._cold()

        async def ask(*, deadline: Deadline) -> tuple[Sequence[Held], str | None]:
            return await cold.list_payloads(limit=limit, cursor=cursor, deadline=deadline)

        found, following = await self._guard.call("list", ask, deadline=engine.budget.call(), times=_SHARES)
        old_ms = self._now_ms() - PAYLOAD_GRACE_MS
        old = [payload for payload in found if payload.modified_ms < old_ms]
        report.payloads += len(found)
        report.young += len(found) - len(old)
        named: dict[Key, list[Held]] = {}
        nameless: list[Held] = []
        for payload in old:
            try:
                key, _ = from_payload_path(payload.path)
            except InvalidKey:
                report.unresolved += 1
                continue
            if key is None:
                nameless.append(payload)
            else:
                named.setdefault(key, []).append(payload)
        await self._named(named, old_ms)
        for payload in nameless:
            await self._nameless(payload, old_ms)
        return len(found), following

    def _cold(self) -> Sweepable:
        cold: object = self._engine.cold
        assert isinstance(cold, Sweepable)
        return cold

    def _now_ms(self) -> int:
        """By this client's clock, or by cold's own if that is behind: nothing goes too early."""
        skew = getattr(self._engine.cold, "skew_ms", 0)
        return min(self._engine.now_ms(), self._engine.clock.wall_ms() + (skew if isinstance(skew, int) else 0))

    async def _named(self, payloads: dict[Key, list[Held]], old_ms: int) -> None:
        pointed: dict[Key, set[str] | None] = {key: set() for key in payloads}
        for authority in self._engine.durable():
            asked = [key for key, mine in payloads.items() if _loose(mine, pointed[key])]
            if not asked:
                break
            for at in range(0, len(asked), TOGETHER):
                await self._ask(authority, asked[at : at + TOGETHER], pointed)
        for key, mine in payloads.items():
            paths = pointed[key]
            for payload in mine:
                if paths is not None:
                    await self._judge(payload, payload.path in paths, old_ms)

    async def _ask(self, authority: Versions, asked: Sequence[Key], pointed: dict[Key, set[str] | None]) -> None:
        answers: Sequence[Envelope | ThermoclineError | None]
        try:
            answers = await self._engine.guards[authority.tier].call(
                "read_many", authority.read_many, asked, deadline=self._engine.budget.call(), times=_SHARES
            )
        except ThermoclineError as error:
            answers = [error] * len(asked)
        for key, answer in zip(asked, answers, strict=True):
            self._note(pointed, key, answer)

    def _note(self, pointed: dict[Key, set[str] | None], key: Key, answer: Envelope | ThermoclineError | None) -> None:
        paths = pointed[key]
        try:
            if isinstance(answer, ThermoclineError):
                raise answer
            if paths is not None and answer is not None and answer.pointer:
                paths.add(self._engine.codec.pointer_of(answer).path)
        except ThermoclineError as error:  # nobody can tell what the record names: its payloads stay
            if paths is not None:
                self._report.fail(str(key)[:100], error)
            pointed[key] = None

    async def _nameless(self, payload: Held, old_ms: int) -> None:
        scope = scope_of_payload(payload.path)
        now = self._engine.clock.wall_ms()
        if scope is not None and (scope != self._counted or not 0 <= now - self._counted_ms < _COUNTS_MS):
            self._counted_ms = now
            self._pointed = await self._count(*scope)
            self._counted = scope
        if scope is None or self._pointed is None:
            self._report.unresolved += 1
        else:
            await self._judge(payload, payload.path in self._pointed, old_ms)

    async def _count(self, tenant: str, scope: str) -> set[str] | None:
        """The payloads that records of this scope point to whose path does not tell their key; None: the scope cannot be counted, or not wholly."""
        pointed: set[str] = set()
        for authority in self._engine.durable():
            if not isinstance(authority, Census):
                return None
            cursor: str | None = None
            while True:
                try:
                    page = await page_of(self._engine, authority.authority, tenant=tenant, scope=scope, cursor=cursor)
                except ThermoclineError as error:
                    self._report.fail(f"{tenant}/{scope}"[:100], error)
                    return None
                if page.damaged:
                    return None
                pointed |= {
                    stored.pointer.path
                    for stored in page.items
                    if stored.pointer is not None
                    and from_payload_path(payload_path(stored.key, stored.pointer.sha256))[0] is None
                }
                cursor = page.cursor
                if cursor is None:
                    break
        return pointed

    async def _judge(self, payload: Held, pointed: bool, old_ms: int) -> None:
        report, cold = self._report, self._cold()
        if pointed:
            report.pointed += 1
            return
        removed = report.dry_run
        if not report.dry_run:

            async def sweep(*, deadline: Deadline) -> bool:
                return await cold.sweep_payload(
                    payload.path, etag=payload.etag, unmodified_since_ms=old_ms, deadline=deadline
                )

            try:
                removed = await self._guard.call("sweep_payload", sweep, deadline=self._engine.budget.call())
            except ThermoclineError as error:
                report.fail(payload.path[:100], error)
                return
        report.orphans += removed
        report.orphan_bytes += payload.size if removed else 0
        report.young += not removed  # somebody renewed it, or removed it


def _loose(payloads: Sequence[Held], paths: set[str] | None) -> bool:
    """Whether one of a key's payloads may be an orphan as far as is known."""
    return paths is not None and any(payload.path not in paths for payload in payloads)
