"""What a server that refuses, drops and stalls sign-ins makes of a call: the right error, in time, and no connection half signed in."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.identity.aio import ManagedIdentityCredential
from tests.integration.answering import answering
from tests.integration.identity.load import Door, until

from thermocline import MemoryBuilder, MemorySettings
from thermocline.clock import Deadline
from thermocline.errors import AccessDenied, ClientClosed, ConfigurationError, TierTimeout, TierUnavailable
from thermocline.identity import EntraLogins, Held, PasswordLogins, Value, Vault
from thermocline.resilience import Budget
from thermocline.telemetry import correlation, correlation_id
from thermocline.testing.rig import KeyVaultServer, RedisCluster, RedisServer
from thermocline.testing.vault.tokens import Issuer
from thermocline.tiers.hot import HotMemory
from thermocline.tiers.hot.lanes import CALLS
from thermocline.tiers.local.sqlite import SqliteMemory
from thermocline.wiring import connect


class Values:
    """A secret whose newest and former value are known."""

    def __init__(self, *values: str) -> None:
        self._left = list(values)
        self.asked = 0
        self.broken: Exception | None = None

    async def __call__(self) -> Value:
        self.asked += 1
        if self.broken is not None:
            raise self.broken
        return Value(self._left.pop(0) if len(self._left) > 1 else self._left[0])


WRONG = "-WRONGPASS invalid username-password pair or user is disabled.\r\n"


def signing_in(sent: str) -> bool:
    return sent.startswith(("AUTH", "HELLO")) and "word" in sent


async def rotated(*values: str) -> tuple[Held, Values]:
    source = Values(*values)
    held = Held("the password", source, lapses=False)
    for _ in values:
        await held.fetch()
    source.asked = 0
    return held, source


async def test_server_that_goes_away_after_a_refusal_is_no_refusal() -> None:
    """The new secret is refused, and the connection with the one before is dropped: that is an outage, and the vault is not asked for it."""

    def behaviour(number: int, sent: str) -> str | None:
        if not signing_in(sent):
            return "+OK\r\n"
        return WRONG if number == 1 else None

    held, source = await rotated("word-0", "word-1")
    async with answering(behaviour) as url:
        hot = HotMemory(url, credential_provider=PasswordLogins(held), cluster=False)
        with pytest.raises(TierUnavailable) as caught:
            await hot._link.call(("PING",), Deadline.after(10))
        await hot.close()
    assert not isinstance(caught.value, AccessDenied)
    assert source.asked == 0


async def test_sign_in_that_stalls_after_a_refusal_ends_with_the_deadline() -> None:
    def behaviour(number: int, sent: str) -> str | None:
        if not signing_in(sent):
            return "+OK\r\n"
        return WRONG if number == 1 else ""

    held, source = await rotated("word-0", "word-1")
    async with answering(behaviour) as url:
        hot = HotMemory(url, credential_provider=PasswordLogins(held), cluster=False)
        with pytest.raises(TierTimeout):
            await hot._link.call(("PING",), Deadline.after(0.2))
        assert hot.pool() == (0, CALLS)
        await hot.close()
    assert [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("thermocline")] == []
    assert source.asked == 0


class Minted:
    """A credential that is asked by `get_token_info` alone, as newer ones may be, and fails as it is told."""

    def __init__(self) -> None:
        self.issuer = Issuer()
        self.broken: Exception | None = None
        self.contexts: list[str | None] = []

    async def get_token_info(self, *scopes: str, **_: Any) -> AccessToken:
        self.contexts.append(correlation_id())
        if self.broken is not None:
            raise self.broken
        return AccessToken(*self.issuer.issue(scopes[0].removesuffix("/.default")))

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("broken", [RuntimeError("Session is closed"), KeyError("x"), ValueError("y")])
async def test_credential_that_raises_what_it_likes_is_an_outage(broken: Exception) -> None:
    """As one that was closed too early does."""
    credential = Minted()
    credential.broken = broken
    logins = EntraLogins(credential)
    with pytest.raises(TierUnavailable, match=rf"gave no token for Redis \({type(broken).__name__}\)") as caught:
        await logins.current()
    assert not caught.value.sent
    await logins.close()


async def test_closed_logins_ask_for_no_token_any_more() -> None:
    credential = Minted()
    logins = EntraLogins(credential)
    await logins.current()
    await logins.close()
    with pytest.raises(ClientClosed):
        await logins.renew(1)
    assert len(credential.issuer.issued) == 1
    await logins.close()


async def test_renewals_are_under_no_callers_correlation_id() -> None:
    credential = Minted()
    credential.issuer.lifetime = 3
    logins = EntraLogins(credential)
    with correlation("first-caller"):
        await logins.current()
    await until(lambda: len(credential.contexts) > 1)
    assert credential.contexts[:2] == ["first-caller", None]
    await logins.close()


async def test_secret_that_is_gone_later_is_an_outage_of_hot_alone(
    vault: KeyVaultServer,
    credential: ManagedIdentityCredential,
    locked_redis: RedisServer,
    unique_name: Callable[[str], str],
    tmp_path: Path,
) -> None:
    """At the start a missing secret is a mistake of the configuration. Later the authority below answers in hot's place, on one key and on many."""
    name, door = unique_name("gone"), Door([locked_redis], unique_name("user"))
    vault.set(name, "word")
    door.only("word")
    async with Vault(vault.url, credential, options={"retry_total": 0}) as opened:
        logins = PasswordLogins(opened.secret(name), user=door.user)
        hot = HotMemory(f"redis://127.0.0.1:{locked_redis.port}", credential_provider=logins)
        made = MemoryBuilder().with_hot(hot).with_warm(SqliteMemory(tmp_path / "warm.sqlite3"))
        budget = Budget(hot=timedelta(seconds=10), warm=timedelta(seconds=10))
        async with made.with_options(budget=budget).build() as memory:
            await memory.set("key", 1)
            vault.delete(name)
            door.only("another")
            await door.throw_out()
            with pytest.raises(AccessDenied, match="there is none of that name") as caught:
                await hot.get("key")
            behind: BaseException | None = caught.value
            for _ in range(20):
                behind = behind and behind.__cause__
            assert behind is None, "no error has itself behind it"
            assert await memory.get("key") == 1
            assert await memory.get_many(["key", "other"]) == {"key": 1}
    door.forget()


