"""Partial document update: add, set, replace, remove, incr, move. All or nothing; the given item is never changed in place."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from thermocline.testing.cosmos.failures import ServiceError, bad_request
from thermocline.testing.cosmos.limits import MAX_INTEGER, MAX_PATCH_OPERATIONS, SYSTEM_PROPERTIES
from thermocline.testing.cosmos.query.values import is_number

_INDEX: Final = re.compile(r"0|[1-9][0-9]*")
_LONG: Final = re.compile(r"[0-9]{20,}")
_OPERATIONS: Final = frozenset({"add", "set", "replace", "remove", "incr", "move"})


def _refused(op: dict[str, Any], why: str) -> ServiceError:
    return bad_request(f"For Operation: {op.get('op')} on path {op.get('path')!r}: {why}")


def _path(op: dict[str, Any], name: str, keys: Sequence[tuple[str, ...]]) -> list[str]:
    text = op.get(name)
    if not isinstance(text, str) or not text.startswith("/") or len(text) < 2:
        raise _refused(op, f"the {name} must be a JSON pointer to a property.")
    parts = text[1:].split("/")
    for i, part in enumerate(parts):
        if "~" in part:
            if re.search(r"~(?![01])", part):
                raise _refused(op, "~ must be written as ~0 and / as ~1.")
            parts[i] = part.replace("~1", "/").replace("~0", "~")
        if _LONG.fullmatch(part):
            raise _refused(op, f"{part} is too long for an index.")
    if parts[0] in SYSTEM_PROPERTIES or parts == ["id"]:
        raise _refused(op, "system properties and the id cannot be patched.")
    for key in keys:
        shared = min(len(parts), len(key))
        if parts[:shared] == list(key[:shared]):
            raise _refused(op, "partition key properties cannot be patched.")
    return parts


class _Edit:
    """A copy-on-write view of an item: a container is copied when something below it first changes."""

    def __init__(self, doc: dict[str, Any]) -> None:
        self.root: Any = dict(doc)
        self._owned: dict[int, Any] = {id(self.root): self.root}

    def parent(self, op: dict[str, Any], path: list[str]) -> Any:
        """The object or array that holds the path's last part. 400 if it is not there."""
        here = self.root
        for part in path[:-1]:
            key = _key(op, here, part)
            if key is None:
                raise _refused(op, "the parent of the path does not exist.")
            child = here[key]
            if isinstance(child, (dict, list)) and id(child) not in self._owned:
                child = dict(child) if isinstance(child, dict) else list(child)
                self._owned[id(child)] = child
                here[key] = child
            here = child
        if not isinstance(here, (dict, list)):
            raise _refused(op, "the parent of the path is neither an object nor an array.")
        return here


def _key(op: dict[str, Any], holder: Any, part: str) -> Any:
    """The key under which an existing part is found, or None."""
    if isinstance(holder, dict):
        return part if part in holder else None
    if isinstance(holder, list):
        if not _INDEX.fullmatch(part):
            raise _refused(op, f"{part!r} is not an index of an array.")
        return int(part) if int(part) < len(holder) else None
    return None


def _place(op: dict[str, Any], holder: Any, part: str, value: Any, *, insert: bool) -> None:
    if isinstance(holder, dict):
        holder[part] = value
        return
    if part == "-":
        holder.append(value)
        return
    if not _INDEX.fullmatch(part):
        raise _refused(op, f"{part!r} is not an index of an array.")
    at = int(part)
    if at > len(holder):
        raise _refused(op, "the index is beyond the end of the array.")
    if insert or at == len(holder):
        holder.insert(at, value)
    else:
        holder[at] = value


def _increment(op: dict[str, Any], holder: Any, part: str, value: Any) -> None:
    if not is_number(value):
        raise _refused(op, "the value of incr must be a number.")
    if isinstance(holder, list):
        raise _refused(op, "incr is not for elements of an array.")
    old = holder.get(part, 0)
    if not is_number(old):
        raise _refused(op, "the property is not a number.")
    new = old + value
    if isinstance(new, int) and abs(new) > MAX_INTEGER:
        raise _refused(op, "the result is beyond 2^53.")
    holder[part] = new


def _apply_one(edit: _Edit, op: Any, keys: Sequence[tuple[str, ...]]) -> None:
    if not isinstance(op, dict) or op.get("op") not in _OPERATIONS:
        raise bad_request(f"The patch operation {op!r} is not known.")
    kind = op["op"]
    path = _path(op, "path", keys)
    if kind not in ("remove", "move") and "value" not in op:
        raise _refused(op, "the operation has no value.")
    if kind == "move":
        source = _path(op, "from", keys)
        if path[: len(source)] == source and path != source:
            raise _refused(op, "the target lies inside the source.")
        holder = edit.parent(op, source)
        key = _key(op, holder, source[-1])
        if key is None:
            raise _refused(op, "the source does not exist.")
        value = holder.pop(key)
        _place(op, edit.parent(op, path), path[-1], value, insert=True)
        return
    holder, last = edit.parent(op, path), path[-1]
    if kind in ("add", "set"):
        _place(op, holder, last, op["value"], insert=kind == "add")
    elif kind == "incr":
        _increment(op, holder, last, op["value"])
    else:
        key = _key(op, holder, last)
        if key is None:
            raise _refused(op, "the path does not exist.")
        if kind == "remove":
            del holder[key]
        else:
            holder[key] = op["value"]


def split_body(body: Any) -> tuple[list[Any], str | None]:
    """The operations and the condition of a patch request; 400 if it is none."""
    if (
        not isinstance(body, dict)
        or not isinstance(body.get("operations"), list)
        or set(body) - {"operations", "condition"}
    ):
        raise bad_request('The body of a patch must be {"operations": [...], "condition": "from c where ..."}.')
    operations, condition = body["operations"], body.get("condition")
    if not operations:
        raise bad_request("A patch needs at least one operation.")
    if len(operations) > MAX_PATCH_OPERATIONS:
        raise bad_request(f"A patch has at most {MAX_PATCH_OPERATIONS} operations, this one has {len(operations)}.")
    if condition is not None and not isinstance(condition, str):
        raise bad_request("The condition of a patch must be text.")
    return operations, condition


def apply_patch(doc: dict[str, Any], operations: list[Any], keys: Sequence[tuple[str, ...]]) -> dict[str, Any]:
    """A new item with all operations applied in order. `keys` are the partition key's paths."""
    edit = _Edit(doc)
    for op in operations:
        _apply_one(edit, op, keys)
    result: dict[str, Any] = edit.root
    return result
