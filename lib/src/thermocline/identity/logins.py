"""What Redis is signed in to with, where it changes: a password from Key Vault, or an Entra token."""

import asyncio
import importlib.util
import logging
from contextvars import Context
from typing import Any, Final

from thermocline.clock import SYSTEM_CLOCK, Clock
from thermocline.errors import (
    AccessDenied,
    ClientClosed,
    ConfigurationError,
    TierTimeout,
    TierUnavailable,
)
from thermocline.identity.credentials import check_credential
from thermocline.identity.held import Held, Value

log = logging.getLogger("thermocline.identity")

Login = tuple[str, ...]
"""A user and a password, or a password alone."""

SCOPE: Final = "https://redis.azure.com/.default"
RENEW_AT: Final = 0.7  # of a token's remaining life, as redis-entraid counts
_TIER: Final = "hot"
_PATIENCE: Final = 10.0  # seconds for a token


class PasswordLogins:
    """Signs in with a password that may change, as the default user or as ``user``. Plays `Rotating` of `Login`."""

    def __init__(self, password: Held, *, user: str | None = None) -> None:
        self._password = password
        self._user = user

    def __repr__(self) -> str:
        return f"<PasswordLogins by {self._password.name}>"

    @property
    def generation(self) -> int:
        return self._password.generation

    @property
    def previous(self) -> Login | None:
        before = self._password.previous
        return None if before is None else self._login(before)

    async def current(self) -> Login:
        return self._login(await self._password.current())

    async def renew(self, seen: int) -> bool:
        return await self._password.renew(seen)

    def _login(self, password: str) -> Login:
        return (password,) if self._user is None else (self._user, password)


class EntraLogins:
    """Signs in to Azure Managed Redis with Entra tokens of an asynchronous credential; the user is the token's object id. Plays `Rotating` of `Login`.

    redis-entraid's provider reads the token and keeps the time of its renewals. It would ask the credential in the event loop's own thread, for
    it knows synchronous ones alone; so it is given tokens that were fetched before, and at its call the next one is. Belongs to one event loop.
    """

    def __init__(self, credential: Any, *, scope: str = SCOPE, clock: Clock = SYSTEM_CLOCK) -> None:
        check_credential(credential)
        _need_entraid()
        self._credential = credential
        self._scope = scope
        self._tokens = Held("the Entra token for Redis", self._fetch, lapses=True, clock=clock)
        self._provider: Any = None
        self._renewing: asyncio.Task[Any] | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<EntraLogins generation {self.generation}>"

    @property
    def generation(self) -> int:
        return self._tokens.generation

    @property
    def previous(self) -> Login | None:
        before = self._tokens.previous
        return None if before is None else _login(before)

    async def current(self) -> Login:
        """The object id and the token. Raises `AccessDenied` where nobody is signed in, `TierUnavailable`."""
        if self._closed:
            raise ClientClosed("the sign-in to Redis was closed")
        await self._tokens.current()
        if self._provider is None:
            self._provider = provider = self._new_provider()
            # Its renewals go on for as long as this does: in no caller's context.
            begun = asyncio.get_running_loop().create_task(provider.get_credentials_async(), context=Context())
            begun_login: Login = await begun
            return begun_login
        login: Login = await self._provider.get_credentials_async()
        return login

    async def renew(self, seen: int) -> bool:
        return await self._tokens.renew(seen)

    async def close(self) -> None:
        """End the renewals and forget the token; the credential stays open. Idempotent."""
        self._closed, self._provider = True, None
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.gather(self._renewing, return_exceptions=True)
        await self._tokens.close()

    async def _fetch(self) -> Value:
        from azure.core.exceptions import ClientAuthenticationError

        if self._closed:
            raise ClientClosed("the sign-in to Redis was closed")
        get_token = getattr(self._credential, "get_token", None) or self._credential.get_token_info
        try:
            async with asyncio.timeout(_PATIENCE):
                token = await get_token(self._scope)
        except TimeoutError as error:
            raise TierTimeout("the credential gave no token for Redis in time", tier=_TIER, sent=False) from error
        except ClientAuthenticationError as error:
            said = "not signed in to Azure, so there is no token for Redis: run `az login`, or give this workload a managed identity"
            raise AccessDenied(said, tier=_TIER, sent=False) from error
        except Exception as error:
            said = f"the credential gave no token for Redis ({type(error).__name__})"
            raise TierUnavailable(said, tier=_TIER, sent=False) from error
        _login(token.token)
        return Value(token.token, float(token.expires_on))

    # --- redis-entraid -------------------------------------------------------------------------------------------------

    def _new_provider(self) -> Any:
        from redis_entraid.cred_provider import EntraIdCredentialsProvider, RetryPolicy, TokenManagerConfig

        provider = EntraIdCredentialsProvider(
            _Fetched(self._tokens), TokenManagerConfig(RENEW_AT, 0, 100, RetryPolicy(0, 0))
        )

        async def due(_: Any) -> None:
            if self._provider is not provider:
                raise ClientClosed("the sign-in to Redis was closed")  # which ends its renewals
            self._renewing = asyncio.current_task()
            await self._tokens.try_fetch()  # failed, it is due again at RENEW_AT of what is left

        async def ended(error: Exception) -> None:
            if self._provider is provider:
                log.warning("the Entra token for Redis ran out before it could be renewed (%s)", type(error).__name__)
                self._provider = None  # the next call begins anew

        provider.on_next(due)
        provider.on_error(ended)
        return provider


class _Fetched:
    """redis-entraid's identity provider over a token that is there already: it never waits."""

    def __init__(self, tokens: Held) -> None:
        self._tokens = tokens

    def request_token(self, force_refresh: bool = False) -> Any:
        return _jwt(self._tokens.text)


def _jwt(token: str) -> Any:
    """Raises `ConfigurationError` for what is no token of Entra ID: the user's name in Redis stands in it."""
    from redis_entraid.identity_provider import JWToken

    try:
        return JWToken(token)
    except Exception as error:  # noqa: BLE001 - PyJWT's and redis-py's own, whatever they are
        raise ConfigurationError(
            f"the credential's token for Redis is no JSON web token ({type(error).__name__}): REDIS_AUTH=entra needs an Entra credential"
        ) from None


def _login(token: str) -> Login:
    user = _jwt(token).try_get("oid")
    if not isinstance(user, str) or not user:
        raise ConfigurationError(
            "the credential's token for Redis names no object id (oid), which is the user's name in Redis"
        )
    return (user, token)


def _need_entraid() -> None:
    try:
        missing = next(
            (name for name in ("azure.core", "redis_entraid") if importlib.util.find_spec(name) is None), None
        )
    except ModuleNotFoundError:  # not even the namespace "azure"
        missing = "azure"
    if missing is not None:
        raise ConfigurationError('Entra tokens for Redis need redis-entraid: pip install "thermocline[azure]"')
