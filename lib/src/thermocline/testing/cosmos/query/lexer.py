"""Tokens of Cosmos DB's SQL. What is not known is a syntax error (400)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from thermocline.testing.cosmos.failures import ServiceError, bad_request

RESERVED: Final = frozenset(
    {
        "AND", "ARRAY", "AS", "ASC", "BETWEEN", "BY", "DESC", "DISTINCT", "ESCAPE", "EXISTS", "FALSE", "FROM", "GROUP",
        "HAVING", "IN", "INSERT", "INTO", "JOIN", "LIKE", "LIMIT", "NOT", "NULL", "OFFSET", "OR", "ORDER", "SELECT",
        "SET", "TOP", "TRUE", "UNDEFINED", "UPDATE", "VALUE", "WHERE",
    }
)  # fmt: skip
_TOKEN: Final = re.compile(
    r"""\s*(?:
        (?P<number>0[xX][0-9a-fA-F]+|(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
      | (?P<name>[A-Za-z_$][A-Za-z0-9_$]*)
      | (?P<param>@[A-Za-z_$][A-Za-z0-9_$]*)
      | (?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
      | (?P<op>>>>|<<|>>|<=|>=|!=|<>|\|\||\?\?|[-+*/%=<>?:,.()\[\]{}&|^~])
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPES: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "/": "/", "\\": "\\", '"': '"', "'": "'"}
_ESCAPE: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Token:
    """`kind` is keyword, name, number, string, param, op or end; `text` is upper-case for keywords."""

    kind: str
    text: str
    value: Any
    start: int
    end: int


def syntax_error(near: str) -> ServiceError:
    """400 in the service's words."""
    return bad_request(
        f'{{"errors":[{{"severity":"Error","code":"SC1001","message":"Syntax error, incorrect syntax near {near!r}."}}]}}'
    )


def _unescape(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        code = match[1]
        if len(code) == 5:
            return chr(int(code[1:], 16))
        if code not in _ESCAPES:
            raise syntax_error(match[0])
        return _ESCAPES[code]

    if "\\" not in text:
        return text
    # a pair of \u escapes may be one character outside the basic plane
    return _ESCAPE.sub(one, text).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def tokenize(text: str) -> list[Token]:
    """All tokens, with one of kind `end` behind them."""
    tokens: list[Token] = []
    at, end = 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None:
            raise syntax_error(text[at : at + 20].strip())
        kind = str(match.lastgroup)
        raw = match[kind]
        start, at = match.start(kind), match.end()
        value: Any = None
        if kind == "number":
            value = int(raw, 16) if raw[:2] in ("0x", "0X") else int(raw) if raw.isdigit() else float(raw)
            if at < end and (text[at].isalpha() or text[at] == "_"):
                raise syntax_error(raw + text[at])
        elif kind == "string":
            value = _unescape(raw[1:-1])
        elif kind == "name" and raw.upper() in RESERVED:
            kind, raw = "keyword", raw.upper()
        tokens.append(Token(kind, raw, value, start, at))
    tokens.append(Token("end", "<end>", None, end, end))
    return tokens
