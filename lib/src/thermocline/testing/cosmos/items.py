"""Requests on items: point operations, batches, delete by partition key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from thermocline.testing.cosmos import batch, charges, limits, operations
from thermocline.testing.cosmos.failures import ServiceError, bad_request, not_found
from thermocline.testing.cosmos.operations import Condition, Outcome
from thermocline.testing.cosmos.partitions import PartitionValue, parse_header
from thermocline.testing.cosmos.ranges import Item, Range
from thermocline.testing.cosmos.store import Container, Draft
from thermocline.testing.cosmos.wire import Call, Reply

KEY_HEADER: Final = "x-ms-documentdb-partitionkey"


def key_of(call: Call, container: Container) -> PartitionValue:
    """The whole partition key of a request; 400 without it."""
    header = call.headers.get(KEY_HEADER)
    if header is None:
        raise bad_request("PartitionKey value must be supplied for this operation.")
    return parse_header(header, len(container.paths), container.kind)


def routing_headers(container: Container, ranges: list[Range], reached: dict[str, int] | None = None) -> dict[str, str]:
    """What tells the SDK where an answer came from: session token, LSN, range, container."""
    lsns = [(r.id, r.lsn if reached is None else reached[r.id]) for r in ranges]
    headers = {
        "x-ms-session-token": ",".join(f"{range_id}:-1#{lsn}" for range_id, lsn in lsns),
        "x-ms-alt-content-path": f"dbs/{container.database.name}/colls/{container.name}",
        "x-ms-content-path": container.rid,
    }
    if len(lsns) == 1:
        headers["x-ms-documentdb-partitionkeyrangeid"] = lsns[0][0]
        headers["lsn"] = str(lsns[0][1])
    return headers


def check_session(call: Call, ranges: list[Range], reached: dict[str, int] | None = None) -> None:
    """404/1002 if the caller has seen more than this replica."""
    token = call.headers.get("x-ms-session-token")
    if not token or call.headers.get("x-ms-consistency-level") in ("Eventual", "ConsistentPrefix"):
        return
    known: dict[str, int] = {}
    for part in token.split(","):
        range_id, _, vector = part.partition(":")
        segments = vector.split("#")
        if len(segments) < 2 or not segments[1].isdigit():
            raise bad_request(f"The session token '{token}' is invalid.")
        known[range_id] = int(segments[1])
    for r in ranges:
        seen = max((known.get(i, 0) for i in (r.id, *r.parents)), default=0)
        if seen > (r.lsn if reached is None else reached[r.id]):
            raise ServiceError(404, "The read session is not available for the input session token.", substatus=1002)


def _condition(call: Call) -> Condition:
    return Condition(call.headers.get("if-match"), call.headers.get("if-none-match"))


def _answer(call: Call, container: Container, range_: Range, done: Outcome) -> Reply:
    headers = routing_headers(container, [range_])
    body = b""
    if done.item is not None:
        headers["etag"] = done.item.etag
        if done.status != 304 and call.headers.get("prefer", "").lower() != "return=minimal":
            body = done.item.body
    return Reply(done.status, body, headers, done.charge)


def _operation(call: Call, item_id: str | None) -> Callable[[Draft], Outcome]:
    if item_id is None:
        body = call.json
        if call.kind == "upsert":
            return lambda d: operations.upsert(d, body, _condition(call))
        return lambda d: operations.create(d, body)
    if call.kind == "replace":
        return lambda d: operations.replace(d, item_id, call.json, _condition(call))
    if call.kind == "patch":
        return lambda d: operations.patch(d, item_id, call.json, _condition(call))
    return lambda d: operations.delete(d, item_id, _condition(call))


def write(call: Call, container: Container) -> Reply:
    """create, upsert, replace, patch, delete."""
    limits.check_request_size(call.body)
    item_id = call.parts[5] if len(call.parts) > 5 else None
    operation = _operation(call, item_id)
    key = key_of(call, container)
    call.range = container.range_of(key.epk)
    draft = Draft(container, key)
    done = operation(draft)
    return _answer(call, container, draft.commit(), done)


def read(call: Call, container: Container) -> Reply:
    """A point read, on a replica that may lag."""
    key = key_of(call, container)
    item_id = call.parts[5]
    range_ = call.range = container.range_of(key.epk)
    if call.lag is None:
        check_session(call, [range_])
        return _answer(
            call, container, range_, operations.read(Draft(container, key), item_id, call.headers.get("if-none-match"))
        )
    reached, differs = container.behind(call.lag)
    call.reached = reached
    check_session(call, [range_], reached)
    draft = Draft(container, key)
    where = (key.text, item_id)
    if where in differs:
        old: Item | None = differs[where]
        if old is None or container.expired(old, draft.now):
            raise not_found()
        draft.changes[item_id] = old
    reply = _answer(call, container, range_, operations.read(draft, item_id, call.headers.get("if-none-match")))
    reply.headers.update(routing_headers(container, [range_], reached))
    return reply


def run_batch(call: Call, container: Container) -> Reply:
    """A transactional batch."""
    limits.check_request_size(call.body)
    if not call.flag("x-ms-cosmos-batch-atomic") or call.flag("x-ms-cosmos-batch-continue-on-error"):
        raise bad_request("Only atomic batches that stop at the first error are supported.")
    body = call.json
    key = key_of(call, container)
    call.range = container.range_of(key.epk)
    check_session(call, [call.range])
    draft = Draft(container, key)
    status, answer, charge = batch.run(draft, body)
    range_ = draft.commit() if status == 200 else call.range
    return Reply(status, answer, routing_headers(container, [range_]), charge)


def delete_partition(call: Call, container: Container) -> Reply:
    """Delete by partition key. Here it is done at once; in Azure in the background, with the same effect on reads."""
    key = key_of(call, container)
    call.range = container.range_of(key.epk)
    container.drop_partition(key)
    return Reply(200, headers=routing_headers(container, [call.range]), charge=charges.METADATA)
