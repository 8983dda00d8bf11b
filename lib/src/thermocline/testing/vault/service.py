"""What the vault and the identity endpoint answer: the rules, without HTTP."""

from __future__ import annotations

import math
import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from thermocline.testing.vault.secrets import Secrets, VaultError, Version
from thermocline.testing.vault.tokens import TENANT, BadToken, Issuer

AUDIENCE: Final = "https://vault.azure.net"
API_VERSIONS: Final = re.compile(r"7\.[0-6](-preview\.\d+)?|20\d\d-\d\d-\d\d(-preview)?")
USER, OFFICER = "Key Vault Secrets User", "Key Vault Secrets Officer"
_PAGE: Final = 25


@dataclass(slots=True)
class Ask:
    """One request."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any = None


@dataclass(slots=True)
class Faults:
    """What is wrong at the moment. ``throttled``: of how many requests yet; ``down``: of ``vault`` and ``identity``."""

    throttled: int = 0
    retry_after: int = 1
    failing: int = 0
    down: set[str] = field(default_factory=set)


class Service:
    """One vault, one identity."""

    def __init__(self, identity_header: str) -> None:
        self.secrets = Secrets()
        self.issuer = Issuer()
        self.faults = Faults()
        self.roles: set[str] = {USER}
        self.identity_header = identity_header
        self.asked: Counter[str] = Counter()
        self.log: list[str] = []  # method, path and status of each request; never a value or a token
        self.url = ""

    # --- Key Vault -----------------------------------------------------------------------------------------------------

    def vault(self, ask: Ask) -> tuple[int, Any]:
        """The answer of the vault. Raises VaultError."""
        self._sign_in(ask)
        if self.faults.throttled > 0:
            self.faults.throttled -= 1
            raise VaultError(
                429,
                "Throttled",
                "Request was not processed because too many requests were received. Reason: VaultRequestTypeLimitReached",
                headers={"Retry-After": str(self.faults.retry_after)},
            )
        if self.faults.failing > 0:
            self.faults.failing -= 1
            raise VaultError(500, "InternalServerError", "The service failed.")
        version = ask.query.get("api-version")
        if version is None:
            raise VaultError(400, "BadParameter", "api-version must be specified")
        if API_VERSIONS.fullmatch(version) is None:
            raise VaultError(400, "BadParameter", f"The specified version ({version}) is not recognized.")
        parts = ask.path.strip("/").split("/")
        if parts[0] != "secrets" or len(parts) > 3:
            raise VaultError(404, "NotFound", f"There is nothing at {ask.path}.")
        if ask.method == "PUT" and len(parts) == 2:
            self._allow(ask, OFFICER)
            return 200, self._set(parts[1], ask.body)
        if ask.method != "GET":
            raise VaultError(405, "MethodNotAllowed", f"{ask.method} is not allowed here.")
        self._allow(ask, USER)
        if len(parts) == 1:
            return 200, self._page(ask, [(name, self.secrets.versions(name)[-1]) for name in self.secrets.names()])
        if parts[2:] == ["versions"]:
            return 200, self._page(ask, [(parts[1], one) for one in self.secrets.versions(parts[1])])
        return 200, self._bundle(parts[1], self.secrets.get(parts[1], "".join(parts[2:])))

    def _sign_in(self, ask: Ask) -> None:
        scheme, _, token = ask.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and token:
            try:
                self.issuer.check(token, AUDIENCE)
            except BadToken as error:
                raise _challenge(str(error)) from error
            return
        raise _challenge("AKV10000: Request is missing a Bearer or PoP token.")

    def _allow(self, ask: Ask, role: str) -> None:
        if role not in self.roles and OFFICER not in self.roles:
            raise VaultError(
                403,
                "Forbidden",
                "Caller is not authorized to perform action on resource.\r\nIf role assignments, deny assignments or role definitions were "
                f"changed recently, please observe propagation time.\r\nCaller: oid={self.issuer.principal}\r\nAction: '{ask.method} {ask.path}'",
                inner="ForbiddenByRbac",
            )

    def _set(self, name: str, body: Any) -> dict[str, Any]:
        if not isinstance(body, dict) or not isinstance(body.get("value"), str):
            raise VaultError(400, "BadParameter", "Property value is required.")
        attributes = body.get("attributes") or {}
        made = Version(
            body["value"],
            enabled=attributes.get("enabled", True),
            not_before=attributes.get("nbf"),
            expires=attributes.get("exp"),
            content_type=body.get("contentType"),
            tags=body.get("tags") or {},
        )
        return self._bundle(name, self.secrets.add(name, made))

    def _bundle(self, name: str, version: Version) -> dict[str, Any]:
        return {"value": version.value, **self._item(name, version)}

    def _item(self, name: str, version: Version) -> dict[str, Any]:
        item: dict[str, Any] = {
            "id": f"{self.url}/secrets/{name}/{version.id}",
            "attributes": version.attributes(),
            "tags": version.tags,
        }
        if version.content_type is not None:
            item["contentType"] = version.content_type
        return item

    def _page(self, ask: Ask, found: list[tuple[str, Version]]) -> dict[str, Any]:
        start, most = int(ask.query.get("$skiptoken", "0")), int(ask.query.get("maxresults", str(_PAGE)))
        if not 1 <= most <= _PAGE:
            raise VaultError(400, "BadParameter", "maxresults is from 1 to 25.")
        following = None
        if start + most < len(found):
            version = ask.query["api-version"]
            following = f"{self.url}{ask.path}?api-version={version}&maxresults={most}&$skiptoken={start + most}"
        return {"value": [self._item(*one) for one in found[start : start + most]], "nextLink": following}

    # --- the managed identity --------------------------------------------------------------------------------------------

    def identity(self, ask: Ask) -> tuple[int, Any]:
        """A token, as App Service (``/msi/token``) and the machine's metadata service give it. Raises VaultError."""
        app_service = ask.path == "/msi/token"
        if app_service and ask.headers.get("X-IDENTITY-HEADER") != self.identity_header:
            raise VaultError(401, "Unauthorized", "The header X-IDENTITY-HEADER is missing or wrong.")
        if not app_service and ask.headers.get("Metadata", "").lower() != "true":
            raise VaultError(400, "invalid_request", "Required metadata header not specified")
        if ask.query.get("api-version") != ("2019-08-01" if app_service else "2018-02-01"):
            raise VaultError(400, "invalid_request", "api-version is missing or not supported")
        resource = ask.query.get("resource", "")
        if not resource:
            raise VaultError(400, "invalid_request", "The query parameter resource is missing")
        token, expires = self.issuer.issue(resource)
        answer = {"access_token": token, "expires_on": str(expires), "resource": resource, "token_type": "Bearer"}
        if not app_service:
            answer["expires_in"] = str(math.floor(expires - time.time()))
        return 200, answer


def _challenge(message: str) -> VaultError:
    header = f'Bearer authorization="https://login.microsoftonline.com/{TENANT}", resource="{AUDIENCE}"'
    return VaultError(401, "Unauthorized", message, headers={"WWW-Authenticate": header})
