"""Built-in functions. A wrong type of argument gives undefined, a wrong number of them 400 (checked by the caller)."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import msgspec

from thermocline.testing.cosmos.query import fulltext, times, vectors
from thermocline.testing.cosmos.query.scope import Compile, Env, Expr, Scope
from thermocline.testing.cosmos.query.tree import Call
from thermocline.testing.cosmos.query.values import UNDEFINED, canonical, equals, is_number, number

AGGREGATES: Final = frozenset({"COUNT", "SUM", "MIN", "MAX", "AVG", "COUNTIF"})
MANY: Final = 1000
Function = Callable[..., Any]


# ---- strings


def _text_test(test: Callable[[str, str], bool]) -> Function:
    def run(text: Any, part: Any, ignore_case: Any = False) -> Any:
        if not (isinstance(text, str) and isinstance(part, str) and isinstance(ignore_case, bool)):
            return UNDEFINED
        return test(text.lower(), part.lower()) if ignore_case else test(text, part)

    return run


def _of_text(function: Callable[[str], Any]) -> Function:
    return lambda text: function(text) if isinstance(text, str) else UNDEFINED


def _concat(*parts: Any) -> Any:
    return "".join(parts) if all(isinstance(p, str) for p in parts) else UNDEFINED


def _index_of(text: Any, part: Any, start: Any = 0) -> Any:
    if not (isinstance(text, str) and isinstance(part, str) and is_number(start)):
        return UNDEFINED
    return text.find(part, max(0, int(start)))


def _left(text: Any, n: Any) -> Any:
    return text[: max(0, int(n))] if isinstance(text, str) and is_number(n) else UNDEFINED


def _right(text: Any, n: Any) -> Any:
    return text[max(0, len(text) - max(0, int(n))) :] if isinstance(text, str) and is_number(n) else UNDEFINED


def _substring(text: Any, start: Any, length: Any = None) -> Any:
    if not (isinstance(text, str) and is_number(start) and (length is None or is_number(length))):
        return UNDEFINED
    begin = int(start)
    if begin < 0 or (length is not None and length < 0):
        return ""
    return text[begin:] if length is None else text[begin : begin + int(length)]


def _replace(text: Any, old: Any, new: Any) -> Any:
    if not all(isinstance(v, str) for v in (text, old, new)):
        return UNDEFINED
    return text.replace(old, new) if old else text


def _replicate(text: Any, times_: Any) -> Any:
    if not (isinstance(text, str) and is_number(times_)) or times_ < 0 or len(text) * times_ > 10_000:
        return UNDEFINED
    return text * int(times_)


@lru_cache(maxsize=256)
def _regex(pattern: str, flags: int) -> re.Pattern[str] | None:
    try:
        return re.compile(pattern, flags)
    except re.error:
        return None


def _regex_match(text: Any, pattern: Any, modifiers: Any = "") -> Any:
    if not all(isinstance(v, str) for v in (text, pattern, modifiers)) or set(modifiers) - set("imsx"):
        return UNDEFINED
    flags = 0
    for m in modifiers:
        flags |= {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL, "x": re.VERBOSE}[m]
    found = _regex(pattern, flags)
    return UNDEFINED if found is None else found.search(text) is not None


def _to_string(value: Any) -> Any:
    if value is UNDEFINED:
        return UNDEFINED
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _parsed(kinds: tuple[type, ...]) -> Function:
    def run(text: Any) -> Any:
        if not isinstance(text, str):
            return UNDEFINED
        try:
            value = msgspec.json.decode(text.strip())
        except msgspec.DecodeError:
            return UNDEFINED
        if isinstance(value, bool) and bool not in kinds:
            return UNDEFINED
        return value if isinstance(value, kinds) else UNDEFINED

    return run


def _trim(method: str) -> Function:
    def run(text: Any, characters: Any = None) -> Any:
        if not isinstance(text, str) or not (characters is None or isinstance(characters, str)):
            return UNDEFINED
        return getattr(text, method)(characters)

    return run


def _string_join(parts: Any, separator: Any) -> Any:
    if not isinstance(parts, list) or not isinstance(separator, str) or not all(isinstance(p, str) for p in parts):
        return UNDEFINED
    return separator.join(parts)


def _string_split(text: Any, separator: Any) -> Any:
    if not (isinstance(text, str) and isinstance(separator, str)):
        return UNDEFINED
    return text.split(separator) if separator else list(text)


# ---- arrays


def _matches(item: Any, wanted: Any) -> bool:
    if isinstance(item, dict) and isinstance(wanted, dict):
        return all(k in item and _matches(item[k], v) for k, v in wanted.items())
    return equals(item, wanted)


def _array_contains(array: Any, wanted: Any, partial: Any = False) -> Any:
    if not isinstance(array, list) or wanted is UNDEFINED or not isinstance(partial, bool):
        return UNDEFINED
    return any(_matches(i, wanted) if partial else equals(i, wanted) for i in array)


def _contains_each(combine: Callable[[Any], bool]) -> Function:
    def run(array: Any, *wanted: Any) -> Any:
        if not isinstance(array, list):
            return UNDEFINED
        return combine(any(equals(i, w) for i in array) for w in wanted)

    return run


def _array_slice(array: Any, start: Any, length: Any = None) -> Any:
    if not isinstance(array, list) or not is_number(start) or not (length is None or is_number(length)):
        return UNDEFINED
    begin = int(start) if start >= 0 else max(0, len(array) + int(start))
    return array[begin:] if length is None else array[begin : begin + max(0, int(length))]


def _array_concat(*arrays: Any) -> Any:
    return [i for a in arrays for i in a] if all(isinstance(a, list) for a in arrays) else UNDEFINED


def _distinct(items: list[Any]) -> list[Any]:
    return list({canonical(i): i for i in items}.values())


def _set(keep: Callable[[list[Any], list[Any]], list[Any]]) -> Function:
    return lambda a, b: _distinct(keep(a, b)) if isinstance(a, list) and isinstance(b, list) else UNDEFINED


def _has(array: list[Any], value: Any) -> bool:
    return any(equals(i, value) for i in array)


# ---- numbers


def _of_number(function: Callable[[float], Any]) -> Function:
    def run(value: Any) -> Any:
        if not is_number(value):
            return UNDEFINED
        try:
            return number(function(value))
        except (ValueError, OverflowError):
            return UNDEFINED

    return run


def _round(value: Any, digits: Any = 0) -> Any:
    if not (is_number(value) and is_number(digits)):
        return UNDEFINED
    scale = 10 ** int(digits)
    return number(math.copysign(math.floor(abs(value) * scale + 0.5) / scale, value))  # halves away from zero


def _power(base: Any, exponent: Any) -> Any:
    if not (is_number(base) and is_number(exponent)):
        return UNDEFINED
    try:
        return number(math.pow(base, exponent))
    except (ValueError, OverflowError):
        return UNDEFINED


def _log(value: Any, base: Any = math.e) -> Any:
    if not (is_number(value) and is_number(base)) or value <= 0 or base <= 0 or base == 1:
        return UNDEFINED
    return number(math.log(value) if base == math.e else math.log(value, base))


def _number_bin(value: Any, size: Any = 1) -> Any:
    return number(math.floor(value / size) * size) if is_number(value) and is_number(size) and size else UNDEFINED


# ---- types


def _is(test: Callable[[Any], bool]) -> Function:
    return lambda value: value is not UNDEFINED and test(value)


def _choose(index: Any, *options: Any) -> Any:
    return options[int(index) - 1] if is_number(index) and 1 <= index <= len(options) else UNDEFINED


FUNCTIONS: Final[dict[str, tuple[int, int, Function]]] = {
    "STARTSWITH": (2, 3, _text_test(str.startswith)),
    "ENDSWITH": (2, 3, _text_test(str.endswith)),
    "CONTAINS": (2, 3, _text_test(lambda a, b: b in a)),
    "STRINGEQUALS": (2, 3, _text_test(lambda a, b: a == b)),
    "LOWER": (1, 1, _of_text(str.lower)),
    "UPPER": (1, 1, _of_text(str.upper)),
    "LENGTH": (1, 1, _of_text(len)),
    "REVERSE": (1, 1, _of_text(lambda t: t[::-1])),
    "TRIM": (1, 2, _trim("strip")),
    "LTRIM": (1, 2, _trim("lstrip")),
    "RTRIM": (1, 2, _trim("rstrip")),
    "CONCAT": (2, MANY, _concat),
    "INDEX_OF": (2, 3, _index_of),
    "LEFT": (2, 2, _left),
    "RIGHT": (2, 2, _right),
    "SUBSTRING": (2, 3, _substring),
    "REPLACE": (3, 3, _replace),
    "REPLICATE": (2, 2, _replicate),
    "REGEXMATCH": (2, 3, _regex_match),
    "TOSTRING": (1, 1, _to_string),
    "STRINGJOIN": (2, 2, _string_join),
    "STRINGSPLIT": (2, 2, _string_split),
    "STRINGTOARRAY": (1, 1, _parsed((list,))),
    "STRINGTOBOOLEAN": (1, 1, _parsed((bool,))),
    "STRINGTONULL": (1, 1, _parsed((type(None),))),
    "STRINGTONUMBER": (1, 1, _parsed((int, float))),
    "STRINGTOOBJECT": (1, 1, _parsed((dict,))),
    "ARRAY_CONTAINS": (2, 3, _array_contains),
    "ARRAY_CONTAINS_ANY": (2, MANY, _contains_each(any)),
    "ARRAY_CONTAINS_ALL": (2, MANY, _contains_each(all)),
    "ARRAY_LENGTH": (1, 1, lambda a: len(a) if isinstance(a, list) else UNDEFINED),
    "ARRAY_SLICE": (2, 3, _array_slice),
    "ARRAY_CONCAT": (2, MANY, _array_concat),
    "SETINTERSECT": (2, 2, _set(lambda a, b: [i for i in a if _has(b, i)])),
    "SETUNION": (2, 2, _set(lambda a, b: a + b)),
    "SETDIFFERENCE": (2, 2, _set(lambda a, b: [i for i in a if not _has(b, i)])),
    "OBJECTTOARRAY": (
        1,
        1,
        lambda o: [{"k": k, "v": v} for k, v in o.items()] if isinstance(o, dict) else UNDEFINED,
    ),
    "CHOOSE": (2, MANY, _choose),
    "ABS": (1, 1, _of_number(abs)),
    "CEILING": (1, 1, _of_number(math.ceil)),
    "FLOOR": (1, 1, _of_number(math.floor)),
    "ROUND": (1, 2, _round),
    "TRUNC": (1, 1, _of_number(math.trunc)),
    "SIGN": (1, 1, _of_number(lambda v: (v > 0) - (v < 0))),
    "SQRT": (1, 1, _of_number(math.sqrt)),
    "SQUARE": (1, 1, _of_number(lambda v: v * v)),
    "EXP": (1, 1, _of_number(math.exp)),
    "LOG": (1, 2, _log),
    "LOG10": (1, 1, _of_number(math.log10)),
    "POWER": (2, 2, _power),
    "SIN": (1, 1, _of_number(math.sin)),
    "COS": (1, 1, _of_number(math.cos)),
    "TAN": (1, 1, _of_number(math.tan)),
    "ASIN": (1, 1, _of_number(math.asin)),
    "ACOS": (1, 1, _of_number(math.acos)),
    "ATAN": (1, 1, _of_number(math.atan)),
    "PI": (0, 0, lambda: math.pi),
    "RAND": (0, 0, random.random),
    "NUMBERBIN": (1, 2, _number_bin),
    "IS_DEFINED": (1, 1, lambda v: v is not UNDEFINED),
    "IS_NULL": (1, 1, _is(lambda v: v is None)),
    "IS_BOOL": (1, 1, _is(lambda v: isinstance(v, bool))),
    "IS_NUMBER": (1, 1, _is(is_number)),
    "IS_FINITE_NUMBER": (1, 1, _is(is_number)),
    "IS_INTEGER": (1, 1, _is(lambda v: is_number(v) and v == int(v))),
    "IS_STRING": (1, 1, _is(lambda v: isinstance(v, str))),
    "IS_ARRAY": (1, 1, _is(lambda v: isinstance(v, list))),
    "IS_OBJECT": (1, 1, _is(lambda v: isinstance(v, dict))),
    "IS_PRIMITIVE": (1, 1, _is(lambda v: not isinstance(v, (dict, list)))),
    "IIF": (3, 3, lambda test, then, other: then if test is True else other),
    **times.FUNCTIONS,
    **fulltext.FUNCTIONS,
}


# ---- functions that need more than their arguments' values


def _clock(read: Callable[[float], Any]) -> Callable[[Call, Scope, Compile], Expr]:
    def build(node: Call, _: Scope, __: Compile) -> Expr:
        times.no_arguments(node.name, len(node.args))
        return lambda env: read(env.now)

    return build


def _document_id(node: Call, scope: Scope, compile_expr: Compile) -> Expr:
    times.arguments(node.name, len(node.args), 1)
    item = compile_expr(node.args[0], scope)

    def document_id(env: Env) -> Any:
        value = item(env)
        return value.get("_rid", UNDEFINED) if isinstance(value, dict) else UNDEFINED

    return document_id


SPECIAL: Final[dict[str, Callable[[Call, Scope, Compile], Expr]]] = {
    "GETCURRENTTIMESTAMP": _clock(lambda now: int(now * 1000)),
    "GETCURRENTTIMESTAMPSTATIC": _clock(lambda now: int(now * 1000)),
    "GETCURRENTDATETIME": _clock(lambda now: times.to_text(now * 1000)),
    "GETCURRENTDATETIMESTATIC": _clock(lambda now: times.to_text(now * 1000)),
    "GETCURRENTTICKS": _clock(lambda now: times.to_ticks(now * 1000)),
    "GETCURRENTTICKSSTATIC": _clock(lambda now: times.to_ticks(now * 1000)),
    "DOCUMENTID": _document_id,
    "VECTORDISTANCE": vectors.build,
}
