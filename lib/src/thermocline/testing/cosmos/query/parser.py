"""Tokens to a tree. Every word is either understood or a syntax error; nothing is skipped."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from thermocline.testing.cosmos.failures import bad_request
from thermocline.testing.cosmos.query.expressions import ExpressionParser
from thermocline.testing.cosmos.query.lexer import syntax_error
from thermocline.testing.cosmos.query.tree import (
    ArrayOf,
    Literal,
    Member,
    Name,
    Node,
    OrderItem,
    Parameter,
    Query,
    Select,
    Source,
    Subquery,
)

MAX_JOINS: Final = 10


@lru_cache(maxsize=1024)
def parse(text: str) -> Query:
    """A SELECT statement."""
    p = _Parser(text)
    query = p.query()
    p.expect_end()
    return query


@lru_cache(maxsize=1024)
def parse_predicate(text: str) -> Query:
    """A patch condition: `FROM c WHERE …`, without SELECT."""
    p = _Parser(text)
    query = p.predicate()
    p.expect_end()
    return query


class _Parser(ExpressionParser):
    # ---- clauses

    def query(self) -> Query:
        select = self.select()
        sources, span = self.sources() if self.is_word("FROM") else ((), (0, 0))
        where = self.expression() if self.take_word("WHERE") else None
        group_by: list[Node] = []
        if self.take_word("GROUP"):
            self.need_word("BY")
            group_by.append(self.expression())
            while self.take_op(","):
                group_by.append(self.expression())
        order_by, rank = self.order_by()
        offset = limit = None
        if self.take_word("OFFSET"):
            offset = self.count()
            self.need_word("LIMIT")
            limit = self.count()
        if limit is not None and select.top is not None:
            raise bad_request("TOP and OFFSET LIMIT cannot be used together.")
        return Query(self.text, select, sources, span, where, tuple(group_by), tuple(order_by), rank, offset, limit)

    def predicate(self) -> Query:
        if not self.is_word("FROM"):
            raise syntax_error(self.token.text)
        sources, span = self.sources()
        where = self.expression() if self.take_word("WHERE") else None
        return Query(self.text, None, sources, span, where, (), (), False, None, None)

    def select(self) -> Select:
        start = self.need_word("SELECT").start
        distinct = self.take_word("DISTINCT")
        top = self.count() if self.take_word("TOP") else None
        body = self.token.start
        if self.take_op("*"):
            return Select("star", (), distinct, top, body, self.last_end)
        if self.take_word("VALUE"):
            body = self.token.start
            return Select("value", ((self.expression(), None),), distinct, top, body, self.last_end)
        items: list[tuple[Node, str | None]] = [self.select_item()]
        while self.take_op(","):
            items.append(self.select_item())
        return Select("list", tuple(items), distinct, top, max(body, start), self.last_end)

    def select_item(self) -> tuple[Node, str | None]:
        expr = self.expression()
        if self.take_word("AS"):
            if self.token.kind == "string":
                return expr, str(self.next().value)
            return expr, self.need_name()
        if self.token.kind == "name":
            return expr, self.next().text
        return expr, None

    def count(self) -> Node:
        token = self.next()
        if token.kind == "param":
            return Parameter(token.start, token.end, token.text)
        if token.kind == "number" and isinstance(token.value, int) and token.value <= 2**31 - 1:
            return Literal(token.start, token.end, token.value)
        raise syntax_error(token.text)

    def order_by(self) -> tuple[list[OrderItem], bool]:
        items: list[OrderItem] = []
        if not self.take_word("ORDER"):
            return items, False
        self.need_word("BY")
        after = self.tokens[self.at + 1] if self.token.kind == "name" else None
        rank = self.token.text.upper() == "RANK" and after is not None and after.kind == "name"
        if rank:
            self.next()
        while True:
            expr = self.expression()
            ascending = True
            if self.is_word("ASC", "DESC"):
                ascending = self.next().text == "ASC"
            items.append(OrderItem(expr, ascending))
            if not self.take_op(","):
                return items, rank

    def sources(self) -> tuple[tuple[Source, ...], tuple[int, int]]:
        start = self.need_word("FROM").start
        found = [self.source()]
        while self.take_word("JOIN"):
            found.append(self.source())
        if len(found) - 1 > MAX_JOINS:
            raise bad_request(f"The query has more than {MAX_JOINS} JOINs.")
        names = [s.alias for s in found]
        if len(set(names)) != len(names):
            raise bad_request("The input alias of a FROM clause must be unique.")
        return tuple(found), (start, self.last_end)

    def source(self) -> Source:
        start = self.token.start
        if self.token.kind == "name" and self.tokens[self.at + 1].text == "IN":
            alias = self.need_name()
            self.need_word("IN")
            return Source(alias, self.collection(), True, start, self.last_end)
        if self.token.kind == "name" and self.tokens[self.at + 1].text not in (".", "["):
            name = self.need_name()
            named = Name(start, self.last_end, name)
            return Source(self.alias() or name, named, False, start, self.last_end)
        collection = self.collection()
        found = self.alias()
        if found is None and isinstance(collection, Member) and isinstance(collection.key, Literal):
            found = str(collection.key.value)
        if found is None:
            raise syntax_error(self.token.text)
        return Source(found, collection, False, start, self.last_end)

    def alias(self) -> str | None:
        if self.take_word("AS"):
            return self.need_name()
        return self.next().text if self.token.kind == "name" else None

    def collection(self) -> Node:
        expr = self.postfix()
        if not isinstance(expr, (Name, Member, Subquery, ArrayOf, Parameter)):
            raise syntax_error(self.text[expr.start : expr.end])
        return expr
