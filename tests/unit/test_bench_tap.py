"""Counting at the wire: requests are read however their bytes are cut, and every byte is passed on."""

import asyncio
import itertools
from collections import Counter

from benchmarks.tap import GREETINGS, Commands, HttpRequests, Reader, Tap
from hypothesis import given
from hypothesis import strategies as st

from thermocline.testing.rig import RedisServer

HTTP = (
    b"GET /a?x=1 HTTP/1.1\r\nHost: h\r\n\r\n"
    b"PUT /b HTTP/1.1\r\nHost: h\r\nContent-Length: 26\r\n\r\nGET /not HTTP/1.1\r\n\r\n....."
    b"POST /c HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n12;name=value\r\nDELETE / HTTP/1.1\n\r\n0\r\n\r\n"
    b"DELETE /d HTTP/1.1\r\ncontent-length: 0\r\n\r\n"
)
RESP = (
    b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n*3\r\n$3\r\nset\r\n$1\r\nb\r\n$14\r\n*1\r\n$4\r\nPING\r\n\r\n*1\r\n$4\r\nPING\r\n"
)


def read(reader: Reader, data: bytes, cuts: list[int]) -> list[str]:
    places = [0, *sorted(cut % len(data) for cut in cuts), len(data)]
    return [name for start, end in itertools.pairwise(places) for name in reader.feed(data[start:end])]


@given(st.lists(st.integers(min_value=0, max_value=10_000), max_size=8))
def test_http_requests_are_read_however_they_are_cut(cuts: list[int]) -> None:
    assert read(HttpRequests(), HTTP, cuts) == ["GET /a?x=1", "PUT /b", "POST /c", "DELETE /d"]


@given(st.lists(st.integers(min_value=0, max_value=10_000), max_size=8))
def test_redis_commands_are_read_however_they_are_cut(cuts: list[int]) -> None:
    assert read(Commands(), RESP, cuts) == ["GET", "SET", "PING"]


async def test_a_tap_counts_what_passes_and_passes_it_on() -> None:
    import redis.asyncio

    with RedisServer() as server:
        async with Tap(server.url, Commands, without=GREETINGS) as tap, redis.asyncio.from_url(tap.url) as client:
            await client.ping()
            await tap.begin()
            await asyncio.gather(*(client.set(f"key/{number}", b"x" * 100_000) for number in range(3)))
            assert await client.get("key/1") == b"x" * 100_000
            count = await tap.end()

    assert count.requests == Counter(SET=3, GET=1)
    assert 300_000 < count.sent < 302_000
    assert 100_000 < count.received < 101_000
