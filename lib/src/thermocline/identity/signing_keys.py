"""The public keys of one Entra tenant, by which its tokens are checked: fetched when they are needed, kept, and fetched anew when they change."""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from thermocline.clock import Clock
from thermocline.errors import ConfigurationError, TierUnavailable

log = logging.getLogger("thermocline.identity")

FRESH: Final = 3600.0  # seconds that keys are used without a look whether they still count
KEPT: Final = 86_400.0  # ... and while nobody can be asked: Entra announces a key a day before it signs with it
AGAIN: Final = 60.0  # seconds between two fetches on account of an unknown key: strangers name as many as they like
AGAIN_FAILED: Final = 5.0  # ... and after one that failed
PATIENCE: Final = 5.0  # seconds for one fetch, both of its requests
MOST_BYTES: Final = 512 * 1024  # of one answer; Entra's have some 15,000
ENTRA: Final = "entra"  # the name under which an outage of it is told


class SigningKeys:
    """Of the tenant with this id. ``made(key)`` makes a key of a JWK, or None of one that is not for checking signatures.

    One fetch is under way at most. An outage is `TierUnavailable`; with keys at hand that are younger than a day it is only logged.
    """

    def __init__(
        self, tenant: str, authority: str, made: Callable[[Mapping[str, Any]], Any | None], *, clock: Clock
    ) -> None:
        self._tenant, self._authority, self._made, self._clock = tenant, authority, made, clock
        self._keys: dict[str, Any] = {}
        self._fetched = float("-inf")
        self._tried = float("-inf")
        self._failure: TierUnavailable | None = None
        self._gate = asyncio.Lock()

    @property
    def issuer(self) -> str:
        """Of this tenant's tokens of version 2.0."""
        return f"{self._authority}/{self._tenant}/v2.0"

    async def get(self, name: str) -> Any | None:
        """The key of that name; None: the tenant has none. Raises `TierUnavailable` where that cannot be known."""
        if self._current(name):
            return self._keys[name]
        async with self._gate:
            if not self._current(name) and self._may_ask():
                await self._fetch()
        found = self._keys.get(name)
        if found is not None and self._clock.monotonic() - self._fetched < KEPT:
            return found
        if self._failure is not None:
            raise self._failure.with_traceback(None)
        return None

    def _current(self, name: str) -> bool:
        return name in self._keys and self._clock.monotonic() - self._fetched < FRESH

    def _may_ask(self) -> bool:
        return self._clock.monotonic() - self._tried >= (AGAIN if self._failure is None else AGAIN_FAILED)

    async def _fetch(self) -> None:
        try:
            found = await self._read()
        except TierUnavailable as error:
            self._failure = error
            log.warning("%s", error)
        else:
            self._keys, self._failure = found, None
            self._fetched = self._clock.monotonic()
        self._tried = (
            self._clock.monotonic()
        )  # not in a finally: a cancelled fetch told nothing, and taken for an answer it would make good tokens bad

    async def _read(self) -> dict[str, Any]:
        try:
            from aiohttp import ClientError, ClientSession, ClientTimeout

            from thermocline.resilience.connections import Connector
        except ImportError as error:
            raise ConfigurationError('checking tokens needs aiohttp: pip install "thermocline[service]"') from error
        try:
            async with (
                asyncio.timeout(PATIENCE),
                ClientSession(connector=Connector(), timeout=ClientTimeout(total=None), trust_env=True) as session,
            ):
                about = await _document(session, f"{self.issuer}/.well-known/openid-configuration")
                place = about.get("jwks_uri")
                if about.get("issuer") != self.issuer or not self._is_ours(place):
                    raise self._trouble("speaks of another issuer, or of keys at another place, than this tenant's")
                listed = (await _document(session, str(place))).get("keys")
        except (ClientError, OSError, TimeoutError, ValueError) as error:
            raise self._trouble(f"cannot be asked for its keys ({type(error).__name__})") from error
        if not isinstance(listed, list):
            raise self._trouble("has no list of keys")
        return self._usable(listed)

    def _is_ours(self, place: object) -> bool:
        """Whether the keys are at the authority itself: who answers for it says where, but not that a stranger has them."""
        if not isinstance(place, str):
            return False
        ours, theirs = urlsplit(self._authority), urlsplit(place)
        return (ours.scheme, ours.netloc) == (theirs.scheme, theirs.netloc)

    def _usable(self, listed: list[Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for one in listed:
            name = one.get("kid") if isinstance(one, dict) else None
            if isinstance(name, str) and name:
                key = self._made(one)
                if key is not None:
                    found[name] = key
        return found

    def _trouble(self, what: str) -> TierUnavailable:
        return TierUnavailable(f"the authority of tenant {self._tenant} {what}", tier=ENTRA, sent=True)


async def _document(session: Any, url: str) -> dict[str, Any]:
    """A JSON object. Raises OSError or ValueError for anything else."""
    async with session.get(url, allow_redirects=False) as answer:
        if answer.status != 200:
            raise OSError(f"status {answer.status}")
        body = bytearray()
        async for chunk in answer.content.iter_chunked(64 * 1024):
            body += chunk
            if len(body) > MOST_BYTES:
                raise ValueError("too long an answer")
    found = json.loads(body)
    if not isinstance(found, dict):
        raise ValueError("no object")
    return found
