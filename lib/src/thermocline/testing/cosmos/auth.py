"""Who may ask: signatures of the account key, and Entra tokens with data roles.

The signature is base64(HMAC-SHA256(key, "verb\\ntype\\nlink\\ndate\\n\\n")). A token's own signature is not verified (the server
does not know Entra's keys); its shape, lifetime and audience are, and what its principal may do.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import parse_qs, unquote

import msgspec

from thermocline.testing.cosmos.failures import ServiceError

EMULATOR_KEY: Final = "C2y6yDjf5/R+ob0N8A7Cgv30VRDJIWEHLM+4QDU5DE2nQ9nDuVTqobD4b8mGGyPMbIZnqyMsEcaGQy67XIw/Jw=="
MAX_SKEW: Final = 15 * 60
_ACCOUNT: Final = "Microsoft.DocumentDB/databaseAccounts"
_CONTAINERS: Final = f"{_ACCOUNT}/sqlDatabases/containers"
_READ: Final = frozenset(
    {
        f"{_ACCOUNT}/readMetadata",
        f"{_CONTAINERS}/items/read",
        f"{_CONTAINERS}/executeQuery",
        f"{_CONTAINERS}/readChangeFeed",
    }
)
ROLES: Final[dict[str, frozenset[str]]] = {
    "reader": _READ,
    "contributor": _READ
    | {f"{_CONTAINERS}/items/{verb}" for verb in ("create", "upsert", "replace", "delete")}
    | {f"{_CONTAINERS}/executeStoredProcedure", f"{_CONTAINERS}/manageConflicts"},
    "metadata": frozenset({f"{_ACCOUNT}/readMetadata"}),
}
ACTIONS: Final[dict[str, tuple[str, ...]]] = {
    "account": (f"{_ACCOUNT}/readMetadata",),
    "metadata": (f"{_ACCOUNT}/readMetadata",),
    "pkranges": (f"{_ACCOUNT}/readMetadata",),
    "plan": (f"{_ACCOUNT}/readMetadata",),
    "read": (f"{_CONTAINERS}/items/read",),
    "create": (f"{_CONTAINERS}/items/create",),
    "upsert": (f"{_CONTAINERS}/items/upsert",),
    "replace": (f"{_CONTAINERS}/items/replace",),
    "patch": (f"{_CONTAINERS}/items/replace",),
    "delete": (f"{_CONTAINERS}/items/delete",),
    "delete_partition": (f"{_CONTAINERS}/items/delete",),
    "query": (f"{_CONTAINERS}/executeQuery",),
    "feed": (f"{_CONTAINERS}/readChangeFeed",),
    "batch": (f"{_CONTAINERS}/items/create", f"{_CONTAINERS}/items/replace"),
}


@dataclass(frozen=True, slots=True)
class Grant:
    """A role (`reader`, `contributor`, `metadata`) or single actions, on `/`, `/dbs/D` or `/dbs/D/colls/C`."""

    actions: frozenset[str]
    scope: str = "/"

    def covers(self, action: str, resource: str) -> bool:
        """Whether it allows the action there."""
        inside = self.scope == "/" or resource == self.scope or resource.startswith(self.scope + "/")
        # metadata is read at every level on the way down to the scope
        above = action.endswith("readMetadata") and (resource == "/" or self.scope.startswith(resource + "/"))
        return action in self.actions and (inside or above)


def parse_grant(raw: Any) -> Grant:
    """A grant of the control API: a role's name, or `{"role" | "actions", "scope"}`."""
    if isinstance(raw, str):
        raw = {"role": raw}
    actions = frozenset(raw["actions"]) if "actions" in raw else ROLES[raw["role"]]
    return Grant(actions, raw.get("scope", "/"))


