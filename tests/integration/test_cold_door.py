"""Every failure of the Blob SDK becomes an error of ours, and says rightly whether the request may have had an effect."""

import importlib
import inspect
import pkgutil
from collections.abc import AsyncIterator
from typing import Final

import azure.core.exceptions
import azure.storage.blob
import pytest
from aiohttp import web
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseTimeoutError,
)

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
from thermocline.tiers.cold.door import KINDS, ContainerMissing, translate

KEY = "Zm9ybnVsbA=="

# Of the SDK's own little Avro reader, which only the query feature uses; we do not.
AVRO = {"AvroException", "DataFileException", "Error", "SchemaParseException", "SchemaResolutionException"}


NEED_A_RESPONSE = {
    "PartialBatchErrorException",
    "ODataV4Error",
    "StreamConsumedError",
    "StreamClosedError",
    "ResponseNotReadError",
}


def exceptions_of_the_sdk() -> dict[str, type[BaseException]]:
    modules = [azure.core.exceptions]
    walked = pkgutil.walk_packages(azure.storage.blob.__path__, azure.storage.blob.__name__ + ".")
    modules += [importlib.import_module(module.name) for module in walked]
    return {
        name: value
        for module in modules
        for name, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, BaseException) and value.__module__.startswith("azure.")
    }


def test_every_exception_of_the_sdk_is_mapped() -> None:
    """It fails when the SDK grows an exception: decide what it means, and add it to `KINDS`."""
    found = exceptions_of_the_sdk()

    assert set(found) - AVRO == set(KINDS)
    assert set(found) >= AVRO


LONG = (
    "DefaultAzureCredential failed to retrieve a token from the included credentials.\nAttempted credentials:\n\tmany"
)


@pytest.mark.parametrize(("said", "why"), [(LONG, ""), ("AADSTS7000222: it has expired.\nTrace", "AADSTS7000222")])
def test_without_a_token_one_line_says_how_to_sign_in(said: str, why: str) -> None:
    ours = translate(ClientAuthenticationError(said), "read a blob")

    assert isinstance(ours, AccessDenied)
    assert ours.sent is False
    assert "not signed in to Azure" in str(ours)
    assert "`az login`" in str(ours)
    assert why in str(ours)
    assert [word for word in ("\n", "DefaultAzure", "role", "Trace") if word in str(ours)] == []


def test_a_key_that_cannot_sign_is_no_missing_sign_in() -> None:
    signing = exceptions_of_the_sdk()["AzureSigningError"]("Invalid base64")
    assert isinstance(signing, Exception)

    assert str(translate(signing, "read a blob")) == "cold: read a blob cannot be signed, check the key: Invalid base64"


def test_every_exception_of_the_sdk_becomes_one_of_ours() -> None:
    for name, kind in exceptions_of_the_sdk().items():
        if name in KINDS and name not in NEED_A_RESPONSE:
            error = kind("something\nwith lines")
            assert isinstance(error, Exception)
            ours = translate(error, "read a blob")
            assert isinstance(ours, TierUnavailable), name
            assert "lines" not in str(ours)


def test_broken_connection_may_have_carried_the_request() -> None:
    """azure-core calls a connection that broke after sending a `ServiceRequestError` too."""
    broken = translate(ServiceRequestError("x", error=OSError("reset")), "write a blob")
    late = translate(ServiceResponseTimeoutError("x"), "write a blob")

    assert isinstance(broken, TierUnavailable)
    assert broken.sent
    assert isinstance(late, TierTimeout)
    assert late.sent


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


def test_answer_that_is_not_judged_by_its_class() -> None:
    assert isinstance(translate(HttpResponseError("no response"), "read a blob"), TierUnavailable)
