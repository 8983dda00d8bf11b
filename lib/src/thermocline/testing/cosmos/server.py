"""HTTP: requests in, faults applied, answers out."""

from __future__ import annotations

import ssl
from http import HTTPStatus
from urllib.parse import unquote

from aiohttp import web

from thermocline.testing.cosmos import controlapi
from thermocline.testing.cosmos.failures import ServiceError
from thermocline.testing.cosmos.faults import Fault
from thermocline.testing.cosmos.service import Service, kind_of
from thermocline.testing.cosmos.wire import Call, Reply, error_reply


class CosmosServer:
    """A `Service` on a loopback port."""

    def __init__(self, service: Service, *, context: ssl.SSLContext | None = None) -> None:
        self.service = service
        self._context = context
        self._runner: web.ServerRunner | None = None
        self.port = 0

    async def start(self, host: str, port: int) -> int:
        """Listen; 0 takes a free port. Returns the port."""
        runner = web.ServerRunner(web.Server(self._answer, access_log=None), shutdown_timeout=0.5)
        await runner.setup()
        site = web.TCPSite(runner, host, port, ssl_context=self._context, backlog=512)
        await site.start()
        self._runner = runner
        self.port = runner.addresses[0][1]
        return self.port

    async def stop(self) -> None:
        """Close all connections."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.rel_url.raw_path
        body = await request.content.read(-1) if request.can_read_body else b""
        if path.startswith("/_control/"):
            return await controlapi.answer(self.service, request, body)
        call = Call(
            request.method,
            [unquote(p) for p in path.strip("/").split("/")] if path.strip("/") else [],
            request.headers,
            body,
            f"{request.scheme}://{request.host}/",
        )
        call.kind = kind_of(call)
        call.era = self.service.era
        return await self._serve(request, call)

    async def _serve(self, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        service = self.service
        struck: list[Fault] = []
        if service.faults.rules:
            struck = service.faults.striking(call.kind, call.container_name, call.item_ids)
        numbers = [f.number for f in struck]
        await service.faults.wait(f for f in struck if not f.after)
        before = next((f for f in struck if not f.after and f.action in ("status", "drop")), None)
        if before is not None and before.action == "drop":
            service.count(call, Reply(0, charge=0.0), numbers, answered=False)
            return _cut(request)
        for f in struck:
            if f.action == "lag":
                call.lag = f.lag
        reply = service.handle(call) if before is None else _injected(before)
        late = [f for f in struck if f.after]
        await service.faults.wait(late)
        final = next((f for f in late if f.action in ("status", "drop")), None)
        if final is not None and final.action == "drop":
            service.count(call, reply, numbers, answered=False)
            return _cut(request)
        if final is not None:
            reply = _injected(final)
        service.count(call, reply, numbers, answered=True)
        return _response(service, call, reply)


def _injected(fault: Fault) -> Reply:
    headers = {} if fault.retry_after_ms is None else {"x-ms-retry-after-ms": str(fault.retry_after_ms)}
    return error_reply(ServiceError(fault.status, fault.message, substatus=fault.substatus, headers=headers))


def _cut(request: web.BaseRequest) -> web.StreamResponse:
    """Close the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE)


def _response(service: Service, call: Call, reply: Reply) -> web.Response:
    headers = {
        **reply.headers,
        "x-ms-request-charge": f"{reply.charge:.2f}",
        "x-ms-activity-id": call.headers.get("x-ms-activity-id", ""),
        "x-ms-serviceversion": "version=thermocline",
        "Date": service.clock.http_date(),
        "Content-Type": "application/json",
    }
    body = reply.body if reply.status not in (204, 304) else None
    return web.Response(status=reply.status, body=body, headers=headers)
