"""Properties of the Cosmos server's pure parts: partition hashes, the query language, pages, patches."""

import base64
import copy
import hmac
import json
import re
from email.utils import formatdate
from itertools import pairwise
from typing import Any
from urllib.parse import quote

import pytest
from azure.cosmos.partition_key import NonePartitionKeyValue, PartitionKey
from hypothesis import given, settings
from hypothesis import strategies as st

from thermocline.testing.cosmos.auth import EMULATOR_KEY, Guard
from thermocline.testing.cosmos.failures import ServiceError
from thermocline.testing.cosmos.partitions import UNDEFINED_KEY, effective_key, make_value
from thermocline.testing.cosmos.patch import apply_patch
from thermocline.testing.cosmos.query.execute import Page, compile_query, decode_token, holds, run
from thermocline.testing.cosmos.query.parser import parse
from thermocline.testing.cosmos.query.values import UNDEFINED, compare, equals
from thermocline.testing.cosmos.ranges import first_ranges, middle
from thermocline.testing.cosmos.service import Service, kind_of
from thermocline.testing.cosmos.wire import Call, Reply

SLOWLY = settings(deadline=None)  # no test is judged by the clock
TEXT = st.text(max_size=40)
COMPONENTS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXT,
    st.just(UNDEFINED_KEY),
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), TEXT),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


def evaluate(sql: str, doc: dict[str, Any] | None = None, **parameters: Any) -> Any:
    """The only value of `SELECT VALUE …`, or UNDEFINED."""
    items = [(("", 1), doc if doc is not None else {})]
    named = {"@" + k: v for k, v in parameters.items()}
    rows = run(compile_query(sql, ()), items, named, 0.0, max_items=10, token=None).rows
    return rows[0] if rows else UNDEFINED


@settings(SLOWLY)
@given(st.lists(COMPONENTS, min_size=1, max_size=3))
def test_partition_hashes_are_those_of_the_sdk(components: list[Any]) -> None:
    theirs = [NonePartitionKeyValue if c is UNDEFINED_KEY else c for c in components]
    multi = PartitionKey(["/a", "/b", "/c"])
    assert effective_key(components, "MultiHash") == multi._get_effective_partition_key_string(theirs)
    single = PartitionKey("/a")
    assert effective_key(components[:1], "Hash") == single._get_effective_partition_key_string(theirs[:1])


def test_partition_hashes_of_long_values_are_those_of_the_sdk() -> None:
    single = PartitionKey("/a")
    for length in range(200):
        assert effective_key(["é" * length], "Hash") == single._get_effective_partition_key_string(["é" * length])


@settings(SLOWLY)
@given(COMPONENTS, COMPONENTS)
def test_partition_keys_are_one_only_if_their_values_are(a: Any, b: Any) -> None:
    same = (a is UNDEFINED_KEY and b is UNDEFINED_KEY) or (
        a is not UNDEFINED_KEY and b is not UNDEFINED_KEY and equals(a, b)
    )
    assert (make_value([a], "Hash").text == make_value([b], "Hash").text) is same


@settings(SLOWLY)
@given(st.integers(1, 8), st.lists(st.integers(0, 7), max_size=6), TEXT)
def test_every_key_lies_in_exactly_one_range_whatever_was_split(count: int, splits: list[int], key: str) -> None:
    bounds = [(r.low, r.high) for r in first_ranges(count)]
    for at in splits:
        low, high = bounds[at % len(bounds)]
        bounds[at % len(bounds) : at % len(bounds) + 1] = [(low, middle(low, high)), (middle(low, high), high)]
    assert bounds[0][0] == ""
    assert bounds[-1][1] == "FF"
    assert all(a[1] == b[0] and a[0] < a[1] for a, b in pairwise(bounds))
    epk = effective_key([key, key], "MultiHash")
    assert sum(low <= epk < high for low, high in bounds) == 1


