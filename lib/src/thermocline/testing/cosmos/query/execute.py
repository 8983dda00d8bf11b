"""Runs a query over items, page by page.

Rows come in order of (EPK, creation) or of ORDER BY. The continuation token of a filter or an ORDER BY names the last row's place, so
that writes between two pages neither repeat nor skip other rows; that of DISTINCT, GROUP BY and aggregates counts rows.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import Any, Final, TypeAlias
from zlib import crc32

import msgspec

from thermocline.testing.cosmos.failures import ServiceError, bad_request
from thermocline.testing.cosmos.limits import MAX_PAGE_BYTES
from thermocline.testing.cosmos.query import vectors
from thermocline.testing.cosmos.query.aggregates import Grouping
from thermocline.testing.cosmos.query.evaluate import compile_expr, compile_sources
from thermocline.testing.cosmos.query.parser import parse, parse_predicate
from thermocline.testing.cosmos.query.projection import Project, projection
from thermocline.testing.cosmos.query.scope import Env, Expr, Scope, VectorPath
from thermocline.testing.cosmos.query.tree import Binary as BinaryNode
from thermocline.testing.cosmos.query.tree import Call, InList, Literal, Member, Name, Node, Parameter, Query
from thermocline.testing.cosmos.query.values import UNDEFINED, canonical, compare, sort_key

Place: TypeAlias = tuple[str, int]  # EPK and number of creation
Vectors: TypeAlias = tuple[tuple[tuple[str, ...], VectorPath], ...]
SCORE: Final = "_FULLTEXTSCORE"
_GIVEN: Final = re.compile(r'"([^"]*)"|(?<![\w.$@])[1-9][0-9]{4,15}(?![\w.])')


@dataclass(frozen=True, slots=True)
class Order:
    """One ORDER BY expression; `path` is None if it is no property of the item."""

    value: Expr
    ascending: bool
    path: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Row:
    """A row before projection, and its place: EPK, number, and which of the item's rows it is."""

    env: Env
    place: tuple[str, int, int]
    keys: tuple[Any, ...] = ()


@dataclass(slots=True)
class Page:
    """Results, the token for the next page, and how many items were looked at."""

    rows: list[Any] = field(default_factory=list)
    token: str | None = None
    scanned: int = 0
    size: int = 0


class Compiled:
    """A query ready to run. Raises 400 for whatever is wrong with it."""

    def __init__(self, query: Query, vector_paths: Vectors) -> None:
        self.query = query
        self.vectors = dict(vector_paths)
        scope = Scope(frozenset(), subquery_rows, self.vectors)
        self.scope, self.root, self.expand = compile_sources(query.sources, scope, top=True)
        self.plain = len(query.sources) <= 1 and all(isinstance(s.collection, Name) for s in query.sources)
        self.where = compile_expr(query.where, self.scope.child(())) if query.where is not None else None
        self.body = _Body(query, self.scope) if query.select is not None else None
        self.order = [] if query.rank else [self._order(o.expr, o.ascending) for o in query.order_by]
        if self.order and query.group_by:
            raise bad_request("'ORDER BY' is not supported together with 'GROUP BY'.")
        self.ids = _wanted_ids(query.where, self.root) if self.plain else None
        self.counts = [compile_expr(n, scope) if n is not None else None for n in self._limits(query)]
        self.parameters = scope.parameters | self.scope.parameters

    @staticmethod
    def _limits(query: Query) -> tuple[Node | None, Node | None, Node | None]:
        return (query.select.top if query.select is not None else None, query.offset, query.limit)

    def _order(self, expr: Node, ascending: bool) -> Order:
        value = compile_expr(expr, self.scope.child(()))
        if isinstance(expr, Call) and expr.name == "VECTORDISTANCE":
            return Order(value, vectors.ascending(expr, self.scope), None)
        if isinstance(expr, Call) and expr.name == SCORE:
            return Order(value, False, None)
        path = vectors.path_of(expr)
        if path is None:
            raise bad_request(
                "Unsupported ORDER BY clause. ORDER BY item expression could not be mapped to a document path."
            )
        return Order(value, ascending, path)

    def check(self, parameters: Mapping[str, Any]) -> None:
        """400 for parameters that the query names and nobody gave."""
        missing = self.parameters - parameters.keys()
        if missing:
            raise bad_request(f"The query parameter {min(missing)} has no value.")

    def wanted_ids(self, parameters: Mapping[str, Any]) -> list[str] | None:
        """The ids to which the filter is narrowed by `id = …` or `id IN (…)`, or None."""
        if self.ids is None:
            return None
        values = [parameters.get(n.name) if isinstance(n, Parameter) else n.value for n in self.ids]
        return list(dict.fromkeys(v for v in values if isinstance(v, str)))

    def rows(self, items: Iterable[tuple[Place, dict[str, Any]]], base: Env, page: Page) -> Iterator[Row]:
        """FROM and WHERE."""
        where, root, expand = self.where, self.root, self.expand
        for place, doc in items:
            page.scanned += 1
            env = Env({root: doc}, base.parameters, base.now)
            if self.plain:
                if where is None or where(env) is True:
                    yield Row(env, (*place, 0))
                continue
            for i, e in enumerate(expand(env)):
                if where is None or where(e) is True:
                    yield Row(e, (*place, i))


