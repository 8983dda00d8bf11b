"""What a legacy route must not reach: other tenants' plain names (P9), and copies that end while they are read (P5)."""

from datetime import timedelta

import pytest
from tests.dropin.world import Old

from thermocline import Conflict, HotMemory, Key, LegacySource
from thermocline.client.direct import _name
from thermocline.policy import OWN_PLAIN_NAMES
from thermocline.tiers.hot.plain import ends_of


@pytest.mark.parametrize("tier", ["hot", "cold"])
async def test_a_plain_string_never_names_what_a_tenant_keeps_in_one_tier(old: Old, tier: str) -> None:
    """`tier=` puts a tenant's value under ``tcp.…`` where the old copies lie; whoever spells that name as a plain string must not get, replace or remove it."""
    memory = await old.client(legacy=old.source())
    key = Key("acme", "user/1", old.name("secret"))
    await memory.set(key, "acme's", tier=tier)
    crafted = _name(key)
    if tier == "hot":
        assert await old.redis.get(crafted) == b"acme's"  # the name is the right one

    assert await memory.get(crafted) is None
    assert await memory.get_many([crafted]) == {}
    assert not (await memory.delete(crafted)).found
    await memory.set(crafted, "mine")
    assert await memory.get(key, tier=tier) == "acme's"
    assert await memory.get(crafted) == "mine"


@pytest.mark.parametrize(("left", "ends"), [(-1, 0), (-2, None), (0, 1_001), (1, 1_001), (500, 1_500)])
def test_a_copy_that_runs_out_while_it_is_read_is_not_for_ever(left: int, ends: int | None) -> None:
    """PTTL comes after GET: the key may be gone by then (-2), or in its last millisecond (0). Neither is a key without an end (-1)."""
    assert ends_of(left, 1_000) == ends


def test_the_wall_and_the_names_agree() -> None:
    assert _name(Key("acme", "user/1", "x")).startswith(OWN_PLAIN_NAMES)
    assert (
        LegacySource(hot=HotMemory("redis://unused"), name=lambda key: f"tcp.{key.name}").name_of(Key.of("x")) is None
    )


@pytest.mark.parametrize("verb", ["update", "a refused if_absent", "touch"])
async def test_a_value_that_hot_held_for_minutes_and_cosmos_for_good_is_kept_for_good(old: Old, verb: str) -> None:
    """The old code's `set` wrote hot for 300 seconds and warm without an end. Hot's is the copy that is read; its end is not the value's."""
    name = old.name()
    await old.redis.set(name, "cached", ex=300)
    await old.documents.upsert_item({"id": name, "pk": name, "value": "kept"})
    memory = await old.client(legacy=old.source())

    if verb == "update":
        await memory.update(name, lambda value: value)
    elif verb == "touch":
        await memory.touch(name, ttl=None)
    else:
        with pytest.raises(Conflict):
            await memory.set(name, "x", if_absent=True)
    assert await memory.ttl(name) is None
    assert await memory.get(name) == "cached"


async def test_of_two_ends_the_later_one_counts(old: Old) -> None:
    name = old.name()
    await old.redis.set(name, "cached", ex=300)
    await old.documents.upsert_item({"id": name, "pk": name, "value": "kept", "ttl": 3600})
    memory = await old.client(legacy=old.source(cold=None))

    await memory.update(name, lambda value: value)
    left = await memory.ttl(name)
    assert left is not None
    assert timedelta(minutes=50) < left <= timedelta(hours=1)
