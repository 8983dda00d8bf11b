"""The servers of one run, started, with the proxies before them and the clients behind."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from thermocline.testing.proxy import ChaosProxy
from thermocline.testing.rig import Azurite, CosmosServer, RedisCluster, RedisServer
from thermocline.testing.scenarios.needs import Needs
from thermocline.testing.scenarios.places import Places

if TYPE_CHECKING:
    from thermocline.testing.cosmos.control import CosmosControl
    from thermocline.testing.scenarios.actors import Actor, Apart, Here

_NODE_TIMEOUT = timedelta(seconds=1)  # of the cluster's nodes: how soon a replica takes over


@dataclass(slots=True)
class Stage:
    """What a scenario breaks. Asking for a part that it did not say it needs raises KeyError or AssertionError."""

    places: Places
    random: random.Random
    server: RedisServer | None = None
    cluster: RedisCluster | None = None
    cosmos: CosmosServer | None = None
    azurite: Azurite | None = None
    proxies: dict[str, ChaosProxy] = field(default_factory=dict)
    here: "list[Here]" = field(default_factory=list)
    apart: "list[Apart]" = field(default_factory=list)

    @property
    def redis(self) -> RedisServer:
        assert self.server is not None, "the scenario needs no Redis server"
        return self.server

    @property
    def control(self) -> "CosmosControl":
        assert self.cosmos is not None, "the scenario needs no Cosmos DB"
        control: CosmosControl = self.cosmos.control
        return control

    @property
    def actors(self) -> "list[Actor]":
        return [*self.here, *self.apart]


@asynccontextmanager
async def staged(needs: Needs, folder: str, seed: int, features: tuple[str, ...]) -> AsyncIterator[Stage]:
    """Start what is needed; all of it is gone afterwards. Raises MissingPart for a server that cannot be had."""
    stage = Stage(Places(folder=folder, hot_ttl=needs.hot_ttl, features=features), random.Random(seed))
    async with AsyncExitStack() as stack:
        await _start(stage, needs, stack)
        for name in needs.proxied:
            stage.proxies[name] = await stack.enter_async_context(ChaosProxy(_url(stage, name)))
        urls = {name: proxy.url for name, proxy in stage.proxies.items()}
        if needs.redis != "none":
            stage.places = replace(stage.places, redis=urls.get("redis") or _url(stage, "redis"))
        if stage.cosmos is not None:
            stage.places = replace(
                stage.places,
                cosmos=urls.get("cosmos") or stage.cosmos.url,
                cosmos_key=stage.cosmos.key,
                container=f"run{seed}",
            )
        if stage.azurite is not None:
            blob = stage.azurite.connection_string
            if "blob" in urls:
                blob = blob.replace(stage.azurite.blob_url, urls["blob"])
            stage.places = replace(stage.places, blob=blob, container=f"run{seed}")
        yield stage


async def _start(stage: Stage, needs: Needs, stack: AsyncExitStack) -> None:
    if needs.redis == "server":
        stage.server = RedisServer(settings=needs.settings)
    elif needs.redis == "cluster":
        stage.cluster = RedisCluster(replicas=1, node_timeout=_NODE_TIMEOUT, settings=needs.settings)
    if needs.warm == "cosmos":
        stage.cosmos = CosmosServer(kind="strict")
    if needs.cold == "blob":
        stage.azurite = Azurite()
    parts = [part for part in (stage.server, stage.cluster, stage.cosmos, stage.azurite) if part is not None]
    for part in parts:
        stack.push_async_callback(asyncio.to_thread, part.stop)
    await asyncio.gather(*(asyncio.to_thread(part.start) for part in parts))


def _url(stage: Stage, name: str) -> str:
    if name == "redis":
        return stage.redis.url if stage.cluster is None else stage.cluster.url
    if name == "cosmos":
        assert stage.cosmos is not None
        return stage.cosmos.url
    assert stage.azurite is not None
    return stage.azurite.blob_url
