"""The demo's course: an agent lives through a conversation, hot is stopped midway and comes back, and at the end every value is compared."""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from thermocline.agents import AgentBuilder
from thermocline.cli.demo.agent import DemoAgent
from thermocline.cli.demo.ledger import GONE, Difference, Ledger
from thermocline.cli.demo.outage import Switch
from thermocline.cli.demo.transcript import Turn
from thermocline.client import MemoryClient
from thermocline.clock import Deadline
from thermocline.errors import CorruptRecord, ThermoclineError, TierUnavailable, UnreadableRecord
from thermocline.model import Hit, Key, Miss, Outcome

STOPS: Final = 0.45  # of the conversation, hot is stopped
RETURNS: Final = 0.6
_SETTLING: Final = 30.0  # seconds for hot to be told of what it missed

Progress = Callable[[str, int, int], None]
Make = Callable[[bool], MemoryClient]
"""Makes a client of the demo's tiers; with hot or without."""


@dataclass(slots=True)
class Phase:
    """The client's figures between two moments of the conversation, from `MemoryClient.stats`."""

    turns: int
    seconds: float
    before: dict[str, Any]
    after: dict[str, Any]

    def grown(self, tier: str, name: str) -> float:
        """How much a counter has grown."""
        grown: float = self.after.get(tier, {}).get(name, 0) - self.before.get(tier, {}).get(name, 0)
        return grown

    def mean_ms(self, tier: str, verb: str) -> float | None:
        """The mean latency of a verb in this phase; None: it was not called."""
        old = self.before.get(tier, {}).get("latency", {}).get(verb, {"count": 0, "mean_ms": 0.0})
        new = self.after.get(tier, {}).get("latency", {}).get(verb, {"count": 0, "mean_ms": 0.0})
        count = new["count"] - old["count"]
        return (new["count"] * new["mean_ms"] - old["count"] * old["mean_ms"]) / count if count > 0 else None


@dataclass(slots=True)
class Told:
    """How the demo went."""

    turns: int
    documents: int
    document_bytes: int
    seconds: float
    how: str
    before: Phase
    during: Phase
    after: Phase
    settled: bool
    stats: dict[str, Any]
    keys: int
    compared: int
    differences: list[Difference] = field(default_factory=list)


