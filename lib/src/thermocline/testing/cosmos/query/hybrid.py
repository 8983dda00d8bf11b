"""`ORDER BY RANK`: plans for full-text and hybrid search, whose ranks the client fuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from thermocline.testing.cosmos.failures import bad_request
from thermocline.testing.cosmos.query import vectors
from thermocline.testing.cosmos.query.scope import Scope
from thermocline.testing.cosmos.query.text import payload_text, span, where_text
from thermocline.testing.cosmos.query.tree import ArrayOf, Call, Literal, Node, Query

MAX_TAKE: Final = 1000
_PLACEHOLDER: Final = "{documentdb-formattablehybridsearchquery-"


def _parts(expr: Node) -> tuple[list[Call], list[float] | None]:
    if isinstance(expr, Call) and expr.name == "FULLTEXTSCORE":
        return [expr], None
    if not (isinstance(expr, Call) and expr.name == "RRF"):
        raise bad_request("ORDER BY RANK takes FullTextScore(...) or RRF(...).")
    arguments: Sequence[Node] = expr.args
    weights: list[float] | None = None
    if arguments and isinstance(arguments[-1], ArrayOf):
        weights = [_weight(w) for w in arguments[-1].items]
        arguments = arguments[:-1]
    calls = [a for a in arguments if isinstance(a, Call) and a.name in ("FULLTEXTSCORE", "VECTORDISTANCE")]
    if len(calls) != len(arguments) or len(calls) < 2:
        raise bad_request("RRF takes at least two of FullTextScore(...) and VectorDistance(...), then weights.")
    if weights is not None and len(weights) != len(calls):
        raise bad_request("RRF needs one weight per component.")
    return calls, weights


def _weight(node: Node) -> float:
    if isinstance(node, Literal) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
        return node.value
    raise bad_request("The weights of RRF must be numbers.")


def _terms(call: Call) -> list[Node]:
    terms = list(call.args[1:])
    if len(terms) == 1 and isinstance(terms[0], ArrayOf):
        terms = list(terms[0].items)
    if not terms:
        raise bad_request("FullTextScore needs at least one term.")
    return terms


def plan(query: Query, scope: Scope, skip: int, take: int | None) -> dict[str, Any]:
    """`hybridSearchQueryInfo`."""
    if len(query.order_by) != 1:
        raise bad_request("ORDER BY RANK takes one expression.")
    if take is None or take > MAX_TAKE:
        raise bad_request(f"A query with ORDER BY RANK needs TOP or LIMIT of at most {MAX_TAKE}.")
    calls, weights = _parts(query.order_by[0].expr)
    source = query.text[slice(*query.from_span)]
    scores: list[str] = []
    statistics: list[str] = []
    directions: list[str] = []
    for call in calls:
        if call.name == "VECTORDISTANCE":
            scores.append(span(query, call))
            directions.append("Ascending" if vectors.ascending(call, scope) else "Descending")
            continue
        n = len(statistics)
        path, terms = span(query, call.args[0]), [span(query, t) for t in _terms(call)]
        scores.append(
            f"_FullTextScore({path}, [{', '.join(terms)}], {_PLACEHOLDER}totaldocumentcount}}, "
            f"{_PLACEHOLDER}totalwordcount-{n}}}, {_PLACEHOLDER}hitcountsarray-{n}}})"
        )
        hits = ", ".join(f"COUNTIF(FullTextContains({path}, {t}))" for t in terms)
        statistics.append(f'{{"totalWordCount": SUM(_FullTextWordCount({path})), "hitCounts": [{hits}]}}')
        directions.append("Descending")
    root = query.sources[0].alias
    payload = f'{{"payload": {payload_text(query)}, "componentScores": [{", ".join(scores)}]}}'
    filtered = where_text(query, "({documentdb-formattableorderbyquery-filter})")
    components = [
        {
            "distinctType": "None",
            "orderBy": [direction],
            "orderByExpressions": [score],
            "hasSelectValue": False,
            "hasNonStreamingOrderBy": True,
            "rewrittenQuery": (
                f'SELECT TOP {skip + take} {root}._rid, [{{"item": {score}}}] AS orderByItems, {payload} AS payload '
                f"{source}{filtered} ORDER BY {score}"
            ),
        }
        for score, direction in zip(scores, directions, strict=True)
    ]
    return {
        "requiresGlobalStatistics": bool(statistics),
        "globalStatisticsQuery": (
            f"SELECT COUNT(1) AS documentCount, [{', '.join(statistics)}] AS fullTextStatistics {source}"
        ),
        "componentQueryInfos": components,
        "componentWeights": weights,
        "skip": skip,
        "take": take,
    }
