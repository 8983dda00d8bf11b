"""The tokens of the managed identity: signed JWTs of this process, which nobody else can make."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from typing import Any, Final

PRINCIPAL: Final = "7d0b3c5e-0000-4000-8000-000000000001"
TENANT: Final = "72f988bf-0000-4000-8000-000000000000"
LIFETIME: Final = 3600.0  # seconds, unless the control API says otherwise


class BadToken(Exception):
    """The message says what is wrong with it."""


class Issuer:
    """Makes tokens and judges them."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._serial = 0
        self._revoked_below = 0
        self.principal = PRINCIPAL
        self.lifetime = LIFETIME
        self.issued: list[dict[str, Any]] = []  # audience, oid, exp of each; never the token

    def issue(self, audience: str) -> tuple[str, int]:
        """A token for this audience, and when it expires (seconds since 1970)."""
        now = time.time()
        self._serial += 1
        claims = {
            "aud": audience,
            "iss": f"https://sts.windows.net/{TENANT}/",
            "iat": int(now),
            "nbf": int(now),
            "exp": int(now + self.lifetime),
            "oid": self.principal,
            "sub": self.principal,
            "tid": TENANT,
            "ver": "1.0",
            "jti": str(self._serial),
        }
        head = _part({"typ": "JWT", "alg": "HS256", "kid": "thermocline"})
        body = f"{head}.{_part(claims)}"
        self.issued.append({name: claims[name] for name in ("aud", "oid", "exp")})
        return f"{body}.{_text(self._sign(body))}", int(now + self.lifetime)

    def revoke(self) -> None:
        """No token that was issued until now is taken any more."""
        self._revoked_below = self._serial

    def check(self, token: str, audience: str) -> str:
        """The token's principal. Raises BadToken."""
        body, _, signature = token.rpartition(".")
        try:
            given = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
            claims = json.loads(base64.urlsafe_b64decode(body.partition(".")[2] + "=="))
        except ValueError as error:
            raise BadToken("AKV10000: the token is no JWT.") from error
        if not hmac.compare_digest(given, self._sign(body)):
            raise BadToken("AKV10001: the token's signature is not of an issuer that this vault trusts.")
        if claims["aud"].rstrip("/") != audience:
            raise BadToken(f"AKV10022: Invalid audience. Expected {audience}, found: {claims['aud']}.")
        if claims["exp"] <= time.time():
            raise BadToken("AKV10002: the token has expired.")
        if int(claims["jti"]) <= self._revoked_below:
            raise BadToken("AKV10003: the token was revoked.")
        return str(claims["oid"])

    def _sign(self, body: str) -> bytes:
        return hmac.digest(self._key, body.encode(), hashlib.sha256)


def _part(value: dict[str, Any]) -> str:
    return _text(json.dumps(value).encode())


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
