"""The tree to closures. A closure takes an `Env` and gives a JSON value or UNDEFINED.

Rules: what is absent is undefined; `=` of values of different types is false and `!=` true, an ordering of them is
undefined; AND, OR and NOT have three values; arithmetic on anything but numbers is undefined; a filter lets only true through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

from thermocline.testing.cosmos.failures import bad_request
from thermocline.testing.cosmos.query.functions import AGGREGATES, FUNCTIONS, SPECIAL
from thermocline.testing.cosmos.query.operators import INT32, arithmetic, bits, concat, like_pattern, order_test, signed
from thermocline.testing.cosmos.query.scope import Env, Expr, Scope
from thermocline.testing.cosmos.query.tree import (
    ArrayOf,
    Between,
    Binary,
    Call,
    Conditional,
    InList,
    Like,
    Literal,
    Member,
    Name,
    Node,
    ObjectOf,
    Parameter,
    Source,
    Subquery,
    Unary,
)
from thermocline.testing.cosmos.query.values import UNDEFINED, equals, is_number


def compile_expr(node: Node, scope: Scope) -> Expr:
    """The closure of an expression. Raises 400 for names that are not in scope and functions that do not exist."""
    return _COMPILERS[type(node)](node, scope)


def _literal(node: Literal, _: Scope) -> Expr:
    value = node.value
    return lambda env: value


def _parameter(node: Parameter, scope: Scope) -> Expr:
    name = node.name
    scope.parameters.add(name)
    return lambda env: env.parameters[name]


def _name(node: Name, scope: Scope) -> Expr:
    name = node.name
    if name not in scope.names:
        raise bad_request(f"Identifier '{name}' could not be resolved.")
    return lambda env: env.names.get(name, UNDEFINED)


def _step(value: Any, key: Any) -> Any:
    if isinstance(value, dict):
        return value.get(key, UNDEFINED) if isinstance(key, str) else UNDEFINED
    if isinstance(value, list) and is_number(key) and key == int(key) and 0 <= key < len(value):
        return value[int(key)]
    return UNDEFINED


def _member(node: Member, scope: Scope) -> Expr:
    if isinstance(node.base, Name) and node.base.name.lower() == "udf" and "udf" not in scope.names:
        raise bad_request("User-defined functions are not supported by this server.")
    key = compile_expr(node.key, scope)
    base = compile_expr(node.base, scope)
    if isinstance(node.key, Literal) and isinstance(node.key.value, str):
        name = node.key.value
        if isinstance(node.base, Name):
            alias = node.base.name

            def direct(env: Env) -> Any:
                value = env.names.get(alias)
                return value.get(name, UNDEFINED) if type(value) is dict else UNDEFINED

            return direct
        return lambda env: _step(base(env), name)
    return lambda env: _step(base(env), key(env))


def _unary(node: Unary, scope: Scope) -> Expr:
    operand = compile_expr(node.operand, scope)
    if node.op == "NOT":

        def negate(env: Env) -> Any:
            value = operand(env)
            return not value if isinstance(value, bool) else UNDEFINED

        return negate

    def sign(env: Env) -> Any:
        value = operand(env)
        if not is_number(value):
            return UNDEFINED
        return -value if node.op == "-" else value if node.op == "+" else signed(~int(value) & INT32)

    return sign


def _equal(a: Any, b: Any) -> Any:
    return UNDEFINED if a is UNDEFINED or b is UNDEFINED else equals(a, b)


def _unequal(a: Any, b: Any) -> Any:
    return UNDEFINED if a is UNDEFINED or b is UNDEFINED else not equals(a, b)


def _and(a: Expr, b: Expr) -> Expr:
    def both(env: Env) -> Any:
        left = a(env)
        if left is False:
            return False
        right = b(env)
        if right is False:
            return False
        return True if left is True and right is True else UNDEFINED

    return both


def _or(a: Expr, b: Expr) -> Expr:
    def either(env: Env) -> Any:
        left = a(env)
        if left is True:
            return True
        right = b(env)
        if right is True:
            return True
        return False if left is False and right is False else UNDEFINED

    return either


def _coalesce(a: Expr, b: Expr) -> Expr:
    def first(env: Env) -> Any:
        value = a(env)
        return b(env) if value is UNDEFINED else value

    return first


_JOINERS: Final[dict[str, Callable[[Expr, Expr], Expr]]] = {"AND": _and, "OR": _or, "??": _coalesce}
_OPERATORS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "=": _equal,
    "!=": _unequal,
    "||": concat,
    **{op: partial(order_test, op) for op in ("<", "<=", ">", ">=")},
    **{op: partial(arithmetic, op) for op in ("+", "-", "*", "/", "%")},
    **{op: partial(bits, op) for op in ("&", "|", "^", "<<", ">>", ">>>")},
}


def _binary(node: Binary, scope: Scope) -> Expr:
    left, right = compile_expr(node.left, scope), compile_expr(node.right, scope)
    if node.op in _JOINERS:
        return _JOINERS[node.op](left, right)
    operate = _OPERATORS[node.op]
    return lambda env: operate(left(env), right(env))


def _conditional(node: Conditional, scope: Scope) -> Expr:
    test, then, other = (compile_expr(n, scope) for n in (node.test, node.then, node.other))
    return lambda env: then(env) if test(env) is True else other(env)


def _in_list(node: InList, scope: Scope) -> Expr:
    value = compile_expr(node.value, scope)
    options = [compile_expr(o, scope) for o in node.options]

    def member(env: Env) -> Any:
        wanted = value(env)
        unknown = wanted is UNDEFINED
        for option in options:
            found = _equal(wanted, option(env))
            if found is True:
                return True
            unknown = unknown or found is UNDEFINED
        return UNDEFINED if unknown else False

    return member


def _between(node: Between, scope: Scope) -> Expr:
    value, low, high = (compile_expr(n, scope) for n in (node.value, node.low, node.high))

    def within(env: Env) -> Any:
        v = value(env)
        a, b = order_test(">=", v, low(env)), order_test("<=", v, high(env))
        if a is False or b is False:
            return False
        return True if a is True and b is True else UNDEFINED

    return within


def _like(node: Like, scope: Scope) -> Expr:
    value, pattern = compile_expr(node.value, scope), compile_expr(node.pattern, scope)
    escape = compile_expr(node.escape, scope) if node.escape is not None else None

    def like(env: Env) -> Any:
        v, p, e = value(env), pattern(env), "" if escape is None else escape(env)
        if not (isinstance(v, str) and isinstance(p, str) and isinstance(e, str)):
            return UNDEFINED
        return like_pattern(p, e).fullmatch(v) is not None

    return like


def _array(node: ArrayOf, scope: Scope) -> Expr:
    items = [compile_expr(i, scope) for i in node.items]
    return lambda env: [v for i in items if (v := i(env)) is not UNDEFINED]


def _object(node: ObjectOf, scope: Scope) -> Expr:
    items = [(k, compile_expr(v, scope)) for k, v in node.items]
    return lambda env: {k: v for k, e in items if (v := e(env)) is not UNDEFINED}


def _call(node: Call, scope: Scope) -> Expr:
    if node.name in AGGREGATES:
        return scope.aggregate(node, compile_expr)
    if node.name in SPECIAL:
        return SPECIAL[node.name](node, scope, compile_expr)
    entry = FUNCTIONS.get(node.name)
    if entry is None:
        raise bad_request(f"'{node.name}' is not a recognized built-in function name.")
    least, most, function = entry
    if not least <= len(node.args) <= most:
        raise bad_request(f"The {node.name} function requires {least} to {most} argument(s).")
    args = [compile_expr(a, scope) for a in node.args]
    if len(args) == 1:
        only = args[0]
        return lambda env: function(only(env))
    if len(args) == 2:
        first, second = args
        return lambda env: function(first(env), second(env))
    return lambda env: function(*(a(env) for a in args))


def _subquery(node: Subquery, scope: Scope) -> Expr:
    rows = scope.subquery(node.query, scope)
    if node.kind == "exists":
        return lambda env: next(rows(env), UNDEFINED) is not UNDEFINED
    if node.kind == "array":
        return lambda env: list(rows(env))

    def scalar(env: Env) -> Any:
        found = list(rows(env))
        if len(found) > 1:
            raise bad_request("The cardinality of a scalar subquery result set cannot be greater than one.")
        return found[0] if found else UNDEFINED

    return scalar


Expand: TypeAlias = Callable[[Env], Iterator[Env]]


def base_name(node: Node) -> str:
    """The name at the bottom of a path; "" if there is none."""
    while isinstance(node, Member):
        node = node.base
    return node.name if isinstance(node, Name) else ""


def compile_sources(sources: Sequence[Source], scope: Scope, *, top: bool) -> tuple[Scope, str, Expand]:
    """The FROM clause: the scope behind it, the name to which the item is bound, and how a row becomes many.

    At the top the first source is the container (any name will do); in a subquery all names come from outside.
    """
    root = ""
    seen = scope
    steps: list[tuple[str, Expr, bool]] = []
    for i, s in enumerate(sources):
        if top and i == 0:
            root = s.alias if isinstance(s.collection, Name) and not s.iterate else base_name(s.collection)
            if not root:
                raise bad_request("The FROM clause must start from the container.")
            if isinstance(s.collection, Name) and not s.iterate:
                seen = scope.child([s.alias])
                continue
            steps.append((s.alias, _collection(s, scope.child([root])), _many(s)))
        else:
            steps.append((s.alias, _collection(s, seen), _many(s)))
        seen = seen.child([s.alias])

    def expand(env: Env, at: int = 0) -> Iterator[Env]:
        if at == len(steps):
            yield env
            return
        alias, collection, iterate = steps[at]
        value = collection(env)
        if value is UNDEFINED or (iterate and not isinstance(value, list)):
            return
        for v in value if iterate else [value]:
            yield from expand(env.bind(alias, v), at + 1)

    return seen, root, expand


def _many(source: Source) -> bool:
    return source.iterate or (isinstance(source.collection, Subquery) and source.collection.kind == "scalar")


def _collection(source: Source, scope: Scope) -> Expr:
    node = source.collection
    if isinstance(node, Subquery) and node.kind == "scalar" and not source.iterate:
        # JOIN (SELECT VALUE x FROM x IN c.list WHERE …) AS x: one row per result
        rows = scope.subquery(node.query, scope)
        return lambda env: list(rows(env))
    return compile_expr(node, scope)


_COMPILERS: Final[dict[type[Node], Callable[[Any, Scope], Expr]]] = {
    Literal: _literal,
    Parameter: _parameter,
    Name: _name,
    Member: _member,
    Unary: _unary,
    Binary: _binary,
    Conditional: _conditional,
    InList: _in_list,
    Between: _between,
    Like: _like,
    ArrayOf: _array,
    ObjectOf: _object,
    Call: _call,
    Subquery: _subquery,
}
