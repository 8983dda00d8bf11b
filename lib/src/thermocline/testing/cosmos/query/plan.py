"""Query plans: how a client runs a query over several ranges and merges the answers.

The gateway answers filters and projections over all partitions itself. What needs merging it refuses with 400/1004; the client then
asks for a plan and runs `rewrittenQuery` on each range. The rewritten texts here are this server's own, in the documented form.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from thermocline.testing.cosmos.failures import bad_request
from thermocline.testing.cosmos.query import hybrid, vectors
from thermocline.testing.cosmos.query.aggregates import has_aggregate
from thermocline.testing.cosmos.query.functions import AGGREGATES
from thermocline.testing.cosmos.query.parser import parse
from thermocline.testing.cosmos.query.projection import named_items
from thermocline.testing.cosmos.query.scope import Scope
from thermocline.testing.cosmos.query.text import payload_text, span, where_text
from thermocline.testing.cosmos.query.tree import Call, Literal, Node, Parameter, Query, Select

_AGGREGATE_NAMES: Final = {
    "COUNT": "Count",
    "SUM": "Sum",
    "MIN": "Min",
    "MAX": "Max",
    "AVG": "Average",
    "COUNTIF": "CountIf",
}
_WHOLE: Final = [{"min": "", "max": "FF", "isMinInclusive": True, "isMaxInclusive": False}]


def needs_plan(query: Query) -> bool:
    """Whether answers of several ranges must be merged by more than putting them one after another."""
    select = query.select
    if select is None:
        return False
    counted = select.top is not None or query.offset is not None
    ordered = bool(query.order_by) or query.rank
    return counted or ordered or select.distinct or bool(query.group_by) or _aggregates(select)


def _aggregates(select: Select) -> bool:
    return any(has_aggregate(expr) for expr, _ in select.items)


def _value(node: Node | None, parameters: Mapping[str, Any]) -> int | None:
    if node is None:
        return None
    value = (
        parameters.get(node.name) if isinstance(node, Parameter) else node.value if isinstance(node, Literal) else None
    )
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise bad_request("TOP, OFFSET and LIMIT take whole numbers that are not negative.")
    return value


def make(text: str, parameters: Mapping[str, Any], scope: Scope, features: str) -> dict[str, Any]:
    """The plan of a query whose names, functions and indexes have been checked already."""
    query = parse(text)
    select = query.select
    if select is None:
        raise bad_request("The query has no SELECT.")
    top, offset, limit = (_value(n, parameters) for n in (select.top, query.offset, query.limit))
    known = {f.strip() for f in features.split(",")}
    if query.group_by and "GroupBy" not in known:
        raise bad_request("Query contains the following features, which the calling client does not support: GroupBy")
    answer: dict[str, Any] = {
        "partitionedQueryExecutionInfoVersion": 2,
        "queryInfo": None,
        "queryRanges": _WHOLE,
        "hybridSearchQueryInfo": None,
    }
    if query.rank:
        answer["hybridSearchQueryInfo"] = hybrid.plan(query, scope, offset or 0, top if top is not None else limit)
        return answer
    info: dict[str, Any] = {
        "distinctType": _distinct(query, select),
        "top": top,
        "offset": offset,
        "limit": limit,
        "orderBy": [],
        "orderByExpressions": [],
        "groupByExpressions": [],
        "groupByAliases": [],
        "aggregates": [],
        "groupByAliasToAggregateType": {},
        "rewrittenQuery": "",
        "hasSelectValue": select.kind == "value",
        "dCountInfo": None,
        "hasNonStreamingOrderBy": False,
    }
    if _aggregates(select):
        _aggregate_plan(query, select, info)
    elif query.order_by:
        _order_plan(query, select, scope, info)
    elif query.offset is not None:
        limited = f"OFFSET 0 LIMIT {(offset or 0) + (limit or 0)}"
        info["rewrittenQuery"] = f"{text[: query.offset.start].rsplit(None, 1)[0]} {limited}"
    answer["queryInfo"] = info
    return answer


def _distinct(query: Query, select: Select) -> str:
    if not select.distinct:
        return "None"
    items = [expr for expr, _ in select.items]
    return "Ordered" if query.order_by and items == [o.expr for o in query.order_by] else "Unordered"


def _aggregate_plan(query: Query, select: Select, info: dict[str, Any]) -> None:
    calls = [e for e, _ in select.items if isinstance(e, Call) and e.name in AGGREGATES]
    if len(calls) != len(select.items):
        raise bad_request("Compositions of aggregates and other expressions are not allowed across partitions.")
    info["aggregates"] = [_AGGREGATE_NAMES[c.name] for c in calls]
    if select.kind != "value":
        info["groupByAliasToAggregateType"] = {
            name: _AGGREGATE_NAMES[c.name] for (name, _), c in zip(named_items(select), calls, strict=True)
        }
    parts = []
    for c in calls:
        argument = span(query, c.args[0])
        if c.name == "AVG":
            parts.append(f'{{"item": {{"sum": SUM({argument}), "count": COUNT({argument})}}}}')
        else:
            parts.append(f'{{"item": {c.name}({argument})}}')
    info["rewrittenQuery"] = (
        f"SELECT VALUE [{', '.join(parts)}] {query.text[slice(*query.from_span)]}{where_text(query)}"
    )


def _order_plan(query: Query, select: Select, scope: Scope, info: dict[str, Any]) -> None:
    first = query.order_by[0].expr
    streaming = not (isinstance(first, Call) and first.name == "VECTORDISTANCE")
    ascending = [o.ascending for o in query.order_by]
    if not streaming and isinstance(first, Call):
        ascending = [vectors.ascending(first, scope)]
    info["orderBy"] = ["Ascending" if a else "Descending" for a in ascending]
    info["orderByExpressions"] = [span(query, o.expr) for o in query.order_by]
    info["hasNonStreamingOrderBy"] = not streaming
    items = ", ".join(f'{{"item": {e}}}' for e in info["orderByExpressions"])
    order = ", ".join(
        e if not streaming else f"{e} {'ASC' if a else 'DESC'}"
        for e, a in zip(info["orderByExpressions"], ascending, strict=True)
    )
    total = info["top"] if info["top"] is not None else None
    head = f"TOP {total} " if total is not None and not select.distinct else ""
    tail = ""
    if info["limit"] is not None and not select.distinct:
        tail = f" OFFSET 0 LIMIT {(info['offset'] or 0) + info['limit']}"
    root = query.sources[0].alias
    filtered = where_text(query, "({documentdb-formattableorderbyquery-filter})")
    info["rewrittenQuery"] = (
        f"SELECT {head}{root}._rid, [{items}] AS orderByItems, {payload_text(query)} AS payload "
        f"{query.text[slice(*query.from_span)]}{filtered} ORDER BY {order}{tail}"
    )
