"""The faults of the chaos proxy, as real clients of Redis and of Azure Storage see them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest
import redis.asyncio
import redis.exceptions
from azure.core.exceptions import AzureError
from azure.storage.blob.aio import BlobServiceClient
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from thermocline.testing.proxy import ChaosProxy, http_refusal
from thermocline.testing.rig import Azurite, RedisServer, RigError

BROKEN = (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError)


def client_of(url: str, *, patience: float = 20.0) -> redis.asyncio.Redis:
    """A client that tries once, so that a fault shows."""
    return redis.asyncio.from_url(url, retry=Retry(NoBackoff(), 0), socket_timeout=patience)


@pytest.fixture
async def proxy(redis_server: RedisServer) -> AsyncIterator[ChaosProxy]:
    async with ChaosProxy(redis_server.url) as proxy:
        yield proxy


@pytest.fixture
async def through(proxy: ChaosProxy) -> AsyncIterator[redis.asyncio.Redis]:
    """A client behind the proxy, connected."""
    async with client_of(proxy.url) as client:
        await client.ping()
        yield client


@pytest.fixture
async def direct(redis_server: RedisServer) -> AsyncIterator[redis.asyncio.Redis]:
    async with client_of(redis_server.url) as client:
        yield client


async def test_without_faults_it_only_counts(
    proxy: ChaosProxy, through: redis.asyncio.Redis, fresh_prefix: str
) -> None:
    large = b"x" * 3_000_000
    await through.set(fresh_prefix, large)
    assert await through.get(fresh_prefix) == large
    assert proxy.traffic.opened == 1
    assert proxy.traffic.request_bytes > len(large)
    assert proxy.traffic.answer_bytes > len(large)
    assert proxy.traffic.lost_bytes == 0
    await through.aclose()
    await proxy.until(lambda traffic: traffic.open == 0)


async def test_cut_resets_open_connections_and_takes_new_ones(proxy: ChaosProxy, through: redis.asyncio.Redis) -> None:
    proxy.cut()
    with pytest.raises(BROKEN):
        await through.ping()
    assert await through.ping()
    assert proxy.traffic.opened == 2


async def test_cut_reaches_a_call_that_waits(
    proxy: ChaosProxy, through: redis.asyncio.Redis, direct: redis.asyncio.Redis, fresh_prefix: str
) -> None:
    seen = proxy.traffic.request_bytes
    waiting = asyncio.ensure_future(through.blpop([fresh_prefix], timeout=0))
    await proxy.until(lambda traffic: traffic.request_bytes > seen)
    proxy.cut()
    with pytest.raises(BROKEN):
        await waiting


async def test_refuse_leaves_open_connections_alone(proxy: ChaosProxy, through: redis.asyncio.Redis) -> None:
    proxy.refuse()
    assert await through.ping()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", proxy.port)
    proxy.restore()
    async with client_of(proxy.url) as another:
        assert await another.ping()


async def test_lost_answers_leave_the_write_done(
    proxy: ChaosProxy, direct: redis.asyncio.Redis, fresh_prefix: str
) -> None:
    async with client_of(proxy.url, patience=0.2) as client:
        await client.ping()
        proxy.blackhole(answers=True)
        with pytest.raises(redis.exceptions.TimeoutError):
            await client.set(fresh_prefix, "1")
        assert await direct.get(fresh_prefix) == b"1"
        proxy.restore()
        assert await client.get(fresh_prefix) == b"1"
    assert proxy.traffic.lost_bytes > 0


async def test_lost_requests_leave_the_write_undone(
    proxy: ChaosProxy, direct: redis.asyncio.Redis, fresh_prefix: str
) -> None:
    async with client_of(proxy.url, patience=0.2) as client:
        await client.ping()
        proxy.blackhole(requests=True)
        with pytest.raises(redis.exceptions.TimeoutError):
            await client.set(fresh_prefix, "1")
        await proxy.until(lambda traffic: traffic.lost_bytes > 0)
        assert await direct.get(fresh_prefix) is None
        proxy.restore()
        assert await client.get(fresh_prefix) is None


async def test_after_a_blackhole_a_stream_with_a_gap_is_not_carried_on(
    proxy: ChaosProxy, through: redis.asyncio.Redis, fresh_prefix: str
) -> None:
    proxy.blackhole(answers=True)
    call = asyncio.ensure_future(through.ping())
    await proxy.until(lambda traffic: traffic.lost_bytes > 0)
    proxy.restore()
    with pytest.raises(BROKEN):
        await call
    assert await through.ping()


async def test_a_held_request_arrives_after_its_client_has_gone(
    proxy: ChaosProxy, direct: redis.asyncio.Redis, fresh_prefix: str
) -> None:
    async with client_of(proxy.url, patience=0.2) as client:
        await client.ping()
        proxy.hold(requests=True)
        with pytest.raises(redis.exceptions.TimeoutError):
            await client.rpush(fresh_prefix, "late")
    assert await direct.exists(fresh_prefix) == 0
    proxy.restore()
    assert await direct.blpop([fresh_prefix], timeout=0) == (fresh_prefix.encode(), b"late")
    await proxy.until(lambda traffic: traffic.open == 0)


async def test_held_answers_arrive_whole(proxy: ChaosProxy, through: redis.asyncio.Redis, fresh_prefix: str) -> None:
    await through.set(fresh_prefix, "1")
    proxy.hold(answers=True)
    seen = proxy.traffic.request_bytes
    call = asyncio.ensure_future(through.get(fresh_prefix))
    await proxy.until(lambda traffic: traffic.request_bytes > seen)
    assert not call.done()
    proxy.restore()
    assert await call == b"1"


async def test_delay_holds_back_each_way(proxy: ChaosProxy, through: redis.asyncio.Redis) -> None:
    loop = asyncio.get_running_loop()
    proxy.delay(requests=timedelta(milliseconds=50), answers=timedelta(milliseconds=50))
    begin = loop.time()
    await through.ping()
    assert loop.time() - begin >= 0.1
    proxy.delay(per_byte=timedelta(milliseconds=2))
    begin = loop.time()
    await through.ping()  # 14 bytes there and 7 back
    assert loop.time() - begin >= 0.04


async def test_lose_next_answer_strikes_once_and_after_the_server_acted(
    proxy: ChaosProxy, through: redis.asyncio.Redis, fresh_prefix: str
) -> None:
    lost = proxy.lose_next_answer()
    with pytest.raises(BROKEN):
        await through.incr(fresh_prefix)
    assert lost.is_set()
    assert await through.incr(fresh_prefix) == 2


async def test_lose_next_request_strikes_once_and_before_the_server_acted(
    proxy: ChaosProxy, through: redis.asyncio.Redis, fresh_prefix: str
) -> None:
    lost = proxy.lose_next_request()
    with pytest.raises(BROKEN):
        await through.incr(fresh_prefix)
    assert lost.is_set()
    assert await through.incr(fresh_prefix) == 1


@pytest.mark.parametrize("count", [0, 1, 5, 7])
async def test_cut_after_lets_exactly_so_many_bytes_of_an_answer_pass(proxy: ChaosProxy, count: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    cut = proxy.cut_after(answers=count)
    writer.write(b"PING\r\n")
    assert await reader.read() == b"+PONG\r\n"[:count]
    await cut.wait()
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    async with client_of(proxy.url) as client:
        assert await client.ping()


async def test_retarget_leads_new_connections_elsewhere(
    proxy: ChaosProxy, through: redis.asyncio.Redis, fresh_prefix: str
) -> None:
    await through.set(fresh_prefix, "first")
    with RedisServer() as other:
        proxy.retarget(other.url)
        assert await through.get(fresh_prefix) == b"first"
        proxy.cut()
        with pytest.raises(BROKEN):
            await through.ping()
        assert await through.get(fresh_prefix) is None
        await through.aclose()
        await proxy.until(lambda traffic: traffic.open == 0)


async def test_a_dead_server_looks_dead_through_it_and_comes_back() -> None:
    with RedisServer() as server:
        async with ChaosProxy(server.url) as proxy, client_of(proxy.url) as client:
            await client.set("a", "1")
            server.snapshot()
            server.kill()
            with pytest.raises(BROKEN):
                await client.get("a")
            with pytest.raises(BROKEN):
                await client.get("a")
            server.start()
            assert await client.get("a") == b"1"


async def test_storage_works_through_it_and_loses_an_answer(azurite: Azurite, fresh_prefix: str) -> None:
    payload = bytes(range(256)) * 3_000
    async with ChaosProxy(azurite.blob_url) as proxy:
        async with BlobServiceClient(proxy.url, azurite.key, retry_total=0) as client:
            await client.create_container(fresh_prefix + "c")
        lost = proxy.lose_next_answer()
        # A new client, since aiohttp itself sends a PUT again when a connection that it used before breaks.
        async with BlobServiceClient(proxy.url, azurite.key, retry_total=0) as client:
            container = client.get_container_client(fresh_prefix + "c")
            with pytest.raises(AzureError):
                await container.upload_blob("a", payload)
            assert lost.is_set()
            assert await (await container.download_blob("a")).readall() == payload
            opened = proxy.traffic.opened
            cut = proxy.cut_after(answers=100_000)
            # The SDK fetches a body that breaks off again, whatever retry_total says.
            assert await (await container.download_blob("a")).readall() == payload
            assert cut.is_set()
            assert proxy.traffic.opened > opened


async def test_closing_ends_what_is_open(redis_server: RedisServer) -> None:
    async with ChaosProxy(redis_server.port) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"PING\r\n")
        assert await reader.readline() == b"+PONG\r\n"
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", proxy.port)
    assert proxy.traffic.open == 0


async def test_the_url_keeps_all_but_the_address() -> None:
    async with ChaosProxy("redis://:pa%40ss@127.0.0.1:1/3?protocol=3") as proxy:
        assert proxy.url == f"redis://:pa%40ss@127.0.0.1:{proxy.port}/3?protocol=3"


@pytest.mark.parametrize("upstream", ["redis://127.0.0.1", "127.0.0.1:6379", ""])
def test_an_upstream_without_host_and_port_is_refused(upstream: str) -> None:
    with pytest.raises(RigError, match="host and port"):
        ChaosProxy(upstream)


async def test_it_answers_in_the_place_of_the_server(azurite: Azurite, unique_name: Callable[[str], str]) -> None:
    name = unique_name("answered")
    async with ChaosProxy(azurite.blob_url) as proxy:
        endpoint = azurite.connection_string.replace(azurite.blob_url, proxy.url)
        async with BlobServiceClient.from_connection_string(endpoint, retry_total=0) as service:
            container = service.get_container_client(name)
            await container.create_container()
            proxy.answer(http_refusal(503, headers={"x-ms-error-code": "ServerBusy"}))
            with pytest.raises(AzureError) as refused:
                await container.upload_blob("b", b"x" * 300_000)
            assert getattr(refused.value, "status_code", 503) == 503
            proxy.restore()
            assert [blob.name async for blob in container.list_blobs()] == []  # the server has seen nothing
            await container.upload_blob("b", b"whole")
            assert await (await container.download_blob("b")).readall() == b"whole"


async def test_it_answers_a_share_of_the_requests(proxy: ChaosProxy) -> None:
    proxy.answer(b"-BUSY by the test\r\n", share=0.2, seed=3)
    said: list[bool] = []
    for _ in range(40):
        async with client_of(proxy.url) as client:
            try:
                said.append(bool(await client.ping()))
            except redis.exceptions.RedisError:
                said.append(False)
    assert 5 < said.count(True) < 35
    with pytest.raises(RigError, match="probability"):
        proxy.answer(b"", share=1.5)
