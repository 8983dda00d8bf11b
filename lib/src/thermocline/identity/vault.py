"""Secrets in Azure Key Vault: read with the credential, kept, and read again before they expire and at an interval."""

import asyncio
import logging
import math
import re
import ssl
from collections.abc import Mapping
from contextvars import Context
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit
from urllib.request import getproxies

from thermocline.clock import SYSTEM_CLOCK, Clock
from thermocline.errors import AccessDenied, ConfigurationError, ThermoclineError, TierTimeout, TierUnavailable
from thermocline.identity.credentials import check_credential
from thermocline.identity.held import Held, Value
from thermocline.resilience.signing import unsigned

if TYPE_CHECKING:
    from azure.keyvault.secrets.aio import SecretClient

log = logging.getLogger("thermocline.identity")

REFRESH: Final = timedelta(minutes=5)
ROLE: Final = "Key Vault Secrets User"
_TIER: Final = "key vault"
_PATIENCE: Final = 10.0  # seconds for one secret
_EARLY: Final = 60.0  # seconds before it expires that a secret is read again; of a shorter life the last fifth
_NAME: Final = re.compile("[0-9A-Za-z-]{1,127}")
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


class VaultSecret(Held):
    """One secret by its name: always the newest version. Plays `Rotating` of str."""


