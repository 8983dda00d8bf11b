"""The rig: servers start on free ports, take real clients, break on request."""

import contextlib
import os
import socket
import threading
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis.asyncio
import redis.exceptions
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import ClientAuthenticationError, ResourceNotFoundError
from azure.storage.blob.aio import BlobServiceClient
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from thermocline.testing.proxy import ChaosProxy
from thermocline.testing.pytest_plugin import REDIS_IMAGE
from thermocline.testing.rig import Azurite, MissingPart, RedisCluster, RedisServer, RigError, StartFailed
from thermocline.testing.rig.entra import LocalCredential
from thermocline.testing.rig.resp import RespError


def client_of(url: str) -> redis.asyncio.Redis:
    """A client that tries once, so that a fault shows."""
    return redis.asyncio.from_url(url, retry=Retry(NoBackoff(), 0), socket_timeout=20)


async def test_redis_answers_a_real_client(redis_server: RedisServer, fresh_prefix: str) -> None:
    async with client_of(redis_server.url) as client:
        await client.set(fresh_prefix + "a", "1")
        assert await client.get(fresh_prefix + "a") == b"1"


async def test_a_password_of_any_characters_is_asked_for() -> None:
    password = 'p"a\\s s/é#@'
    with RedisServer(password=password) as server:
        async with client_of(server.url) as client:
            assert await client.ping()
        async with client_of(f"redis://127.0.0.1:{server.port}") as client:
            with pytest.raises(redis.exceptions.AuthenticationError):
                await client.ping()
        assert password not in " ".join(psutil.Process(server.pid).cmdline())


async def test_memory_is_bounded_as_asked() -> None:
    with RedisServer(maxmemory=8_000_000, maxmemory_policy="noeviction") as server:
        async with client_of(server.url) as client:
            pipeline = client.pipeline(transaction=False)
            for number in range(100):
                pipeline.set(str(number), b"x" * 200_000)
            with pytest.raises(redis.exceptions.OutOfMemoryError):
                await pipeline.execute()
    with RedisServer(maxmemory=8_000_000, maxmemory_policy="allkeys-lru") as server:
        async with client_of(server.url) as client:
            for number in range(100):
                await client.set(str(number), b"x" * 200_000)
            assert 0 < await client.dbsize() < 100


async def test_restart_keeps_the_port_and_the_data_that_it_shall_keep() -> None:
    with RedisServer() as server:
        port, pid = server.port, server.pid
        async with client_of(server.url) as client:
            await client.set("a", "1")
            await client.aclose()
            server.restart()
            assert (server.port, server.pid != pid) == (port, True)
            assert await client.get("a") == b"1"
            await client.aclose()
            server.restart(keep_data=False)
            assert server.port == port
            assert await client.get("a") is None


async def test_a_crash_loses_what_was_not_on_disk() -> None:
    with RedisServer() as server:
        async with client_of(server.url) as client:
            await client.set("a", "old")
            server.snapshot()
            await client.set("a", "new")
            server.kill()
            assert not server.running
            with pytest.raises(redis.exceptions.ConnectionError):
                await client.get("a")
            server.start()
            assert await client.get("a") == b"old"
    with RedisServer(appendonly=True) as server:
        async with client_of(server.url) as client:
            await client.set("a", "new")
            server.kill()
            server.start()
            with contextlib.suppress(redis.exceptions.ConnectionError):
                await client.ping()
            assert await client.get("a") == b"new"


def test_a_paused_server_accepts_and_stays_silent() -> None:
    with RedisServer() as server:
        server.pause()
        assert server.running
        assert psutil.Process(server.pid).status() == psutil.STATUS_STOPPED
        with socket.create_connection(("127.0.0.1", server.port), timeout=0.1) as client:
            client.sendall(b"PING\r\n")
            with pytest.raises(TimeoutError):
                client.recv(10)
            server.resume()
            client.settimeout(20)
            assert client.recv(10) == b"+PONG\r\n"
        server.pause()
        server.restart()
        with server.connection() as connection:
            assert connection.call("PING") == b"PONG"
        server.pause()  # and it can be stopped as it is


