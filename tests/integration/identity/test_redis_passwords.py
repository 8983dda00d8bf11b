"""Redis' password in Key Vault: rotated without a restart, and under load no call fails."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from azure.identity.aio import ManagedIdentityCredential
from tests.integration.identity.load import Door, Load

from thermocline import MemoryBuilder, MemoryClient, MemorySettings
from thermocline.clock import Deadline
from thermocline.errors import AccessDenied, TierUnavailable
from thermocline.identity import PasswordLogins, Vault
from thermocline.model import Authority
from thermocline.resilience import Budget
from thermocline.testing.rig import KeyVaultServer, RedisCluster, RedisServer
from thermocline.tiers.hot import HotMemory
from thermocline.tiers.local.sqlite import SqliteMemory
from thermocline.wiring import connect

PATIENT = Budget(hot=timedelta(seconds=10))  # a slow machine is no outage
ROTATIONS = 5


@pytest.fixture
def door(locked_redis: RedisServer, unique_name: Callable[[str], str]) -> Iterator[Door]:
    made = Door([locked_redis], unique_name("user"))
    made.only("secret-0")
    yield made
    made.forget()


@pytest.fixture
def name(vault: KeyVaultServer, unique_name: Callable[[str], str]) -> str:
    made = unique_name("redis-password")
    vault.set(made, "secret-0")
    return made


def hot_of(server: RedisServer, door: Door, opened: Vault, name: str) -> HotMemory:
    logins = PasswordLogins(opened.secret(name), user=door.user)
    return HotMemory(f"redis://127.0.0.1:{server.port}", credential_provider=logins)


@pytest.fixture
async def hot(locked_redis: RedisServer, door: Door, opened: Vault, name: str) -> AsyncIterator[HotMemory]:
    async with hot_of(locked_redis, door, opened, name) as made:
        yield made


@pytest.fixture
def settings(vault: KeyVaultServer, locked_redis: RedisServer, door: Door, name: str) -> MemorySettings:
    return MemorySettings(
        env_file=None,
        redis_url=f"redis://{door.user}@127.0.0.1:{locked_redis.port}",
        redis_password_secret_name=name,
        key_vault_uri=vault.url,
        hot_deadline_ms=10_000,
    )


async def test_settings_name_the_secret(
    vault: KeyVaultServer,
    credential: ManagedIdentityCredential,
    settings: MemorySettings,
    door: Door,
    name: str,
    fresh_prefix: str,
) -> None:
    async with await connect(settings, credential=credential) as memory:
        assert (await memory.set(fresh_prefix, 1)).authority is Authority.HOT
        door.only("secret-1")
        vault.set(name, "secret-1")
        await door.throw_out()
        assert await memory.get(fresh_prefix) == 1, "refused, the secret read again, signed in anew"


async def test_vault_that_is_down_at_the_start_is_told_by_connect(
    vault: KeyVaultServer, credential: ManagedIdentityCredential, locked_redis: RedisServer
) -> None:
    settings = MemorySettings(
        env_file=None,
        redis_url=f"redis://127.0.0.1:{locked_redis.port}",
        redis_password_secret_name="redis-password",
        key_vault_uri=vault.url,
    )
    vault.down("vault")
    with pytest.raises(TierUnavailable, match=r"'redis-password' in the vault .* cannot be reached"):
        await connect(settings, credential=credential)
    vault.down()
    vault.roles()
    with pytest.raises(AccessDenied, match='"Key Vault Secrets User"'):
        await connect(settings, credential=credential)


async def test_no_call_fails_while_the_password_is_rotated_under_load(
    vault: KeyVaultServer,
    opened: Vault,
    locked_redis: RedisServer,
    door: Door,
    name: str,
    fresh_prefix: str,
) -> None:
    """Eight workers; the vault has the new secret first, then Redis takes no other; half of the times all connections have to be made anew."""
    made = MemoryBuilder().with_hot(hot_of(locked_redis, door, opened, name)).with_options(budget=PATIENT)
    async with made.build() as memory:

        async def work(worker: int, turn: int) -> None:
            key = f"{fresh_prefix}{worker}"
            await memory.set(key, turn)
            assert await memory.get(key) == turn

        async def script(load: Load) -> None:
            for rotation in range(1, ROTATIONS + 1):
                await load.reach(60)
                vault.set(name, f"secret-{rotation}")
                if rotation % 2:
                    await load.pause()
                    door.only(f"secret-{rotation}")
                    assert await door.throw_out() > 0
                    load.resume()
                else:
                    door.only(f"secret-{rotation}")
                    await opened.secret(name).fetch()  # as it is read in the background
            await load.reach(60)

        load = Load(work)
        await load.during(script)
        assert load.failed == []
        assert load.done >= 60 * (ROTATIONS + 1)
        assert opened.secret(name).generation == ROTATIONS + 1


async def test_no_call_fails_though_connections_break_where_an_authority_is_below(
    vault: KeyVaultServer,
    opened: Vault,
    locked_redis: RedisServer,
    door: Door,
    name: str,
    tmp_path: Path,
) -> None:
    """All connections are closed in the midst of calls, and Redis knows only the new secret, which the vault has later."""
    made = MemoryBuilder().with_hot(hot_of(locked_redis, door, opened, name))
    made.with_warm(SqliteMemory(tmp_path / "warm.sqlite3"))
    made.with_options(budget=Budget(hot=timedelta(seconds=10), warm=timedelta(seconds=10)))
    async with made.build() as memory:

        async def work(worker: int, turn: int) -> None:
            key = f"k{worker}"
            await memory.set(key, turn)
            assert await memory.get(key) == turn

        async def script(load: Load) -> None:
            for rotation in range(1, ROTATIONS + 1):
                await load.reach(20)
                door.only(f"secret-{rotation}")
                await door.throw_out()
                await load.reach(4)
                vault.set(name, f"secret-{rotation}")
            await load.reach(20)

        load = Load(work)
        await load.during(script)
        assert load.failed == []


async def test_connections_sign_in_again_before_they_are_used(
    vault: KeyVaultServer,
    opened: Vault,
    hot: HotMemory,
    locked_redis: RedisServer,
    door: Door,
    name: str,
    fresh_prefix: str,
) -> None:
    await asyncio.gather(*(hot.set(f"{fresh_prefix}{n}", n) for n in range(8)))
    before = sign_ins(locked_redis)
    door.only("secret-1")
    vault.set(name, "secret-1")
    await opened.secret(name).fetch()
    assert await asyncio.gather(*(hot.get(f"{fresh_prefix}{n}") for n in range(8))) == list(range(8))
    after = sign_ins(locked_redis)
    assert 1 <= after - before - 2 <= 8  # two of them are the rig's own
    assert await hot.get(f"{fresh_prefix}1") == 1
    assert sign_ins(locked_redis) - after == 1, "the rig's own: each connection has signed in once"


async def test_new_secret_that_redis_does_not_know_yet_does_no_harm(
    vault: KeyVaultServer, opened: Vault, hot: HotMemory, door: Door, name: str, fresh_prefix: str
) -> None:
    await hot.set(fresh_prefix, "value")
    vault.set(name, "secret-1")
    await opened.secret(name).fetch()
    assert await hot.get(fresh_prefix) == "value", "a live connection keeps the sign-in that it has"
    await door.throw_out()
    assert await hot.get(fresh_prefix) == "value", "a new one takes the secret before"


async def test_server_that_forgets_a_connection_is_told_again(hot: HotMemory, fresh_prefix: str) -> None:
    """RESET takes a connection's sign-in away: what it is sent next is answered NOAUTH, done by nobody, and sent once more."""
    await hot.set(fresh_prefix + "n", 0)
    await hot._call(("RESET",), Deadline.after(10))
    assert await hot._call(("INCR", fresh_prefix + "i"), Deadline.after(10)) == 1
    await hot._call(("RESET",), Deadline.after(10))
    many = [(b"", ("INCR", fresh_prefix + "i")) for _ in range(5)]
    assert await hot._call_many(many, Deadline.after(10)) == [2, 3, 4, 5, 6]


