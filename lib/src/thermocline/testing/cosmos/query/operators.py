"""Operators on values: arithmetic, bits, text, order, LIKE patterns."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

from thermocline.testing.cosmos.query.values import UNDEFINED, compare, is_number, number, type_order

INT32: Final = 0xFFFFFFFF


def signed(value: int) -> int:
    """32 bits as a signed number."""
    return value - 2**32 if value & 0x80000000 else value


def arithmetic(op: str, a: Any, b: Any) -> Any:
    """+ - * / % of two numbers; undefined for anything else and for division by zero."""
    if not (is_number(a) and is_number(b)):
        return UNDEFINED
    if op in ("/", "%") and b == 0:
        return UNDEFINED
    try:
        if op == "+":
            return number(a + b)
        if op == "-":
            return number(a - b)
        if op == "*":
            return number(a * b)
        if op == "/":
            return number(a / b)
        rest = abs(a) % abs(b)
        return number(-rest if a < 0 else rest)  # the sign of the left side, as in JavaScript
    except OverflowError:
        return UNDEFINED


def bits(op: str, a: Any, b: Any) -> Any:
    """Operations on 32-bit integers; undefined for anything else."""
    if not (is_number(a) and is_number(b)) or a != int(a) or b != int(b):
        return UNDEFINED
    x, y = int(a) & INT32, int(b) & INT32
    if op == "&":
        return signed(x & y)
    if op == "|":
        return signed(x | y)
    if op == "^":
        return signed(x ^ y)
    if op == "<<":
        return signed(x << (y & 31) & INT32)
    return signed(signed(x) >> (y & 31) & INT32) if op == ">>" else x >> (y & 31)


def concat(a: Any, b: Any) -> Any:
    """`||` of two texts."""
    return a + b if isinstance(a, str) and isinstance(b, str) else UNDEFINED


def order_test(op: str, a: Any, b: Any) -> Any:
    """<, <=, >, >= of two values: undefined unless both are scalars of one type."""
    kind = type_order(a)
    if kind != type_order(b) or kind in (0, 6, 7):
        return UNDEFINED
    c = compare(a, b)
    return c < 0 if op == "<" else c <= 0 if op == "<=" else c > 0 if op == ">" else c >= 0


@lru_cache(maxsize=1024)
def like_pattern(pattern: str, escape: str) -> re.Pattern[str]:
    """A LIKE pattern as a regular expression: % any text, _ one character, [a-z] one of a set."""
    out, at = [], 0
    while at < len(pattern):
        c = pattern[at]
        if escape and c == escape and at + 1 < len(pattern):
            at += 1
            out.append(re.escape(pattern[at]))
        elif c == "%":
            out.append(".*")
        elif c == "_":
            out.append(".")
        elif c == "[" and (end := pattern.find("]", at + 2)) > 0:
            inner = pattern[at + 1 : end]
            turned = "^" if inner.startswith("^") else ""
            body = re.sub(r"([\\\[\]&~|])", r"\\\1", inner[len(turned) :])
            out.append(f"[{turned}{body}]")
            at = end
        else:
            out.append(re.escape(c))
        at += 1
    return re.compile("".join(out), re.DOTALL)
