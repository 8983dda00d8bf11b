"""Entra tokens for Redis: renewed on live connections, on one server and on a cluster, and under load no call fails."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.identity.aio import ManagedIdentityCredential
from tests.integration.identity.load import Door, Load, until

from thermocline import MemoryBuilder, MemorySettings
from thermocline.errors import AccessDenied, ClientClosed, ConfigurationError, TierUnavailable
from thermocline.identity import EntraLogins
from thermocline.identity.logins import SCOPE
from thermocline.model import Authority
from thermocline.resilience import Budget
from thermocline.testing.rig import KeyVaultServer, RedisCluster, RedisServer
from thermocline.testing.vault.tokens import Issuer
from thermocline.tiers.hot import HotMemory
from thermocline.wiring import connect

PATIENT = Budget(hot=timedelta(seconds=10))  # a slow machine is no outage
PASSWORD = "the rig's own"


class Minting:
    """An asynchronous credential with a new token each time, which tells the servers' ACL of it: only the newest is taken."""

    def __init__(self, *doors: Door, principal: str, lifetime: float = 3600.0) -> None:
        self._issuer = Issuer()
        self._issuer.principal, self._issuer.lifetime = principal, lifetime
        self._doors = doors
        self.scopes: list[str] = []
        self.broken: Exception | None = None

    @property
    def issued(self) -> int:
        return len(self._issuer.issued)

    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        if self.broken is not None:
            raise self.broken
        self.scopes += scopes
        token, expires = self._issuer.issue(scopes[0].removesuffix("/.default"))
        for door in self._doors:
            await asyncio.to_thread(door.only, token)
        return AccessToken(token, expires)

    async def close(self) -> None:
        pass


@pytest.fixture
def user(unique_name: Callable[[str], str]) -> str:
    """The object id, which is the user's name in Redis."""
    return unique_name("oid")


@pytest.fixture
def door(locked_redis: RedisServer, user: str) -> Iterator[Door]:
    made = Door([locked_redis], user)
    yield made
    made.forget()


def redis_url(server: RedisServer) -> str:
    return f"redis://127.0.0.1:{server.port}"


async def test_managed_identity_signs_in(
    vault: KeyVaultServer,
    credential: ManagedIdentityCredential,
    locked_redis: RedisServer,
    unique_name: Callable[[str], str],
    fresh_prefix: str,
) -> None:
    """azure-identity's own credential and a token over TLS; redis-py, redis-entraid and a real Redis at the other end."""
    principal = vault.tokens(principal=unique_name("oid"))
    door = Door([locked_redis], principal)
    door.only((await credential.get_token(SCOPE)).token)
    settings = MemorySettings(
        env_file=None, redis_url=redis_url(locked_redis), redis_auth="entra", hot_deadline_ms=10_000
    )
    async with await connect(settings, credential=credential) as memory:
        assert (await memory.set(fresh_prefix, "v")).authority is Authority.HOT
        assert await memory.get(fresh_prefix) == "v"
    assert vault.stats()["issued"][-1]["aud"] == "https://redis.azure.com"
    assert [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("thermocline")] == []
    door.forget()


async def test_one_token_serves_all_connections(
    locked_redis: RedisServer, door: Door, user: str, fresh_prefix: str
) -> None:
    credential = Minting(door, principal=user)
    logins = EntraLogins(credential)
    hot = HotMemory(redis_url(locked_redis), credential_provider=logins)
    async with hot:
        await asyncio.gather(*(hot.set(f"{fresh_prefix}{n}", n) for n in range(10)))
    assert (credential.issued, credential.scopes) == (1, [SCOPE])
    await logins.close()


async def test_token_is_renewed_before_it_expires(
    locked_redis: RedisServer, door: Door, user: str, fresh_prefix: str
) -> None:
    """redis-entraid says when: at 70 % of the token's life, here after two of three seconds. Nobody has to call for it."""
    credential = Minting(door, principal=user, lifetime=3)
    logins = EntraLogins(credential)
    hot = HotMemory(redis_url(locked_redis), credential_provider=logins)
    async with hot:
        await hot.set(fresh_prefix, "v")
        # One that has run out is renewed by the next call, and there is none here.
        await until(lambda: logins.generation == 2)
        assert await hot.get(fresh_prefix) == "v"
    await logins.close()


async def changing(
    logins: EntraLogins, door: Door, work: Callable[[int, int], Awaitable[None]], *, changes: int, calls: int
) -> Load:
    """``calls`` of the load lie between two changes of the token. No call fails."""

    async def script(load: Load) -> None:
        for change in range(changes):
            await load.reach(calls)
            assert await logins.renew(logins.generation)
            if change % 2:
                await load.pause()
                assert await door.throw_out() > 0
                load.resume()
        await load.reach(calls)

    load = Load(work)
    await load.during(script)
    assert load.failed == []
    return load


async def test_no_call_fails_while_tokens_change_under_load(
    locked_redis: RedisServer, door: Door, user: str, fresh_prefix: str
) -> None:
    """Redis takes the newest token alone; at every second change it closes the idle connections, as Azure does with those whose token ran out."""
    credential = Minting(door, principal=user)
    logins = EntraLogins(credential)
    hot = HotMemory(redis_url(locked_redis), credential_provider=logins)
    async with MemoryBuilder().with_hot(hot).with_options(budget=PATIENT, closes=[logins]).build() as memory:

        async def work(worker: int, turn: int) -> None:
            key = f"{fresh_prefix}{worker}"
            await memory.set(key, turn)
            assert await memory.get(key) == turn

        load = await changing(logins, door, work, changes=6, calls=60)
        assert load.done >= 60 * 7
    assert credential.issued == 7