async def test_cluster_is_asked_for_its_nodes_with_the_login_that_counts(
    vault: KeyVaultServer,
    opened: Vault,
    redis_cluster: RedisCluster,
    name: str,
    fresh_prefix: str,
) -> None:
    """redis-py signs in by itself to learn who has which slots: with an old secret, and with one that the cluster does not know yet."""
    door = Door(redis_cluster.nodes, name)
    secret = opened.secret(name)

    async def visit() -> None:
        logins = PasswordLogins(secret, user=door.user)
        url = f"redis://127.0.0.1:{redis_cluster.nodes[0].port}"
        hot = HotMemory(url, credential_provider=logins, cluster=True)
        async with hot:
            items = {f"{fresh_prefix}{n}": n for n in range(9)}
            await hot.mset(items)
            assert await hot.mget(list(items)) == items

    assert await secret.current() == "secret-0"
    vault.set(name, "secret-1")
    door.only("secret-1")
    await visit()
    assert secret.generation == 2
    hot = HotMemory(
        f"redis://127.0.0.1:{redis_cluster.nodes[0].port}",
        credential_provider=PasswordLogins(secret, user=door.user),
        cluster=True,
    )
    async with hot:
        nodes = await hot._link.nodes(Deadline.after(10))
        vault.set(name, "secret-1b")
        door.only("secret-1b")
        await door.throw_out()
        assert await hot._link.nodes(Deadline.after(10)) == nodes, "as a scan or a forget asks"
    assert secret.generation == 3
    vault.set(name, "secret-2")
    await secret.fetch()
    await visit()
    vault.set(name, "secret-3")
    door.only("secret-3")
    await visit()
    assert secret.generation == 5
    door.forget()