async def test_logins_that_fail_answer_for_each_key_of_a_cluster(
    redis_cluster: RedisCluster, unique_name: Callable[[str], str], fresh_prefix: str
) -> None:
    """Whatever the source of a login raises: never a group of exceptions, and never one for keys that others answer."""
    door = Door(redis_cluster.nodes, unique_name("user"))
    door.only("word")
    source = Values("word")
    held = Held("the password", source, lapses=False)
    url = f"redis://127.0.0.1:{redis_cluster.nodes[0].port}"
    hot = HotMemory(url, credential_provider=PasswordLogins(held, user=door.user), cluster=True)
    async with hot:
        names = [f"{fresh_prefix}{n}" for n in range(30)]
        await hot.mset(dict.fromkeys(names, 1))
        door.only("another")
        await door.throw_out()
        source.broken = ConfigurationError("there is none of that name")
        wanted = [(name.encode(), ("GET", name)) for name in names]
        answers = await hot._link.call_many(wanted, Deadline.after(10))
        assert [type(answer) for answer in answers] == [ConfigurationError] * len(names)
    door.forget()


async def test_vault_that_accepts_and_never_answers_is_named(credential: ManagedIdentityCredential) -> None:
    """As behind a firewall that drops: `connect` ends with its deadline, and says what it waited for."""
    silent: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: silent.append(writer), "127.0.0.1", 0)
    uri = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    settings = MemorySettings(
        env_file=None,
        redis_host="127.0.0.1",
        redis_password_secret_name="the-name",
        key_vault_uri=uri,
        connect_deadline_ms=300,
    )
    with pytest.raises(TierTimeout, match=rf"KEY_VAULT_URI.*{uri}.*the-name"):
        await connect(settings, credential=credential)
    for writer in silent:
        writer.close()
    server.close()
    await server.wait_closed()
