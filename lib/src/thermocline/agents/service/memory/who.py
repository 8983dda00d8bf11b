"""Whose request it is, by its token."""

from collections.abc import Awaitable, Callable

from starlette.exceptions import HTTPException
from starlette.requests import Request

from thermocline.agents.service import problems
from thermocline.agents.service.caller import Caller
from thermocline.agents.service.memory.answering import http_error
from thermocline.agents.service.memory.asking import bearer
from thermocline.agents.service.memory_api import Tokens
from thermocline.errors import TierUnavailable, TokenRefused
from thermocline.identity.bearer import Principal


async def principal_of(request: Request, tokens: Tokens | None, missing: str) -> Principal:
    """Raises `HTTPException` (400, 401, 503), `TokenRefused`."""
    if tokens is None:
        raise HTTPException(503, f"The service is not configured: {missing}")
    token = bearer(request)
    if token is None:
        raise HTTPException(401, "Send a token: authorization: Bearer …", {"www-authenticate": "Bearer"})
    try:
        return await tokens.check(token)
    except TierUnavailable as error:
        problems.note(error, f"{request.method} with a token", 503)
        said = "The keys by which tokens are checked cannot be fetched now. Try again."
        raise HTTPException(503, said, {"retry-after": "5"}) from error


def caller_of(tokens: Tokens | None, roles: tuple[str, ...], missing: str) -> Callable[[Request], Awaitable[Caller]]:
    """See `thermocline.agents.bearer_caller`."""

    async def who(request: Request) -> Caller:
        try:
            found = await principal_of(request, tokens, missing)
            if roles:
                found.need(*roles)
        except TokenRefused as error:
            raise http_error(error) from error
        return Caller(found.tenant, f"user/{found.id}")

    return who
