"""A dictionary in every kind of store: trained, stored beside the records, used by writers that are told to, found by every reader."""

import asyncio
import hashlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.integration.dictionaries.messages import message
from tests.integration.dictionaries.stores import Store, notes, record, soon
from tests.integration.dictionaries.watched import Watched

from thermocline import Key, MemoryClient, MemoryRules, NearCache
from thermocline.client.training import Dictionaries
from thermocline.codec import Codec, id_of
from thermocline.errors import Conflict, InvalidArgument, NotFound, UnknownDictionary
from thermocline.model import Hit
from thermocline.testing import ManualClock

BRIEF = timedelta(seconds=1)
NATIVE = "cosmos"  # keeps JSON as JSON, uncompressed


async def test_every_reader_finds_what_a_writer_was_told_to_use(store: Store, tenant: str) -> None:
    trained = await store.trained(tenant)
    number = id_of(trained.info.id)
    assert trained.info.gain > 0.2
    turn, text = Key(tenant, "user/new", "m/1"), Key(tenant, "user/new", "m/2")
    values: dict[Key, Any] = {turn: message(9000, "user/new"), text: str(message(9001, "user/new"))}
    writer = await store.client("latest")
    for key, value in values.items():
        await writer.set(key, value)

    used = {key: (await record(writer, key)).header.dictionary for key in values}
    assert used == {turn: 0 if store.kind == NATIVE else number, text: number}

    told_nothing = await store.client()
    for key, value in values.items():
        assert await told_nothing.get(key) == value
        found = await told_nothing.lookup(key)
        assert isinstance(found, Hit)
        assert found.record.value == value
    others = [await store.client() for _ in range(3)]
    assert dict(await others[0].get_many(list(values))) == values
    chunks = [chunk async for chunk in others[1].stream(text)]
    assert b"".join(chunks).decode() == values[text]
    if store.kind not in ("redis", "sqlite"):
        alone = await store.client(without="hot")
        assert [await alone.get(key) for key in values] == list(values.values())
    assert await others[2].update(text, lambda old: old + "!") == values[text] + "!"


async def test_a_writer_that_was_not_told_uses_none(embedded: Store, tenant: str) -> None:
    await embedded.trained(tenant)
    memory = await embedded.client()
    key = Key(tenant, "user/new", "m/1")
    await memory.set(key, str(message(1, "user/new")))
    assert (await record(memory, key)).header.dictionary == 0


async def test_batches_and_atomic_writes_use_it(embedded: Store, tenant: str) -> None:
    number = id_of((await embedded.trained(tenant)).info.id)
    writer = await embedded.client("latest")
    items = {Key(tenant, "user/new", f"n/{n}"): message(n, "user/new") for n in range(6)}
    for atomic in (False, True):
        assert not (await writer.set_many(items, atomic=atomic)).errors
        assert {(await record(writer, key)).header.dictionary for key in items} == {number}
    assert dict(await (await embedded.client()).get_many(list(items))) == items


async def test_a_dictionary_is_its_tenants_alone(both: Store, tenant: str) -> None:
    """P9: no other tenant's records are compressed with it, nor can a record of theirs name it."""
    trained = await both.trained(tenant)
    stranger = Key(f"{tenant}-2", "user/1", "m/1")
    writer = await both.client()
    for wanted in ("latest", trained.info.id):
        writer = await both.client(wanted)
        await writer.set(stranger, str(message(1, "user/1")))
        assert (await record(writer, stranger)).header.dictionary == 0
    assert await Dictionaries(writer).stored(tenant=stranger.tenant) == []
    with pytest.raises(NotFound):
        await Dictionaries(writer).show(trained.info.id, tenant=stranger.tenant)


async def test_it_is_kept_while_records_need_it_and_removed_after(store: Store, tenant: str) -> None:
    trained = await store.trained(tenant)
    writer, shelf = await store.client("latest"), Dictionaries(await store.client())
    key, value = Key(tenant, "user/new", "m/1"), str(message(1, "user/new"))
    await writer.set(key, value)
    assert await shelf.users(trained.info.id, tenant=tenant) == 1
    with pytest.raises(Conflict, match="1 record of the tenant"):
        await shelf.remove(trained.info.id, tenant=tenant)
    assert await (await store.client()).get(key) == value

    await (await store.client()).set(key, value)
    assert await shelf.remove(trained.info.id, tenant=tenant) == trained.info
    assert await shelf.stored(tenant=tenant) == []
    assert await shelf.latest(tenant=tenant) is None
    with pytest.raises(NotFound):
        await shelf.show(trained.info.id, tenant=tenant)


