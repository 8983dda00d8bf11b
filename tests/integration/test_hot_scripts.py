"""The Lua script of the hot entry, on a real Redis, is equal to the functions of `thermocline.coherence`: every operation on every kind of entry."""

import itertools
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thermocline import coherence
from thermocline.codec import Codec
from thermocline.coherence import Announced, Announcement, Entry, Lease, Offer, Times, Value, current, deadline_of
from thermocline.keys import key_digest
from thermocline.model import Authority, Envelope, Flags, Header, Key
from thermocline.testing.rig import RedisServer
from thermocline.tiers.hot.scripts import ENTRY, FILL

E = Entry[bytes]

NOW = 4_000_000_000_000  # far ahead of the server's clock, which therefore removes nothing
TIMES = Times(rest_ms=10_000, ceiling_ms=3_600_000)
KEY = Key("tenant", "scope", "name")
DIGEST = key_digest(KEY)
MARKER = b"\x89TC\x01\x02"


def packed(version: int, *, expires_ms: int = 0, flags: Flags = Flags.NONE, payload: bytes = b"payload") -> bytes:
    header = Header(flags=flags, authority=Authority.WARM, version=version, expires_ms=expires_ms, raw_length=7)
    return Codec().pack(Envelope(KEY, header, b"" if flags else payload))


# --- entries as they lie in Redis ------------------------------------------------------------------------------------


def encode(entry: E) -> bytes:
    match entry:
        case Lease():
            return MARKER + b"L" + struct.pack(">QQ", entry.floor, entry.deadline) + (entry.owner or "").encode()
        case Announced():
            last = entry.last
            parts = [
                MARKER,
                b"A",
                struct.pack(">BQHQ", entry.marked, entry.floor, len(entry.writers), last.deadline if last else 0),
            ]
            parts += [struct.pack(">QB", d, len(w)) + w.encode() for w, d in sorted(entry.writers)]
            return b"".join(parts) + (last.envelope if last else b"")
        case Value():
            return entry.envelope
        case None:
            raise AssertionError("nothing lies there")


def decode(raw: bytes | None, expires: int) -> E:
    if raw is None:
        return None
    if not raw.startswith(MARKER):
        return Value(struct.unpack_from(">Q", raw, 16)[0], raw, expires)
    if raw[5:6] == b"L":
        floor, deadline = struct.unpack_from(">QQ", raw, 6)
        return Lease(raw[22:].decode() or None, floor, deadline)
    assert raw[5:6] == b"A"
    marked, floor, count, last = struct.unpack_from(">BQHQ", raw, 6)
    at, writers = 25, set()
    for _ in range(count):
        deadline, length = struct.unpack_from(">QB", raw, at)
        at += 9 + length
        writers.add(Announcement(raw[at - length : at].decode(), deadline))
    return Announced(frozenset(writers), bool(marked), floor, Value(floor, raw[at:], last) if last else None)


# --- operations ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Operation:
    """One operation, to be done by both."""

    name: str
    owner: str | None
    number: int  # lasting or version
    offer: Offer[bytes] | None = None

    def purely(self, entry: E, now: int) -> tuple[E, list[Any]]:
        """The entry that follows, and the script's answer."""
        match self.name, self.owner:
            case "look", str(owner):
                after, leased = coherence.look(entry, owner, self.number, now, TIMES)
                if isinstance(after, Value):
                    return after, [0, after.envelope]
                floor = coherence.floor_of(after)
                if isinstance(after, Lease) and after.owner is not None and not leased:
                    return after, [4, floor, after.owner.encode()]
                last = after.last if isinstance(after, Announced) else None
                return after, [1, floor] if leased else [2, floor, last.envelope if last else b""]
            case "renew", str(owner):
                after, held = coherence.renew(entry, owner, self.number, now, TIMES)
                return after, [1, coherence.floor_of(after)] if held else [3]
            case "announce", str(owner):
                after = coherence.announce(entry, owner, self.number, now, TIMES)
                return after, [2, coherence.floor_of(after), b""]
            case "publish", str(owner):
                return coherence.publish(entry, owner, self.number, self.offer, now, TIMES), [3]
            case "withdraw", str(owner):
                return coherence.withdraw(entry, owner, now, TIMES), [3]
            case "settle", owner:
                return coherence.settle(entry, owner, self.number, self.offer, now, TIMES), [3]
        raise AssertionError(self)

    def words(self, key: bytes, now: int) -> tuple[Any, ...]:
        """The script's call."""
        script = FILL if self.offer else ENTRY
        offer = self.offer.envelope if self.offer else b""
        times = (TIMES.rest_ms, TIMES.ceiling_ms)
        return ("EVALSHA", script.sha, 1, key, self.name, self.owner or "", self.number, *times, DIGEST, offer, now)