class _Body:
    """The SELECT clause, with or without grouping."""

    def __init__(self, query: Query, scope: Scope) -> None:
        assert query.select is not None
        inner = scope.child(())
        inner.calls = {}
        self.project: Project = projection(query, inner)
        self.grouping = Grouping(query, scope, inner.calls) if inner.calls or query.group_by else None
        self.distinct = query.select.distinct

    def values(self, envs: Iterable[Env]) -> Iterator[Any]:
        """All rows of the SELECT, undefined ones left out."""
        if self.grouping is not None:
            envs = self.grouping.groups(envs)
        seen: set[str] = set()
        for env in envs:
            value = self.project(env)
            if value is UNDEFINED:
                continue
            if self.distinct:
                key = canonical(value)
                if key in seen:
                    continue
                seen.add(key)
            yield value


def subquery_rows(query: Query, scope: Scope) -> Any:
    """The rows of a subquery in an outer row."""
    inner, _, expand = compile_sources(query.sources, scope, top=False)
    where = compile_expr(query.where, inner.child(())) if query.where is not None else None
    body = _Body(query, inner)
    assert query.select is not None
    counts = [compile_expr(n, scope) if n is not None else None for n in (query.select.top, query.offset, query.limit)]

    def rows(env: Env) -> Iterator[Any]:
        found = body.values(e for e in expand(env) if where is None or where(e) is True)
        top, offset, limit = (None if c is None else int(c(env)) for c in counts)
        return (
            islice(found, offset or 0, None if limit is None else (offset or 0) + limit)
            if top is None
            else islice(found, top)
        )

    return rows


def _wanted_ids(where: Node | None, root: str) -> list[Parameter | Literal] | None:
    """From the conjuncts of a filter: the constants of one `root.id = …` or `root.id IN (…)`."""
    if isinstance(where, BinaryNode) and where.op == "AND":
        left = _wanted_ids(where.left, root)
        return left if left is not None else _wanted_ids(where.right, root)
    options: Sequence[Node] = ()
    if isinstance(where, BinaryNode) and where.op == "=":
        pair = (where.left, where.right)
        options = [b for a, b in (pair, pair[::-1]) if _is_id(a, root)][:1]
    elif isinstance(where, InList) and _is_id(where.value, root):
        options = where.options
    found = [o for o in options if isinstance(o, (Parameter, Literal))]
    return found if found and len(found) == len(options) else None


def _is_id(node: Node, root: str) -> bool:
    return (
        isinstance(node, Member)
        and isinstance(node.base, Name)
        and node.base.name == root
        and isinstance(node.key, Literal)
        and node.key.value == "id"
    )


@lru_cache(maxsize=1024)
def compile_query(text: str, vector_paths: Vectors) -> Compiled:
    """A SELECT, compiled once per text and vector policy."""
    return Compiled(parse(text), vector_paths)


@lru_cache(maxsize=1024)
def _compile_predicate(text: str) -> Compiled:
    return Compiled(parse_predicate(text), ())


def _shape(predicate: str) -> tuple[Compiled, dict[str, Any]]:
    """A condition, compiled. Those that differ only in long numbers and plain strings, as a writer's do, are compiled once."""
    given: dict[str, Any] = {}

    def name(match: re.Match[str]) -> str:
        given[f"@given{len(given)}"] = match[1] if match[1] is not None else int(match[0])
        return f"@given{len(given) - 1}"

    if "@" not in predicate and "'" not in predicate and "\\" not in predicate:
        try:
            return _compile_predicate(_GIVEN.sub(name, predicate)), given
        except (
            ServiceError
        ):  # where a parameter may not stand, or the text is wrong in itself: then it is said in its own words
            given = {}
    return _compile_predicate(predicate), given


def holds(predicate: str, doc: dict[str, Any], now: float) -> bool:
    """Whether a patch's condition is true for an item. 400 if it is not understood."""
    compiled, given = _shape(predicate)
    compiled.check(given)
    return next(compiled.rows([(("", 0), doc)], Env({}, given, now), Page()), None) is not None


# ---- pages


def _encode(token: dict[str, Any]) -> str:
    return base64.b64encode(msgspec.json.encode(token)).decode()


def _mark(compiled: Compiled) -> int:
    """What ties a token to its query."""
    return crc32(compiled.query.text.encode("utf-8", "surrogatepass"))


def decode_token(text: str) -> dict[str, Any]:
    """What a continuation token holds; 400 for a damaged one."""
    try:
        token = msgspec.json.decode(base64.b64decode(text, validate=True))
    except (ValueError, msgspec.DecodeError) as e:
        raise bad_request("The continuation token is malformed.") from e
    if not isinstance(token, dict):
        raise bad_request("The continuation token is malformed.")
    return token


