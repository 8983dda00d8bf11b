"""The contract, as OpenAPI 3.1: every parameter, every status. Tests generate requests from it (schemathesis): it says what the routes do, and no more."""

from typing import Any, Final

from thermocline.agents.service.memory.asking import CURSOR_CHARACTERS, QUERY_CHARACTERS, TAGS, TTL, VERSION
from thermocline.agents.service.memory.records import LONGEST_PAGE, PAGE
from thermocline.agents.service.memory.schemas import JOB_ID, SCHEMAS, ref
from thermocline.agents.service.memory_api import ERASE, READ, WRITE
from thermocline.model import PART_BYTES

Told = dict[str, Any]

_STATUSES: Final = {
    "400": "Malformed: the query, a header or the JSON of the body",
    "401": "No token, or one that does not count",
    "403": "The token's role does not allow it, or the request names another tenant",
    "404": "There is none",
    "406": "The value holds what JSON cannot say",
    "408": "The body did not arrive in time",
    "409": "Not now: the scope was erased meanwhile, or the job has not ended",
    "410": "The result has expired, or was erased",
    "412": "The record is not as the condition says; nothing was written",
    "413": "The body, or a value, a tag or a name in it, is too large",
    "414": "The query is too long",
    "415": "The body's media type is missing, or not one that is taken here; or the body is compressed",
    "422": "Well formed, and not possible: `detail` says why",
    "429": "Too many jobs of the tenant have not ended",
    "500": "The service failed; its log has more under the correlation id",
    "503": "The memory, or the keys that tokens are checked by, cannot be asked; or the service is not configured",
    "504": "It took too long",
}
_ALWAYS: Final = ("400", "401", "403", "414", "422", "500", "503", "504")
_BODY: Final = ("408", "413", "415")


def merged(document: Told) -> Told:
    """FastAPI's document with the memory's routes and those of the probes, said completely."""
    components = document.setdefault("components", {})
    components.setdefault("schemas", {}).update(SCHEMAS)
    components.setdefault("securitySchemes", {})["entra"] = {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": f"An access token of Entra ID with one of the roles {READ}, {WRITE}, {ERASE}, as application or delegated permission.",
    }
    return document | {"openapi": "3.1.0", "paths": document.get("paths", {}) | _paths()}


def _paths() -> Told:
    return {"/health": {"get": _probe("Whether the process lives")}, "/ready": {"get": _ready()}} | {
        "/v1/record": {
            "get": _reading(
                "readRecord", "Read a record", {"200": _value(), "304": _plain("It is still that version")}
            ),
            "head": _reading(
                "headRecord",
                "Whether there is a record, and its headers",
                {"200": _value() | {"content": {}}, "304": _plain("It is still that version")},
            ),
            "put": _write(),
            "delete": _operation(
                "deleteRecord",
                "Delete a record: afterwards there is none, whether there was one or not",
                {"204": _plain("It is gone")},
                "409",
                "412",
                parameters=[*_KEY, _IF_MATCH],
            ),
        },
        "/v1/records": {"get": _list()},
        "/v1/batch": {"post": _batch()},
        "/v1/exports": {"post": _begin("beginExport", "Export a scope, or all of the tenant", "Export")},
        "/v1/forgets": {"post": _begin("beginForget", "Erase a scope, or all of the tenant", "Forget")},
        "/v1/jobs/{job}": {
            "get": _operation(
                "readJob", "How a job is doing", {"200": _json("The job", "Job")}, "404", parameters=[_JOB]
            )
        },
        "/v1/jobs/{job}/result": {"get": _result()},
        "/v1/stats": {
            "get": _operation("readStats", "What this process was asked", {"200": _json("Figures", "Stats")})
        },
    }


# --- operations ------------------------------------------------------------------------------------------------------


def _operation(
    name: str,
    summary: str,
    answers: Told,
    *statuses: str,
    parameters: list[Told] | None = None,
    body: Told | None = None,
) -> Told:
    errors = sorted({*_ALWAYS, *statuses, *(_BODY if body is not None else ())})
    found: Told = {
        "operationId": name,
        "summary": summary,
        "tags": ["memory"],
        "security": [{"entra": []}],
        "responses": answers | {status: _problem(_STATUSES[status]) for status in errors},
    }
    if parameters is not None:
        found["parameters"] = parameters
    if body is not None:
        found["requestBody"] = {"required": True, "content": body}
    return found


def _reading(name: str, summary: str, answers: Told) -> Told:
    found = _operation(name, summary, answers, "404", "406", parameters=[*_KEY, _IF_CHANGED])
    if name == "headRecord":
        for answer in found["responses"].values():
            answer.pop("content", None)
    return found


def _write() -> Told:
    answers = {"200": _json("It was written", "Written") | {"headers": _ETAG}}
    body = {
        "application/json": {"schema": {}},
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
    }
    parameters = [*_KEY, _IF_MATCH, _IF_ABSENT, _TTL, _TAGS]
    summary = "Write a record: JSON as JSON, a body of any other media type as bytes of that type"
    return _operation("writeRecord", summary, answers, "409", "412", parameters=parameters, body=body)


