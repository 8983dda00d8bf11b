"""The door between the Cosmos SDK and our errors: every exception that the SDK has is known here, and means something sensible."""

import inspect
from types import ModuleType
from typing import Any

import aiohttp
import pytest
from azure.core import exceptions as core
from azure.cosmos import exceptions as cosmos

from thermocline.errors import (
    AccessDenied,
    ConfigurationError,
    InvalidArgument,
    ThermoclineError,
    Throttled,
    TierFull,
    TierTimeout,
    TierUnavailable,
    TooLarge,
)
from thermocline.tiers.warm.sdk import DOOR, door, translate
from thermocline.tiers.warm.trouble import Kind, Trouble, by_status, in_doubt
from thermocline.tiers.warm.watching import NEVER, Sent


def exceptions_of(module: ModuleType) -> set[type[BaseException]]:
    """The classes that a module of the SDK defines itself."""
    return {
        member
        for _, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, BaseException) and member.__module__ == module.__name__
    }


@pytest.mark.parametrize("module", [core, cosmos], ids=["azure.core", "azure.cosmos"])
def test_no_exception_of_the_sdk_is_unknown_here(module: ModuleType) -> None:
    """Fails if a new version of the SDK has grown one: decide what it means, and give it its line in `DOOR`."""
    assert exceptions_of(module) - DOOR.keys() == set()


@pytest.mark.parametrize("kind", DOOR, ids=lambda kind: kind.__name__)
def test_every_entry_makes_an_error_of_our_tree(kind: type[BaseException]) -> None:
    error: Any = kind.__new__(kind)  # many ask for responses of several kinds
    if issubclass(kind, core.AzureError):
        error.message = error.http_error_message = "m"
        error.status_code = error.sub_status = error.endpoint = error.response = None
    if issubclass(kind, core.ServiceRequestError):
        error.inner_exception = None

    assert isinstance(translate(error).error, ThermoclineError)


@pytest.mark.parametrize(("status", "substatus", "kind", "error"), [
    (400, 0, Kind.FATAL, InvalidArgument),
    (400, 1001, Kind.FATAL, InvalidArgument),
    (401, 0, Kind.FATAL, AccessDenied),
    (403, 0, Kind.FATAL, AccessDenied),
    (403, 3, Kind.AGAIN, TierUnavailable),
    (403, 1008, Kind.AGAIN, TierUnavailable),
    (403, 1014, Kind.FATAL, TierFull),
    (403, 5300, Kind.FATAL, AccessDenied),
    (403, 5302, Kind.FATAL, AccessDenied),
    (404, 0, Kind.MISSING, InvalidArgument),
    (404, 1002, Kind.AGAIN, TierUnavailable),
    (404, 1003, Kind.FATAL, ConfigurationError),
    (408, 0, Kind.LOST, TierUnavailable),
    (409, 0, Kind.EXISTS, InvalidArgument),
    (410, 1002, Kind.AGAIN, TierUnavailable),
    (412, 0, Kind.REFUSED, InvalidArgument),
    (413, 0, Kind.FATAL, TooLarge),
    (429, 3200, Kind.AGAIN, Throttled),
    (449, 0, Kind.AGAIN, TierUnavailable),
    (500, 0, Kind.LOST, TierUnavailable),
    (0, 0, Kind.LOST, TierUnavailable),
    (502, 0, Kind.LOST, TierUnavailable),
    (503, 0, Kind.LOST, TierUnavailable),
])  # fmt: skip
def test_what_a_status_means(status: int, substatus: int, kind: Kind, error: type[ThermoclineError]) -> None:
    trouble = by_status(status, substatus, "words of the service")

    assert trouble.kind is kind
    assert isinstance(trouble.error, error)
    assert f"{status}/{substatus}" in str(trouble.error)
    assert "words of the service" in str(trouble.error)


LONG = (
    "DefaultAzureCredential failed to retrieve a token from the included credentials.\nAttempted credentials:\n\tmany"
)


@pytest.mark.parametrize(("said", "why"), [(LONG, ""), ("AADSTS7000222: it has expired.\nTrace", "AADSTS7000222")])
def test_without_a_token_one_line_says_how_to_sign_in(said: str, why: str) -> None:
    trouble = translate(core.ClientAuthenticationError(said))

    assert isinstance(trouble.error, AccessDenied)
    assert "not signed in to Azure" in str(trouble.error)
    assert "`az login`" in str(trouble.error)
    assert why in str(trouble.error)
    assert [word for word in ("\n", "DefaultAzure", "role", "Trace") if word in str(trouble.error)] == []


def test_no_answer_is_told_from_nothing_sent() -> None:
    key = aiohttp.client_reqrep.ConnectionKey("host", 1, False, True, None, None, None)
    refused = core.ServiceRequestError("m", error=aiohttp.ClientConnectorError(key, OSError("refused")))
    dropped = core.ServiceRequestError("m", error=aiohttp.ServerDisconnectedError())

    for error, sent, kind in ((refused, False, Kind.AGAIN), (dropped, True, Kind.LOST)):
        trouble = translate(error)
        assert trouble.kind is kind
        assert isinstance(trouble.error, TierUnavailable)
        assert trouble.error.sent is sent


def test_timeouts_are_timeouts() -> None:
    by_sdk: Any = cosmos.CosmosClientTimeoutError
    for error in (TimeoutError(), by_sdk(), core.ServiceResponseTimeoutError("m")):
        assert isinstance(translate(error).error, TierTimeout)


def test_error_that_hides_another_is_read_as_that() -> None:
    """As the SDK's session container raises KeyError while it handles 404/1002."""
    throttled: Any = cosmos.CosmosHttpResponseError
    outer = KeyError("rid")
    outer.__context__ = throttled(status_code=429, message="m")
    with pytest.raises(Trouble) as caught, door():
        raise outer

    assert caught.value.kind is Kind.AGAIN


def test_what_is_not_the_sdks_goes_through_the_door_untouched() -> None:
    with pytest.raises(KeyboardInterrupt), door():
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        translate(KeyboardInterrupt())


@pytest.mark.parametrize(("statuses", "failed", "doubt"), [
    ([], True, False),
    ([None], True, True),
    ([NEVER], True, False),
    ([200], False, False),
    ([200], True, True),
    ([412], True, False),
    ([503, 412], True, True),
    ([503, 200], False, True),
    ([429, 429], True, False),
    ([403, 403], True, False),
    ([None, NEVER], True, True),
])  # fmt: skip
def test_copies_that_may_have_taken_effect(statuses: list[int | None], failed: bool, doubt: bool) -> None:
    assert Sent(statuses).left_doubt(failed=failed) is doubt


def test_only_what_tells_nothing_is_in_doubt() -> None:
    assert [status for status in (200, 304, 400, 404, 408, 409, 410, 412, 429, 449, 500, 503) if in_doubt(status)] == [
        408, 500, 503,
    ]  # fmt: skip