def test_stop_and_kill_may_be_repeated_and_start_begins_anew() -> None:
    server = RedisServer()
    server.stop()
    server.start()
    server.start()
    directory = server.directory
    assert directory.is_dir()
    server.kill()
    server.kill()
    server.stop()
    server.stop()
    assert not directory.exists()
    with pytest.raises(RigError, match="does not run"):
        server.pause()
    server.start()
    assert server.running
    server.stop()


def test_a_server_outlives_the_thread_that_started_it() -> None:
    server = RedisServer()
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
    with server.connection() as connection:
        assert connection.call("PING") == b"PONG"
    server.stop()


def test_servers_started_at_once_do_not_share_a_port() -> None:
    servers = [RedisServer() for _ in range(8)]
    threads = [threading.Thread(target=server.start) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    try:
        assert len({server.port for server in servers}) == len(servers)
        for server in servers:
            with server.connection() as connection:
                assert int(connection.fields("INFO", "server")["process_id"]) == server.pid
    finally:
        for server in servers:
            server.stop()


def test_a_taken_port_is_named() -> None:
    with RedisServer() as server:
        second = RedisServer(port=server.port, patience=timedelta(milliseconds=200))
        with pytest.raises(StartFailed, match=rf"{server.port}.*held by other"):
            second.start()
        with server.connection() as connection:
            assert connection.call("PING") == b"PONG"


def test_a_server_that_does_not_start_shows_its_log() -> None:
    server = RedisServer(settings={"no-such-setting": "1"})
    with pytest.raises(StartFailed, match="no-such-setting"):
        server.start()
    with pytest.raises(RigError, match="no directory"):
        _ = server.directory


def test_a_binary_that_is_none_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StartFailed, match="cannot run"):
        RedisServer(binary=tmp_path / "redis").start()
    monkeypatch.setenv("THERMOCLINE_REDIS_SERVER", str(tmp_path / "nowhere"))
    with pytest.raises(MissingPart, match="needs redis-server: THERMOCLINE_REDIS_SERVER"):
        RedisServer().start()
    monkeypatch.setenv("THERMOCLINE_AZURITE", str(tmp_path))
    with pytest.raises(MissingPart, match="needs Azurite: THERMOCLINE_AZURITE"):
        Azurite().start()


async def test_a_cluster_takes_keys_of_every_node(redis_cluster: RedisCluster, fresh_prefix: str) -> None:
    async with redis.asyncio.RedisCluster.from_url(redis_cluster.url) as client:
        served = set()
        for number in range(200):
            key = f"{fresh_prefix}{number}"
            await client.set(key, number)
            assert await client.get(key) == str(number).encode()
            served.add(redis_cluster.node_of(client.keyslot(key)).port)
        assert served == {node.port for node in redis_cluster.nodes}


def test_a_replica_takes_over_from_a_dead_master() -> None:
    with RedisCluster(replicas=1, node_timeout=timedelta(milliseconds=500)) as cluster:
        master = cluster.node_of(0)
        with master.connection() as connection:
            assert connection.call("SET", "{fHh}a", "kept") == b"OK"  # of slot 0
            assert connection.call("WAIT", 1, 5_000) == 1
        assert cluster.promoted(master) is None
        master.kill()
        heir = cluster.wait_until_promoted(master)
        with heir.connection() as connection:
            assert connection.call("GET", "{fHh}a") == b"kept"
        cluster.start()  # the old master is the new one's replica, and the cluster whole
        assert cluster.running


def test_a_cluster_too_small_to_vote_has_no_replicas() -> None:
    with pytest.raises(RigError, match="majority"):
        RedisCluster(2, replicas=1)


def test_every_slot_has_the_node_that_is_said(redis_cluster: RedisCluster) -> None:
    with redis_cluster.nodes[0].connection() as connection:
        ranges = connection.call("CLUSTER", "SLOTS")
    assert isinstance(ranges, list)
    covered = 0
    for entry in ranges:
        match entry:
            case [int(first), int(last), [_, port, *_]]:
                covered += last - first + 1
                assert [redis_cluster.node_of(slot).port for slot in (first, last)] == [port, port]
            case _:
                pytest.fail(f"no range of slots: {entry!r}")
    assert covered == 16_384
    with pytest.raises(RigError, match="16384 is none"):
        redis_cluster.node_of(16_384)