async def test_training_again_stores_another_and_the_old_one_stays(embedded: Store, tenant: str) -> None:
    first = await embedded.trained(tenant)
    memory = await embedded.client("latest")
    shelf = Dictionaries(memory)
    again = await shelf.train(tenant=tenant, shared_by=10)
    assert (again.stored, again.new, again.info.id) == (True, False, first.info.id)  # the same values make the same
    old = Key(tenant, "user/new", "old")
    await memory.set(old, str(message(1, "user/new")))
    second = await shelf.train(tenant=tenant, shared_by=5, size=8192)
    assert second.new
    assert {info.id for info in await shelf.stored(tenant=tenant)} == {first.info.id, second.info.id}
    assert await shelf.latest(tenant=tenant) == second.info.id
    newer = await embedded.client("latest")
    key = Key(tenant, "user/new", "new")
    await newer.set(key, str(message(2, "user/new")))
    assert (await record(newer, key)).header.dictionary == id_of(second.info.id)
    reader = await embedded.client()
    assert [await reader.get(one) for one in (old, key)] == [str(message(1, "user/new")), str(message(2, "user/new"))]
    named = await embedded.client(first.info.id)
    await named.set(key, str(message(3, "user/new")))
    assert (await record(named, key)).header.dictionary == id_of(first.info.id)


async def test_a_large_dictionary_lies_in_several_notes(store: Store, tenant: str) -> None:
    trained = await store.trained(tenant, shared_by=1, size=60_000)
    assert trained.info.size > 32_768  # of one note
    _, content = await Dictionaries(await store.client()).show(trained.info.id, tenant=tenant)
    assert len(content) == trained.info.size


async def test_payloads_move_down_and_up_with_it(both: Store, tenant: str) -> None:
    """A pointer's header names the dictionary; back in Cosmos DB the value is JSON again."""
    await both.trained(tenant)
    down = await both.client("latest", rules=MemoryRules(cold_threshold_bytes=200))
    key, value = Key(tenant, "user/new", "m/1"), [message(n, "user/new") for n in range(12)]
    await down.set(key, value)
    lying = await record(down, key)
    assert lying.pointer
    assert lying.header.dictionary
    assert await (await both.client(without="hot")).get(key) == value

    up = await both.client()
    moved = await up.promote([key])
    assert (moved.moved, moved.errors) == (1, {})
    whole = await record(up, key)
    assert not whole.pointer
    assert (whole.header.dictionary == 0) is (both.kind == NATIVE)
    assert whole.version == lying.version
    assert await (await both.client(without="hot")).get(key) == value
    demoted = await up.demote([key])
    assert (demoted.moved, demoted.errors) == (1, {})
    assert await (await both.client(without="hot")).get(key) == value


async def test_a_missing_one_is_said_and_nothing_is_lost(store: Store, tenant: str) -> None:
    trained = await store.trained(tenant)
    writer = await store.client("latest")
    key, value = Key(tenant, "user/new", "m/1"), str(message(1, "user/new"))
    await writer.set(key, value)
    before = await record(writer, key)
    keeper = notes(writer)
    names, _ = await keeper.list_notes("dictionary/", limit=1000, cursor=None, deadline=soon())
    mine = [name for name in names if f"/{trained.info.id}" in name]
    kept = [await keeper.read_note(name, deadline=soon()) for name in mine]
    assert len(mine) >= 2
    for name in mine:
        await keeper.delete_note(name, deadline=soon())

    reader = await store.client()
    with pytest.raises(UnknownDictionary, match=trained.info.id):
        await reader.get(key)
    batch = await reader.get_many([key])
    assert isinstance(batch.errors[key], UnknownDictionary)
    lookup: Any = await reader.lookup(key)
    assert lookup.unreadable
    assert await reader.exists(key)
    assert (await record(reader, key)).payload == before.payload

    for note in kept:
        assert note is not None
        await keeper.write_note(note.name, note.data, deadline=soon())
    assert await (await store.client()).get(key) == value


