"""`forget` erases a scope from every tier, leaves everything else alone, and nothing that was under way brings anything back."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.integration.rights.ground import BRIEF, Ground, key, payloads, soon, stored

from thermocline import InvalidArgument, Key, MemoryClient, TierUnavailable
from thermocline.client import fences
from thermocline.client.fences import Fence, Fences
from thermocline.client.receipt import AUDIT, Receipt, ServiceRetention
from thermocline.errors import ClientClosed, Forgotten
from thermocline.protocols import Notes

LARGE = random.Random(7).randbytes(200_000)  # goes to cold


async def fill(memory: MemoryClient, tenant: str, scope: str = "user/42") -> list[Key]:
    """Something of every kind: small and large values, one that is in hot alone, an expired one, a deleted one."""
    values: dict[str, Any] = {"name": "Ada", "profile": {"likes": ["tea"]}, "photo": LARGE, "only-hot:draft": "dear"}
    for name, value in values.items():
        await memory.set(key(name, scope, tenant), value)
    await memory.set(key("late", scope, tenant), "old secret", ttl=0.001)
    await memory.set(key("gone", scope, tenant), "deleted")
    await memory.delete(key("gone", scope, tenant))
    return [key(name, scope, tenant) for name in (*values, "late", "gone")]


async def forget(memory: MemoryClient, **given: Any) -> Receipt:
    return await memory.forget(**{"by": "the data protection officer", "longest_write": BRIEF, **given})


async def test_nothing_of_a_scope_is_left_in_any_tier(ground: Ground, tenant: str) -> None:
    memory, other = await ground.client(), await ground.client()
    keys = await fill(memory, tenant)
    for one in keys:
        await other.get(one)  # the other client has copies and floors of its own

    receipt = await forget(memory, scope="user/42", tenant=tenant)

    assert receipt.complete
    assert sum(receipt.records.values()) >= 5
    assert receipt.records["hot"] == 1
    assert receipt.payloads == 1
    assert receipt.bytes >= 200_000
    assert await stored(memory, tenant, "user/42") == []
    assert [path for path in await payloads(memory) if tenant in path] == []
    for client in (memory, other):
        assert [await client.get(one) for one in keys] == [None] * len(keys)
        batch = await client.get_many(keys)
        assert (dict(batch), batch.errors) == ({}, {})


async def test_a_scope_can_be_written_anew_afterwards(ground: Ground, tenant: str) -> None:
    memory = await ground.client()
    await fill(memory, tenant)
    await forget(memory, scope="user/42", tenant=tenant)

    await memory.set(key("photo", tenant=tenant), LARGE)
    await memory.set(key("name", tenant=tenant), "Grace")

    assert await memory.get(key("photo", tenant=tenant)) == LARGE
    assert await memory.get(key("name", tenant=tenant)) == "Grace"


async def test_other_scopes_and_tenants_are_left_alone(ground: Ground, tenant: str) -> None:
    memory = await ground.client()
    near = [
        ("user/4", tenant),
        ("user/421", tenant),
        ("user/42/x", tenant),
        ("user", tenant),
        ("user/42", tenant + "x"),
    ]
    for scope, wall in [("user/42", tenant), *near]:
        await fill(memory, wall, scope)

    await forget(memory, scope="user/42", tenant=tenant)

    for scope, wall in near:
        assert await memory.get(key("name", scope, wall)) == "Ada"
        assert await memory.get(key("photo", scope, wall)) == LARGE
        assert await memory.get(key("only-hot:draft", scope, wall)) == "dear"


async def test_a_whole_tenant_is_forgotten_with_all_its_scopes(ground: Ground, tenant: str) -> None:
    memory = await ground.client()
    scopes = ["user/1", "user/2", "x" * 300, "größe/%/\\?#"]
    for scope in scopes:
        await fill(memory, tenant, scope)
    await fill(memory, tenant + "2", "user/1")

    receipt = await forget(memory, tenant=tenant)

    assert receipt.complete
    assert receipt.scope is None
    assert await stored(memory, tenant, None) == []
    for scope in scopes:
        assert await memory.get(key("photo", scope, tenant)) is None
    assert await memory.get(key("photo", "user/1", tenant + "2")) == LARGE


async def test_names_that_paths_shorten_are_forgotten_too(ground: Ground, tenant: str) -> None:
    memory = await ground.client()
    long = key("n" * 2000, tenant=tenant)
    await memory.set(long, LARGE)

    await forget(memory, scope="user/42", tenant=tenant)

    assert await memory.get(long) is None
    assert await stored(memory, tenant, None) == []
    cold: Any = memory._engine.cold
    left, _ = await cold.list_payloads(limit=1000, cursor=None, deadline=soon())
    assert [one for one in left if tenant in one.path] == []


async def test_a_dry_run_counts_and_erases_nothing(ground: Ground, tenant: str) -> None:
    memory = await ground.client()
    await fill(memory, tenant)
    before = await notes_of(memory, "")  # Redis is shared with other tests

    receipt = await forget(memory, scope="user/42", tenant=tenant, dry_run=True)

    assert receipt.dry_run
    assert not receipt.complete
    assert receipt.records["hot"] == 1
    assert receipt.payloads == 1
    assert receipt.remains == []
    assert await memory.get(key("photo", tenant=tenant)) == LARGE
    assert await notes_of(memory, "") == before


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"by": "me"}, "name the scope"),
        ({"by": "", "scope": "s"}, "who asks"),
        ({"by": "  ", "scope": "s"}, "who asks"),
        ({"by": 7, "scope": "s"}, "text"),
        ({"by": "me", "scope": ""}, "scope"),
        ({"by": "me", "scope": "s", "tenant": ""}, "tenant"),
        ({"by": "me", "scope": "s", "reason": "x" * 2000}, "reason"),
        ({"by": "me", "scope": "s", "longest_write": 0.5}, "longest_write"),
        ({"by": "me", "scope": "s", "longest_write": timedelta()}, "longest_write"),
    ],
)
async def test_bad_input_is_refused_before_anything_is_done(
    ground: Ground, tenant: str, given: dict[str, Any], words: str
) -> None:
    memory = await ground.client()
    before = await notes_of(memory, "")
    with pytest.raises(InvalidArgument, match=words):
        await memory.forget(**given)
    assert await notes_of(memory, "") == before


async def test_a_stream_that_began_before_is_refused_when_it_arrives(
    ground: Ground, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits ten minutes for it: it reads the fence itself."""
    monkeypatch.setattr(fences, "HEEDED_AFTER", -1.0)  # as if it had taken that long
    memory, writer = await ground.client(), await ground.client()
    begun, go = asyncio.Event(), asyncio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        yield LARGE
        begun.set()
        await go.wait()
        yield b"the end"

    stream = asyncio.create_task(writer.set_stream(key("video", tenant=tenant), chunks()))
    await begun.wait()
    receipt = await forget(memory, scope="user/42", tenant=tenant)
    go.set()

    with pytest.raises(Forgotten, match="write again"):
        await stream
    assert receipt.complete
    assert await memory.get(key("video", tenant=tenant)) is None
    assert await stored(memory, tenant, None) == []


