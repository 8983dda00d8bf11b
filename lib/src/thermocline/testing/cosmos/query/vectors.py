"""`VectorDistance(a, b[, bruteForce[, {options}]])`: always exact here, whatever index the container names."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from thermocline.testing.cosmos.failures import bad_request
from thermocline.testing.cosmos.query.scope import Compile, Env, Expr, Scope
from thermocline.testing.cosmos.query.tree import Call, Literal, Member, Name, Node, ObjectOf
from thermocline.testing.cosmos.query.values import UNDEFINED, is_number


def _cosine(a: list[float], b: list[float]) -> float:
    norm = math.sqrt(math.fsum(x * x for x in a) * math.fsum(y * y for y in b))
    return math.fsum(x * y for x, y in zip(a, b, strict=True)) / norm if norm else 0.0


MEASURES: Final[dict[str, Callable[[list[float], list[float]], float]]] = {
    "cosine": _cosine,
    "euclidean": lambda a, b: math.dist(a, b),
    "dotproduct": lambda a, b: math.fsum(x * y for x, y in zip(a, b, strict=True)),
}


def path_of(node: Node) -> tuple[str, ...] | None:
    """The property path below the item, or None if the expression is something else."""
    names: list[str] = []
    while isinstance(node, Member):
        if not (isinstance(node.key, Literal) and isinstance(node.key.value, str)):
            return None
        names.append(node.key.value)
        node = node.base
    return tuple(reversed(names)) if isinstance(node, Name) and names else None


def _options(node: Call) -> dict[str, Any]:
    if len(node.args) < 4:
        return {}
    given = node.args[3]
    if not isinstance(given, ObjectOf):
        raise bad_request("The fourth argument of VectorDistance must be an object of options.")
    values = {k: v.value for k, v in given.items if isinstance(v, Literal)}
    known = {
        "distanceFunction",
        "dataType",
        "searchListSizeMultiplier",
        "quantizedVectorListMultiplier",
        "filterPriority",
    }
    if len(values) != len(given.items) or set(values) - known:
        raise bad_request("VectorDistance has options that are not known.")
    return values


def measure_of(node: Call, scope: Scope) -> str:
    """cosine, euclidean or dotproduct: as the call says, else as the container's policy says, else cosine."""
    named = _options(node).get("distanceFunction")
    if named is None:
        policies = (scope.vectors.get(path_of(a) or ()) for a in node.args[:2])
        named = next((p.distance for p in policies if p is not None), "cosine")
    measure = str(named).lower()
    if measure not in MEASURES:
        raise bad_request(f"The distance function '{named}' is not known.")
    return measure


def ascending(node: Call, scope: Scope) -> bool:
    """Whether the nearest vector has the smallest number: ORDER BY VectorDistance always puts the nearest first."""
    return measure_of(node, scope) == "euclidean"


def build(node: Call, scope: Scope, compile_expr: Compile) -> Expr:
    """The closure of a call."""
    if not 2 <= len(node.args) <= 4:
        raise bad_request("The VECTORDISTANCE function requires 2 to 4 argument(s).")
    measure = MEASURES[measure_of(node, scope)]
    first, second = compile_expr(node.args[0], scope), compile_expr(node.args[1], scope)

    def distance(env: Env) -> Any:
        a, b = first(env), second(env)
        if not (isinstance(a, list) and isinstance(b, list)) or not a or len(a) != len(b):
            return UNDEFINED
        if not all(is_number(x) for x in a) or not all(is_number(x) for x in b):
            return UNDEFINED
        return measure(a, b)

    return distance
