"""Asks Azure Resource Manager, with the caller's own token. It only reads, and asks whether names are free."""

import http.client
import json
import shutil
import ssl
import subprocess
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlsplit

ENDPOINT: Final = "https://management.azure.com"
_SECONDS: Final = 30
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


class CannotLookError(Exception):
    """Azure could not be asked: no sign-in, no network, or no permission to look. The text says which."""


class Arm:
    """One question at a time. ``endpoint``: another cloud's Resource Manager; the token goes over TLS only, but for this machine itself."""

    def __init__(self, token: str, endpoint: str = ENDPOINT) -> None:
        parts = urlsplit(endpoint)
        host = parts.hostname or ""
        if parts.scheme != "https" and not (parts.scheme == "http" and host in _LOOPBACK):
            raise CannotLookError(f"the endpoint {endpoint} is not https")
        self._token = token
        self._secure, self._host, self._port = parts.scheme == "https", host, parts.port

    def get(self, path: str, version: str, **query: str) -> Any:
        """The document at ``path``; None: there is none. Raises `CannotLookError`."""
        return self._ask("GET", path, version, query, None)

    def post(self, path: str, version: str, body: Mapping[str, Any]) -> Any:
        """The answer to a question with a body, such as checkNameAvailability. Raises `CannotLookError`."""
        return self._ask("POST", path, version, {}, body)

    def exists(self, path: str, version: str) -> bool:
        """Raises `CannotLookError`."""
        return self._ask("HEAD", path, version, {}, None) is not None

    def listed(self, path: str, version: str, **query: str) -> list[Any]:
        """All pages of a list. Raises `CannotLookError`."""
        found: list[Any] = []
        answer = self.get(path, version, **query)
        while answer is not None:
            found += answer.get("value", [])
            following = answer.get("nextLink")
            if not following:
                break
            parts = urlsplit(following)
            answer = self._send("GET", f"{parts.path}?{parts.query}", None)
        return found

    def _connection(self) -> http.client.HTTPConnection:
        if self._secure:
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(self._host, self._port, timeout=_SECONDS, context=context)
        return http.client.HTTPConnection(self._host, self._port, timeout=_SECONDS)

    def _ask(self, verb: str, path: str, version: str, query: Mapping[str, str], body: Mapping[str, Any] | None) -> Any:
        named = {"api-version": version, **{name.replace("_", "-"): value for name, value in query.items()}}
        text = "&".join(f"{name}={quote(value)}" for name, value in named.items())
        return self._send(verb, f"{quote(path)}?{text}", body)

    def _send(self, verb: str, target: str, body: Mapping[str, Any] | None) -> Any:
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection = self._connection()
        try:
            connection.request(verb, target, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise CannotLookError(f"Azure Resource Manager does not answer: {error}") from error
        finally:
            connection.close()
        return _judged(answer.status, text)


def _judged(status: int, text: bytes) -> Any:
    if status in (404, 204):
        return None
    try:
        document = json.loads(text) if text else {}
    except ValueError:
        raise CannotLookError(f"Azure Resource Manager answers {status} with something that is no JSON") from None
    if 200 <= status < 300:
        return document
    error = document.get("error") if isinstance(document, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    if code in ("ResourceGroupNotFound", "ResourceNotFound"):
        return None
    raise CannotLookError(f"Azure Resource Manager answers {status}" + (f" {code}" if code else ""))


def token() -> str:
    """A token of whoever is signed in with azd, else with az. Raises `CannotLookError`."""
    for command, field in (
        (("azd", "auth", "token", "--output", "json"), "token"),
        (("az", "account", "get-access-token", "--output", "json"), "accessToken"),
    ):
        program = shutil.which(command[0])
        if program is None:
            continue
        try:
            done = subprocess.run([program, *command[1:]], capture_output=True, timeout=_SECONDS * 2, check=False)  # noqa: S603
            if done.returncode == 0:
                return str(json.loads(done.stdout)[field])
        except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError):
            continue  # the other one may do
    raise CannotLookError("nobody is signed in: neither azd auth login nor az login gives a token")
