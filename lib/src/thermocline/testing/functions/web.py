"""The HTTP side of the host, as an ASGI application: the app's routes, and the admin endpoints."""

import codecs
import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl, quote, unquote_to_bytes

from thermocline.testing.functions.errors import BadApp, InvocationFailed
from thermocline.testing.functions.indexing import App, Function
from thermocline.testing.functions.invoking import Answer, invoke_http
from thermocline.testing.rig.errors import RigError

_log: Final = logging.getLogger(__name__)
MOST_BYTES: Final = 104_857_600  # of a request's body, as of the official host
_KEPT: Final = "%2F"
_PATH_SAFE: Final = "/!$&'()*+,;=:@-._~"

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


def _encoded_again(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "".join(f"%{byte:02X}" for byte in error.object[error.start : error.end]), error.end


_AS_IT_WAS: Final = "thermocline-percent"
codecs.register_error(_AS_IT_WAS, _encoded_again)


class Controls(Protocol):
    """What the admin endpoints ask of the host."""

    @property
    def app(self) -> App: ...
    def listed(self) -> list[dict[str, Any]]: ...
    async def trigger(self, name: str, text: str) -> None: ...
    async def feed_until_idle(self, *, all_ranges: bool = False) -> Any: ...
    async def queue_until_idle(self) -> Any: ...
    def is_served(self, function: Function) -> bool: ...


class Web:
    """Serves one app."""

    def __init__(self, host: Controls) -> None:
        self._host = host
        routed = [function for function in host.app.functions.values() if function.route is not None]
        self._routed = sorted(routed, key=lambda function: function.route.rank if function.route is not None else ())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            raise RuntimeError(f"this host serves HTTP alone, not {scope['type']}")
        body = await _body(receive)
        if body is None:
            answer = Answer(413)
        elif str(scope["path"]).startswith("/admin/"):
            answer = await self._admin(scope, body)
        else:
            answer = await self._serve(scope, body)
        await _send(answer, send, head=scope["method"] == "HEAD")

    async def _serve(self, scope: Scope, body: bytes) -> Answer:
        raw = bytes(scope["raw_path"]).decode("ascii")
        path = seen_path(raw)
        segments = path.removeprefix("/").removesuffix("/")
        for function in self._routed:
            if function.route is None or not self._host.is_served(function):
                continue
            parameters = function.route.match(segments)
            if parameters is not None and scope["method"] in function.methods:
                return await self._invoke(function, scope, path, parameters, body)
        return Answer(404)  # for a method that no function takes as well

    async def _invoke(
        self, function: Function, scope: Scope, path: str, parameters: Mapping[str, str], body: bytes
    ) -> Answer:
        headers: dict[str, str] = {}
        for raw_name, raw_value in scope["headers"]:
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            headers[name] = f"{headers[name]},{value}" if name in headers else value
        text = bytes(scope["query_string"]).decode("latin-1")
        query: dict[str, str] = {}
        for name, value in parse_qsl(text):  # those without a value are not passed on, but stand in the URL
            query[name] = f"{query[name]},{value}" if name in query else value
        if int(headers.get("content-length", 0)) == 0:
            body = b""  # a chunked body is not passed on: the official host asks for its length
        host = headers.get("host", "localhost")
        url = f"{scope['scheme']}://{host}{url_path(path)}" + (f"?{text}" if text else "")
        return await invoke_http(
            function, str(scope["method"]), url, headers=headers, query=query, parameters=parameters, body=body
        )

    async def _admin(self, scope: Scope, body: bytes) -> Answer:
        method, parts = str(scope["method"]), str(scope["path"]).strip("/").split("/")[1:]
        query = dict(parse_qsl(bytes(scope["query_string"]).decode("latin-1")))
        try:
            match method, parts:
                case "GET", ["host", "status"]:
                    return _json(200, {"state": "Running", "id": "thermocline-local"})
                case "GET", ["functions"]:
                    return _json(200, self._host.listed())
                case "POST", ["functions", name]:
                    await self._host.trigger(name, _input(body))
                    return Answer(202)
                case "POST", ["host", "feed"]:
                    report = await self._host.feed_until_idle(all_ranges=query.get("all") == "1")
                    return _json(200, vars(report))
                case "POST", ["host", "queue"]:
                    return _json(200, vars(await self._host.queue_until_idle()))
                case _:
                    return Answer(404)
        except LookupError as error:
            return _json(404, {"error": str(error.args[0])})
        except BadApp as error:
            return _json(400, {"error": str(error)})
        except (InvocationFailed, RigError) as error:
            return _json(500, {"error": str(error)})


def seen_path(raw: str) -> str:
    """A path as the official host's web server hands it on: decoded, but for ``%2F`` and what is no UTF-8."""
    return _KEPT.join(
        unquote_to_bytes(part).decode("utf-8", _AS_IT_WAS) for part in re.split("%2F", raw, flags=re.IGNORECASE)
    )


def url_path(path: str) -> str:
    """A path as it stands in the URL that a function gets: encoded again, where what looks encoded stays as it is.

    So ``%2541`` arrives as ``%41``, and a framework that decodes it reads ``A``: what must arrive exactly belongs into the query.
    """
    return "".join(
        part if re.fullmatch("%[0-9A-Fa-f]{2}", part) else quote(part, safe=_PATH_SAFE)
        for part in re.split("(%[0-9A-Fa-f]{2})", path)
    )


def _input(body: bytes) -> str:
    if not body:
        return ""
    try:
        document = json.loads(body)
    except ValueError as error:
        raise BadApp(f'the body must be JSON as {{"input": "text"}}: {error}') from error
    given = document.get("input", "") if isinstance(document, dict) else ""
    return given if isinstance(given, str) else json.dumps(given)


def _json(status: int, value: Any) -> Answer:
    return Answer(status, (("content-type", "application/json"),), json.dumps(value).encode())


async def _body(receive: Receive) -> bytes | None:
    parts: list[bytes] = []
    size = 0
    while True:
        event = await receive()
        if event["type"] != "http.request":
            return b"".join(parts)
        parts.append(event.get("body", b""))
        size += len(parts[-1])
        if size > MOST_BYTES:
            return None
        if not event.get("more_body", False):
            return b"".join(parts)


async def _send(answer: Answer, send: Send, *, head: bool) -> None:
    headers = [
        (name.encode("latin-1"), value.encode("latin-1"))
        for name, value in answer.headers
        if name.lower() not in ("content-length", "transfer-encoding", "connection")
    ]
    if answer.status not in (204, 304):
        stated = next((value for name, value in answer.headers if name.lower() == "content-length"), None)
        length = stated if head and stated is not None else str(len(answer.body))
        headers.append((b"content-length", length.encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else answer.body})
