"""The demo's port in front of a Redis: shut, it is an outage; open again, the server's data is still there; towards TLS it checks the certificate."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from thermocline.cli.demo.outage import HotPort
from thermocline.errors import ConfigurationError, TierUnavailable
from thermocline.testing.conformance.samples import new_key, soon
from thermocline.testing.conformance.steps import VALUE
from thermocline.testing.rig import RedisServer
from thermocline.testing.rig.certificates import Certificates, make_certificates


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return make_certificates(tmp_path)


@pytest.fixture
async def secure_port(redis_server: RedisServer, certificates: Certificates) -> AsyncIterator[int]:
    """A port that speaks TLS and leads to the Redis."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.cert_file, certificates.key_file)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, upstream = await asyncio.open_connection("127.0.0.1", redis_server.port)

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            try:
                while data := await source.read(65536):
                    sink.write(data)
                    await sink.drain()
            except ConnectionError:
                pass
            sink.transport.abort()

        await asyncio.gather(pump(reader, upstream), pump(back, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def use(port: HotPort) -> None:
    """A value before the outage, an outage, and the value again."""
    key = new_key()
    await port.start()
    try:
        await port.hot.connect()
        for step in VALUE:
            await port.hot.operate(step.of(key), deadline=soon())

        await port.stop()
        for _ in range(3):
            with pytest.raises(TierUnavailable):
                await port.hot.peek(key, deadline=soon())

        await port.start()
        found = await port.hot.peek(key, deadline=soon())
        assert found is not None
        assert found.key == key
    finally:
        await port.hot.close()
        await port.close()


async def test_a_shut_port_is_an_outage_and_the_server_keeps_what_it_has(redis_server: RedisServer) -> None:
    await use(HotPort(redis_server.url))


async def test_it_speaks_tls_with_a_server_that_does(
    secure_port: int, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.ca_file))

    await use(HotPort(f"rediss://127.0.0.1:{secure_port}"))


async def test_a_certificate_that_is_not_trusted_is_refused(secure_port: int) -> None:
    port = HotPort(f"rediss://127.0.0.1:{secure_port}")

    with pytest.raises(TierUnavailable, match="certificate verify failed"):
        await port.start()


async def test_a_password_goes_through(tmp_path: Path) -> None:
    with RedisServer(password="p@ss/w:rd") as server:
        await use(HotPort(server.url))


@pytest.mark.parametrize("url", ["unix:///run/redis.sock", "http://localhost:1", "redis://"])
async def test_what_has_no_port_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="redis://host:port"):
        HotPort(url)
