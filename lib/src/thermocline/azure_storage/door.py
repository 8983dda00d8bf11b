"""The error door of Azure Storage: every exception of azure-core and of a service's SDK becomes one of ours.

``sent`` is False only where the request certainly had no effect. Beware of `ServiceRequestError`: azure-core raises it for a connection that broke
after the request was sent as well, so what aiohttp said underneath decides.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Final

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


class NotSignedIn(AccessDenied):
    """The credential gave no token."""


class Door(ABC):
    """A service's words, and what it says by a code of its own. The rest is the same for all of Azure Storage."""

    tier: ClassVar[str]
    service: ClassVar[str]  # as people call it
    place: ClassVar[str]  # what of the account a role is given on
    role: ClassVar[str]
    kinds: ClassVar[Mapping[str, str]]  # `KINDS`, and those of the service's own SDK
    too_large: ClassVar[frozenset[str]]  # codes

    @abstractmethod
    def own(self, status: int, code: str) -> ThermoclineError | None:
        """What a code means that only this service has: what is missing, and what lies where it cannot be read. None: nothing of the kind."""

    def code_of(self, error: azure.HttpResponseError) -> str:
        """The service's own code, as ``BlobNotFound``; empty where it gave none."""
        code = getattr(error, "error_code", None)
        if code is None:
            code = _header(error, "x-ms-error-code")
        return "" if code is None else str(getattr(code, "value", code))

    def translate(self, error: Exception, doing: str) -> ThermoclineError:
        """What an exception of the SDK means. ``doing`` names the operation in the message."""
        tier = self.tier
        if isinstance(error, azure.HttpResponseError) and self._kind(error) == ANSWERED:
            return self._answered(error, doing)
        if isinstance(error, azure.ClientAuthenticationError):
            if type(error).__name__ == "AzureSigningError":
                text = f"{tier}: {doing} cannot be signed, check the key: {_text(error)}"
                return AccessDenied(text, tier=tier, sent=False)
            return NotSignedIn(self._not_signed_in(_text(error)), tier=tier, sent=False)
        kind = self._kind(error)
        if kind == LATE or isinstance(error, TimeoutError):
            return TierTimeout(f"{tier}: no answer in time to {doing}: {_text(error)}", tier=tier)
        sent = kind != UNSENT and not _never_connected(error)
        return TierUnavailable(f"{tier}: {doing} failed: {_text(error)}", tier=tier, sent=sent)

    def by_answer(
        self, status: int, code: str, doing: str, text: str = "", retry_after: float | None = None
    ) -> ThermoclineError:
        """What an answer of the service means, by its HTTP status and the service's own code (empty where it gave none). ``retry_after`` in seconds."""
        tier, said = self.tier, _said(status, code)
        if status in (401, 403):
            return self._denied(said, code, doing)
        if status == 429 or code == "ServerBusy":
            text = f"{tier}: {doing} was throttled ({said})"
            return Throttled(text, tier=tier, sent=False, retry_after=retry_after)
        own = self.own(status, code)
        if own is not None:
            return own
        if status == 413 or code in self.too_large:
            return TooLarge(f"{tier}: {doing}: the service takes nothing so large ({said})")
        if status == 400:
            return InvalidArgument(f"{tier}: {doing} was refused ({said}): {text}")
        if status == 408 or code == "OperationTimedOut":
            return TierTimeout(f"{tier}: the service gave up {doing} ({said})", tier=tier)
        sent = status < 400 or status >= 500
        return TierUnavailable(f"{tier}: {doing} failed ({said}): {text}", tier=tier, sent=sent)

    def _kind(self, error: Exception) -> str:
        """The kind of the nearest known class; a credential's own error (CredentialUnavailableError) came without an answer of the service."""
        for cls in type(error).__mro__:
            if cls.__name__ in self.kinds:
                kind = self.kinds[cls.__name__]
                unanswered = isinstance(error, azure.HttpResponseError) and error.response is None
                return UNSENT if kind == ANSWERED and unanswered else kind
        return LOST

    def _answered(self, error: azure.HttpResponseError, doing: str) -> ThermoclineError:
        status, code = error.status_code or 0, self.code_of(error)
        if isinstance(error, azure.ClientAuthenticationError):
            return self._denied(_said(status, code), code, doing)
        return self.by_answer(status, code, doing, _text(error), _retry_after(error))

    def _denied(self, said: str, code: str, doing: str) -> AccessDenied:
        text = f"{self.tier}: {doing} was refused ({said}): {self._why_denied(code)}"
        return AccessDenied(text, tier=self.tier, sent=False)

    def _why_denied(self, code: str) -> str:
        if code == "AuthorizationPermissionMismatch":
            return (
                f"the identity has no role for data here; assign it '{self.role}' on the {self.place} or account"
                " (this takes minutes to work)"
            )
        if code == "AuthorizationFailure":
            return "the account's firewall does not let this address in, or the key or SAS does not allow this"
        if code in ("KeyBasedAuthenticationNotPermitted", "AuthenticationTypeNotPermitted"):
            return f"the account takes no keys: use an Entra credential with the role '{self.role}'"
        if code in ("NoAuthenticationInformation", "PublicAccessNotPermitted"):
            return "no credential was given: pass credential=, for example azure.identity.aio.DefaultAzureCredential()"
        if code == "AuthenticationFailed":
            return "the account key, SAS or token is wrong or has run out, or this machine's clock is off by more than 15 minutes"
        return f"check the credential, the account's network rules and the role '{self.role}'"

    def _not_signed_in(self, said: str) -> str:
        # The default credential tells of everything it tried, in a dozen lines; they are in the cause.
        why = "" if said.startswith("DefaultAzureCredential failed") else f" ({said[:300]})"
        return (
            f"{self.tier}: not signed in to Azure, so there is no token for {self.service}:"
            f" run `az login`, or give this workload a managed identity{why}"
        )


def _said(status: int, code: str) -> str:
    return f"HTTP {status}{' ' + code if code else ''}"


def _never_connected(error: Exception) -> bool:
    inner = getattr(error, "inner_exception", None)
    return isinstance(inner if isinstance(inner, Exception) else error, aiohttp.ClientConnectorError)


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
