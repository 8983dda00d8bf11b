"""Entity group transactions on Azurite: several writes take effect once, together, whatever the network does."""

import asyncio
import functools
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest

from thermocline.blobs.heads import RULES, Head
from thermocline.clock import SYSTEM_CLOCK, Deadline
from thermocline.errors import TierUnavailable, TooLarge, UnknownOutcome
from thermocline.keys import table_partition, table_row
from thermocline.model import Envelope, Key
from thermocline.protocols import Effect, Write, Written
from thermocline.testing.conformance.samples import delete, new_key, put, soon, stamp_by, value_of
from thermocline.testing.proxy import ChaosProxy, Traffic
from thermocline.testing.rig import Azurite
from thermocline.tiers.table import TableMemory
from thermocline.tiers.table.rows import head_of
from thermocline.tiers.table.service import Placing

MakeProxy = Callable[[str | int], Awaitable[ChaosProxy]]


@pytest.fixture(autouse=True)
def stamp_samples() -> None:
    stamp_by(SYSTEM_CLOCK)


@pytest.fixture
def table(unique_name: Callable[[str], str]) -> str:
    return unique_name("t").replace("-", "")


@pytest.fixture
async def direct(azurite: Azurite, table: str) -> AsyncIterator[TableMemory]:
    async with TableMemory(azurite.table_url, table, credential=azurite.key, create=True) as tier:
        yield tier


@pytest.fixture
async def proxy(azurite: Azurite, chaos_proxy: MakeProxy) -> ChaosProxy:
    return await chaos_proxy(azurite.table_url)


@pytest.fixture
async def rows(azurite: Azurite, direct: TableMemory, proxy: ChaosProxy, table: str) -> AsyncIterator[TableMemory]:
    """The same table, through the proxy."""
    async with TableMemory(proxy.url, table, credential=azurite.key) as tier:
        yield tier


Meanwhile = Callable[[], Awaitable[object]]


def before_sending(
    tier: TableMemory, monkeypatch: pytest.MonkeyPatch, *turns: Meanwhile, after: Meanwhile | None = None
) -> None:
    """Do something before each transaction leaves, as many of them as there are; ``after`` when the first one was not answered."""
    send, waiting = tier._service.place_all, list(turns)

    async def place_all(placings: Sequence[Placing], deadline: Deadline) -> list[str] | None:
        nonlocal after
        if waiting:
            await waiting.pop(0)()
        try:
            return await send(placings, deadline)
        except TierUnavailable:
            if after is not None:
                doing, after = after, None
                await doing()
            raise

    monkeypatch.setattr(tier._service, "place_all", place_all)


def keys_of(number: int) -> list[Key]:
    scope = new_key()
    return [Key(scope.tenant, scope.scope, f"n{place}") for place in range(number)]


async def heads(tier: TableMemory, keys: Sequence[Key]) -> list[Head]:
    rows = [await tier._service.get(table_partition(key), table_row(key), soon()) for key in keys]
    return [head_of(row) for row in rows if row is not None]


async def mixed(direct: TableMemory) -> tuple[list[Key], list[Write]]:
    """A creation, a replacement under a condition, a removal, and one that finds nothing."""
    keys = keys_of(4)
    there = await direct.write(put(keys[1], "old"), deadline=soon())
    await direct.write(put(keys[2], "old"), deadline=soon())
    writes = [put(keys[0], "new"), put(keys[1], "new", if_version=there.version), delete(keys[2]), delete(keys[3])]
    return keys, writes


def check(answers: list[Written], stored: list[Head], writes: list[Write]) -> None:
    effects = [answer.effect for answer in answers]
    assert effects == [Effect.TOOK, Effect.TOOK, Effect.TOOK, Effect.NOTHING]
    assert [answer.version for answer in answers[:3]] == [
        head.find(w.id) for head, w in zip(stored, writes, strict=False)
    ]
    assert [[stamp.id for stamp in head.ring].count(w.id) for head, w in zip(stored, writes, strict=False)] == [1, 1, 1]