def offered(version: int, expires_ms: int = 0, *, flags: Flags = Flags.NONE) -> Offer[bytes]:
    return Offer(packed(version, expires_ms=expires_ms, flags=flags), expires_ms)


def all_operations() -> Iterator[Operation]:
    for owner in ("r", "new"):
        yield Operation("look", owner, 3_000)
        yield Operation("renew", owner, 3_000)
        yield Operation("renew", owner, 9_000)
    for owner, lasting in itertools.product(("w", "new"), (2_000, 9_000)):
        yield Operation("announce", owner, lasting)
    for owner in ("w", "new"):
        yield Operation("withdraw", owner, 0)
    for version in (3, 4, 5):
        offers = (None, offered(version), offered(version, NOW + 60_000), offered(version, flags=Flags.TOMBSTONE))
        for offer in offers:
            for writer in ("w", "new"):
                yield Operation("publish", writer, version, offer)
            for reader in ("r", "other", None):
                yield Operation("settle", reader, version, offer)
    yield Operation("settle", "r", 0, offered(0))
    yield Operation("settle", "r", 5, offered(5, NOW - 1))  # the record has expired: its own tombstone
    yield Operation("publish", "w", 5, offered(5, NOW + 1))


def all_entries() -> Iterator[E]:
    """Absent; leases and rests; announcements of one to three writers; values. With every deadline to come, past, and long past."""
    yield None
    moments = (NOW + 5_000, NOW, NOW - 4_000, NOW - 20_000)
    for owner, floor, deadline in itertools.product(("r", "owner", None), (0, 4), moments):
        if owner or floor:
            yield Lease(owner, floor, deadline)
    for writers in _announcements(moments):
        for marked, floor, last in itertools.product((False, True), (0, 4), (None, NOW + 9_000, NOW - 1)):
            known = Value(floor, packed(floor), last) if last else None
            yield Announced(writers, marked, floor, known)
    for deadline in moments:
        yield Value(4, packed(4), deadline)
    yield Value(4, packed(4, flags=Flags.TOMBSTONE), NOW + 5_000)
    yield Value(4, packed(4, expires_ms=NOW - 1), NOW + 5_000)


def _announcements(moments: tuple[int, ...]) -> Iterator[frozenset[Announcement]]:
    for count, choices in ((1, moments), (2, moments[:3]), (3, moments[::2])):
        for deadlines in itertools.product(choices, repeat=count):
            yield frozenset(map(Announcement, ("w", "x", "y"), deadlines))


# --- both, side by side ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(redis_server: RedisServer) -> Iterator[Any]:
    with redis.Redis.from_url(redis_server.url) as client:
        for script in (ENTRY, FILL):
            assert client.script_load(script.text) == script.sha.decode()
        yield client


def put(pipeline: Any, key: bytes, entry: E) -> None:
    if entry is None:
        pipeline.delete(key)
    else:
        pipeline.execute_command("SET", key, encode(entry), "PXAT", deadline_of(entry, TIMES))


def check(operation: Operation, entry: E, now: int, answer: Any, raw: bytes | None, expires: int) -> E:
    after, expected = operation.purely(entry, now)
    found = decode(raw, expires)
    case = f"{operation} on {entry}: {found} instead of {after}"
    assert current(found, now, TIMES) == after, case
    assert answer == expected, f"{operation} on {entry}: {answer} instead of {expected}"
    assert found is None or expires == deadline_of(found, TIMES), case
    return after


def test_every_operation_on_every_kind_of_entry(server: Any) -> None:
    cases = list(itertools.product(all_entries(), all_operations()))
    assert len(cases) > 10_000
    for start in range(0, len(cases), 1_000):
        some = cases[start : start + 1_000]
        pipeline = server.pipeline(transaction=False)
        for entry, operation in some:
            put(pipeline, b"case", entry)
            pipeline.execute_command(*operation.words(b"case", NOW))
            pipeline.get(b"case")
            pipeline.execute_command("PEXPIRETIME", b"case")
        answers = pipeline.execute()
        for i, (entry, operation) in enumerate(some):
            check(operation, entry, NOW, *answers[4 * i + 1 : 4 * i + 4])


owners = st.sampled_from(["w", "x", "y"])
lasting = st.integers(1, 15_000)
operations = st.one_of(
    st.builds(Operation, st.just("look"), owners, lasting),
    st.builds(Operation, st.just("renew"), owners, lasting),
    st.builds(Operation, st.just("announce"), owners, lasting),
    st.builds(Operation, st.just("withdraw"), owners, st.just(0)),
    st.builds(
        lambda name, owner, version, valued: Operation(name, owner, version, offered(version) if valued else None),
        st.sampled_from(["publish", "settle"]),
        owners,
        st.integers(1, 6),
        st.booleans(),
    ),
    st.builds(
        lambda version, expires: Operation("settle", None, version, offered(version, NOW + expires)),
        st.integers(1, 6),
        st.integers(0, 60_000),
    ),
)
pauses = st.one_of(st.integers(0, 3_000), st.integers(0, 20_000), st.just(3_600_000))


@settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(st.tuples(operations, pauses), min_size=1, max_size=20))
def test_any_sequence_under_a_moving_clock(server: Any, sequence: list[tuple[Operation, int]]) -> None:
    server.delete(b"sequence")
    entry: E = None
    now = NOW
    pipeline = server.pipeline(transaction=False)
    moments = []
    for operation, pause in sequence:
        pipeline.execute_command(*operation.words(b"sequence", now))
        pipeline.get(b"sequence")
        pipeline.execute_command("PEXPIRETIME", b"sequence")
        moments.append(now)
        now += pause
    answers = pipeline.execute()
    for i, (operation, _) in enumerate(sequence):
        entry = check(operation, entry, moments[i], *answers[3 * i : 3 * i + 3])


# --- entries that are damaged, and what they hold --------------------------------------------------------------------

DAMAGED = {
    "another beginning": b"\x00" + packed(4)[1:],
    "a flipped bit in the version": packed(4)[:20] + b"\x01" + packed(4)[21:],
    "cut in the header": packed(4)[:60],
    "cut in the payload": packed(4)[:-1],
    "of another key": Codec().pack(Envelope(Key("t", "s", "n"), Header(version=4, raw_length=1), b"x")),
    "a newer format": packed(4)[:3] + b"\x02" + packed(4)[4:],
    "a marker that is cut": encode(Announced(frozenset({Announcement("w", NOW + 5_000)}), False, 4))[:30],
    "a marker of an unknown kind": MARKER + b"X" + bytes(20),
    "nothing at all": b"",
}


@pytest.mark.parametrize("damage", DAMAGED)
@pytest.mark.parametrize(
    "operation",
    [Operation("announce", "w", 2_000), Operation("publish", "w", 5, offered(5)), Operation("settle", "r", 5)],
)
def test_a_damaged_entry_is_absent_and_replaced(server: Any, damage: str, operation: Operation) -> None:
    server.execute_command("SET", b"damaged", DAMAGED[damage], "PXAT", NOW + 60_000)
    answer = server.execute_command(*operation.words(b"damaged", NOW))
    raw, expires = server.get(b"damaged"), server.execute_command("PEXPIRETIME", b"damaged")
    assert raw is None or isinstance(raw, bytes)
    assert isinstance(expires, int)
    check(operation, None, NOW, answer, raw, expires)


def test_a_value_that_stays_is_not_written_again(server: Any) -> None:
    pipeline = server.pipeline(transaction=False)
    put(pipeline, b"kept", Value(4, packed(4), NOW + 5_000))
    pipeline.execute()
    before = changes(server)
    server.execute_command(*Operation("settle", "r", 4, offered(4)).words(b"kept", NOW))
    server.execute_command(*Operation("withdraw", "w", 0).words(b"kept", NOW))
    server.execute_command(*Operation("look", "r", 5).words(b"kept", NOW))
    assert changes(server) == before


def changes(server: Any) -> int:
    info: Any = server.info("persistence")
    return int(info["rdb_changes_since_last_save"])


def test_versions_are_held_exactly_up_to_their_limit(server: Any) -> None:
    highest = 2**53 - 1
    server.delete(b"high")
    operation = Operation("look", "r", 5_000)
    entry = check(operation, None, NOW, *asked(server, operation))
    operation = Operation("settle", "r", highest, offered(highest))
    entry = check(operation, entry, NOW, *asked(server, operation))
    operation = Operation("announce", "w", 5_000)
    entry = check(operation, entry, NOW, *asked(server, operation))
    assert coherence.floor_of(entry) == highest


def asked(server: Any, operation: Operation) -> tuple[Any, bytes | None, int]:
    pipeline = server.pipeline(transaction=False)
    pipeline.execute_command(*operation.words(b"high", NOW))
    pipeline.get(b"high")
    pipeline.execute_command("PEXPIRETIME", b"high")
    answer, raw, expires = pipeline.execute()
    return answer, raw, expires


def test_a_hundred_writers_at_once(server: Any) -> None:
    server.delete(b"high")
    entry: E = None
    for i in range(100):
        operation = Operation("announce", f"writer-{i}" * 10, 5_000 + i)
        entry = check(operation, entry, NOW, *asked(server, operation))
    for i in range(100):
        operation = Operation("publish", f"writer-{i}" * 10, 1 + i, offered(1 + i))
        entry = check(operation, entry, NOW, *asked(server, operation))
    assert isinstance(entry, Value)
    assert replace(entry, deadline=0) == Value(100, packed(100), 0)
