"""Over TLS a connection is closed politely, which takes the other side: a client that is closed does not leave behind what waits for a server's goodbye."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from azure.identity.aio import ManagedIdentityCredential
from tests.integration.identity.load import until

from thermocline import MemoryClient, NearCache
from thermocline.clock import Deadline
from thermocline.errors import TierTimeout
from thermocline.identity import Vault
from thermocline.testing.conformance.samples import new_key, put, soon
from thermocline.testing.rig import CosmosServer, KeyVaultServer, RedisServer
from thermocline.testing.rig.certificates import make_certificates
from thermocline.tiers.hot import HotMemory
from thermocline.tiers.warm import WarmMemory


@pytest.fixture
def frozen() -> Iterator[CosmosServer]:
    with CosmosServer(kind="strict", tls=True) as server:
        yield server
        server.resume()


@pytest.fixture
async def vault(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[KeyVaultServer]:
    with KeyVaultServer() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server
        server.resume()


FRONT = """
import asyncio, contextlib, ssl, sys

async def main(cert: str, key: str, port: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)

    async def serve(reader, writer):
        answers, requests = await asyncio.open_connection("127.0.0.1", int(port))

        async def pass_on(source, sink):
            with contextlib.suppress(OSError):
                while data := await source.read(65536):
                    sink.write(data)
                    await sink.drain()
            sink.close()

        await asyncio.gather(pass_on(reader, requests), pass_on(answers, writer))

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

asyncio.run(main(*sys.argv[1:]))
"""


@dataclass
class Front:
    """A process that speaks TLS in front of Redis."""

    process: subprocess.Popen[str]
    url: str  # with the file of its authority
    address: str

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)


@pytest.fixture
def front(redis_server: RedisServer, tmp_path: Path) -> Iterator[Front]:
    files = make_certificates(tmp_path)
    port = redis_server.url.rpartition(":")[2].partition("/")[0]
    command = [sys.executable, "-c", FRONT, str(files.cert_file), str(files.key_file), port]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = f"rediss://127.0.0.1:{int(process.stdout.readline())}"
        yield Front(process, f"{address}?ssl_ca_certs={files.ca_file}", address)
        process.kill()


def open_to(url: str) -> list[object]:
    """The sockets of this process that lead there."""
    port = int(url.rstrip("/").rpartition(":")[2])
    return [one for one in psutil.Process().net_connections("tcp") if getattr(one.raddr, "port", None) == port]


async def test_warm_leaves_no_connection_that_waits_for_a_goodbye(frozen: CosmosServer) -> None:
    async with WarmMemory(frozen.url, "d", "c", key=frozen.key, create=True) as tier:
        key = new_key()
        await tier.write(put(key, "v"), deadline=soon())
        frozen.pause()
        with pytest.raises(TierTimeout):
            await tier.read(key, deadline=Deadline.after(0.2))
        assert open_to(frozen.url) != []  # it waits

    assert open_to(frozen.url) == []


async def test_warm_leaves_no_connection_of_a_call_that_was_cancelled(frozen: CosmosServer) -> None:
    async with WarmMemory(frozen.url, "d", "c", key=frozen.key, create=True) as tier:
        key = new_key()
        await tier.write(put(key, "v"), deadline=soon())
        frozen.pause()
        calls = [asyncio.create_task(tier.read(key, deadline=soon())) for _ in range(20)]
        await asyncio.sleep(0)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    assert open_to(frozen.url) == []


async def test_vault_leaves_no_connection_that_waits_for_a_goodbye(
    vault: KeyVaultServer, unique_name: Callable[[str], str]
) -> None:
    name = unique_name("secret")
    vault.set(name, "value")
    async with (
        ManagedIdentityCredential(connection_verify=str(vault.ca_file)) as credential,
        Vault(vault.url, credential, options={"retry_total": 0}) as opened,
    ):
        secret = opened.secret(name)
        assert await secret.current() == "value"
        vault.pause()
        renewing = asyncio.create_task(secret.renew(1))
        done, _ = await asyncio.wait([renewing], timeout=0.2)  # it is on its way, and stays so
        assert done == set()
        renewing.cancel()
    await asyncio.gather(renewing, return_exceptions=True)

    assert open_to(vault.url) == []  # nor any of the credential, which asks the same server


async def test_hot_leaves_no_connection_that_waits_for_a_goodbye(front: Front, fresh_prefix: str) -> None:
    memory = MemoryClient(hot=HotMemory(front.url), near=NearCache())
    async with memory:
        await memory.set(fresh_prefix, 1)
        assert await memory.get(fresh_prefix) == 1
        await until(lambda: memory.stats()["near"]["near_hears"] > 0)  # its connection is open, too
        assert open_to(front.address) != []
        front.freeze()

    for _ in range(3):  # what was hung up is closed in the next turn of the event loop
        await asyncio.sleep(0)
    assert open_to(front.address) == []
