"""Nothing that leaves a store needs its dictionaries: backups, migrations and exports hold whole values; and what an outage and `forget` mean for them."""

import base64
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.integration.dictionaries.messages import message
from tests.integration.dictionaries.stores import Store, record
from tests.integration.dictionaries.watched import Watched

from thermocline import Key, MemoryClient, MemoryRules, SqliteMemory
from thermocline.client.training import Dictionaries
from thermocline.codec import Codec
from thermocline.errors import TierUnavailable
from thermocline.resilience import Budget
from thermocline.transfer import Backup, DualMemory, FolderPlace, Migration, Restore, Space

BRIEF = timedelta(seconds=1)


async def written(store: Store, tenant: str, **options: Any) -> dict[Key, Any]:
    """Records that need a dictionary."""
    await store.trained(tenant)
    writer = await store.client("latest", **options)
    values: dict[Key, Any] = {Key(tenant, "user/new", f"t/{n}"): str(message(n, "user/new")) for n in range(3)}
    values |= {Key(tenant, "user/new", f"j/{n}"): message(n, "user/new") for n in range(3)}
    assert not (await writer.set_many(values)).errors
    assert any([(await record(writer, key)).header.dictionary for key in values])
    return values


@pytest.mark.parametrize("demoted", [False, True])
async def test_a_backup_needs_no_dictionary(both: Store, tenant: str, tmp_path: Path, demoted: bool) -> None:
    rules = MemoryRules(cold_threshold_bytes=64 if demoted else 128 * 1024)
    values = await written(both, tenant, rules=rules)
    source = await both.client()
    space = Space(tenant, "user/new")
    manifest = await Backup(source, FolderPlace(tmp_path / "backup"), space=space).run()
    assert (manifest.records, manifest.damaged) == (len(values), [])
    heads = [json.loads(line) for line in (tmp_path / "backup" / "chunk-000001.jsonl").read_text().splitlines()]
    assert {head["dictionary"] for head in heads if "dictionary" in head} == {0}
    async with MemoryClient(warm=SqliteMemory(tmp_path / "elsewhere.sqlite3")) as target:
        report = await Restore(target, FolderPlace(tmp_path / "backup")).run()
        assert (report.written, report.errors) == (len(values), [])
        assert dict(await target.get_many(list(values))) == values
    again = await Restore(source, FolderPlace(tmp_path / "backup")).run()
    assert (again.same, again.written) == (len(values), 0)  # the same values, however they are compressed


async def test_a_migration_leaves_the_dictionary_behind(both: Store, tenant: str, tmp_path: Path) -> None:
    values = await written(both, tenant)
    source = await both.client("latest", without="hot")
    async with MemoryClient(warm=SqliteMemory(tmp_path / "target.sqlite3")) as target:
        migration = Migration(source, target, name=tenant, space=Space(tenant), quiet=BRIEF)
        first = await migration.copy()
        assert not first.errors
        again = await migration.copy()
        assert (again.written, again.errors) == (0, [])
        differences = await migration.verify()
        assert (differences.none, differences.equal) == (True, first.written)
        assert dict(await target.get_many(list(values))) == values
        assert {(await record(target, key)).header.dictionary for key in values} == {0}

        await migration.dual_write()
        dual = DualMemory(source, target, name=tenant, space=Space(tenant))
        key = Key(tenant, "user/new", "t/dual")
        await dual.set(key, str(message(99, "user/new")))
        assert dual.behind == {}
        assert (await record(source, key)).header.dictionary
        assert (await record(target, key)).header.dictionary == 0
        assert await target.get(key) == await source.get(key) == str(message(99, "user/new"))


async def test_an_export_holds_the_values(both: Store, tenant: str) -> None:
    values = await written(both, tenant)
    told: dict[str, Any] = {}
    async for line in (await both.client()).export(tenant=tenant, scope="user/new"):
        one = json.loads(line)
        if "kind" in one:
            told[one["key"]["name"]] = one["value"] if "value" in one else base64.b64decode(one["base64"])
        elif "records" in one:
            assert one["damaged"] == []
    assert told == {key.name: value for key, value in values.items()}


async def test_an_outage_of_the_notes_is_no_missing_dictionary(tmp_path: Path, tenant: str) -> None:
    """P1: the record is there, and whether its dictionary is could not be asked."""
    tier = Watched(tmp_path / "warm.sqlite3")
    key, value = Key(tenant, "u/new", "m"), message(1, "u/new")
    async with MemoryClient(warm=tier) as first:
        await first.set_many({Key(tenant, f"u/{n % 20}", f"m/{n}"): message(n, f"u/{n % 20}") for n in range(100)})
        await Dictionaries(first).train(tenant=tenant)
        async with MemoryClient(warm=tier, codec=Codec(dictionaries="latest")) as writer:
            await writer.set(key, value)
        async with MemoryClient(warm=tier, codec=Codec(dictionaries="latest")) as reader:
            tier.down = True
            with pytest.raises(TierUnavailable, match="notes"):
                await reader.get(key)
            batch = await reader.get_many([key])
            assert isinstance(batch.errors[key], TierUnavailable)
            await reader.set(key.name, value)  # a writer goes on without
            other = Key(tenant, "u/new", "other")
            await reader.set(other, value)
            assert (await record(reader, other)).header.dictionary == 0
            tier.down = False
            assert await reader.get(key) == value


async def test_a_dictionary_that_gives_no_answer_leaves_a_write_its_time(tmp_path: Path, tenant: str) -> None:
    tier = Watched(tmp_path / "warm.sqlite3")
    patient = Budget(warm=timedelta(seconds=20))
    async with MemoryClient(warm=tier, budget=patient, codec=Codec(dictionaries="latest")) as writer:
        tier.silent = True
        keys = [Key(tenant, "u/new", f"m/{n}") for n in range(3)]
        assert not (await writer.set_many({key: message(1, "u/new") for key in keys[:2]}, timeout=1.9)).errors
        assert (await writer.set(keys[2], message(1, "u/new"), timeout=1.9)).durable
        assert [(await record(writer, key)).header.dictionary for key in keys] == [0, 0, 0]


async def test_forget_names_what_may_hold_the_erased(embedded: Store, tenant: str) -> None:
    trained = await embedded.trained(tenant)
    memory = await embedded.client()
    given: dict[str, Any] = {"tenant": tenant, "by": "the officer", "longest_write": BRIEF}
    receipt = await memory.forget(scope="user/1", **given)
    assert (receipt.dictionaries, receipt.complete) == ([], True)  # no fragment of it was this scope's alone

    free = await Dictionaries(memory).train(tenant=tenant, shared_by=1)
    receipt = await memory.forget(scope="user/2", **given)
    assert len(receipt.dictionaries) == 1
    assert free.info.id in receipt.dictionaries[0]
    assert not receipt.complete
    assert receipt.as_dict()["dictionaries"] == receipt.dictionaries

    whole = await memory.forget(**given)
    assert {
        info_id for info_id in (free.info.id, trained.info.id) if any(info_id in words for words in whole.dictionaries)
    } == {
        free.info.id,
        trained.info.id,
    }
    for info_id in (free.info.id, trained.info.id):
        await Dictionaries(memory).remove(info_id, tenant=tenant)
    assert (await memory.forget(**given)).complete