async def test_no_call_fails_on_a_cluster(user: str) -> None:
    with RedisCluster(password=PASSWORD) as cluster:
        door = Door(cluster.nodes, user)
        credential = Minting(door, principal=user)
        logins = EntraLogins(credential)
        url = f"redis://127.0.0.1:{cluster.nodes[0].port}"
        hot = HotMemory(url, credential_provider=logins, cluster=True)
        async with MemoryBuilder().with_hot(hot).with_options(budget=PATIENT, closes=[logins]).build() as memory:

            async def work(worker: int, turn: int) -> None:
                await memory.set(f"key-{worker}-{turn % 7}", turn)
                assert await memory.get(f"key-{worker}-{turn % 7}") == turn
                found = await memory.get_many([f"key-{worker}-{n}" for n in range(min(turn, 6) + 1)])
                assert len(found) == min(turn, 6) + 1

            await changing(logins, door, work, changes=4, calls=40)


@pytest.mark.parametrize("cluster", [False, True])
async def test_cancelled_calls_leave_every_reply_with_its_caller(
    request: pytest.FixtureRequest, user: str, fresh_prefix: str, cluster: bool
) -> None:
    """P10 while tokens change: calls are cancelled at any await, also in the midst of signing in again, and nobody reads another's reply."""
    server: RedisCluster | RedisServer = request.getfixturevalue("redis_cluster" if cluster else "redis_server")
    nodes = server.nodes if isinstance(server, RedisCluster) else [server]
    door = Door(nodes, user)
    logins = EntraLogins(Minting(door, principal=user))
    hot = HotMemory(
        f"redis://127.0.0.1:{nodes[0].port}", credential_provider=logins, cluster=cluster, max_connections=3
    )
    chance = random.Random(7)
    async with hot:
        for n in range(20):
            await hot.set(f"{fresh_prefix}{n}", n)
        for turn in range(150):
            if turn % 10 == 0:
                assert await logins.renew(logins.generation)
            if turn % 50 == 25:
                await door.throw_out()
            calls = {n: asyncio.create_task(hot.get(f"{fresh_prefix}{n}")) for n in chance.sample(range(20), 6)}
            for _ in range(chance.randrange(12)):
                await asyncio.sleep(0)
            for n in chance.sample(sorted(calls), 3):
                calls[n].cancel()
            answers = await asyncio.gather(*calls.values(), return_exceptions=True)
            for n, answer in zip(calls, answers, strict=True):
                assert answer == n or isinstance(answer, asyncio.CancelledError), (turn, answer)
    await logins.close()
    door.forget()


async def test_credential_that_fails_later_leaves_the_token(
    locked_redis: RedisServer, door: Door, user: str, fresh_prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    credential = Minting(door, principal=user, lifetime=3)
    logins = EntraLogins(credential)
    hot = HotMemory(redis_url(locked_redis), credential_provider=logins)
    async with hot:
        await hot.set(fresh_prefix, "v")
        credential.broken = OSError("the endpoint is down")
        await until(lambda: "goes on being used" in caplog.text)
        assert await hot.get(fresh_prefix) == "v"
        credential.broken = None
        while logins.generation < 2:  # by itself, or by a call where the machine was so slow that the token has run out
            assert await hot.get(fresh_prefix) == "v"
            await asyncio.sleep(0.01)
        assert await hot.get(fresh_prefix) == "v"
    await logins.close()
    with pytest.raises(ClientClosed):
        await logins.current()


async def test_who_has_no_token_is_told(locked_redis: RedisServer, door: Door, user: str) -> None:
    from azure.core.exceptions import ClientAuthenticationError

    credential = Minting(door, principal=user)
    for broken, kind, told in (
        (ClientAuthenticationError("no accounts were found"), AccessDenied, "az login"),
        (OSError("unreachable"), TierUnavailable, "gave no token for Redis"),
    ):
        credential.broken = broken
        logins = EntraLogins(credential)
        hot = HotMemory(redis_url(locked_redis), credential_provider=logins)
        with pytest.raises(kind, match=told):
            await hot.connect()
        await hot.close()
        await logins.close()


async def test_identity_without_an_access_policy_is_told(locked_redis: RedisServer, user: str) -> None:
    logins = EntraLogins(Minting(principal=user))  # which tells no server
    hot = HotMemory(redis_url(locked_redis), credential_provider=logins)
    with pytest.raises(AccessDenied, match="the identity's access policy on the cache"):
        await hot.connect()
    await hot.close()
    await logins.close()


async def test_token_that_is_none(door: Door, user: str) -> None:
    class Wrong(Minting):
        async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
            return AccessToken("opaque-and-secret", int(time.time()) + 100)

    logins = EntraLogins(Wrong(principal=user))
    with pytest.raises(ConfigurationError, match="no JSON web token") as caught:
        await logins.current()
    assert "opaque" not in str(caught.value)
    nameless = EntraLogins(Minting(principal=""))
    with pytest.raises(ConfigurationError, match="object id"):
        await nameless.current()
    for each in (logins, nameless):
        await each.close()
