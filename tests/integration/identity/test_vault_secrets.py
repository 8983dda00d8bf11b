"""Secrets of Key Vault: read over TLS by the real SDKs, kept, read again, and what is said where one cannot be read."""

import asyncio
from datetime import timedelta

import pytest
from azure.identity import ManagedIdentityCredential as SynchronousCredential
from azure.identity.aio import ManagedIdentityCredential
from tests.integration.identity.load import until

from thermocline.errors import AccessDenied, ConfigurationError, ThermoclineError, TierUnavailable
from thermocline.identity import Vault
from thermocline.testing.rig import KeyVaultServer
from thermocline.testing.vault.tokens import PRINCIPAL

SOON = timedelta(milliseconds=20)


async def test_secret_is_read_once_and_kept(vault: KeyVaultServer, opened: Vault, name: str) -> None:
    vault.set(name, "first")
    secret = opened.secret(name)
    assert [await secret.current() for _ in range(5)] == ["first"] * 5
    assert secret.generation == 1
    assert opened.secret(name) is secret
    await opened.close()
    stats = vault.stats()
    assert stats["asked"].pop("vault 401", 1) == 1, "a challenge, which the SDK keeps for all clients of this process"
    assert stats["asked"] == {"identity 200": 1, "vault 200": 1}, "a token, the secret"
    assert stats["issued"][0]["aud"] == "https://vault.azure.net"
    assert stats["issued"][0]["oid"] == PRINCIPAL


async def test_many_who_ask_at_once_share_one_request(vault: KeyVaultServer, opened: Vault, name: str) -> None:
    vault.set(name, "v")
    assert await asyncio.gather(*(opened.secret(name).current() for _ in range(20))) == ["v"] * 20
    await opened.close()
    assert vault.stats()["asked"]["vault 200"] == 1


async def test_new_version_is_found_in_the_background(
    vault: KeyVaultServer, credential: ManagedIdentityCredential, name: str
) -> None:
    vault.set(name, "old")
    async with Vault(vault.url, credential, refresh=SOON) as opened:
        secret = opened.secret(name)
        assert await secret.current() == "old"
        vault.set(name, "new")
        await until(lambda: secret.generation == 2)
        assert (await secret.current(), secret.previous) == ("new", "old")


async def test_secret_is_read_again_before_it_expires(
    vault: KeyVaultServer, credential: ManagedIdentityCredential, name: str
) -> None:
    vault.set(name, "short", expires_in=3)
    async with Vault(vault.url, credential, refresh=timedelta(hours=1)) as opened:
        secret = opened.secret(name)
        assert await secret.current() == "short"
        vault.set(name, "long", expires_in=1000)
        await until(lambda: secret.generation == 2)
        assert secret.expires is not None
        assert secret.previous == "short"


async def test_refused_secret_is_read_again_once(vault: KeyVaultServer, opened: Vault, name: str) -> None:
    vault.set(name, "old")
    secret = opened.secret(name)
    await secret.current()
    assert not await secret.renew(1), "there is no newer one"
    assert not await secret.renew(1)
    assert vault.stats()["asked"]["vault 200"] == 2, "who is refused again at once does not ask again"
    assert await secret.renew(0), "another has fetched it meanwhile"


async def test_vault_that_went_down_leaves_what_was_read(
    vault: KeyVaultServer,
    credential: ManagedIdentityCredential,
    name: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    vault.set(name, "kept")
    async with Vault(vault.url, credential, refresh=SOON, options={"retry_total": 0}) as opened:
        secret = opened.secret(name)
        await secret.current()
        vault.down("vault")
        await until(lambda: "goes on being used" in caplog.text)
        assert await secret.current() == "kept"
        with pytest.raises(TierUnavailable, match="cannot be reached"):
            await secret.renew(1)
        vault.down()
        vault.set(name, "after")
        await until(lambda: secret.generation == 2)


async def test_throttled_vault_is_asked_again_as_it_says(vault: KeyVaultServer, opened: Vault, name: str) -> None:
    vault.set(name, "v")
    vault.throttle(1, retry_after=0)
    assert await opened.secret(name).current() == "v"
    await opened.close()
    assert vault.stats()["asked"]["vault 429"] == 1


# --- what cannot be read ---------------------------------------------------------------------------------------------


async def refusal(vault: KeyVaultServer, credential: ManagedIdentityCredential, name: str) -> ThermoclineError:
    opened = Vault(vault.url, credential, options={"retry_total": 0})
    opened.secret(name)
    with pytest.raises(ThermoclineError) as caught:
        async with opened:
            pytest.fail("it opened")
    text = str(caught.value)
    assert name in text
    assert vault.url in text
    assert "KEY_VAULT_URI" in text
    return caught.value


async def test_missing_secret(vault: KeyVaultServer, credential: ManagedIdentityCredential) -> None:
    error = await refusal(vault, credential, "there-is-none")
    assert isinstance(error, ConfigurationError)
    assert "none of that name" in str(error)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"enabled": False}, "disabled"),
        ({"expires_in": -5.0}, "has expired"),
        ({"begins_in": 1000.0}, "not valid before"),
    ],
)
async def test_secret_that_may_not_be_used(
    vault: KeyVaultServer,
    credential: ManagedIdentityCredential,
    name: str,
    how: dict[str, float],
    told: str,
) -> None:
    vault.set(name, "the value itself", **how)  # type: ignore[arg-type]
    error = await refusal(vault, credential, name)
    assert isinstance(error, AccessDenied)
    assert told in str(error)
    assert "the value itself" not in str(error)
    assert not error.sent


