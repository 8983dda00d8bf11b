"""The hot tier as the authority itself, for keys that live in Redis alone. P2 does not hold for these: what Redis loses is lost."""

import asyncio
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from thermocline.clock import Deadline
from thermocline.cursors import pack_cursor, unpack_cursor
from thermocline.errors import (
    CorruptRecord,
    InvalidArgument,
    ThermoclineError,
    TierTimeout,
    TierUnavailable,
    TooLarge,
    UnknownOutcome,
    UnreadableRecord,
)
from thermocline.keys import redis_key, redis_prefix
from thermocline.model import Authority, Envelope, Key
from thermocline.protocols import Effect, Listed, Page, Verb, Write, Written
from thermocline.telemetry import CORRUPT
from thermocline.tiers.hot.entries import HotEntries, Run
from thermocline.tiers.hot.scripts import DELETE, FORGET, RECORD
from thermocline.tiers.hot.trouble import CrossSlot
from thermocline.tiers.hot.wire import Command
from thermocline.writes import check_pointer

GRACE_MS: Final = 86_400_000  # T, as in record.lua: an expired record and a tombstone outlive their end by a day
AGAIN_MS: Final = 3_600_000  # a scope is entered into its tenant's index anew after an hour: far less than a day, so never forgotten under a writer
SCOPES_KNOWN: Final = 4096  # that are remembered as entered
INDEX_MS: Final = 86_400_000  # a name whose record is gone leaves the index no sooner than a day after it was written
PAUSE: Final = 0.01  # seconds before a write that was not answered is sent again; doubled each time
TOGETHER: Final = 32  # writes of one batch that were not answered, and are sent again, at a time
FETCHED: Final = 64  # records of a listing that are read at a time