async def test_forgotten_under_load_nothing_from_before_is_read_again(ground: Ground, tenant: str) -> None:
    """Writers, readers and counters go on all the while; what was written before the call is never read after its receipt."""
    memory, others = await ground.client(), [await ground.client() for _ in range(2)]
    names = [f"name-{n}" for n in range(6)]
    generation, stop = [0], asyncio.Event()

    async def write(client: MemoryClient, seed: int) -> None:
        rng = random.Random(seed)
        while not stop.is_set():
            value = {"generation": generation[0], "noise": LARGE[: rng.choice([10, 10, 140_000])]}
            with suppress(Forgotten):
                await client.set(key(rng.choice(names), tenant=tenant), value)
            if rng.random() < 0.3:
                with suppress(Forgotten):
                    await client.append(key("log", tenant=tenant), generation[0])

    seen_old: list[Any] = []
    finished = [False]

    async def read(client: MemoryClient, seed: int) -> None:
        rng = random.Random(seed)
        while not stop.is_set():
            await asyncio.sleep(0)  # a hit in process memory gives nobody else a turn
            after = finished[0]
            found = await client.get(key(rng.choice(names), tenant=tenant))
            log = await client.get(key("log", tenant=tenant), default=[])
            if after:
                if found is not None and found["generation"] == 0:
                    seen_old.append(found["generation"])
                seen_old.extend(entry for entry in log if entry == 0)

    async with asyncio.TaskGroup() as group:
        for n, client in enumerate(others):
            group.create_task(write(client, n))
            group.create_task(read(client, 10 + n))
        while len(await stored(memory, tenant, "user/42")) < len(names):
            await memory.set(key(names[0], tenant=tenant), {"generation": 0, "noise": b""})
        generation[0] = 1  # what is written from now on is told apart: calls that began before still carry 0
        receipt = await forget(memory, scope="user/42", tenant=tenant)
        finished[0] = True
        for client in others:
            for name in names:
                await client.get(key(name, tenant=tenant))
        stop.set()

    assert sum(receipt.records.values()) > 0
    assert seen_old == []
    for client in (memory, *others):
        found = await client.get_many([key(name, tenant=tenant) for name in names])
        assert all(value["generation"] == 1 for value in found.values())


