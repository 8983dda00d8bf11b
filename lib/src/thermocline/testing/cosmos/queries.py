"""Requests that read many items: queries and their plans, the plain read feed, the change feed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from thermocline.testing.cosmos import charges, feed
from thermocline.testing.cosmos.failures import ServiceError, bad_request
from thermocline.testing.cosmos.items import KEY_HEADER, check_session, key_of, routing_headers
from thermocline.testing.cosmos.partitions import PartitionValue
from thermocline.testing.cosmos.query import execute, plan
from thermocline.testing.cosmos.query.execute import Compiled, Page, Place
from thermocline.testing.cosmos.query.scope import VectorPath
from thermocline.testing.cosmos.ranges import Item, Range
from thermocline.testing.cosmos.store import Container, Partition, split_path
from thermocline.testing.cosmos.wire import Call, Reply, json_reply

DEFAULT_PAGE = 100


@dataclass(slots=True)
class Target:
    """Where to look: one logical partition, or all with low <= EPK < high; `ranges` are touched."""

    ranges: list[Range]
    low: str = ""
    high: str = "FF"
    key: PartitionValue | None = None
    scoped: bool = False  # the caller named a range or a key


def _live_range(container: Container, range_id: str) -> Range:
    found = container.range_by_id(range_id)
    if found is None:
        raise ServiceError(
            410, f"The requested resource is no longer available: range {range_id} is gone.", substatus=1002
        )
    return found


def find_target(call: Call, container: Container) -> Target:
    """From the headers: partition key, range id, EPK bounds."""
    range_id = call.headers.get("x-ms-documentdb-partitionkeyrangeid")
    named = _live_range(container, range_id) if range_id is not None else None
    if KEY_HEADER in call.headers:
        key = key_of(call, container)
        own = container.range_of(key.epk)
        if named is not None and named is not own:
            return Target([named], "", "", key, scoped=True)  # the key is not in that range: nothing to find
        return Target([own], key=key, scoped=True)
    if named is None:
        return Target(container.ranges)
    low, high = named.low, named.high
    if call.headers.get("x-ms-read-key-type") == "EffectivePartitionKeyRange":
        low = max(low, call.headers.get("x-ms-start-epk", low))
        high = min(high, call.headers.get("x-ms-end-epk", high))
    return Target([named], low, high, scoped=True)


def vectors_of(container: Container) -> execute.Vectors:
    """The container's vector policy, in a form that can be a cache key."""
    embeddings = container.properties.get("vectorEmbeddingPolicy", {}).get("vectorEmbeddings", [])
    return tuple(
        (tuple(split_path(e["path"])), VectorPath(str(e["distanceFunction"]).lower(), e["dimensions"]))
        for e in embeddings
    )


def _with_older(items: dict[str, Item], key: str, differs: dict[tuple[str, str], Item | None]) -> list[Item]:
    merged: dict[str, Item | None] = dict(items)
    merged.update({where[1]: item for where, item in differs.items() if where[0] == key})
    return sorted((i for i in merged.values() if i is not None), key=lambda i: i.number)


def scan(
    container: Container, target: Target, ids: list[str] | None, differs: dict[tuple[str, str], Item | None] | None
) -> Iterator[tuple[Place, dict[str, Any]]]:
    """The live items of a target in order of (EPK, creation)."""
    now = container.clock.now()
    if target.key is not None:
        own = container.partitions.get(target.key.text)
        partitions: Iterable[Partition] = [own] if own is not None and target.high else []
    else:
        partitions = container.partitions_between(target.low, target.high)
    for p in partitions:
        found: Any = p.items.values()
        if differs:
            found = _with_older(p.items, p.key.text, differs)
        elif ids is not None:
            found = sorted((p.items[i] for i in ids if i in p.items), key=lambda i: i.number)
        epk = p.key.epk
        for item in found:
            if not container.expired(item, now):
                yield (epk, item.number), item.doc


def check_order(compiled: Compiled, container: Container) -> None:
    """400 for an ORDER BY without its index: a range index for one property, a composite one for several."""
    order = [(o.path, o.ascending) for o in compiled.order if o.path is not None]
    if len(order) > 1 and not container.index.serves(order):
        raise bad_request(
            "The order by query does not have a corresponding composite index that it can be served from."
        )
    if len(order) == 1 and not container.index.indexed(order[0][0]):
        raise bad_request("The index path corresponding to the specified order-by item is excluded.")


