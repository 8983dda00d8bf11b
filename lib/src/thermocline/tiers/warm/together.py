"""Writes of one partition that travel together: as one transactional batch while nothing stands in the way, else each by itself.

A batch carries exactly the requests that its writes would send by themselves (`thermocline.writes`), and takes effect as a whole or not at all. So one of its
copies is a copy of each of these requests that is let in under more conditions than its own: what keeps a write from taking effect twice (the ring, the
window, the id of the creator) keeps it so here, and a write can go on by itself at any moment, from where it stands and with the same id.

* All is well: one request for up to a hundred writes.
* One item kept it out (404, 409, 412): all of them are read by one query, and what they send next goes out as a second batch. So writes onto items of
  which nothing is known cost three requests together. Deletes of which nothing is known are read first.
* It is to be sent again (429, 449, 410): after a pause, a few times.
* No answer, or any other refusal: each goes on by itself, those of an unanswered batch in doubt. So one sick item costs the others time, and nothing else (P8).

Conditional writes, touches and what seems to delete nothing go by themselves: they are refused for reasons of their own.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from thermocline.clock import Deadline
from thermocline.errors import PointerTooOld, ThermoclineError
from thermocline.protocols import Verb, Write, Written
from thermocline.tiers.warm.calls import Pauses, once
from thermocline.tiers.warm.census import RECORD
from thermocline.tiers.warm.sdk import Service
from thermocline.tiers.warm.trouble import BatchRefused, Kind, Trouble
from thermocline.tiers.warm.watching import watching
from thermocline.tiers.warm.writing import Writing

MOST: Final = 100  # the service's limit of operations in a batch
MOST_BYTES: Final = 1_000_000  # of the items in a batch; the service's limit of a request is 2 MB
_TRIES: Final = 3  # of a batch that is to be sent again
_DECISIVE: Final = (Kind.MISSING, Kind.EXISTS, Kind.REFUSED)
_QUERY: Final = f"SELECT c.id, c.tenant, c.scope, c.n, c.v, c.w, c.b, c.c, {RECORD} FROM c WHERE c.id IN "  # noqa: S608

Item = dict[str, Any]
Answers = dict[Writing, Written | ThermoclineError]


async def carry_out(service: Service, writings: Sequence[Writing], at_once: int, deadline: Deadline) -> Answers:
    """What became of each; ``at_once`` requests at a time."""
    answers: Answers = {}
    gate = asyncio.Semaphore(at_once)

    async def one(writing: Writing) -> None:
        async with gate:
            try:
                answers[writing] = await writing.run(deadline)
            except ThermoclineError as error:
                answers[writing] = error

    async def many(bundle: list[Writing]) -> None:
        async with gate:
            answers.update(await Together(service, bundle).run(deadline))
        await asyncio.gather(*(one(writing) for writing in bundle if writing not in answers))

    together = bundles(writings)
    bundled = {writing for bundle in together for writing in bundle}
    await asyncio.gather(*map(many, together), *(one(writing) for writing in writings if writing not in bundled))
    return answers


def bundles(writings: Sequence[Writing]) -> list[list[Writing]]:
    """Those that can travel together: of one partition, each of another key, as many as one request takes. At least two each."""
    partitions: dict[tuple[str, str], dict[str, Writing]] = {}
    for writing in writings:
        if _simple(writing.write):
            key = writing.write.key
            partitions.setdefault((key.tenant, key.scope), {}).setdefault(writing.item_id, writing)
    made: list[list[Writing]] = []
    for of_partition in partitions.values():
        bundle: list[Writing] = []
        size = 0
        for writing in of_partition.values():
            if bundle and (len(bundle) == MOST or size + writing.size > MOST_BYTES):
                made.append(bundle)
                bundle, size = [], 0
            bundle.append(writing)
            size += writing.size
        made.append(bundle)
    return [bundle for bundle in made if len(bundle) > 1]


def _simple(write: Write) -> bool:
    return write.verb is not Verb.TOUCH and write.if_version is None and not write.if_absent


class Together:
    """Some writes under way as one, as far as that goes."""

    def __init__(self, service: Service, writings: Sequence[Writing]) -> None:
        self._service = service
        self._left = list(writings)
        self._absent: set[Writing] = set()  # of which a read found nothing
        self._answers: Answers = {}

    async def run(self, deadline: Deadline) -> Answers:
        """What became of those of which it is known. Each of the others is to go on by itself."""
        pauses = Pauses(deadline, self._service.retries())
        for writing in self._left:
            writing.ends(deadline)
        if any(writing.asks for writing in self._left) and not await self._look(deadline):
            return self._answers
        if await self._send(deadline, pauses) and await self._look(deadline):
            await self._send(deadline, pauses)
        return self._answers

    async def _look(self, deadline: Deadline) -> bool:
        """Read all of them; whether that could be done."""
        names = [f"@p{number}" for number in range(len(self._left))]
        given = {name: writing.item_id for name, writing in zip(names, self._left, strict=True)}
        text = f"{_QUERY}({', '.join(names)})"

        async def ask() -> dict[str, Item]:
            pages = self._service.query(text, given, self._left[0].partition)
            return {item["id"]: item async for page in pages for item in page}

        try:
            found = await once(ask, deadline)
        except Trouble:
            return False  # each will ask by itself, and tell
        left = []
        for writing in self._left:
            item = found.get(writing.item_id)
            try:
                answer = writing.shown(item)
            except ThermoclineError as error:
                self._answers[writing] = error
                continue
            if answer is not None:
                self._answers[writing] = answer
                continue
            left.append(writing)
            if item is None:
                self._absent.add(writing)
        self._left = left
        return True

    def _ready(self) -> tuple[list[Writing], list[tuple[Any, ...]]]:
        """Those that can be sent as one now, and their requests."""
        writings, operations = [], []
        for writing in self._left:
            if writing in self._absent and writing.write.verb is Verb.DELETE:
                continue  # the service's 404 is its answer, and would be the others' end
            try:
                operation = writing.operation()
            except PointerTooOld:
                continue  # which it says when it goes by itself
            if operation is not None:
                writings.append(writing)
                operations.append(operation)
        return writings, operations

    async def _send(self, deadline: Deadline, pauses: Pauses) -> bool:
        """Send what can be sent as one; whether it is worth reading the items, because one of them kept all out."""
        writings, operations = self._ready()
        if len(writings) < 2:
            return False
        for _ in range(_TRIES):
            with watching() as sent:
                try:
                    bodies = await once(lambda: self._service.batch(operations, writings[0].partition), deadline)
                except Trouble as error:
                    trouble = error
                else:
                    self._done(writings, bodies)
                    return False
            if sent.left_doubt(failed=True):
                for writing in writings:
                    writing.lost()
                return False
            if trouble.kind in _DECISIVE:
                return isinstance(trouble, BatchRefused)
            if trouble.kind is not Kind.AGAIN or not await pauses.wait(trouble):
                return False
        return False

    def _done(self, writings: Sequence[Writing], bodies: Sequence[Item]) -> None:
        for writing, body in zip(writings, bodies, strict=True):
            try:
                self._answers[writing] = writing.took(body)
            except ThermoclineError:  # an answer that cannot be read says no more than a lost one
                writing.lost()
        self._left = [writing for writing in self._left if writing not in self._answers]