async def test_a_dead_node_costs_its_own_slots_only() -> None:
    with RedisCluster(password="secret") as cluster:
        first, second, _ = cluster.nodes
        with first.connection() as connection:
            connection.call("SET", "{fHh}a", "1")  # slot 0
        second.kill()
        with pytest.raises(OSError, match="refused"):
            second.connection()
        with first.connection() as connection:
            assert connection.call("GET", "{fHh}a") == b"1"
        cluster.start()
        async with redis.asyncio.RedisCluster.from_url(cluster.url) as client:
            for number in range(50):
                await client.set(str(number), number)
                assert await client.get(str(number)) == str(number).encode()


def test_redis_says_what_it_does_not_like(redis_server: RedisServer) -> None:
    with redis_server.connection() as connection:
        with pytest.raises(RespError, match="unknown command"):
            connection.call("NONSENSE")
        assert connection.call("GET", "nobody-has-this") is None


async def test_azurite_takes_an_upload(azurite: Azurite, fresh_prefix: str) -> None:
    async with BlobServiceClient.from_connection_string(azurite.connection_string) as client:
        container = await client.create_container(fresh_prefix + "c")
        await container.upload_blob("a", b"payload")
        assert await (await container.download_blob("a")).readall() == b"payload"


async def test_azurite_takes_entra_tokens_over_tls_and_no_others() -> None:
    with Azurite(tls=True) as server:
        trust: dict[str, Any] = {"connection_verify": str(server.ca_file)}
        async with (
            LocalCredential() as credential,
            BlobServiceClient(server.blob_url, credential, **trust) as client,
        ):
            await client.create_container("abc")
            assert credential.issued == 1
        async with (
            LocalCredential(lifetime=timedelta(hours=-1)) as credential,
            BlobServiceClient(server.blob_url, credential, retry_total=0, **trust) as client,
        ):
            with pytest.raises(ClientAuthenticationError):
                await client.create_container("abd")
        key = AzureNamedKeyCredential(server.account, server.key)
        async with BlobServiceClient(server.blob_url, key, **trust) as client:
            assert [container.name async for container in client.list_containers()] == ["abc"]


async def test_azurite_keeps_its_data_only_if_asked() -> None:
    for persistent in (False, True):
        with Azurite(persistent=persistent) as server:
            url = server.blob_url
            async with BlobServiceClient(url, server.key) as client:
                await client.create_container("abc")
                await client.get_blob_client("abc", "a").upload_blob(b"1")
            server.restart()
            assert server.blob_url == url
            async with BlobServiceClient(url, server.key) as client:
                blob = client.get_blob_client("abc", "a")
                if persistent:
                    assert await (await blob.download_blob()).readall() == b"1"
                else:
                    with pytest.raises(ResourceNotFoundError):
                        await blob.download_blob()


async def test_the_proxy_fixture_makes_several(
    chaos_proxy: Callable[[str | int], Awaitable[ChaosProxy]], redis_server: RedisServer
) -> None:
    first, second = await chaos_proxy(redis_server.url), await chaos_proxy(redis_server.url)
    assert first.port != second.port
    first.refuse()
    async with client_of(second.url) as client:
        assert await client.ping()


def test_names_are_fresh_and_fit_for_azure(unique_name: Callable[[str], str], fresh_prefix: str) -> None:
    names = {unique_name("container") for _ in range(100)}
    assert len(names) == 100
    assert all(3 <= len(name) <= 63 and name.replace("-", "").isalnum() and name.islower() for name in names)
    assert fresh_prefix not in names


@pytest.mark.docker
@pytest.mark.skipif(os.environ.get("THERMOCLINE_TEST_DOCKER") != "1", reason="needs Docker: THERMOCLINE_TEST_DOCKER=1")
def test_a_container_does_what_a_process_does() -> None:
    with RedisServer(image=REDIS_IMAGE) as server:
        port = server.port
        with server.connection() as connection:
            connection.call("SET", "a", "old")
        server.snapshot()
        with server.connection() as connection:
            connection.call("SET", "a", "new")
        server.kill()
        assert not server.running
        server.start()
        assert server.port == port
        with server.connection() as connection:
            assert connection.call("GET", "a") == b"old"
        server.pause()
        server.restart(keep_data=False)
        with server.connection() as connection:
            assert connection.call("GET", "a") is None
        directory = server.directory
    assert not directory.exists()
