"""HTTP: requests in, answers and the control API out."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web

from thermocline.testing.vault.secrets import VaultError, Version
from thermocline.testing.vault.service import OFFICER, USER, Ask, Service

IDENTITY: Final = ("/msi/token", "/metadata/identity/oauth2/token")


class VaultServer:
    """A `Service` on a loopback port."""

    def __init__(self, service: Service, *, context: ssl.SSLContext | None = None) -> None:
        self.service = service
        self._context = context
        self._runner: web.ServerRunner | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; 0 takes a free port. Returns the port."""
        runner = web.ServerRunner(web.Server(self._answer, access_log=None), shutdown_timeout=0.5)
        await runner.setup()
        await web.TCPSite(runner, host, port, ssl_context=self._context).start()
        self._runner = runner
        found: int = runner.addresses[0][1]
        self.service.url = f"{'http' if self._context is None else 'https'}://{host}:{found}"
        return found

    async def stop(self) -> None:
        """Close all connections."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.rel_url.path
        body = await request.read()
        service = self.service
        kind = "control" if path.startswith("/_control/") else "identity" if path in IDENTITY else "vault"
        if kind in service.faults.down and request.transport is not None:
            service.asked[f"{kind} dropped"] += 1
            request.transport.abort()
            return web.Response(status=503)
        headers: dict[str, str] = {}
        try:
            given = json.loads(body) if body else None
            ask = Ask(request.method, path, request.rel_url.query, request.headers, given)
            status, answer = {"control": self._control, "identity": service.identity, "vault": service.vault}[kind](ask)
        except VaultError as error:
            status, answer, headers = error.status, error.body(), error.headers
        except (ValueError, KeyError, TypeError) as error:
            status, answer = 400, {"error": {"code": "BadParameter", "message": f"The request is malformed: {error!r}"}}
        if kind != "control":
            service.asked[f"{kind} {status}"] += 1
            service.log.append(f"{request.method} {path} {status}")
        return web.json_response(answer, status=status, headers=headers)

    def _control(self, ask: Ask) -> tuple[int, Any]:
        handler = _CONTROLS.get(ask.path.removeprefix("/_control/"))
        if handler is None:
            raise VaultError(404, "NotFound", f"There is no control {ask.path}.")
        return 200, handler(self.service, ask.body or {})


def _set(service: Service, given: Any) -> Any:
    now = time.time()
    expires, begins = given.get("expires_in"), given.get("begins_in")
    made = Version(
        given["value"],
        enabled=given.get("enabled", True),
        expires=None if expires is None else now + expires,
        not_before=None if begins is None else now + begins,
    )
    return {"version": service.secrets.add(given["name"], made).id}


def _enable(service: Service, given: Any) -> Any:
    versions = service.secrets.versions(given["name"])
    chosen = [one for one in versions if given.get("version") in (None, one.id)]
    for one in chosen:
        one.enabled = bool(given["enabled"])
    return {"changed": len(chosen)}


def _delete(service: Service, given: Any) -> Any:
    service.secrets.remove(given["name"])
    return {}


def _faults(service: Service, given: Any) -> Any:
    faults = service.faults
    faults.throttled = int(given.get("throttled", faults.throttled))
    faults.retry_after = int(given.get("retry_after", faults.retry_after))
    faults.failing = int(given.get("failing", faults.failing))
    faults.down = set(given.get("down", faults.down))
    return {}


def _identity(service: Service, given: Any) -> Any:
    issuer = service.issuer
    issuer.lifetime = float(given.get("lifetime", issuer.lifetime))
    issuer.principal = str(given.get("principal", issuer.principal))
    if given.get("revoke"):
        issuer.revoke()
    if "roles" in given:
        unknown = set(given["roles"]) - {USER, OFFICER}
        if unknown:
            raise VaultError(400, "BadParameter", f"There is no role {min(unknown)!r} here.")
        service.roles = set(given["roles"])
    return {"principal": issuer.principal}


def _stats(service: Service, given: Any) -> Any:
    told = {"asked": dict(service.asked), "log": list(service.log), "issued": list(service.issuer.issued)}
    if given.get("reset"):
        service.asked.clear()
        service.log.clear()
        service.issuer.issued.clear()
    return told


_CONTROLS: Final[dict[str, Callable[[Service, Any], Any]]] = {
    "ping": lambda service, given: {"ok": True},
    "set": _set,
    "enable": _enable,
    "delete": _delete,
    "faults": _faults,
    "identity": _identity,
    "stats": _stats,
}
