"""The operations on one item, as point requests and transactional batches both use them. They change a `Draft` only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from thermocline.testing.cosmos import charges
from thermocline.testing.cosmos.failures import bad_request, conflict, precondition_failed
from thermocline.testing.cosmos.limits import check_id
from thermocline.testing.cosmos.partitions import UNDEFINED_KEY
from thermocline.testing.cosmos.patch import apply_patch, split_body
from thermocline.testing.cosmos.query.execute import holds
from thermocline.testing.cosmos.ranges import Item
from thermocline.testing.cosmos.store import Draft


@dataclass(slots=True)
class Outcome:
    """A status, the item as it is now, and the charge in RU."""

    status: int
    item: Item | None
    charge: float


@dataclass(frozen=True, slots=True)
class Condition:
    """If-Match and If-None-Match, None where absent."""

    if_match: str | None = None
    if_none_match: str | None = None

    def check(self, item: Item | None) -> None:
        """412 if the item is not the one that was expected."""
        if self.if_match is not None and (item is None or (self.if_match != "*" and item.etag != self.if_match)):
            raise precondition_failed()
        if self.if_none_match is not None and item is not None and self.if_none_match in ("*", item.etag):
            raise precondition_failed()


def _check_key(draft: Draft, doc: dict[str, Any]) -> None:
    own = draft.container.key_of(doc)
    if own.text == draft.key.text:
        return
    # For a missing level of a MultiHash key the SDK sends null.
    pairs = zip(own.components, draft.key.components, strict=True)
    if len(draft.container.paths) > 1 and all(a == b or (a is UNDEFINED_KEY and b is None) for a, b in pairs):
        return
    raise bad_request(
        "PartitionKey extracted from document doesn't match the one specified in the header.", substatus=1001
    )


def _document(doc: Any) -> dict[str, Any]:
    if not isinstance(doc, dict):
        raise bad_request("The input content is invalid: an item is a JSON object.")
    check_id(doc.get("id"))
    return doc


def _inserted(draft: Draft, item: Item) -> float:
    return charges.write(len(item.body), draft.container.index.terms(item.doc))


def _replaced(draft: Draft, old: Item, new: Item) -> float:
    changed = draft.container.index.changed_terms(old.doc, new.doc)
    return charges.replace(len(old.body), len(new.body), changed)


def create(draft: Draft, body: Any) -> Outcome:
    """201, or 409 if the id is taken in this partition."""
    doc = _document(body)
    _check_key(draft, doc)
    if draft.find(doc["id"]) is not None:
        raise conflict()
    item = draft.put(doc, None)
    return Outcome(201, item, _inserted(draft, item))


def upsert(draft: Draft, body: Any, condition: Condition) -> Outcome:
    """201 for a new item, 200 for a replaced one."""
    doc = _document(body)
    _check_key(draft, doc)
    old = draft.find(doc["id"])
    condition.check(old)
    item = draft.put(doc, old)
    return (
        Outcome(201, item, _inserted(draft, item)) if old is None else Outcome(200, item, _replaced(draft, old, item))
    )


def replace(draft: Draft, item_id: str, body: Any, condition: Condition) -> Outcome:
    """200. The body may bring a new id, never another partition key."""
    doc = _document(body)
    old = draft.get(item_id)
    condition.check(old)
    _check_key(draft, doc)
    if doc["id"] != item_id and draft.find(doc["id"]) is not None:
        raise conflict()
    item = draft.put(doc, old)
    return Outcome(200, item, _replaced(draft, old, item))


def patch(draft: Draft, item_id: str, body: Any, condition: Condition) -> Outcome:
    """200 with the whole item; 404 before 412, 412 for the ETag and the predicate alike."""
    operations, predicate = split_body(body)
    old = draft.find(item_id)
    if old is None:
        if predicate is not None:
            holds(predicate, {}, draft.now)  # bad syntax is 400 even without an item
        draft.get(item_id)
    assert old is not None
    if predicate is not None and not holds(predicate, old.doc, draft.now):
        raise precondition_failed()
    condition.check(old)
    item = draft.put(apply_patch(old.doc, operations, draft.container.paths), old)
    return Outcome(200, item, _replaced(draft, old, item) + charges.PATCHED_PROPERTY * len(operations))


def delete(draft: Draft, item_id: str, condition: Condition) -> Outcome:
    """204."""
    old = draft.get(item_id)
    condition.check(old)
    draft.remove(item_id)
    return Outcome(204, None, charges.write(len(old.body), draft.container.index.terms(old.doc)))


def read(draft: Draft, item_id: str, if_none_match: str | None) -> Outcome:
    """200, or 304 if the item is still the one the caller has."""
    item = draft.get(item_id)
    status = 304 if if_none_match is not None and if_none_match in ("*", item.etag) else 200
    return Outcome(status, item, charges.read(len(item.body)))
