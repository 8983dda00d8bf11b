"""The error door of the Tables SDK: every exception of azure-core and azure-data-tables becomes one of ours.

``sent`` is False only where the request certainly had no effect. Beware of `ServiceRequestError`: azure-core raises it for a connection that broke
after the request was sent as well, so what aiohttp said underneath decides.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

import aiohttp
from azure.core import exceptions as azure

from thermocline.errors import (
    AccessDenied,
    InvalidArgument,
    ThermoclineError,
    Throttled,
    TierTimeout,
    TierUnavailable,
    TooLarge,
)

TIER: Final = "warm_plus"
ROLE: Final = "Storage Table Data Contributor"

# What the kinds of exception mean that bring no answer of the service. `HttpResponseError` and its kind are judged by status and code.
ANSWERED: Final = "answered"
LOST: Final = "lost"  # no answer: the request may have had an effect
UNSENT: Final = "unsent"
LATE: Final = "late"
KINDS: Final[Mapping[str, str]] = {
    "AzureError": LOST,
    "HttpResponseError": ANSWERED,
    "ClientAuthenticationError": ANSWERED,
    "DecodeError": LOST,
    "IncompleteReadError": LOST,
    "ODataV4Error": ANSWERED,
    "RequestTooLargeError": ANSWERED,
    "ResourceExistsError": ANSWERED,
    "ResourceModifiedError": ANSWERED,
    "ResourceNotFoundError": ANSWERED,
    "ResourceNotModifiedError": ANSWERED,
    "TableTransactionError": ANSWERED,
    "TooManyRedirectsError": LOST,
    "AzureSigningError": UNSENT,
    "SerializationError": UNSENT,
    "DeserializationError": LOST,
    "ServiceRequestError": LOST,
    "ServiceRequestTimeoutError": UNSENT,
    "ServiceResponseError": LOST,
    "ServiceResponseTimeoutError": LATE,
    "ResponseNotReadError": LOST,
    "StreamClosedError": LOST,
    "StreamConsumedError": LOST,
}
CAUGHT: Final = (
    azure.AzureError,
    aiohttp.ClientError,
    OSError,
    ValueError,
)  # all that a call of the SDK raises in operation

_NO_ENTITY: Final = frozenset({"ResourceNotFound", "EntityNotFound"})
_REFUSED: Final = frozenset({"EntityAlreadyExists", "UpdateConditionNotSatisfied", "ConditionNotMet"}) | _NO_ENTITY
_TOO_LARGE: Final = frozenset(
    {"RequestBodyTooLarge", "EntityTooLarge", "PropertyValueTooLarge", "ContentLengthExceeded", "TooManyProperties"}
)


class NotSignedIn(AccessDenied):
    """The credential gave no token."""


class TableMissing(TierUnavailable):
    """The account answered and has no such table."""


def refused(error: azure.HttpResponseError) -> bool:
    """Whether it says that the request's condition (ETag, not there yet) does not hold. An entity that is gone has no ETag."""
    code = code_of(error)
    return code in _REFUSED if code else error.status_code == 412


def absent(error: azure.HttpResponseError) -> bool:
    """Whether it says that the table answered and there is no such entity."""
    return error.status_code == 404 and code_of(error) in _NO_ENTITY


def code_of(error: azure.HttpResponseError) -> str:
    """The service's own code, as ``EntityAlreadyExists``; empty where it gave none. An insert's error is raised before the SDK has looked for it."""
    code = getattr(error, "error_code", None)
    if code is None:
        code = _header(error, "x-ms-error-code")
    if code is None:
        try:
            told: Any = json.loads(error.response.text())  # type: ignore[union-attr] # what has no response is caught
            code = told["odata.error"]["code"]
        except (AttributeError, ValueError, KeyError, TypeError, azure.AzureError):
            return ""
    return str(getattr(code, "value", code))