class HotRecords(HotEntries):
    """See `HotMemory`."""

    async def read(self, key: Key, *, deadline: Deadline) -> Envelope | None:
        name = record_key(key)
        data = await self._call(("GET", name), deadline)
        if data is None:
            return None
        known = self._unpacked.get(name, data)
        if known is not None:
            return known
        envelope = self._codec.unpack(data, key)
        self._unpacked.add(name, data, envelope)
        return envelope

    async def read_many(self, keys: Sequence[Key], *, deadline: Deadline) -> list[Envelope | ThermoclineError | None]:
        names = [record_key(key) for key in keys]
        return self._seen_many(keys, names, await self._get_many(names, deadline))

    async def write(self, write: Write, *, deadline: Deadline) -> Written:
        run = self._run_of(write)
        if write.verb is Verb.PUT:
            await self._open(deadline)
            if self._together and not self._link.spread:
                now = self._clock.wall_ms()
                indexed = self._indexed(write.key, run, now)
                try:
                    written = await self._carry_out(write, indexed, deadline)
                except CrossSlot:
                    self._together = False
                else:
                    self._entered_by(write.key, indexed, now)
                    return written
            await self._index(write.key, deadline)
        return await self._carry_out(write, run, deadline)

    async def _carry_out(self, write: Write, run: Run, deadline: Deadline, *, in_doubt: bool = False) -> Written:
        """Run the script until it is answered. ``in_doubt``: it was sent before, and may have taken effect."""
        pause = PAUSE
        while True:
            try:
                answer = await self._run(*run, deadline)
            except TierUnavailable as error:
                in_doubt = in_doubt or error.sent
                if not in_doubt:
                    raise
                if isinstance(error, TierTimeout) or deadline.remaining() <= pause:
                    raise _unanswered(write) from error
            else:
                return self._written(write, answer)
            await asyncio.sleep(pause)
            pause *= 2

    async def write_many(self, writes: Sequence[Write], *, deadline: Deadline) -> list[Written | ThermoclineError]:
        """On one server a script for each, in one round trip; in a cluster their names in one round trip per node, then the scripts in another. Only those
        that were not answered are asked for one by one."""
        done: list[Written | ThermoclineError | None] = [None] * len(writes)
        runs: dict[int, Run] = {}
        for at, write in enumerate(writes):
            try:
                runs[at] = self._run_of(write)
            except ThermoclineError as error:
                done[at] = error
        answers = await self._run_writes(writes, runs, done, deadline)
        again: list[int] = []
        for at, answer in answers.items():
            if isinstance(answer, TierUnavailable) and answer.sent and not isinstance(answer, TierTimeout):
                again.append(at)
            else:
                done[at] = self._answered(writes[at], answer)
        if again:
            together = asyncio.Semaphore(TOGETHER)

            async def one(at: int) -> None:
                async with together:
                    try:
                        done[at] = await self._carry_out(writes[at], runs[at], deadline, in_doubt=True)
                    except ThermoclineError as error:
                        done[at] = error

            async with asyncio.TaskGroup() as tasks:
                for at in again:
                    tasks.create_task(one(at))
        return [answer for answer in done if answer is not None]

    async def _run_writes(
        self,
        writes: Sequence[Write],
        runs: dict[int, Run],
        done: list[Written | ThermoclineError | None],
        deadline: Deadline,
    ) -> dict[int, Any]:
        """The answers by their places. Of a put whose name could not be entered the error is ``done``."""
        named = [at for at in runs if writes[at].verb is Verb.PUT]
        try:
            await self._open(deadline)
        except ThermoclineError as error:
            return dict.fromkeys(runs, error)
        answers: dict[int, Any] = {}
        if self._together and not self._link.spread:
            now = self._clock.wall_ms()
            indexed = {**runs, **{at: self._indexed(writes[at].key, runs[at], now) for at in named}}
            answers = dict(zip(runs, await self._run_many(list(indexed.values()), deadline), strict=True))
            apart = [at for at in named if isinstance(answers[at], CrossSlot)]
            for at in named:
                if at not in apart:
                    runs[at] = indexed[at]  # also where it is sent again
                if not isinstance(answers[at], ThermoclineError):
                    self._entered_by(writes[at].key, indexed[at], now)
            if not apart:
                return answers
            self._together = False
            named, runs = apart, {at: runs[at] for at in apart}
            answers = {at: answer for at, answer in answers.items() if at not in runs}
        failures = await self._index_many([writes[at].key for at in named], deadline)
        for at, failed in zip(named, failures, strict=True):
            if failed is not None:
                done[at] = failed
                del runs[at]
        ran = await self._run_many(list(runs.values()), deadline)
        return {**answers, **dict(zip(runs, ran, strict=True))}

    def _answered(self, write: Write, answer: Any) -> Written | ThermoclineError:
        """What a script's answer in a batch says; one that timed out may have taken effect."""
        if isinstance(answer, TierTimeout) and answer.sent:
            unknown = _unanswered(write)
            unknown.__cause__ = answer
            return unknown
        if isinstance(answer, ThermoclineError):
            return answer
        try:
            return self._written(write, answer)
        except ThermoclineError as error:
            return error

    async def scan(
        self, tenant: str, scope: str, prefix: str, *, limit: int, cursor: str | None, deadline: Deadline
    ) -> Page:
        """A damaged record is left out, and counted."""
        if type(limit) is not int or limit < 1:
            raise InvalidArgument(f"a page holds at least one key, not {limit!r}")
        after = None if cursor is None else unpack_cursor(tenant, scope, prefix, cursor)
        now = self._clock.wall_ms()
        items: list[Listed] = []
        while len(items) < limit:
            wanted = min(FETCHED, limit - len(items))
            names = await self._names(tenant, scope, prefix, after, wanted, deadline)
            keys = [Key(tenant, scope, name) for name in names]
            gone: list[str] = []
            for key, found in zip(keys, await self.read_many(keys, deadline=deadline), strict=True):
                if found is None:
                    gone.append(key.name)
                elif isinstance(found, CorruptRecord | UnreadableRecord):
                    self.stats.count(CORRUPT, self.tier)
                elif isinstance(found, ThermoclineError):
                    raise found
                elif found.live(now):
                    items.append(_listed(found))
            await self._forget(tenant, scope, gone, deadline)
            if len(names) < wanted:
                return Page(items, None)
            after = names[-1]
        return Page(items, None if after is None else pack_cursor(tenant, scope, prefix, after))

    # --- helpers -----------------------------------------------------------------------------------------------------

    def _run_of(self, write: Write) -> Run:
        """The run of the script for a write."""
        if write.if_absent and (write.if_version is not None or write.verb is not Verb.PUT):
            raise InvalidArgument("if_absent goes with a put, and not with if_version")
        if write.verb is Verb.PUT:
            check_pointer(write.envelope, self._clock.wall_ms(), tier=self.tier)
        packed = self._codec.pack(write.envelope)
        if len(packed) > self._max_value:
            raise TooLarge(
                f"a record of {len(packed)} bytes is over max_value_bytes ({self._max_value}) of the hot tier: give the key a route with warm or cold"
            )
        name = redis_key(write.key)
        words = (
            name + b"r",
            name + b"w" + write.id.encode(),
            write.verb.value,
            b"" if write.if_version is None else write.if_version,
            b"1" if write.if_absent else b"",
            write.known or 0,
            packed,
            self._now(),
        )
        return DELETE if write.verb is Verb.DELETE else RECORD, 2, words

    def _indexed(self, key: Key, run: Run, now: int) -> Run:
        """The same run, which enters the name first, and its scope where that is due: for a server that has all keys."""
        script, _, words = run
        names: tuple[bytes, ...] = index_keys(key.tenant, key.scope)
        if self._entered.get((key.tenant, key.scope), -AGAIN_MS) <= now - AGAIN_MS:
            names += scope_index_keys(key.tenant)
        return script, 2 + len(names), (*words[:2], *names, *words[2:], key.name.encode(), now, key.scope.encode())

    def _entered_by(self, key: Key, run: Run, now: int) -> None:
        if run[1] == 6:  # it has entered the scope, too
            self._enter_scope((key.tenant, key.scope), now)

    def _written(self, write: Write, answer: Any) -> Written:
        effect, version, created = answer
        if effect == b"corrupt":
            raise CorruptRecord(f"the record of {write.key} in Redis is damaged: put it anew")
        if effect == b"newer":
            raise UnreadableRecord(
                f"the record of {write.key} in Redis has a newer format, and is left as it is: upgrade this program"
            )
        if effect in (b"refused", b"nothing"):
            return Written(Effect.REFUSED if effect == b"refused" else Effect.NOTHING, version)
        if write.verb is Verb.TOUCH:
            return Written(Effect.TOOK, version)
        stamped = write.envelope.stamped(version=version, authority=Authority.HOT, created_ms=created, bare=True)
        return Written(Effect.TOOK, version, stamped)

    async def _index(self, key: Key, deadline: Deadline) -> None:
        failed = (await self._index_many([key], deadline))[0]
        if failed is not None:
            raise failed

    async def _index_many(self, keys: Sequence[Key], deadline: Deadline) -> list[ThermoclineError | None]:
        """Enter names into their scopes' indexes, before their records are there, so that no record is ever without a name. Each name's error."""
        by_scope: dict[tuple[str, str], list[Key]] = {}
        for key in keys:
            by_scope.setdefault((key.tenant, key.scope), []).append(key)
        commands: list[tuple[bytes, Command]] = []
        now = self._clock.wall_ms()
        for (tenant, scope), mine in by_scope.items():
            names, times = index_keys(tenant, scope)
            entered = [key.name.encode() for key in mine]
            commands.append((names, ("ZADD", times, *[word for name in entered for word in (now, name)])))
            commands.append((names, ("ZADD", names, *[word for name in entered for word in (0, name)])))
        failed: dict[Key, ThermoclineError] = {}
        new = [scope for scope in by_scope if self._entered.get(scope, -AGAIN_MS) <= now - AGAIN_MS]
        for tenant, scope in new:
            scopes, times = scope_index_keys(tenant)
            commands.append((scopes, ("ZADD", times, now, scope.encode())))
            commands.append((scopes, ("ZADD", scopes, 0, scope.encode())))
        answers = await self._call_many(commands, deadline)
        for number, mine in enumerate(by_scope.values()):
            here = (mine[0].tenant, mine[0].scope)
            told = answers[2 * number : 2 * number + 2]
            if here in new:
                at = 2 * (len(by_scope) + new.index(here))
                entries = answers[at : at + 2]
                told += entries
                if not any(isinstance(answer, ThermoclineError) for answer in entries):
                    self._enter_scope(here, now)
            for answer in told:
                if isinstance(answer, TierUnavailable):
                    answer.sent = False  # the records themselves were not
                if isinstance(answer, ThermoclineError):
                    failed.update(dict.fromkeys(mine, answer))
        return [failed.get(key) for key in keys]

    def _enter_scope(self, scope: tuple[str, str], now: int) -> None:
        self._entered.pop(scope, None)
        self._entered[scope] = now
        if len(self._entered) > SCOPES_KNOWN:
            del self._entered[next(iter(self._entered))]

    async def _names(
        self, tenant: str, scope: str, prefix: str, after: str | None, limit: int, deadline: Deadline
    ) -> list[str]:
        names, _ = index_keys(tenant, scope)
        start = b"[" + prefix.encode() if after is None else b"(" + after.encode()
        end = b"[" + prefix.encode() + b"\xff" if prefix else b"+"  # no UTF-8 has the byte ff
        found = await self._call(("ZRANGEBYLEX", names, start, end, b"LIMIT", 0, limit), deadline)
        return [name.decode() for name in found]

    async def _forget(self, tenant: str, scope: str, gone: list[str], deadline: Deadline) -> None:
        """Names without a record leave the index, if they were not written for a day: the record of a younger one may be on its way."""
        if gone:
            words: Command = (*index_keys(tenant, scope), self._forgettable(), *[name.encode() for name in gone])
            await self._run(FORGET, 2, words, deadline)

    def _forgettable(self) -> int:
        """When a name must have been written last to leave its index."""
        return self._clock.wall_ms() - INDEX_MS


