"""Expressions: tokens to nodes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
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
    Parameter,
    Query,
    Subquery,
    Unary,
)
from thermocline.testing.cosmos.query.values import UNDEFINED

MAX_TEXT: Final = 512 * 1024
_LEVELS: Final = (("|",), ("^",), ("&",), ("<<", ">>", ">>>"), ("||",), ("+", "-"), ("*", "/", "%"))
_COMPARISONS: Final = ("=", "!=", "<>", "<", "<=", ">", ">=")
_CONSTANTS: Final = {"TRUE": True, "FALSE": False, "NULL": None, "UNDEFINED": UNDEFINED}


class ExpressionParser(ABC):
    """Tokens one after another, and expressions. `query` comes from the statement parser."""

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

    @abstractmethod
    def query(self) -> Query:
        """A SELECT, here inside parentheses."""

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
