"""The account, databases, containers and physical ranges."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from thermocline.testing.cosmos import limits
from thermocline.testing.cosmos.account import Account, Database
from thermocline.testing.cosmos.charges import METADATA
from thermocline.testing.cosmos.failures import ServiceError, bad_request, conflict, not_found, precondition_failed
from thermocline.testing.cosmos.indexing import DEFAULT_POLICY, IndexPolicy
from thermocline.testing.cosmos.query import execute
from thermocline.testing.cosmos.query.vectors import MEASURES
from thermocline.testing.cosmos.ranges import Range
from thermocline.testing.cosmos.store import Container, split_path
from thermocline.testing.cosmos.wire import Call, Reply, json_reply

MAX_NAME: Final = 255
CONSISTENCY: Final = ("Strong", "BoundedStaleness", "Session", "ConsistentPrefix", "Eventual")
_KNOWN: Final = frozenset(
    {
        "id", "partitionKey", "defaultTtl", "indexingPolicy", "vectorEmbeddingPolicy", "fullTextPolicy", "uniqueKeyPolicy",
        "conflictResolutionPolicy", "geospatialConfig",
    }
)  # fmt: skip


@dataclass(slots=True)
class AccountSettings:
    """What the account says of itself."""

    consistency: str = "Session"
    multi_write: bool = False
    region: str = "Local"
    regions: dict[str, str] = field(default_factory=dict)  # names and endpoints; the first one takes the writes


def account(settings: AccountSettings, base_url: str) -> Reply:
    """`GET /`: advertises the URL by which it was reached, or the regions that were set."""
    regions = settings.regions or {settings.region: base_url}
    places = [{"name": name, "databaseAccountEndpoint": url} for name, url in regions.items()]
    return json_reply(
        200,
        {
            "_self": "",
            "id": "thermocline-cosmos",
            "_rid": "thermocline-cosmos",
            "media": "//media/",
            "addresses": "//addresses/",
            "_dbs": "//dbs/",
            "writableLocations": places[:1],
            "readableLocations": places,
            "enableMultipleWriteLocations": settings.multi_write,
            "enablePerPartitionFailoverBehavior": False,
            "userReplicationPolicy": {"asyncReplication": False, "minReplicaSetSize": 1, "maxReplicasetSize": 4},
            "userConsistencyPolicy": {"defaultConsistencyLevel": settings.consistency},
            "systemReplicationPolicy": {"minReplicaSetSize": 1, "maxReplicasetSize": 4},
            "readPolicy": {"primaryReadCoefficient": 1, "secondaryReadCoefficient": 1},
            "queryEngineConfiguration": '{"maxSqlQueryInputLength":524288,"maxJoinsPerSqlQuery":10}',
        },
        charge=METADATA,
    )


def _name(value: Any) -> str:
    name = limits.check_id(value)
    if len(name) > MAX_NAME:
        raise bad_request(f"The name has {len(name)} characters, the limit is {MAX_NAME}.")
    return name


def _object(call: Call) -> dict[str, Any]:
    if not isinstance(call.json, dict):
        raise bad_request("The input content is invalid: a JSON object is needed.")
    body: dict[str, Any] = call.json
    return body


def _is_query(call: Call) -> bool:
    return call.flag("x-ms-documentdb-isquery") or "query+json" in call.headers.get("content-type", "")


def _listing(call: Call, kind: str, rid: str, found: Iterable[dict[str, Any]]) -> Reply:
    """A feed of databases or containers, or a query over them."""
    rows: list[Any] = list(found)
    if _is_query(call):
        text, parameters = call.query
        compiled = execute.compile_query(text, ())
        items = [(("", i), doc) for i, doc in enumerate(rows)]
        rows = execute.run(compiled, items, parameters, 0.0, max_items=1000, token=None).rows
    return json_reply(200, {"_rid": rid, kind: rows, "_count": len(rows)}, charge=METADATA)


def databases(account_: Account, call: Call) -> Reply:
    """`/dbs`."""
    if call.method == "GET" or _is_query(call):
        return _listing(call, "Databases", "", (d.properties for d in account_.databases.values()))
    if call.method != "POST":
        raise ServiceError(405, "The requested verb is not supported.")
    name = _name(_object(call).get("id"))
    if name in account_.databases:
        raise conflict()
    made = account_.databases[name] = Database(account_, name, account_.number())
    return json_reply(201, made.properties, charge=METADATA, headers={"etag": made.properties["_etag"]})


def database(account_: Account, call: Call) -> Reply:
    """`/dbs/D`."""
    try:
        found = account_.database(call.parts[1])
    except ServiceError as e:
        raise not_found() from e  # the database itself is missing: 404/0, its children say 404/1003
    if call.method == "GET":
        return json_reply(200, found.properties, charge=METADATA, headers={"etag": found.properties["_etag"]})
    if call.method == "DELETE":
        _check_match(call, found.properties["_etag"])
        del account_.databases[found.name]
        return Reply(204, charge=METADATA)
    raise ServiceError(405, "The requested verb is not supported.")


def _check_match(call: Call, etag: str) -> None:
    wanted = call.headers.get("if-match")
    if wanted is not None and wanted not in ("*", etag):
        raise precondition_failed()


def containers(found: Database, call: Call) -> Reply:
    """`/dbs/D/colls`."""
    if call.method == "GET" or _is_query(call):
        listed = (c.properties for c in found.containers.values())
        return _listing(call, "DocumentCollections", found.rid, listed)
    if call.method != "POST":
        raise ServiceError(405, "The requested verb is not supported.")
    properties = _checked(_object(call))
    if properties["id"] in found.containers:
        raise conflict()
    made = Container(found, properties, found.account.number(), found.account.ranges)
    found.containers[made.name] = made
    return json_reply(201, made.properties, charge=METADATA, headers={"etag": made.properties["_etag"]})


def container(database_: Database, found: Container, call: Call) -> Reply:
    """`/dbs/D/colls/C`."""
    if call.method == "GET":
        headers = {"etag": found.properties["_etag"], "x-ms-resource-usage": "collectionSize=0;"}
        return json_reply(200, found.properties, charge=METADATA, headers=headers)
    if call.method == "DELETE":
        _check_match(call, found.properties["_etag"])
        del database_.containers[found.name]
        return Reply(204, charge=METADATA)
    if call.method == "PUT":
        _check_match(call, found.properties["_etag"])
        body = {k: v for k, v in _object(call).items() if not k.startswith("_")}
        properties = _checked(body)
        if properties["id"] != found.name:
            raise bad_request("The id of a container cannot be changed.")
        for fixed in ("partitionKey", "uniqueKeyPolicy"):
            if properties.get(fixed) != found.properties.get(fixed):
                raise bad_request(f"The {fixed} of a container cannot be changed.")
        found.apply(properties)
        return json_reply(200, found.properties, charge=METADATA, headers={"etag": found.properties["_etag"]})
    raise ServiceError(405, "The requested verb is not supported.")


def _checked(body: dict[str, Any]) -> dict[str, Any]:
    """A container's properties, refused where Azure refuses them and filled up with its defaults."""
    unknown = body.keys() - _KNOWN
    if unknown:
        raise bad_request(f"The container property '{min(unknown)}' is not supported by this server.")
    properties = {k: v for k, v in body.items() if v is not None}
    _name(properties.get("id"))
    properties["partitionKey"] = _partition_key(properties.get("partitionKey"))
    limits.check_default_ttl(properties.get("defaultTtl"))
    try:
        policy = {**DEFAULT_POLICY, **properties.get("indexingPolicy", {})}
        IndexPolicy(policy)
        properties["indexingPolicy"] = policy
        _check_vectors(properties)
        for key in properties.get("uniqueKeyPolicy", {}).get("uniqueKeys", []):
            for path in key["paths"]:
                split_path(path)
    except (KeyError, TypeError, AttributeError) as e:
        raise bad_request(f"The container's policies are malformed: {e!r}.") from e
    properties.setdefault("conflictResolutionPolicy", {"mode": "LastWriterWins", "conflictResolutionPath": "/_ts"})
    return properties