def _unanswered(write: Write) -> UnknownOutcome:
    return UnknownOutcome(
        f"the write {write.id} of {write.key} was sent to Redis and not answered; read the key before you write again",
        write_id=write.id,
    )


def record_key(key: Key) -> bytes:
    """Where a record lies whose authority is Redis: beside the key's entry, in the same slot."""
    return redis_key(key) + b"r"


@lru_cache(SCOPES_KNOWN)
def index_keys(tenant: str, scope: str) -> tuple[bytes, bytes]:
    """The names of a scope's records (all with score 0, so in the order of their bytes), and when each was written last; in one slot."""
    tag = b"{" + redis_prefix(tenant, scope).partition(b"{")[2] + b"}"
    return b"tc1:n" + tag, b"tc1:t" + tag


def scope_index_keys(tenant: str) -> tuple[bytes, bytes]:
    """The scopes of a tenant in which records were put, in the order of their bytes, and when each was entered last; in one slot."""
    tag = b"{" + redis_prefix(tenant, "x").partition(b"{")[2].removesuffix(b"x/") + b"}"
    return b"tc1:s" + tag, b"tc1:u" + tag


def _listed(envelope: Envelope) -> Listed:
    header = envelope.header
    return Listed(
        envelope.key,
        header.version,
        header.expires_ms,
        header.modified_ms,
        len(envelope.payload),
        header.raw_length,
        envelope.pointer,
        dict(envelope.tags) or None,
    )