@pytest.mark.parametrize("how", ["same", "disabled", "down"])
async def test_refused_password_without_a_newer_one_is_told(
    vault: KeyVaultServer,
    credential: ManagedIdentityCredential,
    locked_redis: RedisServer,
    door: Door,
    name: str,
    fresh_prefix: str,
    how: str,
) -> None:
    async with (
        Vault(vault.url, credential, options={"retry_total": 0}) as opened,
        hot_of(locked_redis, door, opened, name) as hot,
    ):
        await hot.set(fresh_prefix, 1)
        vault.stats(reset=True)
        door.only("nobody-knows")
        await door.throw_out()
        if how == "disabled":
            vault.enable(name, False)
        elif how == "down":
            vault.down("vault")
        told = {"same": "credential is missing or wrong", "disabled": "it is disabled", "down": "cannot be reached"}[
            how
        ]
        with pytest.raises(TierUnavailable, match=told) as caught:
            await hot.get(fresh_prefix)
        assert not caught.value.sent
        assert isinstance(caught.value, AccessDenied) == (how != "down")
        vault.down()
        if how == "same":
            assert vault.stats()["asked"] == {"vault 200": 1}, "read again once"


async def test_client_closes_what_was_made_for_it(
    credential: ManagedIdentityCredential, settings: MemorySettings
) -> None:
    memory: MemoryClient = await connect(settings, credential=credential)
    await memory.close()
    assert [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("thermocline")] == []
    await credential.get_token("https://vault.azure.net/.default")  # the credential that was given stays open


def sign_ins(server: RedisServer) -> int:
    with server.connection() as connection:
        found = connection.fields("INFO", "commandstats").get("cmdstat_auth", "calls=0,")
    return int(found.split("calls=")[1].split(",")[0])