@pytest.mark.parametrize("lost", ["answer", "request"])
async def test_lost_transaction_took_effect_once(
    rows: TableMemory, direct: TableMemory, proxy: ChaosProxy, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    keys, writes = await mixed(direct)
    events: list[asyncio.Event] = []

    async def lose() -> None:
        events.append(proxy.lose_next_answer() if lost == "answer" else proxy.lose_next_request())

    before_sending(rows, monkeypatch, lose)
    answers = await rows.write_atomic(writes, deadline=soon())

    assert events[0].is_set()
    check(answers, await heads(direct, keys), writes)


@pytest.mark.parametrize("number", [1, RULES.ring + 1])
async def test_lost_answer_and_others_wrote_one_of_the_keys_meanwhile(
    rows: TableMemory, direct: TableMemory, proxy: ChaosProxy, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Even so often that its row has forgotten: the others' rows tell, and the plan which version it was."""
    keys, writes = await mixed(direct)

    async def lose() -> None:
        proxy.lose_next_answer()

    async def others() -> None:
        for value in range(number):
            await direct.write(put(keys[1], value), deadline=soon())

    before_sending(rows, monkeypatch, lose, after=others)
    answers = await rows.write_atomic(writes, deadline=soon())

    assert [answer.effect for answer in answers] == [Effect.TOOK] * 3 + [Effect.NOTHING]
    assert answers[0].version == (await heads(direct, keys[:1]))[0].version
    assert answers[1].version < (await heads(direct, keys[1:2]))[0].ring[-1].version or number == 1
    assert value_of(await direct.read(keys[1], deadline=soon())) == number - 1


async def test_where_all_rows_forgot_the_outcome_is_unknown(
    rows: TableMemory, direct: TableMemory, proxy: ChaosProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = keys_of(2)
    for key in keys:
        await direct.write(put(key, "old"), deadline=soon())

    async def lose() -> None:
        proxy.lose_next_answer()

    async def others() -> None:
        for value in range(RULES.ring + 1):
            for key in keys:
                await direct.write(put(key, value), deadline=soon())

    before_sending(rows, monkeypatch, lose, after=others)
    with pytest.raises(UnknownOutcome):
        await rows.write_atomic([put(key, "mine") for key in keys], deadline=soon())


async def test_lost_request_and_others_wrote_meanwhile(
    rows: TableMemory, direct: TableMemory, proxy: ChaosProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first copy never arrived, the second is refused: a row that remembers shows it, and it is planned anew."""
    keys = keys_of(3)
    for key in keys:
        await direct.write(put(key, "old"), deadline=soon())

    async def lose() -> None:
        proxy.lose_next_request()

    async def others() -> None:
        await direct.write(put(keys[1], "theirs"), deadline=soon())

    before_sending(rows, monkeypatch, lose, after=others)
    answers = await rows.write_atomic([put(key, "mine") for key in keys], deadline=soon())

    stored = await heads(direct, keys)
    assert [answer.version for answer in answers] == [head.version for head in stored]
    assert [len(head.ring) for head in stored] == [2, 3, 2]


@pytest.mark.parametrize("forgotten", [False, True])
async def test_copy_that_somebody_else_sent_takes_effect_first(
    rows: TableMemory, direct: TableMemory, monkeypatch: pytest.MonkeyPatch, forgotten: bool
) -> None:
    """Its versions are the ones to tell, and not those that were planned here; where a row has forgotten its own, nobody can."""
    keys, writes = await mixed(direct)
    copied: list[Written] = []

    async def copy() -> None:
        copied.extend(await direct.write_atomic(writes, deadline=soon()))
        for value in range(RULES.ring + 1 if forgotten else 0):
            await direct.write(put(keys[1], value), deadline=soon())

    before_sending(rows, monkeypatch, copy)
    if forgotten:
        with pytest.raises(UnknownOutcome):
            await rows.write_atomic(writes, deadline=soon())
    else:
        answers = await rows.write_atomic(writes, deadline=soon())
        assert [answer.version for answer in answers] == [answer.version for answer in copied]


async def test_conflict_is_read_again_and_condition_judged_anew(
    direct: TableMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = keys_of(2)
    there = await direct.write(put(keys[0], "old"), deadline=soon())

    async def others() -> None:
        await direct.write(put(keys[0], "theirs"), deadline=soon())

    before_sending(direct, monkeypatch, others)
    answers = await direct.write_atomic(
        [put(keys[0], "mine", if_version=there.version), put(keys[1], "mine")], deadline=soon()
    )

    assert [answer.effect for answer in answers] == [Effect.REFUSED, Effect.NOTHING]
    assert await direct.read(keys[1], deadline=soon()) is None


async def test_silence_is_an_unknown_outcome_and_the_same_writes_again_tell(
    rows: TableMemory, direct: TableMemory, proxy: ChaosProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, writes = await mixed(direct)

    async def silence() -> None:
        proxy.blackhole(answers=True)

    before_sending(rows, monkeypatch, silence)
    with pytest.raises(UnknownOutcome) as caught:
        await rows.write_atomic(writes, deadline=Deadline.after(0.5))
    proxy.restore()

    assert caught.value.write_id == writes[0].id
    check(await rows.write_atomic(writes, deadline=soon()), await heads(direct, keys), writes)


async def test_requests_and_limits(direct: TableMemory) -> None:
    keys = keys_of(100)
    before = direct.stats.get("requests", "warm_plus")
    await direct.write_atomic([put(key, "x") for key in keys], deadline=soon())
    assert direct.stats.get("requests", "warm_plus") - before == 101

    big = [put(key, secrets.token_bytes(700_000)) for key in keys[:5]]
    with pytest.raises(TooLarge, match="4 MiB"):
        await direct.write_atomic(big, deadline=soon())
    await direct.write_atomic(big[:4], deadline=soon())
    assert [len((await heads(direct, [key]))[0].ring) for key in keys[:5]] == [2, 2, 2, 2, 1]


@pytest.mark.parametrize("seed", [0, 1])
async def test_transfers_under_chaos_take_effect_once_each(
    rows: TableMemory, direct: TableMemory, proxy: ChaosProxy, seed: int
) -> None:
    """Answers and requests are lost at random while four tasks move amounts between five accounts, and a fifth writes past the proxy."""
    keys, chance = keys_of(5), random.Random(seed)
    await direct.write_atomic([put(key, 1000) for key in keys], deadline=soon())
    moved = [0] * len(keys)
    running, unknown = True, 0

    def enough(seen: int, traffic: Traffic) -> bool:
        return traffic.request_bytes > seen or not running

    async def lose() -> None:
        while running:
            await proxy.until(functools.partial(enough, proxy.traffic.request_bytes + chance.randrange(2_000, 30_000)))
            (proxy.lose_next_answer if chance.random() < 0.7 else proxy.lose_next_request)()

    async def transfer(tier: TableMemory, one: int, other: int, amount: int) -> bool:
        nonlocal unknown
        there = await tier.read_many([keys[one], keys[other]], deadline=soon())
        if not all(isinstance(envelope, Envelope) for envelope in there):
            return False  # a read's answer was lost
        values: list[Any] = [value_of(envelope) for envelope in there if isinstance(envelope, Envelope)]
        versions = [envelope.version for envelope in there if isinstance(envelope, Envelope)]
        writes = [
            put(keys[one], values[0] - amount, if_version=versions[0]),
            put(keys[other], values[1] + amount, if_version=versions[1]),
        ]
        try:
            answers = await tier.write_atomic(writes, deadline=soon())
        except TierUnavailable as error:
            if error.sent:
                pytest.fail("it may have taken effect, and does not say so")
            return False
        except UnknownOutcome:  # more was written since than the rows remember
            unknown += 1
            return True
        return [answer.effect for answer in answers] == [Effect.TOOK, Effect.TOOK]

    async def transfers(tier: TableMemory, number: int) -> None:
        taker = random.Random(seed * 100 + number)
        for _ in range(8):
            one, other = taker.sample(range(len(keys)), 2)
            amount = taker.randrange(1, 50)
            while not await transfer(tier, one, other, amount):
                pass
            moved[one] -= amount
            moved[other] += amount

    loser = asyncio.create_task(lose())
    await asyncio.gather(*(transfers(rows, number) for number in range(4)), transfers(direct, 4))
    running = False
    loser.cancel()
    await asyncio.gather(loser, return_exceptions=True)

    found = [value_of(await direct.read(key, deadline=soon())) for key in keys]
    assert sum(found) == 5000  # no half of any
    assert unknown or found == [1000 + net for net in moved]
    assert unknown <= 4
    assert sum(map(abs, moved)) > 0