async def test_a_damaged_one_is_never_used(embedded: Store, tenant: str) -> None:
    trained = await embedded.trained(tenant)
    writer = await embedded.client("latest")
    key, value = Key(tenant, "user/new", "m/1"), message(1, "user/new")
    await writer.set(key, value)
    keeper = notes(writer)
    names, _ = await keeper.list_notes("dictionary/", limit=1000, cursor=None, deadline=soon())
    (part,) = [name for name in names if name.endswith(".0")]
    note = await keeper.read_note(part, deadline=soon())
    assert note is not None
    await keeper.write_note(part, note.data[:-1] + bytes([note.data[-1] ^ 1]), deadline=soon())

    reader = await embedded.client("latest")
    with pytest.raises(UnknownDictionary, match="damaged"):
        await reader.get(key)
    with pytest.raises(UnknownDictionary, match="damaged"):
        await Dictionaries(reader).show(trained.info.id, tenant=tenant)
    await reader.set(key, value)  # without it
    assert (await record(reader, key)).header.dictionary == 0
    assert await reader.get(key) == value


async def test_a_copy_in_hot_whose_dictionary_was_removed_is_a_miss(natively: Store, tenant: str) -> None:
    """In Cosmos DB the record is JSON, and needs no dictionary; its copy in hot does."""
    trained = await natively.trained(tenant)
    writer = await natively.client("latest")
    key, value = Key(tenant, "user/new", "m/1"), message(1, "user/new")
    await writer.set(key, value)
    await Dictionaries(writer).remove(trained.info.id, tenant=tenant)
    reader = await natively.client()
    assert await reader.get(key) == value
    assert dict(await reader.get_many([key])) == {key: value}
    assert isinstance(await reader.lookup(key), Hit)


async def test_the_near_cache_and_get_or_set_know_it_too(natively: Store, tenant: str) -> None:
    await natively.trained(tenant)
    writer = await natively.client("latest")
    keys = {Key(tenant, "user/new", f"m/{n}"): message(n, "user/new") for n in range(4)}
    await writer.set_many(keys)
    near = await natively.client(near=NearCache())
    for _ in range(3):
        assert [await near.get(key) for key in keys] == [*keys.values()]
        assert dict(await near.get_many(keys)) == keys
    made = Key(tenant, "user/new", "made")

    async def text() -> str:
        return str(message(77, "user/new"))

    assert await writer.get_or_set(made, text) == str(message(77, "user/new"))
    assert (await record(writer, made)).header.dictionary
    assert await near.get_or_set(made, text) == str(message(77, "user/new"))


async def test_what_is_not_worth_it_is_not_stored(embedded: Store, tenant: str) -> None:
    memory = await embedded.client()
    noise = {Key(tenant, f"user/{n}", "m"): hashlib.shake_256(b"%d" % n).digest(600) for n in range(60)}
    await memory.set_many(noise)
    shelf = Dictionaries(memory)
    with pytest.raises(InvalidArgument, match="share"):
        await shelf.train(tenant=tenant, shared_by=10)
    refused = await shelf.train(tenant=tenant, shared_by=1)
    assert not refused.stored
    assert "not worth" in refused.why
    assert await shelf.stored(tenant=tenant) == []
    assert (await shelf.train(tenant=tenant, shared_by=1, force=True, dry_run=True)).why == "a dry run"
    assert (await shelf.train(tenant=tenant, shared_by=1, force=True)).stored


async def test_samples_are_of_the_selection_alone(embedded: Store, tenant: str) -> None:
    memory = await embedded.client()
    for scope in range(15):
        for n in range(3):
            await memory.set(Key(tenant, f"user/{scope}", f"chat/{n}"), f"the words of a chat are these {n} " * 8)
            await memory.set(Key(tenant, f"user/{scope}", f"note/{n}"), f"and a note has quite other ones {n} " * 8)
    found = await Dictionaries(memory).train(tenant=tenant, prefix="chat/", shared_by=5)
    assert found.info.prefix == "chat/"
    assert found.info.samples == 36
    _, content = await Dictionaries(memory).show(found.info.id, tenant=tenant)
    assert b"words of a chat" in content
    assert b"note" not in content
    with pytest.raises(InvalidArgument, match="too few"):
        await Dictionaries(memory).train(tenant=tenant, scope="user/3")


async def test_plain_strings_count_as_one_scope(embedded: Store) -> None:
    memory = await embedded.client()
    for n in range(100):
        await memory.set(f"user:42:{n}", f"Grace lives in the third house on the left side {n} " * 4)
    with pytest.raises(InvalidArgument, match="1 scopes"):
        await Dictionaries(memory).train(shared_by=2)


