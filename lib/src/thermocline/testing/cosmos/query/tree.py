"""The syntax tree. Nodes compare by what they mean, not by where they stood."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Node:
    """An expression; `start` and `end` are its place in the text."""

    start: int = field(compare=False)
    end: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class Literal(Node):
    """A constant; UNDEFINED for `undefined`."""

    value: Any


@dataclass(frozen=True, slots=True)
class Parameter(Node):
    """`@name`."""

    name: str


@dataclass(frozen=True, slots=True)
class Name(Node):
    """An alias of the FROM clause."""

    name: str


@dataclass(frozen=True, slots=True)
class Member(Node):
    """`base.name`, `base["name"]` or `base[0]`."""

    base: Node
    key: Node


@dataclass(frozen=True, slots=True)
class Unary(Node):
    """NOT, -, + or ~."""

    op: str
    operand: Node


@dataclass(frozen=True, slots=True)
class Binary(Node):
    """An operator with two sides."""

    op: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Conditional(Node):
    """`a ? b : c`."""

    test: Node
    then: Node
    other: Node


@dataclass(frozen=True, slots=True)
class InList(Node):
    """`x IN (a, b)`."""

    value: Node
    options: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Between(Node):
    """`x BETWEEN a AND b`, both ends included."""

    value: Node
    low: Node
    high: Node


@dataclass(frozen=True, slots=True)
class Like(Node):
    """`x LIKE pattern ESCAPE "!"`."""

    value: Node
    pattern: Node
    escape: Node | None


@dataclass(frozen=True, slots=True)
class ArrayOf(Node):
    """`[a, b]`."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class ObjectOf(Node):
    """`{"a": x}`."""

    items: tuple[tuple[str, Node], ...]


@dataclass(frozen=True, slots=True)
class Call(Node):
    """A function; the name in upper case."""

    name: str
    args: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Subquery(Node):
    """`(SELECT …)`, `EXISTS(…)` or `ARRAY(…)`: kind is scalar, exists or array."""

    kind: str
    query: Query


@dataclass(frozen=True, slots=True)
class Source:
    """One input: an alias over a collection expression, iterated (`IN`) or taken as it is."""

    alias: str
    collection: Node
    iterate: bool
    start: int = field(compare=False)
    end: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class Select:
    """star, value or list."""

    kind: str
    items: tuple[tuple[Node, str | None], ...]
    distinct: bool
    top: Node | None
    start: int = field(compare=False)
    end: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class OrderItem:
    """One expression of an ORDER BY."""

    expr: Node
    ascending: bool


@dataclass(frozen=True, slots=True)
class Query:
    """A whole SELECT, or the predicate form `FROM c WHERE …` (select is None)."""

    text: str = field(compare=False)
    select: Select | None
    sources: tuple[Source, ...]
    from_span: tuple[int, int] = field(compare=False)
    where: Node | None
    group_by: tuple[Node, ...]
    order_by: tuple[OrderItem, ...]
    rank: bool
    offset: Node | None
    limit: Node | None