async def test_missing_role_is_named(vault: KeyVaultServer, credential: ManagedIdentityCredential) -> None:
    vault.roles()
    error = await refusal(vault, credential, "any-name")
    assert isinstance(error, AccessDenied)
    assert '"Key Vault Secrets User"' in str(error)


async def test_token_that_counts_no_more_is_fetched_anew_or_told(
    vault: KeyVaultServer, opened: Vault, name: str
) -> None:
    vault.set(name, "v")
    secret = opened.secret(name)
    await secret.current()
    vault.tokens(revoke=True)  # azure-identity still keeps its token, so the vault goes on refusing
    with pytest.raises(AccessDenied, match="Key Vault Secrets User"):
        await secret.renew(1)
    assert await secret.current() == "v"


@pytest.mark.parametrize("part", ["vault", "identity"])
async def test_vault_or_identity_that_is_down_at_the_start(
    vault: KeyVaultServer, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault.down(part)
    async with ManagedIdentityCredential(connection_verify=str(vault.ca_file), retry_total=0) as impatient:
        error = await refusal(vault, impatient, "any-name")
    assert isinstance(error, TierUnavailable)
    assert "cannot be reached" in str(error) or "az login" in str(error)


async def test_failing_vault(vault: KeyVaultServer, credential: ManagedIdentityCredential) -> None:
    vault.fail(1)
    error = await refusal(vault, credential, "any-name")
    assert type(error) is TierUnavailable
    assert "HTTP 500" in str(error)


# --- what can never work ---------------------------------------------------------------------------------------------


async def test_what_can_never_work_is_said_at_once(credential: ManagedIdentityCredential) -> None:
    with pytest.raises(ConfigurationError, match="nothing but TLS"):
        Vault("http://name.vault.azure.net", credential)
    with pytest.raises(ConfigurationError, match="KEY_VAULT_URI"):
        Vault("https://", credential)
    with pytest.raises(ConfigurationError, match=r"azure\.identity\.aio"):
        Vault("https://name.vault.azure.net", SynchronousCredential())
    with pytest.raises(ConfigurationError, match="no token credential"):
        Vault("https://name.vault.azure.net", "a key")
    with pytest.raises(ConfigurationError, match="longer than zero"):
        Vault("https://name.vault.azure.net", credential, refresh=timedelta(0))
    opened = Vault("https://name.vault.azure.net", credential)
    for name in ("", "under_score", "sla/sh", "x" * 128, "pass word"):
        with pytest.raises(ConfigurationError, match="letters, digits and hyphens"):
            opened.secret(name)
    await opened.close()
    await opened.close()


async def test_closed_vault_reads_nothing(vault: KeyVaultServer, credential: ManagedIdentityCredential) -> None:
    opened = Vault(vault.url, credential)
    secret = opened.secret("any-name")
    await opened.close()
    with pytest.raises(TierUnavailable, match="closed"):
        await secret.current()


async def test_on_azure_the_challenge_must_name_the_vaults_own_domain(
    vault: KeyVaultServer, credential: ManagedIdentityCredential
) -> None:
    """Elsewhere than on loopback the SDK compares them, so that no stranger's server gets a token for Key Vault."""
    strict = Vault(vault.url, credential, options={"verify_challenge_resource": True})
    with pytest.raises(ConfigurationError, match="is that a Key Vault"):
        await strict.secret("any-name").current()
    assert vault.stats()["issued"] == []
    await strict.close()