def _partition_key(definition: Any) -> dict[str, Any]:
    if not isinstance(definition, dict) or not isinstance(definition.get("paths"), list) or not definition["paths"]:
        raise bad_request("A container needs a partitionKey with paths.")
    paths, kind, version = definition["paths"], definition.get("kind", "Hash"), definition.get("version", 2)
    if kind not in ("Hash", "MultiHash"):
        raise bad_request(f"The partition key kind '{kind}' is not known: Hash or MultiHash.")
    if version != 2:
        raise bad_request("Only version 2 of partition keys is supported by this server.")
    most = 1 if kind == "Hash" else 3
    if not 1 <= len(paths) <= most:
        raise bad_request(f"A {kind} partition key has at most {most} path(s).")
    for path in paths:
        if not isinstance(path, str):
            raise bad_request("Partition key paths are text.")
        split_path(path)
    return {"paths": paths, "kind": kind, "version": version}


def _check_vectors(properties: dict[str, Any]) -> None:
    embeddings = properties.get("vectorEmbeddingPolicy", {}).get("vectorEmbeddings", [])
    for e in embeddings:
        if str(e["distanceFunction"]).lower() not in MEASURES:
            raise bad_request(f"The distance function '{e['distanceFunction']}' is not known.")
        if not isinstance(e["dimensions"], int) or e["dimensions"] < 1:
            raise bad_request("The dimensions of a vector must be a positive number.")
        split_path(e["path"])
    named = {e["path"] for e in embeddings}
    for index in properties["indexingPolicy"].get("vectorIndexes", []):
        if index["path"] not in named:
            raise bad_request(f"The vector index on {index['path']} has no entry in the vector embedding policy.")
        if index["type"] not in ("flat", "quantizedFlat", "diskANN"):
            raise bad_request(f"The vector index type '{index['type']}' is not known.")


def ranges(found: Container, call: Call) -> Reply:
    """`/dbs/D/colls/C/pkranges`: what is newer than the caller's ETag, 304 if nothing is."""
    etag = f'"{found.generation}"'
    known = call.headers.get("if-none-match", "").strip('"')
    if known == str(found.generation):
        return Reply(304, headers={"etag": etag}, charge=METADATA)
    since = int(known) if known.isdigit() else 0
    rows = [_range_row(found, r) for r in found.ranges if r.generation > since]
    body = {"_rid": found.rid, "PartitionKeyRanges": rows, "_count": len(rows)}
    return Reply(200, msgspec.json.encode(body), {"etag": etag, "x-ms-item-count": str(len(rows))}, METADATA)


def _range_row(found: Container, r: Range) -> dict[str, Any]:
    return {
        "_rid": found.rid,
        "id": r.id,
        "_etag": f'"{r.generation}"',
        "minInclusive": r.low,
        "maxExclusive": r.high,
        "ridPrefix": int(r.id),
        "_self": f"{found.properties['_self']}pkranges/{r.id}/",
        "throughputFraction": 1 / len(found.ranges),
        "status": "online",
        "parents": list(r.parents),
        "_ts": found.properties["_ts"],
        "_lsn": r.lsn,
    }
