"""Tokens to a tree. Every word is either understood or a syntax error; nothing is skipped."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Final

from thermocline.testing.cosmos.failures import bad_request
from thermocline.testing.cosmos.query.lexer import Token, syntax_error, tokenize
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
    OrderItem,
    Parameter,
    Query,
    Select,
    Source,
    Subquery,
    Unary,
)
from thermocline.testing.cosmos.query.values import UNDEFINED

MAX_TEXT: Final = 512 * 1024
MAX_JOINS: Final = 10
_LEVELS: Final = (("|",), ("^",), ("&",), ("<<", ">>", ">>>"), ("||",), ("+", "-"), ("*", "/", "%"))
_COMPARISONS: Final = ("=", "!=", "<>", "<", "<=", ">", ">=")
_CONSTANTS: Final = {"TRUE": True, "FALSE": False, "NULL": None, "UNDEFINED": UNDEFINED}


@lru_cache(maxsize=4096)
def parse(text: str) -> Query:
    """A SELECT statement."""
    p = _Parser(text)
    query = p.query()
    p.expect_end()
    return query


@lru_cache(maxsize=4096)
def parse_predicate(text: str) -> Query:
    """A patch condition: `FROM c WHERE …`, without SELECT."""
    p = _Parser(text)
    query = p.predicate()
    p.expect_end()
    return query


class _Parser:
    def __init__(self, text: str) -> None:
        if len(text.encode("utf-8", "replace")) > MAX_TEXT:
            raise bad_request("The SQL query text exceeded the maximum limit of 524288 bytes.")
        self.text = text
        self.tokens = tokenize(text)
        self.at = 0

    # ---- tokens

    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    def next(self) -> Token:
        token = self.tokens[self.at]
        self.at += 1
        return token

    def is_op(self, *texts: str) -> bool:
        return self.token.kind == "op" and self.token.text in texts

    def is_word(self, *words: str) -> bool:
        return self.token.kind == "keyword" and self.token.text in words

    def take_op(self, text: str) -> bool:
        if self.is_op(text):
            self.at += 1
            return True
        return False

    def take_word(self, word: str) -> bool:
        if self.is_word(word):
            self.at += 1
            return True
        return False

    def need_op(self, text: str) -> Token:
        if not self.is_op(text):
            raise syntax_error(self.token.text)
        return self.next()

    def need_word(self, word: str) -> Token:
        if not self.is_word(word):
            raise syntax_error(self.token.text)
        return self.next()

    def need_name(self) -> str:
        if self.token.kind != "name":
            raise syntax_error(self.token.text)
        return self.next().text

    def expect_end(self) -> None:
        if self.token.kind != "end":
            raise syntax_error(self.token.text)

    @property
    def last_end(self) -> int:
        return self.tokens[self.at - 1].end

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

    # ---- expressions, loosest first

    def expression(self) -> Node:
        test = self.coalesce()
        if not self.take_op("?"):
            return test
        then = self.expression()
        self.need_op(":")
        other = self.expression()
        return Conditional(test.start, other.end, test, then, other)

    def coalesce(self) -> Node:
        left = self.disjunction()
        while self.take_op("??"):
            right = self.disjunction()
            left = Binary(left.start, right.end, "??", left, right)
        return left

    def disjunction(self) -> Node:
        left = self.conjunction()
        while self.take_word("OR"):
            right = self.conjunction()
            left = Binary(left.start, right.end, "OR", left, right)
        return left

    def conjunction(self) -> Node:
        left = self.negation()
        while self.take_word("AND"):
            right = self.negation()
            left = Binary(left.start, right.end, "AND", left, right)
        return left

    def negation(self) -> Node:
        if self.is_word("NOT"):
            start = self.next().start
            operand = self.negation()
            return Unary(start, operand.end, "NOT", operand)
        return self.comparison()

    def comparison(self) -> Node:
        left = self.level(0)
        while True:
            if self.is_op(*_COMPARISONS):
                op = self.next().text
                right = self.level(0)
                left = Binary(left.start, right.end, "!=" if op == "<>" else op, left, right)
                continue
            negated = self.is_word("NOT") and self.tokens[self.at + 1].text in ("IN", "BETWEEN", "LIKE")
            if negated:
                self.next()
            tested = self.tested(left)
            if tested is None:
                return left
            left = Unary(left.start, tested.end, "NOT", tested) if negated else tested

    def tested(self, left: Node) -> Node | None:
        if self.take_word("IN"):
            self.need_op("(")
            options = [self.expression()]
            while self.take_op(","):
                options.append(self.expression())
            self.need_op(")")
            return InList(left.start, self.last_end, left, tuple(options))
        if self.take_word("BETWEEN"):
            low = self.level(0)
            self.need_word("AND")
            high = self.level(0)
            return Between(left.start, high.end, left, low, high)
        if self.take_word("LIKE"):
            pattern = self.level(0)
            escape = self.level(0) if self.take_word("ESCAPE") else None
            return Like(left.start, self.last_end, left, pattern, escape)
        return None

    def level(self, n: int) -> Node:
        if n == len(_LEVELS):
            return self.unary()
        left = self.level(n + 1)
        while self.is_op(*_LEVELS[n]):
            op = self.next().text
            right = self.level(n + 1)
            left = Binary(left.start, right.end, op, left, right)
        return left

    def unary(self) -> Node:
        if self.is_op("-", "+", "~"):
            token = self.next()
            operand = self.unary()
            if token.text == "-" and isinstance(operand, Literal) and isinstance(operand.value, (int, float)):
                return Literal(token.start, operand.end, -operand.value)
            return Unary(token.start, operand.end, token.text, operand)
        return self.postfix()

    def postfix(self) -> Node:
        node = self.primary()
        while True:
            if self.take_op("."):
                token = self.token
                name = self.need_name()
                node = Member(node.start, token.end, node, Literal(token.start, token.end, name))
            elif self.take_op("["):
                key = self.expression()
                end = self.need_op("]").end
                node = Member(node.start, end, node, key)
            else:
                return node

    def primary(self) -> Node:
        token = self.next()
        if token.kind in ("number", "string"):
            return Literal(token.start, token.end, token.value)
        if token.kind == "param":
            return Parameter(token.start, token.end, token.text)
        if token.kind == "keyword":
            return self.keyword(token)
        if token.kind == "name":
            if self.is_op("("):
                return self.call(token)
            return Name(token.start, token.end, token.text)
        if token.text == "(":
            if self.is_word("SELECT"):
                return self.subquery("scalar", token)
            inner = self.expression()
            end = self.need_op(")").end
            return replace(inner, start=token.start, end=end)
        if token.text == "[":
            items = self.listed("]")
            return ArrayOf(token.start, self.last_end, tuple(items))
        if token.text == "{":
            return self.object(token)
        raise syntax_error(token.text)

    def keyword(self, token: Token) -> Node:
        if token.text in _CONSTANTS:
            return Literal(token.start, token.end, _CONSTANTS[token.text])
        if token.text in ("EXISTS", "ARRAY"):
            opening = self.need_op("(")
            return self.subquery(token.text.lower(), opening, token.start)
        raise syntax_error(token.text)

    def subquery(self, kind: str, opening: Token, start: int | None = None) -> Node:
        query = self.query()
        if query.order_by or query.rank:
            raise bad_request("'ORDER BY' is not supported in subqueries.")
        end = self.need_op(")").end
        return Subquery(opening.start if start is None else start, end, kind, query)

    def call(self, token: Token) -> Node:
        self.need_op("(")
        args = self.listed(")")
        return Call(token.start, self.last_end, token.text.upper(), tuple(args))

    def listed(self, closing: str) -> list[Node]:
        items: list[Node] = []
        if not self.take_op(closing):
            items.append(self.expression())
            while self.take_op(","):
                items.append(self.expression())
            self.need_op(closing)
        return items

    def object(self, token: Token) -> Node:
        items: list[tuple[str, Node]] = []
        while not self.take_op("}"):
            if items:
                self.need_op(",")
            key = self.next()
            if key.kind not in ("string", "name"):
                raise syntax_error(key.text)
            self.need_op(":")
            items.append((str(key.value) if key.kind == "string" else key.text, self.expression()))
        return ObjectOf(token.start, self.last_end, tuple(items))