async def test_many_first_readers_fetch_it_once(tmp_path: Path, tenant: str) -> None:
    tier = Watched(tmp_path / "warm.sqlite3")
    async with MemoryClient(warm=tier) as first:
        await first.set_many({Key(tenant, f"u/{n % 20}", f"m/{n}"): message(n, f"u/{n % 20}") for n in range(100)})
        await Dictionaries(first).train(tenant=tenant)
        tier.seen = 0
        async with MemoryClient(warm=tier, codec=Codec(dictionaries="latest")) as writer:
            keys = [Key(tenant, "u/new", f"m/{n}") for n in range(40)]
            await asyncio.gather(*(writer.set(key, message(n, "u/new")) for n, key in enumerate(keys)))
            assert tier.seen == 3  # which is the latest, what is known of it, its bytes
        tier.seen = 0
        async with MemoryClient(warm=tier) as reader:
            values = await asyncio.gather(*(reader.get(key) for key in keys))
            assert values == [message(n, "u/new") for n in range(40)]
            assert tier.seen == 2
            await reader.get_many(keys)
            assert tier.seen == 2


async def test_a_writer_stops_to_use_one_that_is_lost(store: Store, tenant: str) -> None:
    """Redis may lose it with all else; or somebody removed it too early."""
    trained = await store.trained(tenant)
    clock = ManualClock()
    writers = [await store.client(told, clock=clock) for told in ("latest", trained.info.id)]
    key, value = Key(tenant, "user/new", "m/1"), str(message(1, "user/new"))
    for writer in writers:
        await writer.set(key, value)
        assert (await record(writer, key)).header.dictionary == id_of(trained.info.id)
    folder = f"dictionary/{hashlib.sha256(tenant.encode()).hexdigest()[:40]}/"
    await notes(writers[0]).delete_note(folder + trained.info.id, deadline=soon())
    clock.advance(10 if store.kind == "redis" else 600)

    for number, writer in enumerate(writers):
        other = Key(tenant, "user/new", f"other/{number}")
        await writer.set(other, value)
        assert (await record(writer, other)).header.dictionary == 0
        assert await (await store.client()).get(other) == value


async def test_a_removal_that_was_killed_is_told_and_goes_on(store: Store, tenant: str) -> None:
    trained = await store.trained(tenant, shared_by=1, size=60_000)
    memory = await store.client()
    folder = f"dictionary/{hashlib.sha256(tenant.encode()).hexdigest()[:40]}/"
    for gone in ("latest", trained.info.id):  # what it removes first
        assert await notes(memory).delete_note(folder + gone, deadline=soon())
    shelf = Dictionaries(memory)
    assert await shelf.stored(tenant=tenant) == []

    told = await memory.forget(tenant=tenant, scope="user/1", by="the officer", longest_write=BRIEF)
    assert [trained.info.id in words for words in told.dictionaries] == [True]
    assert (await shelf.remove(trained.info.id, tenant=tenant)).id == trained.info.id
    left, _ = await notes(memory).list_notes(folder, limit=100, cursor=None, deadline=soon())
    assert left == []
    with pytest.raises(NotFound):
        await shelf.remove(trained.info.id, tenant=tenant)


async def test_what_is_damaged_can_be_removed_and_trained_anew(embedded: Store, tenant: str) -> None:
    trained = await embedded.trained(tenant)
    memory = await embedded.client()
    shelf = Dictionaries(memory)
    folder = f"dictionary/{hashlib.sha256(tenant.encode()).hexdigest()[:40]}/"
    for name in ("latest", trained.info.id):
        await notes(memory).write_note(folder + name, b"[", deadline=soon())
    with pytest.raises(UnknownDictionary, match=trained.info.id):
        await shelf.stored(tenant=tenant)
    with pytest.raises(UnknownDictionary, match="training writes it anew"):
        await shelf.latest(tenant=tenant)

    assert (await shelf.remove(trained.info.id, tenant=tenant)).size == 0
    assert await shelf.stored(tenant=tenant) == []
    again = await shelf.train(tenant=tenant)
    assert (again.stored, again.new, again.info.id) == (True, True, trained.info.id)
    assert await shelf.latest(tenant=tenant) == trained.info.id
