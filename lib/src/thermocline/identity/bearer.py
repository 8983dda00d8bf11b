"""Who calls, by an Entra access token: `EntraTokens`. The only importer of PyJWT; docs/memory-api.md says what a token must be.

Sources: RFC 8725 (what goes wrong with JWTs: the algorithm is ours and never the token's word), and Microsoft's "Access tokens" of the identity platform
(claims ``aud``, ``iss``, ``tid``, ``oid``, ``azp`` or ``appid``, ``roles``, ``scp``; issuers of versions 1.0 and 2.0).
"""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

from thermocline import configured
from thermocline.clock import SYSTEM_CLOCK, Clock
from thermocline.errors import ConfigurationError, RoleMissing, TokenRefused
from thermocline.identity.signing_keys import SigningKeys

AUTHORITY: Final = "https://login.microsoftonline.com"
LEEWAY: Final = timedelta(minutes=1)  # between Entra's clock and ours
MOST_BYTES: Final = 16 * 1024  # of a token; Entra's have two or three thousand
KEY_BITS: Final = 2048  # the shortest RSA key that is taken
_LATEST: Final = 1e12  # seconds since 1970 beyond which a time is none; so NaN and infinity are none
_V1: Final = {"login.partner.microsoftonline.cn": "https://sts.chinacloudapi.cn"}  # issuers of version 1.0
_V1_ELSEWHERE: Final = "https://sts.windows.net"


@dataclass(frozen=True, slots=True)
class Principal:
    """Whose token it was. ``tenant``: its ``tid``; ``id``: the object id of the user or service principal; ``client``: the application that asked.

    ``roles``: what it may do: the app's delegated permissions (``scp``) where it acts for a user, else its application permissions (``roles``).
    """

    tenant: str
    id: str
    client: str
    roles: frozenset[str]
    delegated: bool

    def need(self, *roles: str) -> None:
        """Raise `RoleMissing` unless it has one of them."""
        if self.roles.isdisjoint(roles):
            raise RoleMissing(f"This needs the role {' or '.join(roles)}.", roles=roles)