def query(call: Call, container: Container) -> Reply:
    """One page of a query."""
    text, parameters = call.query
    target = find_target(call, container)
    if not target.scoped and not call.flag("x-ms-documentdb-query-enablecrosspartition"):
        raise bad_request(
            "Cross partition query is required but disabled. Please set x-ms-documentdb-query-enablecrosspartition to true, "
            "specify x-ms-documentdb-partitionkey, or revise your query to avoid this exception."
        )
    compiled = execute.compile_query(text, vectors_of(container))
    check_order(compiled, container)
    if compiled.query.rank or (not target.scoped and plan.needs_plan(compiled.query)):
        raise bad_request("The provided cross partition query can not be directly served by the gateway.", 1004)
    call.range = target.ranges[0] if len(target.ranges) == 1 else None
    reached, differs = container.behind(call.lag) if call.lag is not None else (None, None)
    call.reached = reached
    check_session(call, target.ranges, reached)
    wanted = call.headers.get("x-ms-max-item-count")
    token = call.headers.get("x-ms-continuation")
    items = scan(container, target, compiled.wanted_ids(parameters), differs)
    page = execute.run(
        compiled,
        items,
        parameters,
        container.clock.now(),
        max_items=DEFAULT_PAGE if wanted is None else feed.whole(wanted),
        token=None if not token else execute.decode_token(token),
    )
    return _page_reply(container, target, page, reached)


def _page_reply(container: Container, target: Target, page: Page, reached: dict[str, int] | None) -> Reply:
    headers = routing_headers(container, target.ranges, reached)
    headers["x-ms-item-count"] = str(len(page.rows))
    if page.token is not None:
        headers["x-ms-continuation"] = page.token
    body = msgspec.json.encode({"_rid": container.rid, "Documents": page.rows, "_count": len(page.rows)})
    return Reply(200, body, headers, charges.query(len(page.rows), len(body), page.scanned))


def read_feed(call: Call, container: Container) -> Reply:
    """`GET docs/`: all items, or their changes with `A-IM`."""
    a_im = call.headers.get("a-im")
    target = find_target(call, container)
    if a_im is not None:
        feed.check_mode(a_im)
        return _changes(call, container, target)
    call.range = target.ranges[0] if len(target.ranges) == 1 else None
    reached, differs = container.behind(call.lag) if call.lag is not None else (None, None)
    call.reached = reached
    check_session(call, target.ranges, reached)
    token = call.headers.get("x-ms-continuation")
    page = execute.run(
        execute.compile_query("SELECT * FROM c", ()),
        scan(container, target, None, differs),
        {},
        container.clock.now(),
        max_items=feed.whole(call.headers.get("x-ms-max-item-count", DEFAULT_PAGE)),
        token=None if not token else execute.decode_token(token),
    )
    return _page_reply(container, target, page, reached)


def _changes(call: Call, container: Container, target: Target) -> Reply:
    if len(target.ranges) != 1:
        raise bad_request("The change feed is read range by range: x-ms-documentdb-partitionkeyrangeid is missing.")
    range_ = call.range = target.ranges[0]
    reached, older = container.behind(call.lag) if call.lag is not None else ({range_.id: range_.lsn}, {})
    call.reached = reached
    check_session(call, [range_], reached)
    lsn = reached[range_.id]
    after, since = feed.read_position(call.headers.get("if-none-match"), call.headers.get("if-modified-since"), lsn)
    request = feed.FeedRequest(
        target.low,
        target.high,
        None if target.key is None else target.key.text,
        after,
        since,
        feed.whole(call.headers.get("x-ms-max-item-count", DEFAULT_PAGE)),
    )
    page = feed.read(container, range_, request, lsn, older)
    headers = routing_headers(container, [range_], reached)
    headers["etag"] = page.etag
    headers["x-ms-item-count"] = str(page.count)
    return Reply(page.status, page.body, headers, page.charge)


def query_plan(call: Call, container: Container) -> Reply:
    """How a client is to run a query over several ranges."""
    text, parameters = call.query
    features = call.headers.get("x-ms-cosmos-supported-query-features", "")
    compiled = execute.compile_query(text, vectors_of(container))
    check_order(compiled, container)
    return json_reply(200, plan.make(text, parameters, compiled.scope, features), charge=charges.METADATA)