def place_of(token: Mapping[str, Any]) -> tuple[str, int, int]:
    """The place at which a page ended."""
    place = token.get("place")
    if not (isinstance(place, list) and len(place) == 3):
        raise bad_request("The continuation token is malformed.")
    return str(place[0]), int(place[1]), int(place[2])


def _sorted(rows: list[Row], order: Sequence[Order]) -> list[Row]:
    for i in range(len(order) - 1, -1, -1):
        kinds = {type(r.keys[i]) for r in rows}
        if kinds <= {int, float} or kinds == {str}:
            rows.sort(key=lambda r: r.keys[i], reverse=not order[i].ascending)
        else:
            rows.sort(key=lambda r: sort_key(r.keys[i]), reverse=not order[i].ascending)
    return rows


def _behind(row: Row, keys: Sequence[Any], place: tuple[str, int, int], order: Sequence[Order]) -> bool:
    for mine, last, o in zip(row.keys, keys, order, strict=True):
        c = compare(mine, last)
        if c:
            return (c > 0) is o.ascending
    return row.place > place


def run(
    compiled: Compiled,
    items: Iterable[tuple[Place, dict[str, Any]]],
    parameters: Mapping[str, Any],
    now: float,
    *,
    max_items: int,
    token: Mapping[str, Any] | None,
) -> Page:
    """One page. `items` come in order of their places."""
    compiled.check(parameters)
    body = compiled.body
    if body is None:
        raise bad_request("The query has no SELECT.")
    page = Page()
    if token is not None and token.get("query") != _mark(compiled):
        raise bad_request("The continuation token belongs to another query.")
    base = Env({}, parameters, now)
    top, offset, limit = (_count(c, base) for c in compiled.counts)
    rows = compiled.rows(items if compiled.query.sources else [(("", 0), {})], base, page)
    if body.grouping is not None or body.distinct:
        return _counted(compiled, body, rows, page, max_items, token, (top, offset, limit))
    skip = offset or 0
    left = top if top is not None else limit
    if token is not None:
        skip, left = int(token.get("skip", 0)), token.get("left")
        place = place_of(token)
        if compiled.order:
            keys = [k[0] if k else UNDEFINED for k in token.get("keys", [])]
            rows = (r for r in _keyed(rows, compiled.order) if _behind(r, keys, place, compiled.order))
        else:
            rows = (r for r in rows if r.place > place)
    elif compiled.order:
        rows = _keyed(rows, compiled.order)
    if compiled.order:
        rows = iter(_sorted(list(rows), compiled.order))
    _fill(page, rows, compiled, max_items, skip, left)
    return page


def _count(expr: Expr | None, env: Env) -> int | None:
    if expr is None:
        return None
    value = expr(env)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise bad_request("TOP, OFFSET and LIMIT take whole numbers that are not negative.")
    return value


def _keyed(rows: Iterator[Row], order: Sequence[Order]) -> Iterator[Row]:
    for r in rows:
        keys = tuple(o.value(r.env) for o in order)
        if not any(
            k is UNDEFINED and o.path is None for k, o in zip(keys, order, strict=True)
        ):  # no vector, no distance
            yield Row(r.env, r.place, keys)


def _fill(page: Page, rows: Iterator[Row], compiled: Compiled, max_items: int, skip: int, left: int | None) -> None:
    assert compiled.body is not None
    project = compiled.body.project
    last: Row | None = None
    for row in rows:
        if left is not None and left <= 0:
            return
        if last is not None and (len(page.rows) >= max_items or page.size >= MAX_PAGE_BYTES):
            keys = [[] if k is UNDEFINED else [k] for k in last.keys]
            place = list(last.place)
            page.token = _encode({"query": _mark(compiled), "place": place, "keys": keys, "skip": skip, "left": left})
            return
        value = project(row.env)
        if value is UNDEFINED:
            continue
        if skip > 0:
            skip -= 1
            continue
        if left is not None:
            left -= 1
        page.rows.append(value)
        page.size += _size(value)
        last = row


def _size(value: Any) -> int:
    return len(msgspec.json.encode(value)) if isinstance(value, (dict, list)) else 16


def _counted(
    compiled: Compiled,
    body: _Body,
    rows: Iterator[Row],
    page: Page,
    max_items: int,
    token: Mapping[str, Any] | None,
    limits: tuple[int | None, int | None, int | None],
) -> Page:
    top, offset, limit = limits
    if compiled.order:
        rows = iter(_sorted(list(_keyed(rows, compiled.order)), compiled.order))
    done = int(token.get("done", 0)) if token is not None else 0
    start, stop = offset or 0, top if top is not None else None if limit is None else (offset or 0) + limit
    values = list(islice(body.values(r.env for r in rows), start, stop))
    page.rows = values[done : done + max_items]
    page.size = sum(_size(v) for v in page.rows)
    if done + max_items < len(values):
        page.token = _encode({"query": _mark(compiled), "done": done + max_items})
    return page