class EntraTokens:
    """Checks access tokens that the tenants ``tenants`` (ids) issued for ``audience`` (the application's id or its URI; of ``api://<id>`` either will do).

    Signature by the tenant's keys, which are fetched from ``authority`` when the first token comes, and then hourly, and for an unknown key at most once a
    minute; RS256 alone; audience, issuer (version 1.0 or 2.0), tenant, times with a minute of leeway by ``clock``. Raises `ConfigurationError`. Makes no
    request before the first token. Belongs to one event loop.
    """

    def __init__(
        self,
        audience: str,
        tenants: Iterable[str],
        *,
        authority: str = AUTHORITY,
        leeway: timedelta | float = LEEWAY,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._audiences = _audiences(audience)
        self._authority = _authority(authority)
        self._leeway = configured.duration(leeway, "EntraTokens: leeway", least=timedelta(0)).total_seconds()
        configured.clock(clock, "EntraTokens: clock")
        self._clock = clock
        self._jwt = _library()
        self._keys = {
            tenant: SigningKeys(tenant, self._authority, self._key_of, clock=clock) for tenant in _tenants(tenants)
        }

    def __repr__(self) -> str:
        return f"<EntraTokens of {len(self._keys)} tenants>"

    @property
    def tenants(self) -> frozenset[str]:
        return frozenset(self._keys)

    async def check(self, token: str) -> Principal:
        """Whose token it is. Raises `TokenRefused` for one that does not count, and `TierUnavailable` where the keys cannot be fetched: then nobody knows."""
        if len(token) > MOST_BYTES or not token.isascii():
            raise TokenRefused("The token is no access token of Entra ID.")
        kid, told = self._unchecked(token)
        tenant = told.get("tid")
        keys = self._keys.get(tenant) if isinstance(tenant, str) else None
        if keys is None or not isinstance(tenant, str):
            raise TokenRefused("The token is of a tenant that this service does not serve.")
        key = await keys.get(kid)
        if key is None:
            raise TokenRefused("The token is signed with a key that its tenant does not have.")
        try:
            claims = self._jwt.decode(token, key, algorithms=["RS256"], options=_BY_HAND)
        except self._jwt.PyJWTError as error:
            raise TokenRefused("The token's signature is not its tenant's.") from error
        self._check_claims(claims, keys)
        return _principal(claims)

    def _unchecked(self, token: str) -> tuple[str, Mapping[str, Any]]:
        """What it says of itself: which key is to be asked for. Nobody believes it yet."""
        try:
            found = self._jwt.decode_complete(token, options={"verify_signature": False, **_BY_HAND})
        except (self._jwt.PyJWTError, ValueError, RecursionError) as error:
            raise TokenRefused("The token is no access token of Entra ID.") from error
        head = found["header"]
        if head.get("alg") != "RS256" or not isinstance(head.get("kid"), str) or "crit" in head:
            raise TokenRefused("The token is not signed as Entra ID signs: RS256, with a key's name.")
        return head["kid"], found["payload"]

    def _check_claims(self, claims: Mapping[str, Any], keys: SigningKeys) -> None:
        audience = claims.get("aud")
        if not isinstance(audience, str) or audience not in self._audiences:
            raise TokenRefused("The token is for another audience.")
        if claims.get("iss") not in (keys.issuer, self._issuer_of_v1(str(claims["tid"]))):
            raise TokenRefused("The token is of another issuer than its tenant.")
        now = self._clock.wall_ms() / 1000
        expires, begins = _number(claims, "exp"), _number(claims, "nbf")
        if expires is None or expires + self._leeway <= now:
            raise TokenRefused("The token has expired.")
        if begins is not None and begins - self._leeway > now:
            raise TokenRefused("The token does not count yet.")

    def _issuer_of_v1(self, tenant: str) -> str:
        return f"{_V1.get(urlsplit(self._authority).hostname or '', _V1_ELSEWHERE)}/{tenant}/"

    def _key_of(self, described: Mapping[str, Any]) -> Any | None:
        if described.get("kty") != "RSA" or described.get("use", "sig") != "sig":
            return None
        try:
            key = self._jwt.PyJWK(dict(described), algorithm="RS256").key
        except (self._jwt.PyJWTError, ValueError, TypeError):
            return None
        public = "d" not in described and getattr(key, "key_size", 0) >= KEY_BITS
        return key if public else None


_BY_HAND: Final = {
    "verify_aud": False,
    "verify_iss": False,
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
}
"""Checked by us: with our own clock, and for several tenants."""


def _principal(claims: Mapping[str, Any]) -> Principal:
    client = claims.get("azp", claims.get("appid"))
    who = claims.get("oid", claims.get("sub"))
    if not isinstance(client, str) or not isinstance(who, str) or not client or not who:
        # An ID token is for the application that it names as its audience, and no access to it; it names no client.
        raise TokenRefused("The token is no access token: it names no client (azp, appid) or no principal (oid).")
    scopes, roles = claims.get("scp"), claims.get("roles")
    delegated = scopes is not None  # whatever it is: then the roles are a user's
    granted = scopes.split() if isinstance(scopes, str) else []
    found = granted if delegated else roles if isinstance(roles, list) else []
    return Principal(
        tenant=str(claims["tid"]),
        id=who,
        client=client,
        roles=frozenset(role for role in found if isinstance(role, str)),
        delegated=delegated,
    )


def _number(claims: Mapping[str, Any], name: str) -> float | None:
    found = claims.get(name)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float) or not -_LATEST < found < _LATEST:
        raise TokenRefused(f"The token's {name} is no time.")
    return float(found)


def _library() -> Any:
    try:
        import jwt
        import jwt.algorithms
    except ImportError as error:
        raise ConfigurationError('checking tokens needs PyJWT: pip install "thermocline[service]"') from error
    if not jwt.algorithms.has_crypto:
        raise ConfigurationError('checking tokens needs cryptography: pip install "pyjwt[crypto]"')
    return jwt


def _audiences(audience: str) -> frozenset[str]:
    given: Any = audience
    if not isinstance(given, str) or not given.strip():
        raise ConfigurationError("audience is the id, or the URI as api://…, of the application that tokens are for")
    bare = given.strip().removeprefix("api://")
    return frozenset({given.strip(), bare, f"api://{bare}"}) if _guid(bare) else frozenset({given.strip()})


def _tenants(tenants: Iterable[str]) -> list[str]:
    given: Any = tenants
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise ConfigurationError(f"tenants is a list of tenants' ids, not {given!r:.80}")
    found = list(dict.fromkeys(str(tenant).lower() for tenant in given))
    for tenant in found:
        if not _guid(tenant):
            raise ConfigurationError(f"tenants: a tenant is named by its id, a GUID, not {tenant!r:.60}")
    if not found:
        raise ConfigurationError("name the tenants whose tokens count; there is no default")
    return found


def _guid(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


def _authority(given: str) -> str:
    parts = urlsplit(configured.text(given, "EntraTokens: authority"))
    safe = parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname or ""))
    if safe and parts.netloc and not parts.query and not parts.fragment and parts.path in ("", "/"):
        return f"{parts.scheme}://{parts.netloc}"
    raise ConfigurationError(f"the authority is an address as {AUTHORITY}, over https, and without a path")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