@settings(SLOWLY)
@given(TEXT, TEXT)
def test_any_text_can_be_a_literal_and_a_parameter(text: str, other: str) -> None:
    quoted = json.dumps(text)
    assert evaluate(f"SELECT VALUE {quoted}") == text
    assert evaluate(f"SELECT VALUE {json.dumps(text, ensure_ascii=False)}") == text
    assert evaluate(f"SELECT VALUE {quoted} = @p", p=other) is (text == other)
    assert holds(f"FROM c WHERE ARRAY_CONTAINS(c.w, {quoted})", {"w": [other, text]}, 0.0)
    assert holds(f"FROM c WHERE NOT ARRAY_CONTAINS(c.w, {quoted})", {"w": [other]}, 0.0) is (text != other)


TRUTH = {"true": True, "false": False, "undefined": None, "null": None, "1": None, "'true'": None}
LOGIC = st.recursive(
    st.sampled_from(sorted(TRUTH)),
    lambda inner: st.one_of(
        inner.map(lambda a: f"NOT ({a})"),
        st.tuples(inner, st.sampled_from(["AND", "OR"]), inner).map(lambda t: f"({t[0]}) {t[1]} ({t[2]})"),
    ),
    max_leaves=8,
)


def three_valued(text: str) -> bool | None:
    """What a logical expression is worth by Kleene's tables; anything but true and false is unknown."""
    if text in TRUTH:
        return TRUTH[text]
    if text.startswith("NOT ("):
        inner = three_valued(text[5:-1])
        return None if inner is None else not inner
    depth = 0
    for at, c in enumerate(text):
        depth += (c == "(") - (c == ")")
        if depth == 0:
            operator, rest = text[at + 1 :].strip().split(" ", 1)
            a, b = three_valued(text[1:at]), three_valued(rest[1:-1])
            if operator == "AND":
                return False if False in (a, b) else None if None in (a, b) else True
            return True if True in (a, b) else None if None in (a, b) else False
    raise AssertionError(text)


@settings(SLOWLY)
@given(LOGIC)
def test_logic_has_three_values(text: str) -> None:
    expected = three_valued(text)
    found = evaluate(f"SELECT VALUE {text}")
    if text in ("null", "1", "'true'"):
        return
    assert found is (UNDEFINED if expected is None else expected)


VOCABULARY = """
    SELECT VALUE * FROM WHERE c c.id . , ( ) [ ] { } : ? ?? = != < AND OR NOT IN BETWEEN LIKE 'x' "y" 1 1.5 @p ORDER BY GROUP
    TOP OFFSET LIMIT JOIN EXISTS ARRAY COUNT(1) STARTSWITH null undefined true - + || DISTINCT AS x \\ ' # ;
"""
WORDS = st.sampled_from(VOCABULARY.split())


@settings(SLOWLY, max_examples=300)
@given(st.lists(WORDS, max_size=14))
def test_a_query_is_understood_or_refused_and_never_breaks_the_server(words: list[str]) -> None:
    status = 200
    try:
        compiled = compile_query(" ".join(words), ())
        run(compiled, [(("", 1), {"id": "a"})], {"@p": 1}, 0.0, max_items=10, token=None)
    except ServiceError as e:
        status = e.status
    assert status in (200, 400)


@settings(SLOWLY)
@given(st.text(alphabet="ab%_", max_size=8), st.text(alphabet="ab", max_size=8))
def test_like_is_a_pattern_over_the_whole_text(pattern: str, text: str) -> None:
    expected = re.fullmatch(pattern.replace("%", ".*").replace("_", "."), text) is not None
    assert evaluate("SELECT VALUE @text LIKE @pattern", text=text, pattern=pattern) is expected


@settings(SLOWLY)
@given(JSON, JSON, JSON)
def test_the_order_is_total_and_agrees_with_equality(a: Any, b: Any, c: Any) -> None:
    assert compare(a, b) == -compare(b, a)
    assert (compare(a, b) == 0) is equals(a, b)
    if compare(a, b) <= 0 and compare(b, c) <= 0:
        assert compare(a, c) <= 0