class Vault:
    """A Key Vault. ``uri`` is ``https://<name>.vault.azure.net``; ``credential`` an asynchronous token credential with the role "Key Vault Secrets
    User", which stays its owner's to close. Every ``refresh`` each secret that was asked for is read again, and before it expires.

    Nothing is sent before `open` or the first secret is needed. Raises `ConfigurationError` for what can never work. The challenge that the vault
    answers with must name the vault's own domain, as the SDK checks; only on loopback (an emulator) that cannot be so, and is not checked.
    Belongs to one event loop.
    """

    def __init__(
        self,
        uri: str,
        credential: Any,
        *,
        refresh: timedelta = REFRESH,
        options: Mapping[str, Any] | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        parts = urlsplit(uri)
        alone = not (parts.username or parts.password or parts.query or parts.fragment)
        if parts.scheme != "https" or not parts.hostname or not alone:  # not repeated: a secret may be among it
            raise ConfigurationError(
                "KEY_VAULT_URI is https://<name>.vault.azure.net and nothing else: Key Vault speaks nothing but TLS, and takes no password or key"
            )
        if refresh <= timedelta(0):
            raise ConfigurationError("refresh is a timedelta longer than zero")
        check_credential(credential)
        self.uri = uri
        self._credential = credential
        self._refresh = refresh.total_seconds()
        self._options = {"verify_challenge_resource": parts.hostname not in _LOOPBACK, **(options or {})}
        self._clock = clock
        self._secrets: dict[str, VaultSecret] = {}
        self._client: SecretClient | None = None
        self._refreshing: asyncio.Task[None] | None = None
        self._read = asyncio.Event()  # something was read, so that the next time may be another
        self._closed = False

    def __repr__(self) -> str:
        return f"<Vault {self.uri} secrets {sorted(self._secrets)}>"

    def secret(self, name: str) -> VaultSecret:
        """The secret of that name, the same object each time. Raises `ConfigurationError` for a name that cannot be."""
        if _NAME.fullmatch(name) is None:
            raise ConfigurationError(
                "a secret's name in Key Vault is 1 to 127 letters, digits and hyphens (give the name, not the value)"
            )
        if name not in self._secrets:

            async def fetch() -> Value:
                try:
                    return await self._get(name)
                except ConfigurationError as error:
                    if not self._secrets[name].generation:
                        raise
                    # It was fine when the program began: for a tier that it signs in to, this is an outage, and others may have the answer.
                    raise AccessDenied(str(error), tier=_TIER, sent=False) from error

            self._secrets[name] = VaultSecret(f"secret {name!r} in {self.uri}", fetch, lapses=False, clock=self._clock)
        return self._secrets[name]

    async def open(self) -> None:
        """Read every secret that was asked for, and begin to read them again in time. Raises what is wrong with the first that cannot be read:
        `AccessDenied` (also for one that is disabled, expired or not yet valid), `ConfigurationError` (missing), `TierUnavailable`."""
        for secret in self._secrets.values():
            await secret.current()

    async def renew(self, name: str | None = None) -> dict[str, bool]:
        """Read secrets again at once: that of this name, or all. By name whether its value is a new one; one that nobody asked for is not in it.

        For an event that says so. Where one cannot be read, the value from before goes on being used, and what is wrong is raised after all were tried.
        """
        renewed: dict[str, bool] = {}
        wrong: list[ThermoclineError] = []
        for own, secret in tuple(self._secrets.items()):
            if name is not None and own.lower() != name.lower():  # names in Key Vault know no case
                continue
            seen = secret.generation
            try:
                await secret.fetch_anew()
                renewed[own] = secret.generation != seen
            except ThermoclineError as error:
                wrong.append(error)
        if wrong:
            raise wrong[0]
        return renewed

    async def close(self) -> None:
        """Forget the secrets and close the connections; the credential stays open. Idempotent."""
        self._closed = True
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.gather(self._refreshing, return_exceptions=True)
            self._refreshing = None
        for secret in self._secrets.values():
            await secret.close()
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def __aenter__(self) -> Self:
        try:
            await self.open()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _get(self, name: str) -> Value:
        if self._closed:
            raise TierUnavailable("the vault was closed", tier=_TIER, sent=False)
        if self._client is None:
            self._client = _client(self.uri, self._credential, self._options)
        if self._refreshing is None:
            loop = asyncio.get_running_loop()  # it goes on for as long as the vault: in no caller's context
            self._refreshing = loop.create_task(self._again(), name="thermocline secrets", context=Context())
        try:
            async with asyncio.timeout(_PATIENCE):
                found = await self._client.get_secret(name)
        except TimeoutError as error:
            raise TierTimeout(
                self._said(name, f"no answer within {_PATIENCE:.0f} s"), tier=_TIER, sent=False
            ) from error
        except Exception as error:
            raise self._explain(name, error) from error
        properties: Any = found.properties
        self._check_dates(name, properties.not_before, properties.expires_on)
        if not found.value:
            raise ConfigurationError(self._said(name, "it is empty: set its value"))
        expires: datetime | None = properties.expires_on
        if expires is not None:
            asyncio.get_running_loop().call_soon(self._read.set)  # when the value is kept
        return Value(found.value, None if expires is None else expires.timestamp())

    def _check_dates(self, name: str, begins: datetime | None, expires: datetime | None) -> None:
        now = self._clock.wall_ms() / 1000
        if expires is not None and expires.timestamp() <= now:
            why = f"it has expired ({expires.isoformat()}): set a new version"
            raise AccessDenied(self._said(name, why), tier=_TIER, sent=False)
        if begins is not None and begins.timestamp() > now:
            why = f"it is not valid before {begins.isoformat()}"
            raise AccessDenied(self._said(name, why), tier=_TIER, sent=False)

    def _explain(self, name: str, error: Exception) -> ThermoclineError:
        from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

        status = getattr(error, "status_code", None)
        if isinstance(error, ClientAuthenticationError) and getattr(error, "response", None) is None:
            why = (
                "not signed in to Azure, so there is no token: run `az login`, or give this workload a managed identity"
            )
            return AccessDenied(self._said(name, why), tier=_TIER, sent=False)
        if isinstance(error, ValueError):
            return ConfigurationError(
                self._said(name, f"its answer was not trusted; is that a Key Vault? ({_line(error)})")
            )
        if not isinstance(error, AzureError | OSError):
            why = f"the credential or the SDK failed ({type(error).__name__}: {_line(error)})"
            return TierUnavailable(self._said(name, why), tier=_TIER, sent=False)
        if not isinstance(error, HttpResponseError) or status is None:
            return TierUnavailable(self._said(name, f"cannot be reached: {_line(error)}"), tier=_TIER, sent=False)
        details: Any = getattr(error, "error", None)
        inner = (getattr(details, "innererror", None) or {}).get("code", "")
        if status == 404:
            return ConfigurationError(
                self._said(name, "there is none of that name: create it, or mend the *_SECRET_NAME")
            )
        if status == 403 and inner == "SecretDisabled":
            return AccessDenied(
                self._said(name, "it is disabled: enable it, or set a new version"), tier=_TIER, sent=False
            )
        if status in (401, 403):
            why = f'the identity may not read it: give it the role "{ROLE}" on the vault (minutes pass until that works), or open the vault\'s firewall'
            return AccessDenied(
                self._said(name, f"{why} (HTTP {status} {inner})".replace(" )", ")")), tier=_TIER, sent=False
            )
        if status == 400:
            return ConfigurationError(self._said(name, f"the vault refused the request: {_line(error)}"))
        return TierUnavailable(
            self._said(name, f"the vault failed (HTTP {status}): {_line(error)}"), tier=_TIER, sent=False
        )

    def _said(self, name: str, what: str) -> str:
        return f"the secret {name!r} in the vault {self.uri} (KEY_VAULT_URI): {what}"

    # --- in the background ---------------------------------------------------------------------------------------------

    async def _again(self) -> None:
        """Read the secrets again at the interval, and each before it expires."""
        while True:
            self._read.clear()
            try:
                async with asyncio.timeout(self._wait()):
                    await self._read.wait()
            except TimeoutError:
                for secret in tuple(self._secrets.values()):
                    if secret.generation:
                        await secret.try_fetch()

    def _wait(self) -> float:
        now = self._clock.wall_ms() / 1000
        left = min((s.expires - now for s in self._secrets.values() if s.expires is not None), default=math.inf)
        if left <= 0:  # an expired one is still in use: the interval must do
            return self._refresh
        return min(self._refresh, max(left - _EARLY, left * 0.8, 1.0))


def _client(uri: str, credential: Any, options: Mapping[str, Any]) -> "SecretClient":
    try:
        import aiohttp
        from azure.core.pipeline.transport import AioHttpTransport
        from azure.keyvault.secrets.aio import SecretClient

        from thermocline.resilience.connections import Connector
    except ImportError as error:
        raise ConfigurationError('Key Vault needs its SDK: pip install "thermocline[identity]"') from error
    session = aiohttp.ClientSession(
        connector=Connector(ssl_context=ssl.create_default_context()),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=bool(getproxies()),  # without a proxy aiohttp need not look for one, nor into ~/.netrc
        middlewares=(unsigned,),
    )
    # Few retries, and short ones: whoever waits has a deadline, and what is there goes on being used.
    quick = {"retry_total": 2, "retry_backoff_factor": 0.2, "retry_backoff_max": 2}
    transport = AioHttpTransport(session=session, connection_timeout=3, read_timeout=5)
    return SecretClient(uri, credential, transport=transport, **{**quick, **options})


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
