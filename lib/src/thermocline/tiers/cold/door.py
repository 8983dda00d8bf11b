"""The error door of the Blob SDK: every exception of azure-core and azure-storage-blob becomes one of ours.

``sent`` is False only where the request certainly had no effect. Beware of `ServiceRequestError`: azure-core raises it for a connection that broke
after the request was sent as well, so what aiohttp said underneath decides.
"""

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

TIER: Final = "cold"
ROLE: Final = "Storage Blob Data Contributor"

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
    "PartialBatchErrorException": ANSWERED,
    "ResourceExistsError": ANSWERED,
    "ResourceModifiedError": ANSWERED,
    "ResourceNotFoundError": ANSWERED,
    "ResourceNotModifiedError": ANSWERED,
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

_CONDITION: Final = frozenset(
    {(409, "BlobAlreadyExists"), (412, "ConditionNotMet"), (412, "TargetConditionNotMet"), (412, "ResourceModified")}
)
_TOO_LARGE: Final = frozenset(
    {"RequestBodyTooLarge", "MetadataTooLarge", "BlockListTooLong", "RequestUrlFailedToParse"}
)


class NotSignedIn(AccessDenied):
    """The credential gave no token."""


class ContainerMissing(TierUnavailable):
    """The account answered and has no such container."""


def refused(error: azure.HttpResponseError) -> bool:
    """Whether it says that the request's condition (ETag, not there yet) does not hold."""
    return unmet(error.status_code or 0, code_of(error))


def absent(error: azure.HttpResponseError) -> bool:
    """Whether it says that the container answered and there is no such blob. A HEAD's answer has no body, but the code in a header."""
    return missing(error.status_code or 0, code_of(error))


def unmet(status: int, code: str) -> bool:
    """`refused`, by status and code."""
    return (status, code) in _CONDITION or (status == 412 and not code)


def missing(status: int, code: str) -> bool:
    """`absent`, by status and code."""
    return status == 404 and code in ("BlobNotFound", "ResourceNotFound")


def code_of(error: azure.HttpResponseError) -> str:
    """The service's own code, as ``BlobNotFound``; empty where it gave none."""
    code = getattr(error, "error_code", None)
    if code is None:
        code = _header(error, "x-ms-error-code")
    return "" if code is None else str(getattr(code, "value", code))


def translate(error: Exception, doing: str) -> ThermoclineError:
    """What an exception of the SDK means. ``doing`` names the operation in the message."""
    if isinstance(error, azure.HttpResponseError) and _kind(error) == ANSWERED:
        return _answered(error, doing)
    if isinstance(error, azure.ClientAuthenticationError):
        if type(error).__name__ == "AzureSigningError":
            return AccessDenied(f"cold: {doing} cannot be signed, check the key: {_text(error)}", tier=TIER, sent=False)
        return NotSignedIn(_not_signed_in(_text(error)), tier=TIER, sent=False)
    kind = _kind(error)
    if kind == LATE or isinstance(error, TimeoutError):
        return TierTimeout(f"cold: no answer in time to {doing}: {_text(error)}", tier=TIER)
    sent = kind != UNSENT and not _never_connected(error)
    return TierUnavailable(f"cold: {doing} failed: {_text(error)}", tier=TIER, sent=sent)


def _kind(error: Exception) -> str:
    """The kind of the nearest known class; a credential's own error (CredentialUnavailableError) came without an answer of Blob Storage."""
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
    status = error.status_code or 0
    if isinstance(error, azure.ClientAuthenticationError) and status not in (401, 403):
        status = 401
    return by_answer(status, code_of(error), doing, _text(error), _retry_after(error))


def by_answer(status: int, code: str, doing: str, text: str = "", retry_after: float | None = None) -> ThermoclineError:
    """What an answer of the service means, by its HTTP status and the service's own code (empty where it gave none). ``retry_after`` in seconds."""
    said = f"HTTP {status}{' ' + code if code else ''}"
    if status in (401, 403):
        return AccessDenied(f"cold: {doing} was refused ({said}): {_why_denied(code)}", tier=TIER, sent=False)
    if status == 429 or code == "ServerBusy":
        return Throttled(f"cold: {doing} was throttled ({said})", tier=TIER, sent=False, retry_after=retry_after)
    if status == 404 and code.startswith("Container"):
        return ContainerMissing(
            f"cold: the container is missing ({said}): create it, or mend its name", tier=TIER, sent=False
        )
    if status == 413 or code in _TOO_LARGE:
        return TooLarge(f"cold: {doing}: the service takes nothing so large ({said})")
    if code == "BlobArchived":
        return TierUnavailable(
            f"cold: the blob is in the archive tier: rehydrate it first ({said})", tier=TIER, sent=False
        )
    if status == 400:
        return InvalidArgument(f"cold: {doing} was refused ({said}): {text}")
    if status == 408 or code == "OperationTimedOut":
        return TierTimeout(f"cold: the service gave up {doing} ({said})", tier=TIER)
    return TierUnavailable(f"cold: {doing} failed ({said}): {text}", tier=TIER, sent=status < 400 or status >= 500)


def _why_denied(code: str) -> str:
    if code == "AuthorizationPermissionMismatch":
        return f"the identity has no role for data here; assign it '{ROLE}' on the container or account (this takes minutes to work)"
    if code == "AuthorizationFailure":
        return "the account's firewall does not let this address in, or the key or SAS does not allow this"
    if code in ("KeyBasedAuthenticationNotPermitted", "AuthenticationTypeNotPermitted"):
        return f"the account takes no keys: use an Entra credential with the role '{ROLE}'"
    if code in ("NoAuthenticationInformation", "PublicAccessNotPermitted"):
        return "no credential was given: pass credential=, for example azure.identity.aio.DefaultAzureCredential()"
    if code == "AuthenticationFailed":
        return "the account key, SAS or token is wrong or has run out, or this machine's clock is off by more than 15 minutes"
    return f"check the credential, the account's network rules and the role '{ROLE}'"


def _not_signed_in(said: str) -> str:
    # The default credential tells of everything it tried, in a dozen lines; they are in the cause.
    why = "" if said.startswith("DefaultAzureCredential failed") else f" ({said[:300]})"
    return f"cold: not signed in to Azure, so there is no token for Blob Storage: run `az login`, or give this workload a managed identity{why}"


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
    """The first line: the SDK appends request ids and the raw body."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
