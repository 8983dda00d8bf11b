"""Signing requests to Cosmos DB with an account key that changes while the program runs."""

import base64
import hashlib
import hmac
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from thermocline.errors import ConfigurationError, ThermoclineError
from thermocline.resilience import Rotating
from thermocline.tiers.warm.trouble import Kind, Trouble


def check_key(key: Any) -> None:
    """Raise `ConfigurationError` for what is no account key."""
    try:
        known = len(base64.b64decode(key, validate=True)) > 0
    except (TypeError, ValueError):
        known = False
    if not known:
        raise ConfigurationError(
            "COSMOS_KEY (WarmMemory's key) is no account key, which is Base64: copy it whole, or unset it and sign in with `az login`"
        )


class Signer:
    """Puts the signature of the key of this moment on a request in place of the SDK's, which holds one key for good.

    The signature is Base64 of HMAC-SHA256 over verb, resource type, resource link and date, as the REST reference of Cosmos DB describes it.
    """

    def __init__(self, key: Rotating[str]) -> None:
        self._key = key

    async def first(self) -> str:
        """The key now, for the SDK's constructor. Raises `AccessDenied`, `TierUnavailable`, `ConfigurationError`."""
        key = await self._key.current()
        check_key(key)
        return key

    async def sign(self, request: Any) -> int:
        """Sign it; returns the key's generation. Raises `Trouble`, which leaves the SDK at once."""
        try:
            key = await self.first()
        except ThermoclineError as error:
            raise Trouble(Kind.FATAL, error) from error
        seen = self._key.generation
        signature = sign(key, request.method, urlsplit(request.url).path, request.headers["x-ms-date"])
        request.headers["authorization"] = quote(f"type=master&ver=1.0&sig={signature}", safe="-_.!~*'()")
        return seen

    async def renewed(self, seen: int) -> bool:
        """The service refused the key of that generation: whether there is a newer one. Raises `Trouble`."""
        try:
            return await self._key.renew(seen)
        except ThermoclineError as error:
            raise Trouble(Kind.FATAL, error) from error


def sign(key: str, verb: str, path: str, date: str) -> str:
    """The signature of a request by its path: a feed's type is the path's last part, an item's the one before."""
    parts = [unquote(part) for part in path.strip("/").split("/") if part]
    if len(parts) % 2:
        kind, link = parts[-1], "/".join(parts[:-1])
    else:
        kind, link = (parts[-2] if parts else ""), "/".join(parts)
    text = f"{verb.lower()}\n{kind.lower()}\n{link}\n{date.lower()}\n\n".encode()
    return base64.b64encode(hmac.digest(base64.b64decode(key), text, hashlib.sha256)).decode()