def translate(error: Exception, doing: str) -> ThermoclineError:
    """What an exception of the SDK means. ``doing`` names the operation in the message."""
    if isinstance(error, azure.HttpResponseError) and _kind(error) == ANSWERED:
        return _answered(error, doing)
    if isinstance(error, azure.ClientAuthenticationError):
        if type(error).__name__ == "AzureSigningError":
            text = f"warm_plus: {doing} cannot be signed, check the key: {_text(error)}"
            return AccessDenied(text, tier=TIER, sent=False)
        return NotSignedIn(_not_signed_in(_text(error)), tier=TIER, sent=False)
    kind = _kind(error)
    if kind == LATE or isinstance(error, TimeoutError):
        return TierTimeout(f"warm_plus: no answer in time to {doing}: {_text(error)}", tier=TIER)
    sent = kind != UNSENT and not _never_connected(error)
    return TierUnavailable(f"warm_plus: {doing} failed: {_text(error)}", tier=TIER, sent=sent)


def _kind(error: Exception) -> str:
    """The kind of the nearest known class; a credential's own error (CredentialUnavailableError) came without an answer of Table Storage."""
    for cls in type(error).__mro__:
        if cls.__name__ in KINDS:
            kind = KINDS[cls.__name__]
            unanswered = isinstance(error, azure.HttpResponseError) and error.response is None
            return UNSENT if kind == ANSWERED and unanswered else kind
    return LOST


def _never_connected(error: Exception) -> bool:
    inner = getattr(error, "inner_exception", None)
    return isinstance(inner if isinstance(inner, Exception) else error, aiohttp.ClientConnectorError)


def _answered(error: azure.HttpResponseError, doing: str) -> ThermoclineError:
    status, code = error.status_code or 0, code_of(error)
    said = f"HTTP {status}{' ' + code if code else ''}"
    if status in (401, 403) or isinstance(error, azure.ClientAuthenticationError):
        return AccessDenied(f"warm_plus: {doing} was refused ({said}): {_why_denied(code)}", tier=TIER, sent=False)
    if status == 429 or code == "ServerBusy":
        text = f"warm_plus: {doing} was throttled ({said})"
        return Throttled(text, tier=TIER, sent=False, retry_after=_retry_after(error))
    if status == 404 and code == "TableNotFound":
        text = f"warm_plus: the table is missing ({said}): create it, or mend its name"
        return TableMissing(text, tier=TIER, sent=False)
    if status == 413 or code in _TOO_LARGE:
        return TooLarge(f"warm_plus: {doing}: the service takes nothing so large ({said})")
    if status == 400:
        return InvalidArgument(f"warm_plus: {doing} was refused ({said}): {_text(error)}")
    if status == 408 or code == "OperationTimedOut":
        return TierTimeout(f"warm_plus: the service gave up {doing} ({said})", tier=TIER)
    text = f"warm_plus: {doing} failed ({said}): {_text(error)}"
    return TierUnavailable(text, tier=TIER, sent=status < 400 or status >= 500)


def _why_denied(code: str) -> str:
    if code == "AuthorizationPermissionMismatch":
        return f"the identity has no role for data here; assign it '{ROLE}' on the table or account (this takes minutes to work)"
    if code == "AuthorizationFailure":
        return "the account's firewall does not let this address in, or the key or SAS does not allow this"
    if code in ("KeyBasedAuthenticationNotPermitted", "AuthenticationTypeNotPermitted"):
        return f"the account takes no keys: use an Entra credential with the role '{ROLE}'"
    if code == "NoAuthenticationInformation":
        return "no credential was given: pass credential=, for example azure.identity.aio.DefaultAzureCredential()"
    if code == "AuthenticationFailed":
        return "the account key, SAS or token is wrong or has run out, or this machine's clock is off by more than 15 minutes"
    return f"check the credential, the account's network rules and the role '{ROLE}'"


def _not_signed_in(said: str) -> str:
    # The default credential tells of everything it tried, in a dozen lines; they are in the cause.
    why = "" if said.startswith("DefaultAzureCredential failed") else f" ({said[:300]})"
    return (
        "warm_plus: not signed in to Azure, so there is no token for Table Storage:"
        f" run `az login`, or give this workload a managed identity{why}"
    )


def _retry_after(error: azure.HttpResponseError) -> float | None:
    value = _header(error, "Retry-After")
    try:
        return None if value is None else float(value)
    except ValueError:  # a date: rare, and waiting is the client's choice anyway
        return None


def _header(error: azure.HttpResponseError, name: str) -> str | None:
    headers: Any = getattr(error.response, "headers", {})
    value = headers.get(name)
    return None if value is None else str(value)


def _text(error: Exception) -> str:
    """The first line: the SDK appends codes, request ids and the raw body."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
