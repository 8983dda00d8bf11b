"""Aggregate functions and GROUP BY."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from typing import Any

from thermocline.testing.cosmos.failures import bad_request
from thermocline.testing.cosmos.query.evaluate import compile_expr
from thermocline.testing.cosmos.query.functions import AGGREGATES
from thermocline.testing.cosmos.query.scope import Env, Expr, Scope
from thermocline.testing.cosmos.query.tree import Call, Literal, Node, Parameter, Query, Subquery
from thermocline.testing.cosmos.query.values import UNDEFINED, canonical, compare, is_number, number


class _Total:
    """One aggregate over one group."""

    __slots__ = ("bad", "best", "count", "kind", "sum")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.count = 0
        self.sum: float = 0
        self.best: Any = UNDEFINED
        self.bad = False

    def add(self, value: Any) -> None:
        if value is UNDEFINED:
            return
        if self.kind == "COUNTIF":
            self.count += value is True
            return
        self.count += 1
        if self.kind in ("SUM", "AVG"):
            if is_number(value):
                self.sum += value
            else:
                self.bad = True
        elif self.kind in ("MIN", "MAX"):
            if isinstance(value, (dict, list)):
                self.bad = True
            elif self.best is UNDEFINED or (compare(value, self.best) < 0) is (self.kind == "MIN"):
                self.best = value

    def result(self) -> Any:
        if self.kind in ("COUNT", "COUNTIF"):
            return self.count
        if self.bad:
            return UNDEFINED
        if self.kind == "SUM":
            return number(self.sum)
        if self.kind == "AVG":
            return number(self.sum / self.count) if self.count else UNDEFINED
        return self.best


class Grouping:
    """Rows to groups. Without GROUP BY all rows are one group, even if there are none."""

    def __init__(self, query: Query, scope: Scope, calls: Mapping[Call, Expr]) -> None:
        assert query.select is not None
        self.by = [compile_expr(g, scope.child(())) for g in query.group_by]
        self.calls = calls
        if query.select.kind == "star":
            raise bad_request("'SELECT *' is not valid with aggregates or GROUP BY.")
        for expr, _ in query.select.items:
            if not _allowed(expr, query.group_by):
                raise bad_request(
                    "Property reference is invalid in the select list because it is not contained in either an "
                    "aggregate function or the GROUP BY clause."
                )

    def groups(self, envs: Iterable[Env]) -> Iterator[Env]:
        """One Env per group, with its aggregates."""
        found: dict[str, tuple[Env, dict[Call, _Total]]] = {}
        for env in envs:
            key = "|".join(canonical(b(env)) for b in self.by)
            group = found.get(key)
            if group is None:
                group = found[key] = (env, {c: _Total(c.name) for c in self.calls})
            for call, total in group[1].items():
                total.add(self.calls[call](env))
        if not found and not self.by:
            found[""] = (Env({}, {}, 0.0), {c: _Total(c.name) for c in self.calls})
        for env, totals in found.values():
            yield env.with_aggregates({c: t.result() for c, t in totals.items()})


def _children(node: Any) -> Iterator[Any]:
    for f in fields(node):
        value = getattr(node, f.name)
        if isinstance(value, Node):
            yield value
        elif isinstance(value, tuple):
            for v in value:
                if isinstance(v, Node):
                    yield v
                elif isinstance(v, tuple):
                    yield from (x for x in v if isinstance(x, Node))


def _allowed(node: Node, group_by: tuple[Node, ...]) -> bool:
    if node in group_by or isinstance(node, (Literal, Parameter)):
        return True
    if isinstance(node, Call) and node.name in AGGREGATES:
        return True
    if isinstance(node, Subquery):
        return False
    below = list(_children(node))
    return bool(below) and all(_allowed(n, group_by) for n in below)


def has_aggregate(node: Node) -> bool:
    """Whether an aggregate of this query (not of a subquery) is somewhere inside."""
    if isinstance(node, Subquery):
        return False
    return (isinstance(node, Call) and node.name in AGGREGATES) or any(has_aggregate(n) for n in _children(node))
