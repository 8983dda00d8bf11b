"""Every exception of the SDKs of Azure Storage becomes an error of ours, and says rightly whether the request may have had an effect."""

import importlib
import inspect
import pkgutil
from types import ModuleType
from typing import Any

import azure.core.exceptions
import azure.data.tables
import azure.storage.blob
import pytest
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseTimeoutError,
)
from azure.data.tables import TableTransactionError

from thermocline.azure_storage.door import Door
from thermocline.errors import AccessDenied, TierTimeout, TierUnavailable
from thermocline.tiers.cold import door as cold
from thermocline.tiers.table import door as table

DOORS: dict[str, tuple[Door, ModuleType]] = {
    "blobs": (cold.DOOR, azure.storage.blob),
    "rows": (table.DOOR, azure.data.tables),
}
# Of the Blob SDK's own little Avro reader, which only the query feature uses; we do not.
AVRO = {"AvroException", "DataFileException", "Error", "SchemaParseException", "SchemaResolutionException"}
STRANGERS = {"blobs": AVRO, "rows": set[str]()}
NEED_A_RESPONSE = {
    "PartialBatchErrorException",
    "ODataV4Error",
    "StreamConsumedError",
    "StreamClosedError",
    "ResponseNotReadError",
}
LONG = (
    "DefaultAzureCredential failed to retrieve a token from the included credentials.\nAttempted credentials:\n\tmany"
)

pytestmark = pytest.mark.parametrize("sdk", list(DOORS))


def exceptions_of(sdk: str) -> dict[str, type[BaseException]]:
    package = DOORS[sdk][1]
    modules = [azure.core.exceptions]
    walked = pkgutil.walk_packages(package.__path__, package.__name__ + ".")
    modules += [importlib.import_module(module.name) for module in walked]
    return {
        name: value
        for module in modules
        for name, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, BaseException) and value.__module__.startswith("azure.")
    }


def test_every_exception_of_the_sdk_is_mapped(sdk: str) -> None:
    """It fails when the SDK grows an exception: decide what it means, and add it to the door's `KINDS`."""
    found = set(exceptions_of(sdk))

    assert found - STRANGERS[sdk] == set(DOORS[sdk][0].kinds)
    assert found >= STRANGERS[sdk]


def test_every_exception_of_the_sdk_becomes_one_of_ours(sdk: str) -> None:
    door = DOORS[sdk][0]
    for name, kind in exceptions_of(sdk).items():
        if name in door.kinds and name not in NEED_A_RESPONSE:
            make: Any = kind
            named = issubclass(kind, TableTransactionError)
            error = make(message="something\nwith lines") if named else make("something\nwith lines")
            assert isinstance(error, Exception)
            ours = door.translate(error, "read")
            assert isinstance(ours, TierUnavailable), name
            assert ours.tier == door.tier
            assert "lines" not in str(ours)


@pytest.mark.parametrize(("said", "why"), [(LONG, ""), ("AADSTS7000222: it has expired.\nTrace", "AADSTS7000222")])
def test_without_a_token_one_line_says_how_to_sign_in(sdk: str, said: str, why: str) -> None:
    ours = DOORS[sdk][0].translate(ClientAuthenticationError(said), "read")

    assert isinstance(ours, AccessDenied)
    assert ours.sent is False
    assert "not signed in to Azure" in str(ours)
    assert "`az login`" in str(ours)
    assert why in str(ours)
    assert [word for word in ("\n", "DefaultAzure", "role", "Trace") if word in str(ours)] == []


def test_a_key_that_cannot_sign_is_no_missing_sign_in(sdk: str) -> None:
    signing = exceptions_of(sdk)["AzureSigningError"]("Invalid base64")
    assert isinstance(signing, Exception)
    door = DOORS[sdk][0]

    told = str(door.translate(signing, "read"))
    assert told == f"{door.tier}: read cannot be signed, check the key: Invalid base64"


def test_broken_connection_may_have_carried_the_request(sdk: str) -> None:
    """azure-core calls a connection that broke after sending a `ServiceRequestError` too."""
    door = DOORS[sdk][0]
    broken = door.translate(ServiceRequestError("x", error=OSError("reset")), "write")
    late = door.translate(ServiceResponseTimeoutError("x"), "write")

    assert isinstance(broken, TierUnavailable)
    assert broken.sent
    assert isinstance(late, TierTimeout)
    assert late.sent


def test_answer_that_is_not_judged_by_its_class(sdk: str) -> None:
    assert isinstance(DOORS[sdk][0].translate(HttpResponseError("no response"), "read"), TierUnavailable)
