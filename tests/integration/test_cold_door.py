"""What Blob Storage answers becomes an error of ours, and says rightly whether the request may have had an effect."""

from collections.abc import AsyncIterator
from typing import Final

import pytest
from aiohttp import web

from thermocline.clock import Deadline
from thermocline.errors import (
    AccessDenied,
    InvalidArgument,
    ThermoclineError,
    Throttled,
    TierTimeout,
    TierUnavailable,
    TooLarge,
)
from thermocline.keys import payload_path
from thermocline.model import Key, Pointer
from thermocline.testing.rig.ports import free_port
from thermocline.tiers.cold import ColdMemory
from thermocline.tiers.cold.blobs import Transfer
from thermocline.tiers.cold.door import ContainerMissing

KEY = "Zm9ybnVsbA=="

# Of the SDK's own little Avro reader, which only the query feature uses; we do not.


class Service:
    """A blob service that gives one answer to everything."""

    def __init__(self) -> None:
        self.status, self.code, self.headers = 200, "", dict[str, str]()
        self.asked = 0

    async def answer(self, request: web.Request) -> web.Response:
        self.asked += 1
        await request.read()
        headers = dict(self.headers)
        if self.code:
            headers["x-ms-error-code"] = self.code
        body = f"<?xml version='1.0'?><Error><Code>{self.code}</Code><Message>so it is</Message></Error>"
        return web.Response(status=self.status, headers=headers, text=body, content_type="application/xml")


@pytest.fixture
async def service() -> AsyncIterator[tuple[Service, str]]:
    service = Service()
    application = web.Application()
    application.router.add_route("*", "/{tail:.*}", service.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    yield service, f"http://127.0.0.1:{port}/account"
    await runner.cleanup()


async def opened(url: str, transfer: Transfer = "sdk") -> ColdMemory:
    """Open without looking at the container, which this service does not have."""
    tier = ColdMemory(url, "container", credential=KEY, transfer=transfer)
    await tier._service.open()
    return tier


ANSWERS: Final = [
    (401, "NoAuthenticationInformation", AccessDenied, False),
    (403, "AuthorizationPermissionMismatch", AccessDenied, False),
    (403, "AuthenticationFailed", AccessDenied, False),
    (403, "AuthorizationFailure", AccessDenied, False),
    (403, "", AccessDenied, False),
    (404, "ContainerNotFound", ContainerMissing, False),
    (404, "", TierUnavailable, False),  # some proxy's: not the word of Blob Storage
    (408, "", TierTimeout, True),
    (409, "ContainerBeingDeleted", TierUnavailable, False),
    (412, "LeaseIdMissing", TierUnavailable, False),
    (429, "", Throttled, False),
    (503, "ServerBusy", Throttled, False),
    (503, "", TierUnavailable, True),
    (500, "OperationTimedOut", TierTimeout, True),
    (500, "InternalError", TierUnavailable, True),
    (502, "", TierUnavailable, True),
]


@pytest.mark.parametrize(("status", "code", "kind", "sent"), ANSWERS)
async def test_answers_of_the_service(
    service: tuple[Service, str], status: int, code: str, kind: type[ThermoclineError], sent: bool
) -> None:
    service[0].status, service[0].code = status, code
    tier = await opened(service[1])
    try:
        with pytest.raises(kind) as read:
            await tier.download_text("name")
        with pytest.raises(kind) as written:
            await tier.upload_text("name", "text")
    finally:
        await tier.close()

    for caught in (read, written):
        assert type(caught.value) is kind
        assert isinstance(caught.value, TierUnavailable)
        assert caught.value.sent is sent
        assert caught.value.tier == "cold"
    assert service[0].asked == 2  # the SDK did not try again by itself


@pytest.mark.parametrize(("status", "code", "kind", "sent"), ANSWERS)
async def test_answers_of_the_service_to_obstore(
    service: tuple[Service, str], status: int, code: str, kind: type[ThermoclineError], sent: bool
) -> None:
    service[0].status, service[0].code = status, code
    tier = await opened(service[1], "obstore")
    key = Key("t", "s", "n")
    pointer = Pointer(payload_path(key, "0" * 64), "0" * 64, 5, 0)
    try:
        with pytest.raises(kind) as read:
            await tier.get_payload(key, pointer, deadline=Deadline.after(10))
        with pytest.raises(kind) as streamed:
            await anext(aiter(tier.stream_payload(key, pointer, deadline=Deadline.after(10))))
        with pytest.raises(kind) as written:
            await tier.put_payload(key, b"bytes", deadline=Deadline.after(10))
    finally:
        await tier.close()

    for caught in (read, streamed, written):
        assert type(caught.value) is kind
        assert isinstance(caught.value, TierUnavailable)
        assert caught.value.sent is sent
    assert service[0].asked == 3  # obstore did not try again by itself


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [(413, "RequestBodyTooLarge", TooLarge), (400, "MetadataTooLarge", TooLarge), (400, "InvalidUri", InvalidArgument)],
)
async def test_refusals_of_the_request_itself(
    service: tuple[Service, str], status: int, code: str, kind: type[ThermoclineError]
) -> None:
    service[0].status, service[0].code = status, code
    tier = await opened(service[1])
    try:
        with pytest.raises(kind, match=code):
            await tier.upload_text("name", "text")
    finally:
        await tier.close()


async def test_throttling_tells_how_long_to_wait_and_is_counted(service: tuple[Service, str]) -> None:
    service[0].status, service[0].code, service[0].headers = 503, "ServerBusy", {"Retry-After": "7"}
    tier = await opened(service[1])
    try:
        with pytest.raises(Throttled) as caught:
            await tier.read(Key("t", "s", "n"), deadline=Deadline.after(5))
    finally:
        await tier.close()

    assert caught.value.retry_after == 7
    assert (tier.stats.get("throttled", "cold"), tier.stats.get("requests", "cold")) == (1, 1)


@pytest.mark.parametrize("transfer", ["sdk", "obstore"])
async def test_nobody_listens(transfer: Transfer) -> None:
    tier = await opened(f"http://127.0.0.1:{free_port()}/account", transfer)
    try:
        with pytest.raises(TierUnavailable) as caught:
            await tier.put_payload(Key("t", "s", "n"), b"bytes", deadline=Deadline.after(10))
    finally:
        await tier.close()

    assert not caught.value.sent
