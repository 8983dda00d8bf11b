"""What Table Storage answers becomes an error of ours, and says rightly whether the request may have had an effect."""

import json
import logging
import traceback
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from thermocline.clock import Deadline
from thermocline.codec import Codec
from thermocline.errors import (
    AccessDenied,
    ConfigurationError,
    InvalidArgument,
    ThermoclineError,
    Throttled,
    TierTimeout,
    TierUnavailable,
    TooLarge,
    UnknownOutcome,
)
from thermocline.model import Key
from thermocline.protocols import Verb, Write
from thermocline.testing.conformance.samples import put, soon
from thermocline.testing.rig.ports import free_port
from thermocline.tiers.table import TableMemory
from thermocline.tiers.table.door import TableMissing

ACCOUNT_KEY = "Zm9ybnVsbA=="
KEY = Key("t", "s", "n")


class Service:
    """A table service that gives one answer to everything."""

    def __init__(self) -> None:
        self.status, self.code, self.headers = 200, "", dict[str, str]()
        self.asked = 0

    async def answer(self, request: web.Request) -> web.Response:
        self.asked += 1
        await request.read()
        body = json.dumps({"odata.error": {"code": self.code, "message": {"lang": "en-US", "value": "so it is"}}})
        return web.Response(status=self.status, headers=self.headers, text=body, content_type="application/json")


@pytest.fixture
async def service() -> AsyncIterator[tuple[Service, str]]:
    service = Service()
    application = web.Application()
    application.router.add_route("*", "/{tail:.*}", service.answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield service, f"http://127.0.0.1:{runner.addresses[0][1]}/account"
    await runner.cleanup()


@pytest.fixture
async def tier(service: tuple[Service, str]) -> AsyncIterator[TableMemory]:
    """Open without looking into the table, which this service does not have."""
    tier = TableMemory(service[1], "memory", credential=ACCOUNT_KEY)
    await tier._service.open()
    yield tier
    await tier.close()


@pytest.mark.parametrize(
    ("status", "code", "kind", "sent"),
    [
        (401, "NoAuthenticationInformation", AccessDenied, False),
        (403, "AuthorizationPermissionMismatch", AccessDenied, False),
        (403, "AuthenticationFailed", AccessDenied, False),
        (403, "AuthorizationFailure", AccessDenied, False),
        (403, "", AccessDenied, False),
        (404, "TableNotFound", TableMissing, False),
        (404, "", TierUnavailable, False),  # some proxy's: not the word of Table Storage
        (408, "", TierTimeout, True),
        (409, "TableBeingDeleted", TierUnavailable, False),
        (429, "", Throttled, False),
        (503, "ServerBusy", Throttled, False),
        (503, "", TierUnavailable, True),
        (500, "OperationTimedOut", TierTimeout, True),
        (500, "InternalError", TierUnavailable, True),
        (502, "", TierUnavailable, True),
    ],
)
async def test_answers_of_the_service(
    service: tuple[Service, str], tier: TableMemory, status: int, code: str, kind: type[ThermoclineError], sent: bool
) -> None:
    """To a read, a plain write, a removal and a listing; asked once each."""
    service[0].status, service[0].code = status, code

    for call in (
        tier.read(KEY, deadline=soon()),
        tier.write_note("n", b"x", deadline=soon()),
        tier.write_note("n", b"x", if_absent=True, deadline=soon()),
        tier.delete_note("n", deadline=soon()),
        tier.list_notes("", limit=1, cursor=None, deadline=soon()),
    ):
        with pytest.raises(kind) as caught:
            await call
        assert type(caught.value) is kind
        assert isinstance(caught.value, TierUnavailable)
        assert caught.value.sent is sent
        assert caught.value.tier == "warm_plus"
    assert service[0].asked == 5  # the SDK did not try again by itself


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (413, "RequestBodyTooLarge", TooLarge),
        (400, "EntityTooLarge", TooLarge),
        (400, "PropertyValueTooLarge", TooLarge),
        (400, "InvalidInput", InvalidArgument),
    ],
)
async def test_refusals_of_the_request_itself(
    service: tuple[Service, str], tier: TableMemory, status: int, code: str, kind: type[ThermoclineError]
) -> None:
    service[0].status, service[0].code = status, code
    for call in (tier.write(put(KEY), deadline=soon()), tier.write_note("n", b"x", deadline=soon())):
        with pytest.raises(kind, match=code):
            await call


@pytest.mark.parametrize(("status", "code"), [(429, ""), (403, "AuthenticationFailed"), (503, "ServerBusy")])
async def test_certain_refusals_of_a_transaction(
    service: tuple[Service, str], tier: TableMemory, status: int, code: str
) -> None:
    service[0].status, service[0].code = status, code
    with pytest.raises(TierUnavailable) as caught:
        await tier.write_atomic([put(KEY), put(Key("t", "s", "m"))], deadline=soon())
    assert not caught.value.sent