@dataclass(slots=True)
class Story:
    """One run. ``make`` makes clients, ``switch`` stops hot, ``scope`` is the agent's own; ``tamper`` alters one value before the check."""

    make: Make
    switch: Switch
    turns: Sequence[Turn]
    documents: Sequence[Path]
    tenant: str
    scope: str
    tamper: bool = False
    clean: bool = False
    ledger: Ledger = field(default_factory=Ledger)
    progress: Progress = field(default=lambda what, done, total: None)

    async def run(self, progress: Progress) -> Told:
        """Live through it. Raises what the tiers raise; differences are in the answer."""
        self.progress = progress
        began = time.monotonic()
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self.switch.close)
            await self.switch.start()
            memory = await stack.enter_async_context(self.make(True))
            await self._refuse_without_hot(memory)
            agent = self._agent(memory)
            try:
                phases, settled = await self._live(agent, memory)
                stats = memory.stats()
                await self._check(memory, agent, "through the cascade")
                await self._check_authority()
            finally:
                if self.clean:
                    await self._remove(memory)
        before, during, after = phases
        return Told(
            turns=len(self.turns),
            documents=len(self.documents),
            document_bytes=sum(path.stat().st_size for path in self.documents),
            seconds=time.monotonic() - began,
            how=self.switch.how,
            before=before,
            during=during,
            after=after,
            settled=settled,
            stats=stats,
            keys=len(self.ledger.expected) + len(self.ledger.documents),
            compared=self.ledger.compared,
            differences=self.ledger.differences,
        )

    def _agent(self, memory: MemoryClient) -> DemoAgent:
        made = AgentBuilder[DemoAgent]().with_agent(DemoAgent).with_memory(client=memory)
        return made.with_scope(self.scope, tenant=self.tenant).build()

    async def _refuse_without_hot(self, memory: MemoryClient) -> None:
        """Hot must work at the beginning, or there would be nothing to stop: ask it for a few keys, which in a cluster lie on several nodes."""
        keys = [Key(self.tenant, self.scope, f"turn/{n}") for n in range(16)]
        for answer in await self.switch.hot.peek_many(keys, deadline=Deadline.after(5.0)):
            if isinstance(answer, ThermoclineError):
                text = f"hot does not work from the beginning: {answer}; is it a cluster? The demo shuts one port, so it takes a single server and no cluster"
                raise TierUnavailable(text, tier="hot") from answer

    # --- the conversation ---------------------------------------------------------------------------------------------

    async def _live(self, agent: DemoAgent, memory: MemoryClient) -> tuple[tuple[Phase, Phase, Phase], bool]:
        total = len(self.turns)
        stops = max(1, int(total * STOPS))
        returns = max(stops + 1, int(total * RETURNS))
        before = await self._turns(agent, memory, 0, min(stops, total), "the conversation")
        await self.switch.stop()
        during = await self._turns(agent, memory, stops, min(returns, total), "hot is down")
        await self.switch.start()
        self.progress("hot is back and is told what it missed", min(returns, total), total)
        settled = await memory.settled(timeout=_SETTLING)
        after = await self._turns(agent, memory, returns, total, "the conversation")
        after.before = during.after  # what hot was told belongs to the time after the outage
        return (before, during, after), settled

    async def _turns(self, agent: DemoAgent, memory: MemoryClient, first: int, last: int, what: str) -> Phase:
        began, before = time.monotonic(), memory.stats()
        paths = {path.name: path for path in self.documents}
        for number in range(first, last):
            turn = self.turns[number]
            request = {"number": number, "turn": turn.record, "attach": [paths[name] for name in turn.attach]}
            answer = await agent.handle(request)
            self._note(turn, answer)
            self.progress(what, number + 1, len(self.turns))
        return Phase(max(0, last - first), time.monotonic() - began, before, memory.stats())

    def _note(self, turn: Turn, answer: dict[str, Any]) -> None:
        """Write down what was stored, and compare what was recalled."""
        ledger = self.ledger
        ledger.learned(turn.record)
        ledger.stored(answer["stored"], answer["gone"])
        for name in turn.attach:
            ledger.documents[name] = answer["documents"][name]
        for name, value in answer["recalled"].items():
            ledger.compare(name, value, "in the conversation")
        for name in turn.record.get("recall", ()):
            ledger.compare_document(name, answer["documents"][name], "in the conversation")

    # --- the checks at the end ----------------------------------------------------------------------------------------

    async def _check_authority(self) -> None:
        """A fresh client without hot: what the authority and cold say by themselves."""
        async with self.make(False) as fresh:
            await self._check(fresh, self._agent(fresh), "in the authority alone")

    async def _check(self, memory: MemoryClient, agent: DemoAgent, when: str) -> None:
        ledger, total = self.ledger, len(self.ledger.expected) + len(self.ledger.documents)
        if self.tamper and memory.stats().get("hot") is not None:
            await agent.own.set("profile", {"facts": {"name": "Mallory"}})
        done = 0
        for name in ledger.expected:
            ledger_value = _value(await agent.own.lookup(name))
            if isinstance(ledger_value, Exception):
                _raise_unless_damaged(ledger_value)
                ledger.failed(name, ledger_value, when)
            else:
                ledger.compare(name, ledger_value, when)
            done += 1
            self.progress(f"comparing, {when}", done, total)
        for name in ledger.documents:
            try:
                ledger.compare_document(name, await agent.digest_of(name), when)
            except KeyError:
                ledger.compare_document(name, None, when)
            except (CorruptRecord, UnreadableRecord) as error:
                ledger.failed(f"document/{name}", error, when)
            done += 1
            self.progress(f"comparing, {when}", done, total)

    async def _remove(self, memory: MemoryClient) -> None:
        """Leave nothing on a service but tombstones, and payloads that the sweeper finds."""
        own = memory.scoped(tenant=self.tenant, scope=self.scope)
        while True:
            page = await own.list(limit=100)
            if len(page):
                (await own.delete_many([item.key.name for item in page])).raise_errors()
            elif page.cursor is None:
                return


def _value(outcome: Outcome) -> Any:
    """The value, `GONE`, or the error that stands in their place."""
    if isinstance(outcome, Hit):
        return outcome.value
    if isinstance(outcome, Miss):
        return GONE
    return getattr(outcome, "error", None) or CorruptRecord("the memory did not ask the authority")


def _raise_unless_damaged(error: Exception) -> None:
    """An outage is no difference: the check cannot be made, and says so."""
    if not isinstance(error, CorruptRecord | UnreadableRecord):
        raise error
