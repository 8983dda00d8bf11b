"""Keys and tokens, made without the library that checks them."""

import base64
import json
import time
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid4, uuid5

from thermocline.testing.extra import needed_by

with needed_by(__name__):
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

TENANT: Final = "11111111-1111-4111-8111-111111111111"
AUDIENCE: Final = "api://thermocline-memory"
_CLIENT: Final = "22222222-2222-4222-8222-222222222222"
LIFETIME: Final = timedelta(hours=1)


class Signer:
    """An RSA key and its name."""

    def __init__(self, *, bits: int = 2048, name: str | None = None) -> None:
        self.name = uuid4().hex if name is None else name
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=bits)

    def public(self) -> dict[str, Any]:
        """As a JWK."""
        numbers = self._key.public_key().public_numbers()
        return {
            "kty": "RSA",
            "use": "sig",
            "kid": self.name,
            "n": part(numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big")),
            "e": part(numbers.e.to_bytes(3, "big")),
        }

    def sign(self, claims: Mapping[str, Any], **head: Any) -> str:
        """A token with these claims, whatever they are; ``head`` changes its header."""
        body = unsigned(claims, {"typ": "JWT", "alg": "RS256", "kid": self.name} | head)
        return f"{body}.{part(self._key.sign(body.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def claims_of(
    authority: str,
    tenant: str,
    *,
    roles: Iterable[str] = (),
    scopes: Iterable[str] | None = None,
    audience: str = AUDIENCE,
    user: str = "user",
    client: str = _CLIENT,
    version: str = "2.0",
    lifetime: timedelta = LIFETIME,
    now: float | None = None,
    **more: Any,
) -> dict[str, Any]:
    """An access token's claims as Entra makes them: of an application with ``roles``, or, with ``scopes``, of one that acts for a user. ``now``: seconds
    since 1970. ``more`` are claims besides, or instead; None takes one away."""
    at = int(time.time() if now is None else now)
    who = str(uuid5(NAMESPACE_URL, f"{tenant}/{user}"))
    claims: dict[str, Any] = {
        "aud": audience,
        "iss": f"{authority}/{tenant}/v2.0" if version == "2.0" else f"https://sts.windows.net/{tenant}/",
        "iat": at,
        "nbf": at,
        "exp": at + int(lifetime.total_seconds()),
        "oid": who,
        "sub": who,
        "tid": tenant,
        "ver": version,
        "azp" if version == "2.0" else "appid": client,
    }
    claims |= {"roles": [*roles]} if scopes is None else {"scp": " ".join(scopes)}
    claims |= more
    return {name: value for name, value in claims.items() if value is not None}


def unsigned(claims: Mapping[str, Any], head: Mapping[str, Any]) -> str:
    """The two parts of a token that its signature signs."""
    return f"{part(json.dumps(head).encode())}.{part(json.dumps(claims).encode())}"


def part(data: bytes) -> str:
    """Base64 as JWTs write it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
