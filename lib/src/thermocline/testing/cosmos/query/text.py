"""Pieces of a query's own text, for rewritten queries."""

from __future__ import annotations

import msgspec

from thermocline.testing.cosmos.failures import bad_request
from thermocline.testing.cosmos.query.projection import named_items
from thermocline.testing.cosmos.query.tree import Node, Query


def span(query: Query, node: Node) -> str:
    """The text of an expression."""
    return query.text[node.start : node.end]


def where_text(query: Query, more: str = "") -> str:
    """` WHERE …` with another condition, or nothing."""
    parts = [p for p in (f"({span(query, query.where)})" if query.where is not None else "", more) if p]
    return f" WHERE {' AND '.join(parts)}" if parts else ""


def payload_text(query: Query) -> str:
    """The SELECT clause as one expression."""
    select = query.select
    if select is None:
        raise bad_request("The query has no SELECT.")
    if select.kind == "star":
        return query.sources[0].alias
    if select.kind == "value":
        return span(query, select.items[0][0])
    columns = (f"{msgspec.json.encode(name).decode()}: {span(query, expr)}" for name, expr in named_items(select))
    return "{" + ", ".join(columns) + "}"
