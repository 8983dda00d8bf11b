"""What the server answers when it refuses: a status, a sub-status and `{"code", "message"}`."""

from __future__ import annotations

from collections.abc import Mapping

CODES: Mapping[int, str] = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    408: "RequestTimeout",
    409: "Conflict",
    410: "Gone",
    412: "PreconditionFailed",
    413: "RequestEntityTooLarge",
    424: "FailedDependency",
    429: "TooManyRequests",
    449: "RetryWith",
    500: "InternalServerError",
    503: "ServiceUnavailable",
}


class ServiceError(Exception):
    """A refusal that goes out as an HTTP answer. Raised before anything was changed."""

    def __init__(
        self, status: int, message: str, *, substatus: int = 0, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.substatus = substatus
        self.headers = dict(headers or {})

    @property
    def code(self) -> str:
        """The name that the service gives this status."""
        return CODES.get(self.status, "Error")


def bad_request(message: str, substatus: int = 0) -> ServiceError:
    """400."""
    return ServiceError(400, message, substatus=substatus)


def not_found(message: str = "Entity with the specified id does not exist in the system.") -> ServiceError:
    """404/0, an item that is not there."""
    return ServiceError(404, message)


def owner_not_found() -> ServiceError:
    """404/1003, a database or container that is not there."""
    return ServiceError(404, "Owner resource does not exist", substatus=1003)


def conflict() -> ServiceError:
    """409."""
    return ServiceError(409, "Entity with the specified id already exists in the system.")


def precondition_failed() -> ServiceError:
    """412, for an ETag and for a predicate alike."""
    return ServiceError(412, "One of the specified pre-condition is not met")


def too_large(what: str) -> ServiceError:
    """413."""
    return ServiceError(413, f"Request size is too large: {what}")
