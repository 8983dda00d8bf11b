"""The SELECT clause: `*`, `VALUE expression` or a list with names. What is undefined is left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from thermocline.testing.cosmos.failures import bad_request
from thermocline.testing.cosmos.query.evaluate import compile_expr
from thermocline.testing.cosmos.query.scope import Env, Scope
from thermocline.testing.cosmos.query.tree import Literal, Member, Name, Node, Query, Select
from thermocline.testing.cosmos.query.values import UNDEFINED

Project: TypeAlias = Callable[[Env], Any]


def projection(query: Query, scope: Scope) -> Project:
    """From a row to what the query returns for it."""
    select = query.select
    if select is None:
        raise bad_request("The query has no SELECT.")
    if select.kind == "star":
        if len(query.sources) != 1:
            raise bad_request("'SELECT *' is only valid with a single input set.")
        alias = query.sources[0].alias
        return lambda env: env.names.get(alias, UNDEFINED)
    if select.kind == "value":
        return compile_expr(select.items[0][0], scope)
    columns = [(name, compile_expr(expr, scope)) for name, expr in named_items(select)]
    return lambda env: {name: v for name, expr in columns if (v := expr(env)) is not UNDEFINED}


def named_items(select: Select) -> list[tuple[str, Node]]:
    """The columns of a select list with their names: the alias, else the last property, else $1, $2, …"""
    found: list[tuple[str, Node]] = []
    unnamed = 0
    for expr, alias in select.items:
        name = alias if alias is not None else _own_name(expr)
        if name is None:
            unnamed += 1
            name = f"${unnamed}"
        if any(n == name for n, _ in found):
            raise bad_request(f"The property name '{name}' is used more than once in the SELECT clause.")
        found.append((name, expr))
    return found


def _own_name(expr: Node) -> str | None:
    if isinstance(expr, Name):
        return expr.name
    if isinstance(expr, Member) and isinstance(expr.key, Literal) and isinstance(expr.key.value, str):
        return expr.key.value
    return None