@settings(SLOWLY)
@given(
    st.lists(st.fixed_dictionaries({"n": st.integers(0, 5)}, optional={"x": JSON}), max_size=12),
    st.sampled_from(["", "ORDER BY c.x", "ORDER BY c.x DESC", "ORDER BY c.n"]),
    st.sampled_from(["SELECT VALUE c.i", "SELECT TOP 5 VALUE c.i", "SELECT DISTINCT VALUE c.n", "SELECT VALUE t"]),
    st.integers(1, 5),
)
def test_pages_put_together_are_the_whole_answer(docs: list[Any], order: str, head: str, size: int) -> None:
    join = " JOIN t IN c.list" if head.endswith(" t") else ""
    sql = f"{head} FROM c{join} WHERE c.n > 0 {order}"
    items = [(("", i), {**doc, "i": i, "list": [[i, j] for j in range(doc["n"])]}) for i, doc in enumerate(docs)]
    compiled = compile_query(sql, ())
    whole = run(compiled, items, {}, 0.0, max_items=1000, token=None)
    assert whole.token is None
    found: list[Any] = []
    page = Page(token="start")
    while page.token is not None:
        token = None if page.token == "start" else decode_token(page.token)
        page = run(compiled, items, {}, 0.0, max_items=size, token=token)
        assert len(page.rows) <= size
        found += page.rows
    assert found == whole.rows


NAMES = st.sampled_from(["a", "b", "list", "deep"])
PATHS = st.lists(NAMES | st.sampled_from(["0", "1", "-"]), min_size=1, max_size=3).map(lambda p: "/" + "/".join(p))
OPERATIONS = st.fixed_dictionaries(
    {
        "op": st.sampled_from(["add", "set", "replace", "remove", "incr", "move"]),
        "path": PATHS,
        "from": PATHS,
        "value": st.one_of(st.integers(-5, 5), st.just([1, 2]), st.just({"a": 1})),
    }
)


@settings(SLOWLY, max_examples=300)
@given(st.lists(OPERATIONS, min_size=1, max_size=10))
def test_a_patch_never_changes_what_is_stored_in_place(operations: list[dict[str, Any]]) -> None:
    doc = {
        "id": "x",
        "p": "k",
        "a": 1,
        "b": {"a": [1, 2, {"b": 3}]},
        "list": [1, [2], {"a": 1}],
        "deep": {"b": {"a": 1}},
    }
    before, sent = copy.deepcopy(doc), copy.deepcopy(operations)
    try:
        first = apply_patch(doc, operations, [("p",)])
    except ServiceError as e:
        first = {"status": e.status, "id": "x", "p": "k"}
    else:
        assert apply_patch(doc, sent, [("p",)]) == first
    assert first.get("status", 400) == 400
    assert (first["id"], first["p"]) == ("x", "k")
    assert doc == before
    assert operations == sent


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        ([{"op": "add", "path": "/w/0", "value": "n"}, {"op": "remove", "path": "/w/2"}], {"w": ["n", "a"]}),
        ([{"op": "set", "path": "/w/1", "value": "n"}], {"w": ["a", "n"]}),
        ([{"op": "set", "path": "/w/2", "value": "n"}], {"w": ["a", "b", "n"]}),
        ([{"op": "set", "path": "/a~1b~0", "value": 1}], {"w": ["a", "b"], "a/b~": 1}),
        ([{"op": "move", "from": "/w/0", "path": "/w/1"}], {"w": ["b", "a"]}),
        (
            [{"op": "incr", "path": "/n", "value": 0.5}, {"op": "incr", "path": "/n", "value": 1}],
            {"w": ["a", "b"], "n": 1.5},
        ),
    ],
)
def test_what_patch_operations_do(operations: list[Any], expected: dict[str, Any]) -> None:
    assert apply_patch({"w": ["a", "b"]}, operations, []) == expected


def test_equal_texts_parse_to_equal_trees_wherever_they_stand() -> None:
    assert parse("SELECT c.a  FROM c WHERE (c.x) = 1") == parse("SELECT  c['a'] FROM c   WHERE c.x=1")


