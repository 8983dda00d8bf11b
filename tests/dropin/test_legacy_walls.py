"""What a legacy route must not reach: other tenants' plain names (P9), and copies that end while they are read (P5)."""

import pytest
from tests.dropin.world import Old

from thermocline import HotMemory, Key, LegacySource
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
