"""The server: what Entra answers at a tenant's addresses, and a control API that mints tokens and makes trouble."""

import json
from collections import Counter
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from thermocline.testing.entra.minting import Signer, claims_of
from thermocline.testing.extra import needed_by

with needed_by(__name__):
    from aiohttp import web


class EntraServer:
    """On a loopback port of this process, for any tenant: all have the same keys. Nothing is checked of who asks it.

    ``asked`` counts requests by ``configuration`` and ``keys``; while ``down`` is set every request is dropped; ``answers`` replaces what is answered.
    """

    def __init__(self, *signers: Signer) -> None:
        self.signers = [*signers] if signers else [Signer()]
        self.asked: Counter[str] = Counter()
        self.down = False
        self.answers: dict[str, Any] = {}
        self._runner: web.ServerRunner | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; 0 takes a free port."""
        runner = web.ServerRunner(web.Server(self._answer, access_log=None), shutdown_timeout=0.5)
        await runner.setup()
        await web.TCPSite(runner, host, port).start()
        self._runner = runner
        self.url = f"http://{host}:{runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Close all connections. Idempotent."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def token(self, tenant: str, **claims: Any) -> str:
        """A token of the newest key; ``claims`` as of `claims_of`."""
        return self.signers[-1].sign(claims_of(self.url, tenant, **claims))

    def rotate(self, *, keep: bool = False) -> Signer:
        """Sign with a new key from now on. The others are no keys any more, unless ``keep``."""
        self.signers = [*self.signers, Signer()] if keep else [Signer()]
        return self.signers[-1]

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.rel_url.path
        if self.down and not path.startswith("/_control/") and request.transport is not None:
            self.asked["dropped"] += 1
            request.transport.abort()
            return web.Response(status=503)
        if path == "/_control/token" and request.method == "POST":
            return self._minted(json.loads(await request.read()))
        tenant, _, rest = path.removeprefix("/").partition("/")
        if rest == "v2.0/.well-known/openid-configuration":
            self.asked["configuration"] += 1
            return self._told("configuration", self._configuration(tenant))
        if rest == "discovery/v2.0/keys":
            self.asked["keys"] += 1
            return self._told("keys", {"keys": [one.public() for one in self.signers]})
        return web.json_response({"error": "not_found"}, status=404)

    def _told(self, what: str, found: dict[str, Any]) -> web.Response:
        answer = self.answers.get(what, found)
        if isinstance(answer, int):
            return web.Response(status=answer)
        return web.json_response(answer)

    def _configuration(self, tenant: str) -> dict[str, Any]:
        return {
            "issuer": f"{self.url}/{tenant}/v2.0",
            "jwks_uri": f"{self.url}/{tenant}/discovery/v2.0/keys",
            "id_token_signing_alg_values_supported": ["RS256"],
            "tenant_region_scope": "EU",
        }

    def _minted(self, given: dict[str, Any]) -> web.Response:
        seconds = given.pop("lifetime", None)
        if seconds is not None:
            given["lifetime"] = timedelta(seconds=seconds)
        return web.json_response({"token": self.token(given.pop("tenant"), **given)})