PLACES = """
    / dbs dbs/d dbs/d/colls dbs/d/colls/c dbs/d/colls/none dbs/d/colls/c/pkranges dbs/d/colls/c/docs dbs/d/colls/c/docs/a
    dbs/d/colls/c/operations/partitionkeydelete dbs/none/colls
"""
PATHS_OF_THE_SERVICE = st.sampled_from(PLACES.split())
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "x-ms-documentdb-partitionkey": st.sampled_from(['["a"]', "[{}]", "[]", '["a","b"]', "x", "[[1]]", "[1e999]"]),
        "x-ms-documentdb-isquery": st.sampled_from(["true", "x"]),
        "x-ms-cosmos-is-batch-request": st.just("True"),
        "x-ms-cosmos-batch-atomic": st.just("True"),
        "x-ms-documentdb-is-upsert": st.just("True"),
        "x-ms-cosmos-is-query-plan-request": st.just("True"),
        "x-ms-documentdb-query-enablecrosspartition": st.just("True"),
        "x-ms-documentdb-partitionkeyrangeid": st.sampled_from(["0", "1", "9", ""]),
        "x-ms-continuation": st.sampled_from(["", "x", "e30=", "W10="]),
        "x-ms-session-token": st.sampled_from(["0:-1#1", "0:-1#99", "x", ",", "0:1#x"]),
        "x-ms-max-item-count": st.sampled_from(["-1", "0", "1", "x"]),
        "a-im": st.sampled_from(["Incremental Feed", "Full-Fidelity Feed"]),
        "if-none-match": st.sampled_from(["*", '"1"', "x"]),
        "if-modified-since": st.sampled_from(["x", "Sat, 21 Nov 2026 10:00:00 GMT"]),
    },
)
FIELDS = "id p query parameters operations condition operationType resourceBody partitionKey paths name value"
KEYS = st.sampled_from(FIELDS.split())
BODIES = st.recursive(
    st.sampled_from(
        [None, True, 1, 2**60, "a", "/p", "FROM c WHERE c.p = 1", "SELECT TOP 1 * FROM c ORDER BY c.p", "Create"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=10,
)


@settings(SLOWLY, max_examples=400)
@given(st.sampled_from(["GET", "POST", "PUT", "PATCH"]), PATHS_OF_THE_SERVICE, HEADERS, BODIES)
def test_no_request_breaks_the_service(method: str, path: str, headers: dict[str, str], body: Any) -> None:
    service = Service(Guard(EMULATOR_KEY), ranges=2)
    for where, made in (("dbs", {"id": "d"}), ("dbs/d/colls", {"id": "c", "partitionKey": {"paths": ["/p"]}})):
        assert request(service, "POST", where, made).status == 201
    key = {"x-ms-documentdb-partitionkey": '["a"]'}
    assert request(service, "POST", "dbs/d/colls/c/docs", {"id": "a", "p": "a"}, key).status == 201
    reply = request(service, method, path, body, headers)
    assert reply.status in {200, 201, 204, 207, 304, 400, 404, 405, 409, 410, 412}
    assert reply.status < 400 or json.loads(reply.body).keys() == {"code", "message"}


def request(service: Service, method: str, path: str, body: Any, headers: dict[str, str] | None = None) -> Reply:
    """A signed request to the service, without HTTP."""
    parts = [p for p in path.split("/") if p]
    date = formatdate(usegmt=True)
    call = Call(method, parts, {**(headers or {}), "x-ms-date": date}, json.dumps(body).encode(), "http://localhost/")
    call.kind = kind_of(call)
    kind, link = service.signable(call)[0]
    text = f"{method.lower()}\n{kind}\n{link}\n{date.lower()}\n\n".encode()
    signature = base64.b64encode(hmac.digest(base64.b64decode(EMULATOR_KEY), text, "sha256")).decode()
    call.headers = {**call.headers, "authorization": quote(f"type=master&ver=1.0&sig={signature}", safe="")}
    return service.handle(call)