async def test_cut_short_at_any_point_it_is_finished_by_a_second_call(ground: Ground, tenant: str) -> None:
    memory, again = await ground.client(), await ground.client()
    rng = random.Random(42)
    for n in range(6):
        await fill(memory, tenant)
        task = asyncio.create_task(forget(memory, scope="user/42", tenant=tenant))
        for _ in range(rng.randrange(1, 400)):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        if n % 2:
            await asyncio.gather(*(memory.get(key(name, tenant=tenant)) for name in ("name", "photo")))
        receipt = await forget(again, scope="user/42", tenant=tenant)
        assert receipt.complete
        assert await stored(again, tenant, None) == []
        assert [path for path in await payloads(again) if tenant in path] == []


async def test_the_audit_record_says_who_erased_what_and_holds_none_of_it(ground: Ground, tenant: str) -> None:
    memory = await ground.client()
    await fill(memory, tenant)

    receipt = await forget(memory, scope="user/42", tenant=tenant, reason="ticket 7")

    tier: Any = Fences(memory._engine).keepers()[0][1]
    mine = []
    for name in await notes_of(memory, AUDIT):
        note = await tier.read_note(name, deadline=soon())
        if receipt.id in name:
            mine.append(note.data.decode())
    assert len(mine) == 1
    for words in ("the data protection officer", "ticket 7", "user/42", tenant, '"state":"done"'):
        assert words in mine[0]
    for secret in ("Ada", "tea", "profile", "photo", "dear"):
        assert secret not in mine[0]


async def test_the_receipt_says_until_when_the_services_keep_copies(ground: Ground, tenant: str) -> None:
    memory = await ground.client()
    await fill(memory, tenant)

    kept = ServiceRetention(cosmos_backup=timedelta(days=7), redis_persistence=timedelta())
    receipt = await forget(memory, scope="user/42", tenant=tenant, retention=kept)

    by_what = {one.what.split(":")[0]: one for one in receipt.remains}
    assert by_what["backups of the account"].until - receipt.finished == timedelta(days=7)
    assert not by_what["backups of the account"].assumed
    assert by_what["soft-deleted blobs and versions"].assumed
    assert "snapshots of Redis" not in by_what
    assert all(one.until > datetime.now(UTC) for one in receipt.remains)
    assert receipt.as_dict()["complete"] is True


async def test_a_fence_is_found_by_scope_and_by_tenant(ground: Ground, tenant: str) -> None:
    memory = await ground.client()
    engine = memory._engine
    stamp = Fences(engine).keepers()[0][0]
    at = engine.now_ms()
    await Fences(engine).put(Fence(tenant, None, at, "id"), soon())
    await Fences(engine).put(Fence(tenant, "user/42", at - 5000, "id"), soon())

    assert await Fences(engine).of(stamp, tenant, "user/42", soon()) == at
    assert await Fences(engine).of(stamp, tenant, "other", soon()) == at
    assert await Fences(engine).of(stamp, tenant + "x", "user/42", soon()) == 0
    with pytest.raises(Forgotten):
        await Fences(engine).heed(key("n", tenant=tenant), stamp, at - 60_000, soon())
    await Fences(engine).heed(key("n", tenant=tenant), stamp, at, soon())  # a young write: whoever forgets waits for it


async def test_while_an_authority_is_down_it_says_so_and_goes_on_later(ground: Ground, tenant: str) -> None:
    memory, other = await ground.client(), await ground.client()
    await fill(memory, tenant)
    warm = next(tier for stamp, tier in memory._engine.authorities.items() if stamp.name == "WARM")
    await warm.close()
    try:
        with pytest.raises((TierUnavailable, ClientClosed)):
            await forget(memory, scope="user/42", tenant=tenant)
    finally:
        await warm.connect()

    receipt = await forget(other, scope="user/42", tenant=tenant)
    assert receipt.complete
    assert await stored(other, tenant, None) == []


async def notes_of(memory: MemoryClient, prefix: str) -> list[str]:
    found: list[str] = []
    for _, tier in Fences(memory._engine).keepers():
        assert isinstance(tier, Notes)
        names, _ = await tier.list_notes(prefix, limit=1000, cursor=None, deadline=soon())
        found += names
    return found
