"""Tokens that look like Entra ID's, for emulators that check their form and not their signature."""

import base64
import json
import time
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from thermocline.testing.extra import needed_by

with needed_by(__name__):
    from azure.core.credentials import AccessToken

_TENANT = "00000000-0000-0000-0000-000000000001"


class LocalCredential:
    """An async credential for Azure SDK clients that gives out tokens of its own making; no network is needed.

    The audience is that of the scope that the SDK asks for. The signature is not valid anywhere.
    """

    def __init__(self, *, lifetime: timedelta = timedelta(hours=1)) -> None:
        self._lifetime = lifetime
        self.issued = 0
        """How many tokens have been given out."""

    async def get_token(
        self,
        *scopes: str,
        claims: str | None = None,
        tenant_id: str | None = None,
        enable_cae: bool = False,
        **kwargs: Any,
    ) -> AccessToken:
        """Return a new token for the first scope."""
        self.issued += 1
        now = int(time.time())
        expires = now + int(self._lifetime.total_seconds())
        audience = scopes[0].removesuffix("/.default")
        body = {
            "aud": audience,
            "iss": f"https://sts.windows.net/{_TENANT}/",
            "iat": now,
            "nbf": now,
            "exp": expires,
            "oid": _TENANT,
            "sub": _TENANT,
            "tid": _TENANT,
            "ver": "1.0",
        }
        parts = [_encoded({"typ": "JWT", "alg": "RS256", "kid": "local"}), _encoded(body), _base64(b"not a signature")]
        return AccessToken(".".join(parts), expires)

    async def close(self) -> None:
        """Nothing is open."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.close()


def _encoded(value: dict[str, Any]) -> str:
    return _base64(json.dumps(value).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
