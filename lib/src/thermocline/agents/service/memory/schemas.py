"""The shapes of bodies, as JSON Schema."""

from typing import Any, Final

from thermocline.agents.service.memory.asking import BASE64, LONGEST_SECONDS, MEDIA_TYPE
from thermocline.agents.service.memory.batch import MOST
from thermocline.codec import TAG_BYTES, TAGS
from thermocline.model import MAX_VERSION, NAME_BYTES, PART_BYTES

Told = dict[str, Any]

JOB_ID: Final = "^[0-9a-f]{32}$"


def ref(name: str) -> Told:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(properties: Told, *, needed: tuple[str, ...] | None = None, more: bool = True) -> Told:
    """``needed``: None for all. ``more``: whether others may be there."""
    told: Told = {"type": "object", "properties": properties}
    names = [*properties] if needed is None else [*needed]
    return told | ({"required": names} if names else {}) | ({} if more else {"additionalProperties": False})


def _maybe(kind: str, **more: Any) -> Told:
    return {"type": [kind, "null"], **more}


_TEXT: Final = {"type": "string"}
_WHOLE: Final = {"type": "integer"}
_VERSION: Final = {"type": "integer", "minimum": 1, "maximum": MAX_VERSION}
_SCOPE: Final = {"type": "string", "minLength": 1, "maxLength": PART_BYTES}
_KEY: Final = {"scope": _SCOPE, "name": {"type": "string", "minLength": 1, "maxLength": NAME_BYTES}}
_TAGS: Final = {
    "type": "object",
    "maxProperties": TAGS,
    "propertyNames": {"minLength": 1, "maxLength": TAG_BYTES},
    "additionalProperties": {"type": "string", "maxLength": TAG_BYTES},
}
_TAGS_TOLD: Final = {"type": "object", "additionalProperties": {"type": "string"}}
_KINDS: Final = {"type": "string", "enum": ["export", "forget"]}
_STATES: Final = {"type": "string", "enum": ["queued", "running", "done", "failed", "gone"]}


def _put(**value: Told) -> Told:
    first = next(iter(value))
    properties = {
        "op": {"const": "put"},
        **_KEY,
        **value,
        "ttl": _maybe("integer", minimum=1, maximum=LONGEST_SECONDS),
        "tags": _TAGS,
        "if_version": _VERSION,
        "if_absent": {"type": "boolean"},
    }
    exclusive = {"not": {"required": ["if_version", "if_absent"]}}
    return _object(properties, needed=("op", "scope", "name", first), more=False) | exclusive


def _subject(**more: Told) -> Told:
    """Of a scope, or, said on purpose, of all."""
    one = _object({"scope": _SCOPE, "whole_tenant": {"const": False}, **more}, needed=("scope",), more=False)
    whole = _object({"whole_tenant": {"const": True}, **more}, needed=("whole_tenant",), more=False)
    return {"oneOf": [one, whole]}


_PROBLEM: Final = _object(
    {"type": _TEXT, "title": _TEXT, "status": _WHOLE, "detail": _TEXT, "correlation_id": _TEXT},
    needed=("type", "title", "status"),
)

SCHEMAS: Final[Told] = {
    "Problem": _PROBLEM | {"description": "RFC 9457; `detail` says what to do"},
    "Probe": _object({"status": _TEXT}),
    "Written": _object(
        {
            "version": _WHOLE,
            "durable": {"type": "boolean"},
            "hot": {"type": "boolean"},
            "hot_until": _maybe("string", format="date-time"),
            "expires": _maybe("string", format="date-time"),
        }
    ),
    "Listing": _object({"items": {"type": "array", "items": ref("Listed")}, "cursor": _maybe("string")}),
    "Listed": _object(
        {
            "name": _TEXT,
            "version": _WHOLE,
            "tier": _TEXT,
            "bytes": _WHOLE,
            "modified": _maybe("string", format="date-time"),
            "expires": _maybe("string", format="date-time"),
            "tags": _TAGS_TOLD,
        }
    ),
    "Batch": _object(
        {"operations": {"type": "array", "minItems": 1, "maxItems": MOST, "items": ref("Operation")}}, more=False
    ),
    "Operation": {
        "oneOf": [
            _object({"op": {"const": "get"}, **_KEY}, more=False),
            _object(
                {"op": {"const": "delete"}, **_KEY, "if_version": _VERSION}, needed=("op", "scope", "name"), more=False
            ),
            _put(value={}),
            _put(
                base64={"type": "string", "pattern": f"^{BASE64.pattern}$"},
                media_type={"type": "string", "maxLength": 255, "pattern": f"^{MEDIA_TYPE.pattern}$"},
            ),
        ]
    },
    "BatchAnswer": _object({"results": {"type": "array", "items": ref("OperationAnswer")}}),
    "OperationAnswer": _object(
        {
            "status": {"type": "integer", "description": "As of the operation alone: 200, 204, 404, 412, …"},
            "version": _WHOLE,
            "value": {"description": "A read value that is not bytes"},
            "base64": {"type": "string", "description": "A read value that is bytes"},
            "media_type": _TEXT,
            "tags": _TAGS_TOLD,
            "problem": ref("Problem"),
        },
        needed=("status",),
    ),
    "Export": _subject(),
    "Forget": _subject(reason={"type": "string", "maxLength": 1000}, dry_run={"type": "boolean"}),
    "Job": _object(
        {
            "id": {"type": "string", "pattern": JOB_ID},
            "kind": _KINDS,
            "state": _STATES,
            "scope": _maybe("string"),
            "by": _TEXT,
            "created": {"type": "string", "format": "date-time"},
            "updated": {"type": "string", "format": "date-time"},
            "attempts": _WHOLE,
            "result": _maybe("string"),
            "result_until": _maybe("string", format="date-time"),
            "receipt": {"type": ["object", "null"], "description": "Of an erasure: what was erased, and what is left"},
            "detail": _maybe("string"),
        }
    ),
    "Stats": _object(
        {
            "since": {"type": "string", "format": "date-time"},
            "requests": {"type": "object", "additionalProperties": {"type": "integer"}},
            "memory": {"type": "object"},
        },
        needed=("since", "requests"),
    ),
}