def _list() -> Told:
    parameters = [
        _query("scope", PART_BYTES, needed=True),
        _query("prefix", QUERY_CHARACTERS, least=0, what="What names begin with"),
        _query("cursor", CURSOR_CHARACTERS, what="Where to go on, of the page before"),
        {
            "name": "limit",
            "in": "query",
            "description": "Most records of a page; it may have fewer and still not be the last",
            "schema": {"type": "integer", "minimum": 1, "maximum": LONGEST_PAGE, "default": PAGE},
        },
    ]
    return _operation(
        "listRecords", "A page of a scope's records", {"200": _json("A page", "Listing")}, parameters=parameters
    )


def _batch() -> Told:
    answers = {"200": _json("An answer for each operation, in their order", "BatchAnswer")}
    summary = f"Read, write and delete many records; needs {WRITE} where any is written"
    return _operation("batch", summary, answers, body={"application/json": {"schema": ref("Batch")}})


def _begin(name: str, summary: str, schema: str) -> Told:
    location = {"description": "Where the job's status is", "required": True, "schema": {"type": "string"}}
    begun = _json("The job has begun", "Job") | {
        "headers": {"Location": location},
        "links": {
            "status": {"operationId": "readJob", "parameters": {"job": "$response.body#/id"}},
            "result": {"operationId": "readResult", "parameters": {"job": "$response.body#/id"}},
        },
    }
    return _operation(name, summary, {"202": begun}, "429", body={"application/json": {"schema": ref(schema)}})


def _result() -> Told:
    lines = {
        "description": "JSON, a line a record",
        "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
    }
    return _operation("readResult", "An export's lines", {"200": lines}, "404", "409", "410", parameters=[_JOB])


def _probe(summary: str) -> Told:
    return {
        "operationId": "health",
        "summary": summary,
        "tags": ["probes"],
        "responses": {"200": _json("It does", "Probe"), "503": _json("It is not configured; it says how", "Probe")},
    }


def _ready() -> Told:
    answers = {"200": _json("Ready, or degraded", "Probe"), "503": _json("A tier is down that has the word", "Probe")}
    return {
        "operationId": "ready",
        "summary": "Whether the memory can answer",
        "tags": ["probes"],
        "responses": answers,
    }


# --- parameters ------------------------------------------------------------------------------------------------------


def _query(name: str, most: int, *, least: int = 1, needed: bool = False, what: str = "") -> Told:
    schema = {"type": "string", "maxLength": most} | ({"minLength": least} if least else {})
    told: Told = {"name": name, "in": "query", "schema": schema}
    if what:
        told["description"] = what
    return told | ({"required": True} if needed else {})


def _header(name: str, pattern: str, what: str, example: str) -> Told:
    schema = {"type": "string", "pattern": f"^{pattern}$"}
    return {"name": name, "in": "header", "description": what, "schema": schema, "example": example}


_KEY: Final = [
    _query("scope", PART_BYTES, needed=True, what="What the record lives and is erased with, as user/42"),
    _query("name", QUERY_CHARACTERS, needed=True, what="The rest of its key; a longer one is said in a batch"),
]
_IF_MATCH: Final = _header(
    "If-Match", VERSION.pattern, "Only if the record has this version, as its ETag says it", '"42"'
)
_IF_CHANGED: Final = _header("If-None-Match", VERSION.pattern, "304 if the record has this version still", '"42"')
_IF_ABSENT: Final = {
    "name": "If-None-Match",
    "in": "header",
    "description": "Only if there is no record",
    "schema": {"type": "string", "enum": ["*"]},
}
_TTL: Final = _header(
    "Memory-TTL", f"(?:{TTL.pattern})", "Seconds the record lives; left out: as the memory's rules say", "3600"
)
_TAGS: Final = _header("Memory-Tags", TAGS.pattern, "As a form is encoded", "class=personal&source=crm")
_JOB: Final = {"name": "job", "in": "path", "required": True, "schema": {"type": "string", "pattern": JOB_ID}}

# --- answers ---------------------------------------------------------------------------------------------------------

_ETAG: Final = {
    "ETag": {
        "description": "The record's version in quotation marks, for If-Match",
        "required": True,
        "schema": {"type": "string", "pattern": f"^{VERSION.pattern}$"},
    }
}


def _value() -> Told:
    headers = _ETAG | {
        name: {"description": what, "schema": {"type": "string"}}
        for name, what in {
            "Memory-Tier": "Which tier answered",
            "Memory-Modified": "When it was last written",
            "Memory-Expires": "When it ends, or never",
            "Memory-Tags": "Its tags, as a form is encoded",
        }.items()
    }
    content = {
        "application/json": {"schema": {}},
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        "*/*": {"schema": {"type": "string", "format": "binary"}},
    }
    return {"description": "The value", "headers": headers, "content": content}


def _json(what: str, schema: str) -> Told:
    return {"description": what, "content": {"application/json": {"schema": ref(schema)}}}


def _plain(what: str) -> Told:
    return {"description": what}


def _problem(what: str) -> Told:
    return {"description": what, "content": {"application/problem+json": {"schema": ref("Problem")}}}
