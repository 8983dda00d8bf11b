"""Payload blobs on Azurite: large streams, lost answers, and the sweeper."""

import asyncio
import hashlib
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from thermocline.clock import Deadline
from thermocline.errors import CorruptRecord, InvalidArgument, InvalidKey, TierTimeout, TierUnavailable
from thermocline.keys import PAYLOAD_ROOT, blob_prefix, payload_path
from thermocline.model import Key
from thermocline.testing.proxy import ChaosProxy
from thermocline.testing.rig import Azurite
from thermocline.tiers.cold import ColdMemory

KEY = Key("t", "s", "Größe/1")
PART = bytes(range(256)) * 2048  # 512 kB
LARGE = 40  # parts: 20 MB


@pytest.fixture
async def proxy(azurite: Azurite, chaos_proxy: Callable[[str], Awaitable[ChaosProxy]]) -> ChaosProxy:
    return await chaos_proxy(azurite.blob_url)


@pytest.fixture(params=["sdk", "obstore"])
async def cold(
    azurite: Azurite, proxy: ChaosProxy, unique_name: Callable[[str], str], request: pytest.FixtureRequest
) -> AsyncIterator[ColdMemory]:
    """Through the proxy."""
    async with ColdMemory(
        proxy.url, unique_name("c"), credential=azurite.key, create=True, transfer=request.param
    ) as tier:
        yield tier


def soon(seconds: float = 30) -> Deadline:
    return Deadline.after(seconds)


async def parts(number: int) -> AsyncIterator[bytes]:
    for _ in range(number):
        yield PART


async def test_large_stream_goes_up_and_down_in_bounded_memory(cold: ColdMemory) -> None:
    tracemalloc.start()
    try:
        pointer = await cold.put_payload(KEY, parts(LARGE), deadline=soon())
        digest, longest = hashlib.sha256(), 0
        async for chunk in cold.stream_payload(KEY, pointer, deadline=soon()):
            digest.update(chunk)
            longest = max(longest, len(chunk))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert pointer.size == LARGE * len(PART)
    assert digest.hexdigest() == pointer.sha256
    assert longest <= 4 * 2**20
    assert peak < pointer.size * 2  # four blocks and their copies, not the whole and its copies
    assert pointer.path == payload_path(KEY, pointer.sha256)


async def test_known_large_payload_is_renewed_and_not_sent_again(cold: ColdMemory, proxy: ChaosProxy) -> None:
    first = await cold.put_payload(KEY, PART * 20, deadline=soon())
    before = proxy.traffic.request_bytes

    second = await cold.put_payload(KEY, PART * 20, deadline=soon())

    assert replace(first, written_ms=0) == replace(second, written_ms=0)
    assert proxy.traffic.request_bytes - before < 10_000


async def test_lost_answer_leaves_a_whole_payload(cold: ColdMemory, proxy: ChaosProxy) -> None:
    await cold.ping(deadline=soon())
    lost = proxy.lose_next_answer()
    with pytest.raises(TierUnavailable) as caught:
        await cold.put_payload(KEY, b"content", deadline=soon())

    assert lost.is_set()
    assert caught.value.sent
    pointer = await cold.put_payload(KEY, b"content", deadline=soon())
    assert await cold.get_payload(KEY, pointer, deadline=soon()) == b"content"


async def test_broken_upload_leaves_nothing(cold: ColdMemory, proxy: ChaosProxy) -> None:
    cut = proxy.cut_after(requests=3_000_000)
    with pytest.raises(TierUnavailable):
        await cold.put_payload(KEY, PART * 20, deadline=soon())

    assert cut.is_set()
    assert await cold.list_payloads(limit=10, cursor=None, deadline=soon()) == ([], None)


async def test_broken_download_is_an_outage_and_not_a_payload(cold: ColdMemory, proxy: ChaosProxy) -> None:
    pointer = await cold.put_payload(KEY, PART * 20, deadline=soon())
    proxy.blackhole(answers=True)
    with pytest.raises(TierTimeout):
        await cold.get_payload(KEY, pointer, deadline=soon(0.2))
    proxy.restore()

    assert await cold.get_payload(KEY, pointer, deadline=soon()) == PART * 20


async def test_deadline_of_a_stream_is_for_each_chunk(cold: ColdMemory, proxy: ChaosProxy) -> None:
    pointer = await cold.put_payload(KEY, PART * 20, deadline=soon())
    stream = cold.stream_payload(KEY, pointer, deadline=soon(0.5))
    received = [await anext(stream)]
    await asyncio.sleep(0)
    proxy.blackhole(answers=True)
    with pytest.raises(TierTimeout):
        received += [chunk async for chunk in stream]
    proxy.restore()

    assert b"".join(received) != PART * 20


