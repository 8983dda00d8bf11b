"""What an expression can see: names and aggregates at compile time (`Scope`), values at run time (`Env`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from thermocline.testing.cosmos.failures import bad_request
from thermocline.testing.cosmos.query.tree import Call, Node, Query


class Env:
    """The row at hand: names to values, the query's parameters, the time, and finished aggregates."""

    __slots__ = ("aggregates", "names", "now", "parameters")

    def __init__(
        self,
        names: dict[str, Any],
        parameters: Mapping[str, Any],
        now: float,
        aggregates: Mapping[Call, Any] | None = None,
    ) -> None:
        self.names = names
        self.parameters = parameters
        self.now = now
        self.aggregates = aggregates

    def bind(self, name: str, value: Any) -> Env:
        """The same with one more name."""
        return Env({**self.names, name: value}, self.parameters, self.now, self.aggregates)

    def with_aggregates(self, aggregates: Mapping[Call, Any]) -> Env:
        """The same with the results of aggregate functions."""
        return Env(self.names, self.parameters, self.now, aggregates)


Expr: TypeAlias = Callable[[Env], Any]
Compile: TypeAlias = Callable[[Node, "Scope"], Expr]
Rows: TypeAlias = Callable[[Env], Iterator[Any]]
SubqueryCompiler: TypeAlias = Callable[[Query, "Scope"], Rows]


@dataclass(frozen=True, slots=True)
class VectorPath:
    """How the container's policy measures the vectors at a path: cosine, euclidean or dotproduct."""

    distance: str
    dimensions: int


@dataclass(slots=True)
class Scope:
    """Names in sight, parameters met, and aggregate calls met (None where none is allowed)."""

    names: frozenset[str]
    subquery: SubqueryCompiler
    vectors: Mapping[tuple[str, ...], VectorPath] = field(default_factory=dict)
    parameters: set[str] = field(default_factory=set)
    calls: dict[Call, Expr] | None = None

    def child(self, names: Iterable[str]) -> Scope:
        """A scope with more names, in which aggregates are not allowed."""
        return Scope(self.names | frozenset(names), self.subquery, self.vectors, self.parameters)

    def aggregate(self, node: Call, compile_expr: Compile) -> Expr:
        """An aggregate function: its argument is compiled on the side, its result comes from the Env."""
        if self.calls is None:
            raise bad_request(f"The aggregate {node.name} is not allowed here.")
        if len(node.args) != 1:
            raise bad_request(f"The {node.name} function requires 1 argument(s).")
        self.calls[node] = compile_expr(node.args[0], self.child(()))

        def finished(env: Env) -> Any:
            if env.aggregates is None:
                raise bad_request(f"The aggregate {node.name} is not allowed here.")
            return env.aggregates[node]

        return finished
