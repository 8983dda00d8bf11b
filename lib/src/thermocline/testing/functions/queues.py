"""One storage queue over HTTP, as far as a queue trigger needs it: get, put, delete, and let a message be seen again."""

import base64
import hashlib
import hmac
import ssl
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any, Final, Self
from urllib.parse import quote, urlsplit
from xml.sax.saxutils import escape

from thermocline.testing.extra import needed_by
from thermocline.testing.functions.appsettings import Connection
from thermocline.testing.functions.errors import BadApp
from thermocline.testing.rig.errors import RigError

with needed_by(__name__, "functions,service,testing"):
    import aiohttp

_VERSION: Final = "2021-12-02"
_SCOPE: Final = "https://storage.azure.com/.default"


@dataclass(frozen=True)
class Message:
    """A message that was taken from a queue, and is hidden from others for a while."""

    id: str
    text: str
    pop_receipt: str
    dequeue_count: int
    inserted: datetime
    expires: datetime


class Queue:
    """A queue at a connection. Async context manager. Raises RigError for answers that it cannot use, BadApp where there is no queue."""

    def __init__(self, at: Connection, name: str, *, credential: Any = None) -> None:
        self._at = at
        self._url = f"{at.address.rstrip('/')}/{quote(name)}"
        self._credential = credential
        self._own_credential = False
        self.name = name

    async def __aenter__(self) -> Self:
        if self._at.by_key is None and self._credential is None:
            from azure.identity.aio import DefaultAzureCredential

            self._credential = DefaultAzureCredential(managed_identity_client_id=self._at.client_id)
            self._own_credential = True
        # What is sent is signed, so nothing is added. aiohttp's own context was made when it was imported, and knows no later SSL_CERT_FILE.
        connector = aiohttp.TCPConnector(ssl=ssl.create_default_context())
        self._session = aiohttp.ClientSession(connector=connector, skip_auto_headers=["Content-Type"])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        if self._own_credential:
            await self._credential.close()

    async def create(self) -> None:
        """Make the queue; nothing if it is there."""
        await self._ask("PUT", "", {}, None, (201, 204))

    async def put(self, text: str) -> None:
        """Send a message; ``text`` as it is to stand on the wire."""
        body = f"<QueueMessage><MessageText>{escape(text)}</MessageText></QueueMessage>".encode()
        await self._ask("POST", "/messages", {}, body, (201,))

    async def get(self, most: int, hidden: timedelta) -> list[Message]:
        """Take up to ``most`` messages, which nobody else sees for ``hidden``."""
        query = {"numofmessages": str(most), "visibilitytimeout": str(int(hidden.total_seconds()))}
        body = await self._ask("GET", "/messages", query, None, (200,))
        return [_message(found) for found in ET.fromstring(body).iter("QueueMessage")]

    async def delete(self, message: Message) -> None:
        """Take it out for good."""
        await self._ask("DELETE", f"/messages/{message.id}", {"popreceipt": message.pop_receipt}, None, (204,))

    async def show(self, message: Message, after: timedelta) -> None:
        """Let it be seen again after that time."""
        query = {"popreceipt": message.pop_receipt, "visibilitytimeout": str(int(after.total_seconds()))}
        await self._ask("PUT", f"/messages/{message.id}", query, None, (204,))

    async def _ask(
        self, method: str, path: str, query: Mapping[str, str], body: bytes | None, good: tuple[int, ...]
    ) -> bytes:
        headers = {"x-ms-date": format_datetime(datetime.now(UTC), usegmt=True), "x-ms-version": _VERSION}
        if body is not None:
            headers["Content-Type"] = "application/xml"
        url = self._url + path
        if self._at.by_key is None:
            token = await self._credential.get_token(_SCOPE)
            headers["Authorization"] = f"Bearer {token.token}"
        else:
            headers["Authorization"] = _signature(self._at.by_key, method, url, query, headers, len(body or b""))
        async with self._session.request(method, url, params=query, data=body, headers=headers) as answer:
            told = await answer.read()
            if answer.status == 404 and b"QueueNotFound" in told:
                raise BadApp(f"there is no queue {self.name}; make it")
            if answer.status not in good:
                raise RigError(
                    f"queue {self.name}: {method} {path}: {answer.status} {told[:300].decode(errors='replace')}"
                )
            return told


def _message(found: ET.Element) -> Message:
    def text(name: str) -> str:
        return found.findtext(name) or ""

    return Message(
        text("MessageId"),
        text("MessageText"),
        text("PopReceipt"),
        int(text("DequeueCount")),
        parsedate_to_datetime(text("InsertionTime")),
        parsedate_to_datetime(text("ExpirationTime")),
    )


def _signature(
    by: Mapping[str, str], method: str, url: str, query: Mapping[str, str], headers: Mapping[str, str], length: int
) -> str:
    """``SharedKey`` as the service's reference says: the request's line, headers and place, signed by the account key."""
    account = by.get("AccountName", "")
    place = f"/{account}{urlsplit(url).path}" + "".join(f"\n{name}:{query[name]}" for name in sorted(query))
    own = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers) if name.startswith("x-ms-"))
    standard = ["", "", str(length or ""), "", headers.get("Content-Type", ""), "", "", "", "", "", ""]
    signed = "\n".join([method, *standard]) + "\n" + own + place
    digest = hmac.digest(base64.b64decode(by.get("AccountKey", "")), signed.encode(), hashlib.sha256)
    return f"SharedKey {account}:{base64.b64encode(digest).decode()}"