async def test_pointer_cannot_lead_to_another_key(cold: ColdMemory) -> None:
    pointer = await cold.put_payload(KEY, b"secret", deadline=soon())
    stranger = Key("other", "s", "n")

    for crafted in (pointer, replace(pointer, path="tc1/h/t/s/n"), replace(pointer, path="../x")):
        with pytest.raises(CorruptRecord, match="another key"):
            await cold.get_payload(stranger, crafted, deadline=soon())
        with pytest.raises(CorruptRecord, match="another key"):
            await cold.renew_payload(stranger, crafted, deadline=soon())


@pytest.mark.parametrize("wrong", ["text", None, 5, bytearray(b"x")])
async def test_what_is_no_payload_is_refused(cold: ColdMemory, wrong: Any) -> None:
    with pytest.raises(InvalidArgument, match="payload"):
        await cold.put_payload(KEY, wrong, deadline=soon())


async def test_stream_of_something_else_is_refused(cold: ColdMemory) -> None:
    async def texts() -> AsyncIterator[Any]:
        yield "text"

    with pytest.raises(InvalidArgument, match="chunks are bytes, not str"):
        await cold.put_payload(KEY, texts(), deadline=soon())


# --- sweeping --------------------------------------------------------------------------------------------------------


async def test_payloads_are_listed_by_page_and_by_scope(cold: ColdMemory) -> None:
    keys = [Key("t", scope, f"n{number}") for scope in ("a", "b") for number in range(5)]
    stored = {(await cold.put_payload(key, b"x", deadline=soon())).path for key in keys}

    found, cursor = [], None
    while True:
        page, cursor = await cold.list_payloads(limit=3, cursor=cursor, deadline=soon())
        assert len(page) <= 3
        found += [payload.path for payload in page]
        if cursor is None:
            break
    of_a, _ = await cold.list_payloads(
        blob_prefix("t", "a", root=PAYLOAD_ROOT), limit=100, cursor=None, deadline=soon()
    )

    assert sorted(found) == sorted(stored)
    assert len(of_a) == 5
    with pytest.raises(InvalidArgument, match="tc1/p/"):
        await cold.list_payloads("tc1/h/", limit=1, cursor=None, deadline=soon())


async def test_sweeping_takes_only_what_was_seen_and_is_old(cold: ColdMemory) -> None:
    pointer = await cold.put_payload(KEY, b"orphan", deadline=soon())
    [seen], _ = await cold.list_payloads(limit=10, cursor=None, deadline=soon())
    later, earlier = seen.modified_ms + 60_000, seen.modified_ms - 60_000

    assert not await cold.sweep_payload(seen.path, etag=seen.etag, unmodified_since_ms=earlier, deadline=soon())
    renewed = await cold.renew_payload(KEY, pointer, deadline=soon())
    assert renewed is not None
    assert not await cold.sweep_payload(seen.path, etag=seen.etag, unmodified_since_ms=later, deadline=soon())
    assert await cold.get_payload(KEY, pointer, deadline=soon()) == b"orphan"

    [seen], _ = await cold.list_payloads(limit=10, cursor=None, deadline=soon())
    assert await cold.sweep_payload(seen.path, etag=seen.etag, unmodified_since_ms=later, deadline=soon())
    assert await cold.get_payload(KEY, pointer, deadline=soon()) is None
    assert not await cold.sweep_payload(seen.path, etag=seen.etag, unmodified_since_ms=later, deadline=soon())


async def test_storing_again_renews_too(cold: ColdMemory) -> None:
    await cold.put_payload(KEY, b"again", deadline=soon())
    [seen], _ = await cold.list_payloads(limit=10, cursor=None, deadline=soon())
    await cold.put_payload(KEY, b"again", deadline=soon())

    later = seen.modified_ms + 60_000
    assert not await cold.sweep_payload(seen.path, etag=seen.etag, unmodified_since_ms=later, deadline=soon())


async def test_storing_and_sweeping_at_once_never_loses_what_was_acknowledged(cold: ColdMemory) -> None:
    async def sweep() -> None:
        for _ in range(15):
            page, _ = await cold.list_payloads(limit=10, cursor=None, deadline=soon())
            for seen in page:
                later = seen.modified_ms + 60_000
                await cold.sweep_payload(seen.path, etag=seen.etag, unmodified_since_ms=later, deadline=soon())

    async def store() -> None:
        for _ in range(15):
            await cold.put_payload(KEY, b"content", deadline=soon())

    await asyncio.gather(sweep(), store(), store())
    pointer = await cold.put_payload(KEY, b"content", deadline=soon())
    assert await cold.get_payload(KEY, pointer, deadline=soon()) == b"content"


async def test_sweeping_refuses_what_is_no_payload(cold: ColdMemory) -> None:
    with pytest.raises(InvalidKey):
        await cold.sweep_payload("tc1/h/t/s/n", etag="x", unmodified_since_ms=0, deadline=soon())


async def test_slow_network_still_delivers(cold: ColdMemory, proxy: ChaosProxy) -> None:
    proxy.delay(requests=timedelta(milliseconds=5), answers=timedelta(milliseconds=5))

    pointer = await cold.put_payload(KEY, PART * 5, deadline=soon())

    assert await cold.get_payload(KEY, pointer, deadline=soon()) == PART * 5