@dataclass(slots=True)
class Guard:
    """Checks requests. `aad`: `off` refuses tokens, `any` lets every principal do everything, `roles` asks `principals`."""

    key: str
    aad: str = "off"
    account: str = "localhost"
    principals: dict[str, list[Grant]] = field(default_factory=dict)
    keys_disabled: bool = False

    def check(
        self, *, kind: str, verb: str, authorization: str, date: str, sign: list[tuple[str, str]], path: str
    ) -> None:
        """401 or 403 unless the request may go on. `sign` lists the (type, link) pairs that may have been signed."""
        fields = {k: v[0] for k, v in parse_qs(unquote(authorization).replace("+", "%2B")).items()}
        kind_of_token = fields.get("type")
        if kind_of_token == "aad":
            self._check_token(kind, verb, fields.get("sig", ""), path)
            return
        if kind_of_token != "master" or fields.get("ver") != "1.0":
            raise _unauthorized("The input authorization token can't serve the request: it is missing or malformed.")
        if self.keys_disabled:
            raise _unauthorized("Local Authorization is disabled. Use an AAD token to authorize all requests.")
        self._check_date(date)
        given = fields.get("sig", "")
        key = base64.b64decode(self.key)
        for resource_type, link in sign:
            text = f"{verb.lower()}\n{resource_type}\n{link}\n{date.lower()}\n\n".encode()
            if hmac.compare_digest(base64.b64encode(hmac.digest(key, text, hashlib.sha256)), given.encode()):
                return
        raise _unauthorized(
            "The input authorization token can't serve the request. The wrong key is being used or the expected payload "
            f"is not built as per the protocol. Server used the following payload to sign: '{verb.lower()} {sign[0]}'"
        )

    @staticmethod
    def _check_date(date: str) -> None:
        try:
            sent = parsedate_to_datetime(date).timestamp()
        except (ValueError, TypeError) as e:
            raise _unauthorized("The x-ms-date header is missing or is no date.") from e
        if abs(time.time() - sent) > MAX_SKEW:
            raise ServiceError(
                403, "The authorization token is not valid at the current time: x-ms-date is off by over 15 min."
            )

    def _check_token(self, kind: str, verb: str, token: str, path: str) -> None:
        if self.aad == "off":
            raise _unauthorized("AAD tokens are not accepted by this account.")
        claims = read_claims(token)
        now = time.time()
        if not isinstance(claims.get("exp"), (int, float)) or claims["exp"] <= now:
            raise _unauthorized("Authorization token has expired.")
        if isinstance(claims.get("nbf"), (int, float)) and claims["nbf"] > now + MAX_SKEW:
            raise _unauthorized("Authorization token is not valid yet.")
        if not str(claims.get("aud", "")).startswith("https://"):
            raise _unauthorized("The audience of the authorization token is not a Cosmos DB account.")
        if kind in ("metadata", "offers") and verb != "GET":
            raise ServiceError(
                403,
                f"The given request [{verb} {path}] cannot be authorized by AAD token in data plane.",
                substatus=5300,
            )
        if self.aad == "any":
            return
        principal = str(claims.get("oid", ""))
        grants = self.principals.get(principal, [])
        resource = "/" + path.strip("/").partition("/docs")[0]
        for action in ACTIONS.get(kind, (f"{_ACCOUNT}/readMetadata",)):
            if not any(g.covers(action, resource) for g in grants):
                raise ServiceError(
                    403,
                    f"Request blocked by Auth {self.account} : Request is blocked because principal [{principal}] does not "
                    f"have required RBAC permissions to perform action [{action}] on resource [{resource}].",
                    substatus=5302,
                )


def _unauthorized(message: str) -> ServiceError:
    return ServiceError(401, message)


def read_claims(token: str) -> dict[str, Any]:
    """The claims of a JWT; 401 if it is none."""
    parts = token.split(".")
    if len(parts) == 3:
        try:
            claims = msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        except (ValueError, msgspec.DecodeError) as e:
            raise _unauthorized("The authorization token is not a JWT.") from e
        if isinstance(claims, dict):
            return claims
    raise _unauthorized("The authorization token is not a JWT.")


def make_token(principal: str, *, audience: str = "https://cosmos.azure.com", expires_on: float | None = None) -> str:
    """An unsigned JWT for tests, valid for an hour unless said otherwise (seconds since 1970)."""
    now = time.time()
    claims = {
        "aud": audience,
        "oid": principal,
        "nbf": int(now),
        "exp": int(now + 3600 if expires_on is None else expires_on),
    }
    parts = (msgspec.json.encode(p) for p in ({"alg": "none", "typ": "JWT"}, claims))
    return ".".join([*(base64.urlsafe_b64encode(p).decode().rstrip("=") for p in parts), "none"])
