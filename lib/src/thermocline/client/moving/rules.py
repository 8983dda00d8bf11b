"""What the lifetimes' rules ask of a record: nothing, an earlier end, deletion, or to be demoted."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from enum import Enum

from thermocline.client.engine import Engine
from thermocline.client.moving.moves import Moves
from thermocline.client.moving.report import SweepReport
from thermocline.client.moving.walk import idle, live, reads_for
from thermocline.client.reads import Reads
from thermocline.client.writer import Writer
from thermocline.errors import Conflict, ThermoclineError
from thermocline.lifetimes import Lifetime
from thermocline.model import Authority, Envelope, Header
from thermocline.policy import Plan
from thermocline.protocols import Stored, Verb


class Ask(Enum):
    """What is to be done with a record."""

    NOTHING = "nothing"
    SHORTEN = "shorten"
    DELETE = "delete"
    DEMOTE = "demote"


class Rules:
    """The lifetimes of one client, applied to what its authorities hold."""

    def __init__(self, engine: Engine, writer: Writer) -> None:
        self._engine = engine
        self._writer = writer
        self._reads: Reads | None = None

    async def prepare(self) -> None:
        """Load what clients saved of their reads, if a rule asks for idleness; once."""
        if self._reads is None:
            book = self._engine.lifetimes
            named = [rule.lifetime for rule in book.rules]
            lifetimes = [one if isinstance(one, Lifetime) else book.presets[one] for one in named]
            self._reads = await reads_for(self._engine, max((_ms(one.demote_idle) for one in lifetimes), default=0))

    def ask(self, stored: Stored, now_ms: int) -> tuple[Ask, int]:
        """For a live record; with `Ask.SHORTEN`, when it has to end (ms)."""
        lifetimes, header = self._engine.lifetimes, stored.header
        if not lifetimes.given:
            return Ask.NOTHING, 0
        ends = lifetimes.capped_ms(header.expires_ms, stored.key, stored.tags, header.modified_ms)
        if ends != header.expires_ms:
            return (Ask.SHORTEN, ends) if ends > now_ms else (Ask.DELETE, 0)
        lifetime = lifetimes.of(stored.key, stored.tags)
        age = now_ms - header.modified_ms
        due = (
            (lifetime.demote_after is not None and age >= _ms(lifetime.demote_after))
            or (lifetime.demote_above is not None and stored.size > lifetime.demote_above)
            or (
                lifetime.demote_idle is not None
                and idle(stored, _ms(lifetime.demote_idle), now_ms, self._reads or Reads())
            )
        )
        return (Ask.DEMOTE if due and stored.pointer is None else Ask.NOTHING), 0

    async def apply(self, some: Sequence[Stored], stamp: Authority, moves: Moves, report: SweepReport) -> None:
        """Do what is asked of these records, side by side; count it."""
        now = self._engine.now_ms()
        async with asyncio.TaskGroup() as group:
            for stored in some:
                plan = self._engine.routes.route(stored.key)
                if plan.authority != stamp:
                    report.strangers += 1
                elif not live(stored, now):
                    report.dead += 1
                else:
                    what, ends = self.ask(stored, now)
                    group.create_task(self._do(what, ends, stored, plan, moves, report))

    async def _do(self, what: Ask, ends: int, stored: Stored, plan: Plan, moves: Moves, report: SweepReport) -> None:
        if what is Ask.DEMOTE and report.dry_run:
            report.demotions.count(moves.would(stored, plan, down=True), stored.size)
        elif what is Ask.DEMOTE:
            await moves.one(stored, plan, report.demotions, down=True)
        elif what is not Ask.NOTHING:
            done = report.dry_run or await self._end(what, ends, stored, plan, report)
            report.shortened += done and what is Ask.SHORTEN
            report.deleted += done and what is Ask.DELETE

    async def _end(self, what: Ask, ends: int, stored: Stored, plan: Plan, report: SweepReport) -> bool:
        """An earlier end, or a deletion, of the version that was seen: an ordinary write, so hot is told."""
        engine, key, version = self._engine, stored.key, stored.header.version
        deadline = engine.budget.call()
        now = engine.now_ms()
        if what is Ask.SHORTEN:
            verb, envelope = Verb.TOUCH, Envelope(key, Header(expires_ms=ends, modified_ms=now))
        else:
            verb, envelope = Verb.DELETE, engine.codec.tombstone(key, now_ms=now)
        try:
            intent = await self._writer.intent(verb, envelope, plan, deadline, if_version=version)
            result = await self._writer.carry_out(intent, deadline)
        except Conflict:
            return False  # it was written meanwhile: the next pass looks at what that made of it
        except ThermoclineError as error:
            report.fail(str(key)[:100], error)
            return False
        return result.found


def _ms(span: object) -> int:
    return span // timedelta(milliseconds=1) if isinstance(span, timedelta) else 0
