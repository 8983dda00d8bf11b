"""Transactional batches: up to 100 operations on one logical partition, all or nothing, later ones see earlier ones."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from thermocline.testing.cosmos import charges, operations
from thermocline.testing.cosmos.failures import ServiceError, bad_request, too_large
from thermocline.testing.cosmos.limits import MAX_BATCH_OPERATIONS, MAX_REQUEST_BYTES
from thermocline.testing.cosmos.operations import Condition, Outcome
from thermocline.testing.cosmos.store import Draft

_FIELDS: Final = frozenset({"operationType", "id", "resourceBody", "ifMatch", "ifNoneMatch", "partitionKey"})


def check(body: Any) -> list[dict[str, Any]]:
    """The operations of a request; 400 if they are none or too many."""
    if not isinstance(body, list) or not body or not all(isinstance(o, dict) for o in body):
        raise bad_request("A batch is a JSON array of operations.")
    if len(body) > MAX_BATCH_OPERATIONS:
        raise bad_request(
            f"Batch request has more operations than what is supported: {len(body)} > {MAX_BATCH_OPERATIONS}."
        )
    for op in body:
        unknown = op.keys() - _FIELDS
        if unknown:
            raise bad_request(f"A batch operation has the unknown field {min(unknown)!r}.")
    return body


def _one(draft: Draft, op: dict[str, Any]) -> Outcome:
    kind, item_id, body = op.get("operationType"), op.get("id"), op.get("resourceBody")
    condition = Condition(op.get("ifMatch"), op.get("ifNoneMatch"))
    if kind == "Create":
        return operations.create(draft, body)
    if kind == "Upsert":
        return operations.upsert(draft, body, condition)
    if not isinstance(item_id, str):
        raise bad_request(f"The batch operation {kind!r} has no id.")
    if kind == "Read":
        return operations.read(draft, item_id, condition.if_none_match)
    if kind == "Replace":
        return operations.replace(draft, item_id, body, condition)
    if kind == "Patch":
        return operations.patch(draft, item_id, body, condition)
    if kind == "Delete":
        return operations.delete(draft, item_id, condition)
    raise bad_request(f"The batch operation type {kind!r} is not known.")


def run(draft: Draft, body: Any) -> tuple[int, bytes, float]:
    """HTTP status (200 or 207), the answer, and the charge. The draft may be committed if the status is 200."""
    todo = check(body)
    results: list[dict[str, Any]] = []
    total = 0.0
    for at, op in enumerate(todo):
        try:
            done = _one(draft, op)
        except ServiceError as e:
            if e.status == 400 and e.substatus == 1001:
                raise  # an item of another partition refuses the request as a whole
            failed = {"statusCode": e.status, "subStatusCode": e.substatus, "requestCharge": charges.NOT_FOUND}
            other = {"statusCode": 424, "subStatusCode": 0, "requestCharge": 0.0}
            results = [failed if i == at else other for i in range(len(todo))]
            return 207, msgspec.json.encode(results), total + charges.NOT_FOUND
        total += done.charge
        entry: dict[str, Any] = {"statusCode": done.status, "requestCharge": round(done.charge, 2)}
        if done.item is not None:
            entry["eTag"] = done.item.etag
            if done.status != 304:
                entry["resourceBody"] = msgspec.Raw(done.item.body)
        results.append(entry)
    answer = msgspec.json.encode(results)
    if len(answer) > 2 * MAX_REQUEST_BYTES:
        raise too_large("the answer to the batch is above 4 MB.")
    return 200, answer, total