async def test_service_that_does_not_know_itself_leaves_the_outcome_unknown(
    service: tuple[Service, str], tier: TableMemory
) -> None:
    service[0].status, service[0].code = 500, "InternalError"
    write = Write(Verb.PUT, "1" * 26, Codec().encode(KEY, 1, now_ms=1))
    with pytest.raises(UnknownOutcome) as caught:
        await tier.write(write, deadline=Deadline.after(0.3))
    assert caught.value.write_id == write.id
    assert service[0].asked > 1


async def test_throttling_tells_how_long_to_wait_and_is_counted(
    service: tuple[Service, str], tier: TableMemory
) -> None:
    service[0].status, service[0].code, service[0].headers = 503, "ServerBusy", {"Retry-After": "7"}
    with pytest.raises(Throttled) as caught:
        await tier.read(KEY, deadline=soon())

    assert caught.value.retry_after == 7
    assert (tier.stats.get("throttled", "warm_plus"), tier.stats.get("requests", "warm_plus")) == (1, 1)


async def test_clock_is_the_services(service: tuple[Service, str], tier: TableMemory) -> None:
    service[0].status, service[0].headers = 404, {"Date": "Fri, 01 Jan 2100 00:00:00 GMT"}
    with pytest.raises(TierUnavailable):
        await tier.read(KEY, deadline=soon())

    assert tier.skew_ms > 10**12
    assert abs(tier._service.now_ms() - 4_102_444_800_000) < 60_000


async def test_nobody_listens() -> None:
    with pytest.raises(TierUnavailable) as caught:
        await TableMemory(f"http://127.0.0.1:{free_port()}/account", "memory", credential=ACCOUNT_KEY).connect()

    assert not caught.value.sent


@pytest.mark.parametrize(
    ("url", "table", "credential", "told"),
    [
        ("account.table.core.windows.net", "memory", ACCOUNT_KEY, "https://"),
        ("https://account.table.core.windows.net", "no-hyphens", ACCOUNT_KEY, "TABLE_NAME"),
        ("https://account.table.core.windows.net", "ab", ACCOUNT_KEY, "TABLE_NAME"),
        ("https://account.table.core.windows.net", "memory", None, "credential="),
    ],
)
def test_what_cannot_work_is_refused_at_once(url: str, table: str, credential: str | None, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        TableMemory(url, table, credential=credential)


def test_synchronous_credential_is_refused() -> None:
    class Blocking:
        def get_token(self, *scopes: str) -> None: ...

    with pytest.raises(ConfigurationError, match="synchronous"):
        TableMemory("https://account.table.core.windows.net", credential=Blocking())


async def test_token_without_tls_is_refused() -> None:
    class Awaited:
        async def get_token(self, *scopes: str) -> None: ...

    with pytest.raises(ConfigurationError, match="HTTPS"):
        await TableMemory("http://127.0.0.1:1/account", credential=Awaited()).connect()


@pytest.mark.parametrize("how", ["key", "SAS", "SAS in the URL"])
async def test_secrets_are_never_shown(
    service: tuple[Service, str], how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Not by the objects, not by errors with all that lies behind them, not in the log of whoever listens to everything."""
    secret = "c2VjcmV0LW9mLXRoaXMtdGVzdA"
    sas = f"sv=2026-01-01&sig={secret}%3D"
    said: list[str] = []
    caplog.set_level(logging.DEBUG)
    for url in (service[1], f"http://127.0.0.1:{free_port()}/account"):
        credential = {"key": f"{secret}==", "SAS": sas, "SAS in the URL": None}[how]
        tier = TableMemory(f"{url}?{sas}" if credential is None else url, "memory", credential=credential)
        said += [repr(tier), repr(tier._account), repr(tier._service)]
        for service[0].status, service[0].code in ((403, "AuthenticationFailed"), (400, "InvalidInput"), (500, "")):
            with pytest.raises(ThermoclineError) as caught:
                await tier.connect()
            said += traceback.format_exception(caught.value)
            await tier._service.open()
            for call in (tier.write(put(KEY), deadline=Deadline.after(0.2)), tier.delete_note("n", deadline=soon())):
                with pytest.raises(ThermoclineError) as caught:
                    await call
                said += traceback.format_exception(caught.value)
            with pytest.raises(ThermoclineError) as caught:
                await tier.write_atomic([put(KEY), put(Key("t", "s", "m"))], deadline=Deadline.after(0.2))
            said += traceback.format_exception(caught.value)
            await tier.close()

    everything = "\n".join([*said, caplog.text])
    assert len(everything) > 10_000
    assert secret not in everything
