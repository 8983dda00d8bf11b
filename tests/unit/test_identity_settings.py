"""How settings say who signs in: the order of preference, and what contradicts itself."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.identity import DefaultAzureCredential as SynchronousCredential

from thermocline import HotMemory, MemoryBuilder, MemorySettings, WarmMemory
from thermocline.errors import ConfigurationError
from thermocline.identity import EntraLogins, PasswordLogins, Vault, VaultSecret, check_credential
from thermocline.model import MemoryTier
from thermocline.settings import variables
from thermocline.wiring import builder, connect

VAULT = "https://name.vault.azure.net"
AZURE = "cache.westeurope.redis.azure.net"
KEY = "a2V5"


class Credential:
    """An asynchronous credential that nobody asks here."""

    closed = False

    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        raise AssertionError("nothing is sent before connect")

    async def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    known = {variable for name in MemorySettings.model_fields for variable in variables(name)}
    for name in list(os.environ):
        if name.upper() in known:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def settings(**given: Any) -> MemorySettings:
    return MemorySettings(env_file=None, **given)


def hot_of(**given: Any) -> HotMemory:
    hot = builder(settings(**given), credential=Credential()).tiers()[MemoryTier.HOT]
    assert isinstance(hot, HotMemory)
    return hot


def sign_in_of(hot: HotMemory) -> Any:
    return None if hot._link._sign_in is None else hot._link._sign_in._logins


# --- Redis -----------------------------------------------------------------------------------------------------------


def test_managed_redis_without_a_password_is_signed_in_to_with_tokens() -> None:
    hot = hot_of(redis_host=AZURE)
    assert isinstance(sign_in_of(hot), EntraLogins)
    assert hot.url == f"rediss://{AZURE}:10000"
    assert isinstance(sign_in_of(hot_of(redis_url=f"rediss://{AZURE}:10000")), EntraLogins)


@pytest.mark.parametrize(
    "given",
    [
        {"redis_host": AZURE, "redis_password": "p"},
        {"redis_url": f"rediss://:p@{AZURE}:10000"},
        {"redis_host": AZURE, "redis_auth": "password"},
        {"redis_host": "localhost"},
        {"redis_url": "redis://localhost"},
        {"redis_host": "cache.redis.cache.windows.net"},
        {"redis_host": "redis.azure.net.example"},
    ],
)
def test_no_tokens(given: dict[str, Any]) -> None:
    assert sign_in_of(hot_of(**given)) is None


def test_tokens_where_they_are_asked_for() -> None:
    assert isinstance(sign_in_of(hot_of(redis_host="cache.redis.cache.windows.net", redis_auth="entra")), EntraLogins)
    assert isinstance(sign_in_of(hot_of(redis_url="redis://localhost", redis_auth="entra")), EntraLogins)


def test_secret_of_the_vault_goes_before_a_password_and_before_tokens() -> None:
    given = {"redis_password_secret_name": "n", "key_vault_uri": VAULT}
    for more in ({"redis_host": AZURE}, {"redis_host": "h", "redis_password": "p"}):
        assert isinstance(sign_in_of(hot_of(**given, **more)), PasswordLogins)
    hot = hot_of(**given, redis_url="rediss://us%2Fer:old@host:1/2")
    assert hot.url == "rediss://host:1/2"
    assert sign_in_of(hot)._user == "us/er"


def test_password_does_without_a_vault() -> None:
    hot = hot_of(redis_host="h", redis_password="p", redis_password_secret_name="n")
    assert sign_in_of(hot) is None
    assert hot.url == "redis://:p@h:6379"


# --- Cosmos DB, Blob and Table Storage -------------------------------------------------------------------------------


def test_order_of_cosmos() -> None:
    account = {"cosmos_account_uri": "https://account.documents.azure.com"}
    named = {"cosmos_key_secret_name": "n", "key_vault_uri": VAULT}
    for given, kind in (({}, "credential"), ({"cosmos_key": KEY}, "key"), ({**named, "cosmos_key": KEY}, "secret")):
        credential = Credential()
        warm = builder(settings(**account, **given), credential=credential).tiers()[MemoryTier.WARM]
        assert isinstance(warm, WarmMemory)
        assert (warm.credential is credential) == (kind == "credential")
        assert isinstance(warm.key, VaultSecret) == (kind == "secret")
        assert (warm.key == KEY) == (kind == "key")


def test_order_of_blob_storage() -> None:
    account = "https://account.blob.core.windows.net"
    named = {"blob_sas_secret_name": "n", "key_vault_uri": VAULT}
    credential = Credential()
    for given, kind in (
        ({"blob_account_url": account}, Credential),
        ({"blob_account_url": f"{account}?sv=1&sig=2"}, type(None)),
        ({"blob_account_url": account, **named}, VaultSecret),
    ):
        cold: Any = builder(settings(**given), credential=credential).tiers()[MemoryTier.COLD]
        assert isinstance(cold._account.credential, kind)


def test_order_of_table_storage() -> None:
    account = "https://account.table.core.windows.net"
    named = {"table_sas_secret_name": "n", "key_vault_uri": VAULT}
    credential = Credential()
    for given, kind in (
        ({"table_account_url": account}, Credential),
        ({"table_account_url": f"{account}?sv=1&sig=2"}, type(None)),
        ({"table_account_url": account, **named}, VaultSecret),
    ):
        table: Any = builder(settings(**given), credential=credential).tiers()[MemoryTier.WARM_PLUS]
        assert isinstance(table._account.credential, kind)


async def test_one_credential_for_all_and_the_given_one_stays_open() -> None:
    credential = Credential()
    made = builder(
        settings(
            redis_host=AZURE,
            cosmos_account_uri="https://account.documents.azure.com",
            blob_account_url="https://account.blob.core.windows.net",
        ),
        credential=credential,
    )
    tiers: dict[MemoryTier, Any] = {**made.tiers()}
    assert tiers[MemoryTier.WARM].credential is credential
    assert tiers[MemoryTier.COLD]._account.credential is credential
    assert sign_in_of(tiers[MemoryTier.HOT])._credential is credential
    await made.close()
    assert not credential.closed


# --- what contradicts itself -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"key_vault_uri": "http://name.vault.azure.net"}, "KEY_VAULT_URI: is no URL of the form https://host"),
        ({"redis_host": "h", "redis_password_secret_name": "a_b"}, "REDIS_PASSWORD_SECRET_NAME: is no secret's name"),
        ({"cosmos_key_secret_name": "x" * 128}, "COSMOS_KEY_SECRET_NAME: is no secret's name"),
        (
            {"cosmos_key_secret_name": "n", "key_vault_uri": VAULT},
            "COSMOS_KEY_SECRET_NAME is set without COSMOS_ACCOUNT_URI",
        ),
        ({"cosmos_key_secret_name": "n", "cosmos_account_uri": "https://a"}, "set KEY_VAULT_URI as well"),
        ({"blob_sas_secret_name": "n", "key_vault_uri": VAULT}, "BLOB_SAS_SECRET_NAME is set without BLOB_ACCOUNT_URL"),
        ({"blob_sas_secret_name": "n", "blob_account_url": "https://a"}, "set KEY_VAULT_URI as well"),
        (
            {"blob_sas_secret_name": "n", "blob_account_url": "https://a?sig=1", "key_vault_uri": VAULT},
            "take it out of the URL",
        ),
        (
            {"table_sas_secret_name": "n", "key_vault_uri": VAULT},
            "TABLE_SAS_SECRET_NAME is set without TABLE_ACCOUNT_URL",
        ),
        ({"table_sas_secret_name": "n", "table_account_url": "https://a"}, "set KEY_VAULT_URI as well"),
        (
            {"table_sas_secret_name": "n", "table_account_url": "https://a?sig=1", "key_vault_uri": VAULT},
            "TABLE_SAS_SECRET_NAME is set, and TABLE_ACCOUNT_URL holds a SAS as well; take it out of the URL",
        ),
        ({"table_sas_secret_name": "a_b"}, "TABLE_SAS_SECRET_NAME: is no secret's name"),
        ({"redis_auth": "entra"}, "REDIS_AUTH=entra is set, but neither"),
        ({"redis_auth": "entra", "redis_host": "h", "redis_password": "p"}, "unset one of the two"),
        ({"redis_auth": "entra", "redis_url": "rediss://:p@h"}, "unset one of the two"),
        ({"redis_auth": "entra", "redis_url": "rediss://h?password=p"}, "unset one of the two"),
        ({"redis_auth": "entra", "redis_host": "example.net"}, "a token is a password"),
        ({"redis_auth": "magic"}, "REDIS_AUTH"),
    ],
)
def test_settings_that_contradict_themselves(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        settings(**given)


async def test_synchronous_credential_is_refused_everywhere() -> None:
    synchronous = SynchronousCredential()
    told = r"synchronous credential.*azure\.identity\.aio"
    with pytest.raises(ConfigurationError, match=told):
        MemoryBuilder().with_credential(synchronous)
    with pytest.raises(ConfigurationError, match=told):
        builder(settings(redis_host=AZURE), credential=synchronous)
    with pytest.raises(ConfigurationError, match=told):
        await connect(settings(), credential=synchronous)
    with pytest.raises(ConfigurationError, match=told):
        EntraLogins(synchronous)
    with pytest.raises(ConfigurationError, match="no token credential"):
        check_credential("a key")
    with pytest.raises(ConfigurationError, match=r"is a class: give a credential made of it, Credential\(\)"):
        check_credential(Credential)
    synchronous.close()


def test_refused_addresses_repeat_nothing_that_may_be_a_secret() -> None:
    """A password with a slash cuts a URL short, and what urllib says of the port is then a part of it; a connection string holds a key."""
    secret = "hunter2"
    made: list[tuple[Callable[..., Any], list[Any]]] = [
        (HotMemory, [f"redis://:{secret}/x@h:1"]),
        (HotMemory, [f"redis://u:{secret}#x@h"]),
        (Vault, [f"AccountEndpoint=https://h;AccountKey={secret}", Credential()]),
        (Vault, [f"https://u:{secret}@h", Credential()]),
        (Vault, [f"https://h?sig={secret}", Credential()]),
        (WarmMemory, [f"AccountKey={secret};AccountEndpoint=https://h", "d", "c"]),
    ]
    for make, words in made:
        with pytest.raises(ConfigurationError) as caught:
            make(*words)
        behind: BaseException | None = caught.value
        while behind is not None:
            assert secret not in repr(behind) + str(behind)
            behind = behind.__cause__ or behind.__context__
