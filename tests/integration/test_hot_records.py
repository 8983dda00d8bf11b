"""Redis as the authority itself: the script's answers are those of process memory, and what lies in Redis is as it should be."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from zlib import crc32

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thermocline.clock import Deadline
from thermocline.errors import CorruptRecord, TooLarge, UnreadableRecord
from thermocline.model import MAX_VERSION, Authority, Envelope, Flags, Header, Key
from thermocline.protocols import Effect, Verb, Write, Written
from thermocline.testing import ManualClock
from thermocline.testing.rig import RedisCluster, RedisServer
from thermocline.tiers.hot import HotMemory
from thermocline.tiers.hot.records import GRACE_MS, INDEX_MS, index_keys, record_key
from thermocline.tiers.local.process import ProcessMemory

LARGE = b"large" * 4_000  # of such a value the script reads and stamps the header alone
SIZES = pytest.mark.parametrize("payload", [b"value", LARGE], ids=["small", "large"])
NOW = 4_000_000_000_000  # far ahead of the server's clock, which therefore removes nothing


def soon() -> Deadline:
    return Deadline.after(10)


def write(
    verb: Verb, id_: str, key: Key, *, expires_ms: int = 0, created_ms: int = 0, payload: bytes = b"value"
) -> Write:
    header = Header(expires_ms=expires_ms, created_ms=created_ms, modified_ms=created_ms)
    if verb is Verb.DELETE:
        return Write(verb, id_, Envelope(key, replace(header, flags=Flags.TOMBSTONE)))
    header = replace(header, serialiser=1, raw_length=len(payload))
    return Write(verb, id_, Envelope(key, header, payload, "application/octet-stream"))


@pytest.fixture(params=["redis_server", "redis_cluster"])
async def tier(request: pytest.FixtureRequest) -> AsyncIterator[HotMemory]:
    server: RedisServer | RedisCluster = request.getfixturevalue(request.param)
    tier = HotMemory(server.url)
    await tier.connect()
    yield tier
    await tier.close()


# --- the same as process memory --------------------------------------------------------------------------------------

Step = tuple[Verb, str, int | str | None, bool, int | str | None, int, bytes, int]

ids = st.sampled_from([f"id-{i}" for i in range(12)])
steps = st.tuples(
    st.sampled_from(Verb),
    ids,
    st.sampled_from([None, 0, "there", 7]),  # if_version
    st.booleans(),  # if_absent
    st.sampled_from([None, 3, "ahead"]),  # known
    st.sampled_from([0, 5_000, GRACE_MS]),  # expires after ms
    st.sampled_from([b"value", LARGE]),
    st.sampled_from([0, 1, 3_000, GRACE_MS // 2]),  # then so many ms pass
)


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(steps, max_size=12))
async def test_any_sequence_of_writes_has_the_answers_of_process_memory(
    redis_server: RedisServer, sequence: list[Step]
) -> None:
    clock = ManualClock(wall_ms=NOW)
    hot, local = HotMemory(redis_server.url, cluster=False), ProcessMemory(clock=clock)
    hot._script_clock = clock
    await hot.connect()
    await local.connect()
    try:
        key = Key("tenant", "scope", uuid.uuid4().hex)  # new in each run, also of the same example
        used: set[str] = set()
        forgotten: set[str] = set()
        for step in sequence:
            there = await local.read(key, deadline=Deadline.never())
            this = made(step, key, there.version if there else 0, clock)
            if there is None:
                forgotten |= used  # process memory forgets the ids with the record
            if this.id in forgotten:
                continue
            first = this.id not in used
            used.add(this.id)
            mine, theirs = await hot.write(this, deadline=soon()), await local.write(this, deadline=Deadline.never())
            assert (mine.effect, mine.version) == (theirs.effect, theirs.version), this
            expected = await local.read(key, deadline=Deadline.never())
            if expected is not None:  # else its grace is over, which the server does not know
                assert await hot.read(key, deadline=soon()) == expected
            if first and mine.effect is Effect.TOOK and this.verb is Verb.PUT:
                assert mine.envelope == expected
            clock.advance(step[-1] / 1000)
    finally:
        await hot.close()
        await local.close()


def made(step: Step, key: Key, version: int, clock: ManualClock) -> Write:
    verb, id_, required, absent, known, lasting, payload, _ = step
    now = clock.wall_ms()
    plain = write(verb, id_, key, expires_ms=now + lasting if lasting else 0, created_ms=now, payload=payload)
    return replace(
        plain,
        known=version + 5 if known == "ahead" else known if isinstance(known, int) else None,
        if_version=version if required == "there" else required if isinstance(required, int) else None,
        if_absent=absent and required is None and verb is Verb.PUT,
    )


# --- what lies in Redis ----------------------------------------------------------------------------------------------


async def test_a_record_and_an_entry_of_one_key_do_not_meet(tier: HotMemory, fresh_prefix: str) -> None:
    key = Key("tenant", fresh_prefix, "name")
    await tier.write(write(Verb.PUT, "id", key), deadline=soon())
    assert await tier.peek(key, deadline=soon()) is None
    await tier.drop([key], deadline=soon())
    found = await tier.read(key, deadline=soon())
    assert found is not None
    assert found.header.authority is Authority.HOT


@SIZES
async def test_the_creation_time_stays_and_a_touch_keeps_the_value(
    tier: HotMemory, fresh_prefix: str, payload: bytes
) -> None:
    key = Key("tenant", fresh_prefix, "name")
    await tier.write(write(Verb.PUT, "a", key, created_ms=1_000), deadline=soon())
    second = await tier.write(write(Verb.PUT, "b", key, created_ms=2_000, payload=payload), deadline=soon())
    assert second.envelope is not None
    assert (second.envelope.header.created_ms, second.envelope.header.modified_ms) == (1_000, 2_000)
    third = await tier.write(write(Verb.TOUCH, "c", key, created_ms=3_000, expires_ms=NOW), deadline=soon())
    found = await tier.read(key, deadline=soon())
    assert found is not None
    header = found.header
    assert (found.payload, found.version, header.expires_ms) == (payload, third.version, NOW)
    assert (header.created_ms, header.modified_ms) == (1_000, 3_000)


@SIZES
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    knows=st.integers(NOW * 1000, MAX_VERSION - 1),
    created=st.lists(st.integers(0, MAX_VERSION), min_size=2, max_size=2),
    authority=st.sampled_from(Authority),
)
async def test_any_stamp_leaves_a_header_that_fits_its_checksum(
    tier: HotMemory, payload: bytes, knows: int, created: list[int], authority: Authority
) -> None:
    """The script changes a checksum that it was given: every bit of a version, a time of creation and an authority must come out right."""
    key = Key("tenant", uuid.uuid4().hex, "name")
    for at in created:
        put = write(Verb.PUT, uuid.uuid4().hex, key, created_ms=at, payload=payload)
        header = replace(put.envelope.header, authority=authority)
        put = replace(put, known=knows, envelope=replace(put.envelope, header=header))
        written = await tier.write(put, deadline=soon())
        found = await tier.read(key, deadline=soon())
        assert found is not None
        assert found.version == written.version > knows
        assert (found.header.created_ms, found.header.authority) == (created[0], Authority.HOT)
        knows = min(written.version, MAX_VERSION - 1)


@SIZES
async def test_how_long_redis_keeps_them(tier: HotMemory, fresh_prefix: str, payload: bytes) -> None:
    key = Key("tenant", fresh_prefix, "name")
    name = record_key(key)
    await tier.write(write(Verb.PUT, "a", key), deadline=soon())
    assert await tier.client.pttl(name) == -1
    await tier.write(write(Verb.PUT, "b", key, expires_ms=NOW, payload=payload), deadline=soon())
    assert await tier.client.execute_command("PEXPIRETIME", name) == NOW + GRACE_MS
    await tier.write(write(Verb.DELETE, "c", key), deadline=soon())
    assert GRACE_MS - 60_000 < await tier.client.pttl(name) <= GRACE_MS


@SIZES
async def test_a_damaged_record_raises_until_it_is_put_anew(tier: HotMemory, fresh_prefix: str, payload: bytes) -> None:
    key = Key("tenant", fresh_prefix, "name")
    await tier.write(write(Verb.PUT, "a", key, payload=payload), deadline=soon())
    await tier.client.setrange(record_key(key), 20, b"\xff")
    with pytest.raises(CorruptRecord):
        await tier.read(key, deadline=soon())
    for verb in (Verb.DELETE, Verb.TOUCH):
        with pytest.raises(CorruptRecord, match="put it anew"):
            await tier.write(write(verb, "b", key), deadline=soon())
    await tier.write(write(Verb.PUT, "c", key, payload=payload), deadline=soon())
    found = await tier.read(key, deadline=soon())
    assert found is not None
    assert found.payload == payload


async def test_a_large_record_over_one_that_was_cut_short(tier: HotMemory, fresh_prefix: str) -> None:
    """Its header is sound, and only the length tells: such a record is damaged, for a condition as for a reader."""
    key = Key("tenant", fresh_prefix, "name")
    await tier.write(write(Verb.PUT, "a", key, payload=LARGE), deadline=soon())
    await tier.client.set(record_key(key), (await tier.client.get(record_key(key)))[:-1])
    with pytest.raises(CorruptRecord, match="put it anew"):
        await tier.write(replace(write(Verb.PUT, "b", key, payload=LARGE), if_version=1), deadline=soon())
    await tier.write(write(Verb.PUT, "c", key, payload=LARGE), deadline=soon())
    found = await tier.read(key, deadline=soon())
    assert found is not None
    assert found.payload == LARGE


@SIZES
async def test_a_record_of_no_bytes_is_damaged_for_a_condition_as_well(
    tier: HotMemory, fresh_prefix: str, payload: bytes
) -> None:
    key = Key("tenant", fresh_prefix, "name")
    await tier.client.set(record_key(key), b"")
    for version in (0, 1):
        with pytest.raises(CorruptRecord, match="put it anew"):
            await tier.write(
                replace(write(Verb.PUT, f"a-{version}", key, payload=payload), if_version=version), deadline=soon()
            )
    await tier.write(write(Verb.PUT, "b", key, payload=payload), deadline=soon())
    found = await tier.read(key, deadline=soon())
    assert found is not None
    assert found.payload == payload


async def test_a_record_over_the_limit_is_too_large(tier: HotMemory, fresh_prefix: str) -> None:
    key = Key("tenant", fresh_prefix, "name")
    with pytest.raises(TooLarge, match="max_value_bytes"):
        await tier.write(write(Verb.PUT, "a", key, payload=bytes(1_000_000)), deadline=soon())
    assert await tier.read(key, deadline=soon()) is None


# --- the index -------------------------------------------------------------------------------------------------------


async def test_names_whose_records_are_gone_leave_the_index_after_a_day(tier: HotMemory, fresh_prefix: str) -> None:
    keys = [Key("tenant", fresh_prefix, f"name-{i}") for i in range(5)]
    await tier.write_many([write(Verb.PUT, key.name, key) for key in keys], deadline=soon())
    names, times = index_keys("tenant", fresh_prefix)
    for key in keys[:4]:
        await tier.client.delete(record_key(key))
    for key in keys[:2] + keys[4:]:  # written more than a day ago
        await tier.client.zincrby(times, -INDEX_MS - 1, key.name)

    page = await tier.scan("tenant", fresh_prefix, "", limit=10, cursor=None, deadline=soon())

    assert [item.key for item in page.items] == keys[4:]
    assert await tier.client.zrange(names, 0, -1) == [key.name.encode() for key in keys[2:]]
    assert await tier.client.zcard(times) == 3


async def test_a_name_is_in_the_index_before_its_record_can_be_there(tier: HotMemory, fresh_prefix: str) -> None:
    key = Key("tenant", fresh_prefix, "name")
    names, _ = index_keys("tenant", fresh_prefix)
    await tier.client.set(names, "no index")
    with pytest.raises(Exception, match="something else"):
        await tier.write(write(Verb.PUT, "id", key), deadline=soon())
    assert await tier.read(key, deadline=soon()) is None
    await tier.client.delete(names)


async def test_a_server_that_only_looks_like_one_is_sent_names_and_records_apart(fresh_prefix: str) -> None:
    """As a cluster behind one address answers: CROSSSLOT for a script whose keys lie in several slots. Nothing is lost, and it is tried once."""
    with RedisServer(settings={"cluster-enabled": "yes"}) as server:
        with server.connection() as connection:
            connection.call("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            while connection.fields("CLUSTER", "INFO")["cluster_state"] != "ok":
                pass
        async with HotMemory(server.url, cluster=False) as tier:
            keys = [Key("tenant", fresh_prefix, f"name-{i}") for i in range(3)]
            took = await tier.write(write(Verb.PUT, "one", keys[0]), deadline=soon())
            assert took.effect is Effect.TOOK
            before = int(tier.stats.get("requests", "hot"))
            await tier.write(write(Verb.PUT, "two", keys[1]), deadline=soon())
            assert int(tier.stats.get("requests", "hot")) - before == 3  # two for the index, one for the record

            tier._together = True  # as it begins
            many = [*(write(Verb.PUT, "three", key) for key in keys[1:]), write(Verb.DELETE, "four", keys[0])]
            done = await tier.write_many(many, deadline=soon())
            assert [one.effect for one in done if isinstance(one, Written)] == [Effect.TOOK] * 3
            page = await tier.scan("tenant", fresh_prefix, "", limit=9, cursor=None, deadline=soon())
            assert [item.key for item in page.items] == keys[1:]


@pytest.mark.parametrize("place", [3, 4], ids=["format", "flags"])
@pytest.mark.parametrize("verb", Verb)
@SIZES
async def test_a_record_of_a_newer_format_is_left_as_it_is(
    tier: HotMemory, fresh_prefix: str, verb: Verb, place: int, payload: bytes
) -> None:
    key = Key(fresh_prefix, "s", "n")
    await tier.write(write(Verb.PUT, "a", key), deadline=soon())
    newer = bytearray(await tier.client.get(record_key(key)))
    newer[place] += 8
    newer[84:88] = crc32(newer[:84]).to_bytes(4)
    await tier.client.set(record_key(key), bytes(newer))

    with pytest.raises(UnreadableRecord):
        await tier.read(key, deadline=soon())
    for again in (
        write(verb, "b", key, payload=payload),
        replace(write(verb, "c", key, payload=payload), if_version=1),
    ):
        with pytest.raises(UnreadableRecord, match="upgrade"):
            await tier.write(again, deadline=soon())
    assert await tier.client.get(record_key(key)) == bytes(newer)
