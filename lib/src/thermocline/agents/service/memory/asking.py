"""What a request says: its query, its conditions, its record's headers. All of it is checked; nothing unknown is passed over."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

from starlette.exceptions import HTTPException
from starlette.requests import Request

from thermocline.client import NOT_GIVEN, MemoryClient
from thermocline.client.result import NotGiven
from thermocline.identity.bearer import Principal
from thermocline.model import MAX_VERSION, Key

QUERY_BYTES: Final = 15_360  # of a request's query: Azure's front ends take 16 KiB of a request line; what is longer is said in a batch's body
QUERY_CHARACTERS: Final = 4096  # of one of its values
CURSOR_CHARACTERS: Final = 12_288  # ... of a listing's cursor, which holds a name
TENANT_NAMES: Final = ("tenant", "tenant_id")
LONGEST_SECONDS: Final = 999_999_999  # of a record's life: 31 years

VERSION: Final = re.compile('"[1-9][0-9]{0,15}"')
TTL: Final = re.compile(r"never|[1-9][0-9]{0,8}")
_HEX: Final = "[0-9A-Fa-f]"
_MORE: Final = f"%[89ABab]{_HEX}"
_SIGN: Final = (  # of a tag: as it is, or percent-encoded UTF-8
    f"(?:[A-Za-z0-9._~-]|%[0-7]{_HEX}|%(?:[Cc][2-9A-Fa-f]|[Dd]{_HEX}){_MORE}|%[Ee][1-9A-Ca-cEeFf]{_MORE}{_MORE}"
    f"|%[Ee]0%[ABab]{_HEX}{_MORE}|%[Ee][Dd]%[89]{_HEX}{_MORE}|%[Ff]0%[9ABab]{_HEX}{_MORE}{_MORE}|%[Ff][1-3]{_MORE}{_MORE}{_MORE})"
)
TAGS: Final = re.compile(f"{_SIGN}+={_SIGN}*(?:&{_SIGN}+={_SIGN}*){{0,9}}")
BASE64: Final = re.compile("(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
MEDIA_TYPE: Final = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+(?: *;[ -~]*)?")


@dataclass(frozen=True, slots=True)
class Ask:
    """One request of a known caller. ``most``: bytes of its body; ``seconds`` for it to arrive."""

    request: Request
    caller: Principal
    memory: MemoryClient
    most: int
    seconds: float

    def key(self, scope: str, name: str) -> Key:
        """Always of the caller's own tenant. Raises `InvalidKey`."""
        return Key(self.caller.tenant, scope, name)

    def query(self, *, needed: tuple[str, ...] = (), allowed: tuple[str, ...] = ()) -> dict[str, str]:
        """The parameters, each once. Raises `HTTPException`: 400 malformed, 403 a tenant, 414 too long, 422 missing or unknown."""
        raw: bytes = self.request.scope.get("query_string", b"")
        if len(raw) > QUERY_BYTES:
            raise HTTPException(414, f"The query may have {QUERY_BYTES:,} bytes; say longer names in POST /v1/batch.")
        try:
            pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=20)
        except ValueError:
            raise HTTPException(400, "The query is no percent-encoded UTF-8.") from None
        found: dict[str, str] = {}
        for name, value in pairs:
            if name in found:
                raise HTTPException(400, f"The query names {name!r:.40} twice.")
            most = CURSOR_CHARACTERS if name == "cursor" else QUERY_CHARACTERS
            if len(value) > most:
                raise HTTPException(422, f"{name:.40} may have {most:,} characters here.")
            found[name] = value
        refuse_strangers(found, self.caller, known=(*needed, *allowed))
        for name in needed:
            if not found.get(name):
                raise HTTPException(422, f"The query needs {name}, which must not be empty.")
        return found


def refuse_strangers(found: Mapping[str, Any], caller: Principal, *, known: tuple[str, ...]) -> None:
    """The tenant is the token's and never the request's: who names another is refused (403); and so is what nobody knows (422)."""
    for name in TENANT_NAMES:
        if name in found and found[name] != caller.tenant:
            raise HTTPException(403, "The tenant is the token's; a request does not name one.")
    for name in found:
        if name not in known:
            raise HTTPException(422, f"There is no {name!r:.40} here; there are: {', '.join(sorted(known)) or 'none'}.")


def conditions(request: Request) -> tuple[int | None, bool]:
    """``If-Match`` as a version, and ``If-None-Match: *`` as whether there must be no value. Raises `HTTPException` (400)."""
    match, none_match = _once(request, "if-match"), _once(request, "if-none-match")
    if match is not None and none_match is not None:
        raise HTTPException(400, "Give If-Match or If-None-Match, not both.")
    if none_match is not None and none_match != "*":
        raise HTTPException(400, "If-None-Match of a write is *.")
    return (None if match is None else version_of(match)), none_match is not None


def version_of(mark: str) -> int:
    """The version that an entity tag is."""
    if VERSION.fullmatch(mark) is None or int(mark.strip('"')) > MAX_VERSION:
        raise HTTPException(400, 'If-Match is one version as its ETag says it, as "42".')
    return int(mark.strip('"'))


def unless(request: Request) -> int | None:
    """The version that a reader has already, by ``If-None-Match``."""
    mark = _once(request, "if-none-match")
    return None if mark is None else version_of(mark)


def lifetime(request: Request) -> int | NotGiven | None:
    """``Memory-TTL``: seconds, or None for ``never``; left out: as the memory's rules say."""
    given = _once(request, "memory-ttl")
    if given is None:
        return NOT_GIVEN
    if TTL.fullmatch(given) is None:
        raise HTTPException(400, "Memory-TTL is a whole number of seconds, from 1 to 999999999, or never.")
    return None if given == "never" else int(given)


def tags(request: Request) -> dict[str, str] | None:
    """``Memory-Tags``: as a form is encoded, ``class=personal&source=crm``."""
    given = _once(request, "memory-tags")
    if given is None:
        return None
    if TAGS.fullmatch(given) is None:
        raise HTTPException(400, "Memory-Tags is name=value, at most ten, with & between, percent-encoded.")
    found: dict[str, str] = {}
    for name, _, value in (pair.partition("=") for pair in given.split("&")):
        if unquote(name) in found:
            raise HTTPException(400, f"Memory-Tags names {unquote(name)!r:.40} twice.")
        found[unquote(name)] = unquote(value)
    return found


def media_type(request: Request) -> str:
    """Of the body. Raises `HTTPException` (415)."""
    given = _once(request, "content-type")
    if given is None or len(given) > 255 or MEDIA_TYPE.fullmatch(given) is None:
        raise HTTPException(415, "Say what the body is, as content-type: application/json.")
    return given


def is_json(kind: str) -> bool:
    return kind.partition(";")[0].strip().lower() == "application/json"


def bearer(request: Request) -> str | None:
    """The token; None without one, or with several."""
    given = _once(request, "authorization")
    scheme, _, token = (given or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def _once(request: Request, name: str) -> str | None:
    found = request.headers.getlist(name)
    if len(found) > 1:
        raise HTTPException(400, f"The header {name} is there twice.")
    return found[0] if found else None
