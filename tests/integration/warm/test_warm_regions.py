"""An account with two regions: reads go to the one that takes the writes, unless the caller accepts another's lag."""

import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from thermocline.testing.conformance.samples import new_key, put, soon, value_of
from thermocline.testing.cosmos.control import CosmosControl
from thermocline.testing.rig import CosmosServer
from thermocline.tiers.warm import WarmMemory


class TwoRegions:
    """A gateway before the emulator that says it is two regions, told apart by the host name, the read-only one first."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream.rstrip("/")
        self.port = 0
        self.seen: list[tuple[str, str]] = []  # host and method of each request for an item
        self.session = aiohttp.ClientSession(auto_decompress=False)

    async def handle(self, request: web.Request) -> web.Response:
        if "/docs" in request.path:
            self.seen.append((request.host.split(":")[0], request.method))
        headers = {name: value for name, value in request.headers.items() if name not in ("Host", "Content-Length")}
        url = self._upstream + request.raw_path
        body = await request.read()
        async with self.session.request(request.method, url, headers=headers, data=body) as answer:
            data = await answer.read()
            kept = {n: v for n, v in answer.headers.items() if n not in ("Content-Length", "Transfer-Encoding")}
            status = answer.status
        if request.path == "/":
            account = json.loads(data)
            east = {"name": "East", "databaseAccountEndpoint": f"http://127.0.0.1:{self.port}/"}
            west = {"name": "West", "databaseAccountEndpoint": f"http://localhost:{self.port}/"}
            account |= {"writableLocations": [east], "readableLocations": [west, east]}
            data = json.dumps(account).encode()
        return web.Response(status=status, body=data, headers=kept)


@pytest.fixture
async def regions(own_cosmos: CosmosServer, control: CosmosControl) -> AsyncIterator[TwoRegions]:
    gateway = TwoRegions(own_cosmos.url)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", gateway.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    gateway.port = runner.addresses[0][1]
    yield gateway
    await gateway.session.close()
    await runner.cleanup()


@pytest.mark.parametrize(("preferred", "reads_at"), [((), "127.0.0.1"), (("West",), "localhost")])
async def test_reads_go_to_the_write_region_unless_another_is_preferred(
    regions: TwoRegions, own_cosmos: CosmosServer, container_name: str, preferred: tuple[str, ...], reads_at: str
) -> None:
    uri, key = f"http://127.0.0.1:{regions.port}/", new_key()
    tier = WarmMemory(uri, "warm", container_name, key=own_cosmos.key, create=True, preferred_regions=preferred)
    async with tier:
        regions.seen.clear()
        await tier.write(put(key, "v"), deadline=soon())
        assert value_of(await tier.read(key, deadline=soon())) == "v"

    assert regions.seen == [("127.0.0.1", "POST"), (reads_at, "GET")]
