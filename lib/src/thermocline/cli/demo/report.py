"""What the demo shows at its end: figures of `MemoryClient.stats`, and the outcome of the comparison."""

from typing import Any

from thermocline.cli.demo.story import Phase, Told
from thermocline.cli.terminal import Terminal, counted, size

EMBEDDED_HOT = "process memory, in a process of its own"
EMBEDDED_WARM = "SQLite"

_READ_VERB = {"hot": "get", "warm": "read", "cold": "get_payload"}
_WRITE_VERB = {"hot": "publish", "warm": "write", "cold": "put_payload"}


def as_document(told: Told, tiers: dict[str, str]) -> dict[str, Any]:
    """The same for machines. Latencies in ms, sizes in bytes."""
    return {
        "turns": told.turns,
        "documents": told.documents,
        "document_bytes": told.document_bytes,
        "seconds": round(told.seconds, 3),
        "where": tiers,
        "stats": told.stats,
        "outage": {"stopped": told.how, "settled": told.settled, **_cost(told)},
        "keys": told.keys,
        "compared": told.compared,
        "differences": [{"name": d.name, "when": d.when, "what": d.what} for d in told.differences],
    }


def show(terminal: Terminal, told: Told, tiers: dict[str, str]) -> None:
    """For people."""
    terminal.say("")
    terminal.say(
        f"{counted(told.turns, 'turn')} and {counted(told.documents, 'document')} ({size(told.document_bytes)}) in {told.seconds:.1f} s",
        style="bold",
    )
    for tier, where in tiers.items():
        terminal.say(f"  {tier:<5} {where}")
    terminal.say("")
    stats = {tier: told.stats.get(tier, {}) for tier in tiers}
    counts = ("reads", "hits", "promotions", "writes")
    rows = [[tier, *(_count(stats[tier], name) for name in counts), *_weights(stats[tier])] for tier in tiers]
    columns = ("tier", *counts, "raw", "stored")
    terminal.table("", columns, rows, numbers=",".join(columns[1:]))
    latencies = ("tier", "read p50", "read p99", "write p50", "write p99")
    terminal.table("", latencies, [_latency_row(tier, stats[tier]) for tier in tiers], numbers=",".join(latencies[1:]))
    _show_outage(terminal, told, tiers)
    _show_outcome(terminal, told)


def _count(stats: dict[str, Any], name: str) -> str:
    return f"{stats[name]:,}" if name in stats else "–"


def _weights(stats: dict[str, Any]) -> list[str]:
    return [size(stats[name]) if name in stats else "–" for name in ("bytes_raw", "bytes_stored")]


def _latency_row(tier: str, stats: dict[str, Any]) -> list[str]:
    row = [tier]
    for verb in (_READ_VERB[tier], _WRITE_VERB[tier]):
        found = stats.get("latency", {}).get(verb)
        row += ["–" if found is None else f"{found[quantile]:.2f} ms" for quantile in ("p50_ms", "p99_ms")]
    return row


def _cost(told: Told) -> dict[str, Any]:
    """What the outage cost: figures of the client's own counters, before and during."""
    return {
        "turns": told.during.turns,
        "hot_calls_failed": told.during.grown("hot", "unavailable"),
        "authority_reads_per_turn_before": _per_turn(told.before, "warm", "reads"),
        "authority_reads_per_turn_during": _per_turn(told.during, "warm", "reads"),
        "hot_read_ms_before": _rounded(told.before.mean_ms("hot", "get")),
        "authority_read_ms_during": _rounded(told.during.mean_ms("warm", "read")),
        "keys_told_to_hot_afterwards": told.after.grown("hot", "recovered"),
    }


def _per_turn(phase: Phase, tier: str, name: str) -> float:
    return round(phase.grown(tier, name) / phase.turns, 2) if phase.turns else 0.0


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _show_outage(terminal: Terminal, told: Told, tiers: dict[str, str]) -> None:
    cost = _cost(told)
    terminal.say(f"The outage: midway hot was stopped for {counted(cost['turns'], 'turn')}; {told.how}.", style="bold")
    terminal.say(
        f"  {counted(round(cost['hot_calls_failed']), 'call')} to hot failed. Reads of the authority went from {cost['authority_reads_per_turn_before']:.1f}"
        f" to {cost['authority_reads_per_turn_during']:.1f} a turn{_latencies(cost, tiers)}."
    )
    answer = "no answer was missing or wrong" if not told.differences else "see the differences below"
    mended = f"hot was told of {counted(round(cost['keys_told_to_hot_afterwards']), 'key')} once it was back"
    late = "" if told.settled else "; not all within 30 s, the rest mends with hot's ceiling"
    terminal.say(f"  {mended}{late}; {answer}.")


def _latencies(cost: dict[str, Any], tiers: dict[str, str]) -> str:
    hot, authority = cost["hot_read_ms_before"], cost["authority_read_ms_during"]
    if hot is None or authority is None:
        return ""
    here = tiers["hot"] == EMBEDDED_HOT and tiers["warm"] == EMBEDDED_WARM
    why = " (here a process of its own, asked over a socket, while SQLite is inside this one)" if here else ""
    return f"; one takes {authority:.2f} ms there, and {hot:.2f} ms in hot{why}"


def _show_outcome(terminal: Terminal, told: Told) -> None:
    terminal.say("")
    if not told.differences:
        terminal.say(
            f"Every value is as it was written: {counted(told.keys, 'key')}, {counted(told.compared, 'comparison')}, in the conversation,"
            " through the cascade and in the authority alone.",
            style="bold green",
        )
        return
    shown = told.differences[:20]
    terminal.table(
        f"{counted(len(told.differences), 'difference')} in {counted(told.compared, 'comparison')}".upper(),
        ("name", "when", "what"),
        [(d.name, d.when, d.what) for d in shown],
    )
    if len(told.differences) > len(shown):
        terminal.say(f"… and {len(told.differences) - len(shown)} more (--json has all)")
