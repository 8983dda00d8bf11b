"""What a dictionary does for many small similar records: stored bytes in each tier's form, and CPU beside the same codec without one. No server.

    python -m benchmarks.dictionary

Turns of about 1.1 kB (`benchmarks.messages`): 400 people with 5 turns each are learned from, 400 turns of other people are measured. Arms take turns, and the
median of the rounds counts.
"""

import random
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from benchmarks.messages import message
from benchmarks.results import Fact, Grid, Result, at_most, rounded
from benchmarks.scale import Scale
from thermocline.blobs.heads import Head, Stamp
from thermocline.blobs.wire import pack_head
from thermocline.codec import Codec, Dictionary, Sample, train
from thermocline.model import Authority, Envelope, Key
from thermocline.tiers.warm.item import body_of, record_of, size_of

TURNS = 5  # of each person
ID = "01jd8a0000000000000000000000"[:27]  # as long as a write's
CODEC = Codec()
SMALL = Codec(threshold=64)
COMPRESSED = "none, but all compressed"  # the default leaves values under 1,024 bytes alone
NOW = 1_790_000_000_000

Arm = Dictionary | None


def key_of(number: int) -> Key:
    return Key("acme", f"user/{number}", "conversation/turn/000042")


def sealed(key: Key, value: Any, arm: Arm, codec: Codec = CODEC) -> Envelope:
    made = codec.seal(key, CODEC.prepare(value), now_ms=NOW, dictionary=arm)
    return made.stamped(version=NOW * 1000, authority=Authority.WARM)


def envelope(one: Envelope) -> int:
    return len(CODEC.pack(one))


def head(one: Envelope) -> int:
    stamp = Stamp(ID, one.version)
    return len(pack_head(Head(one, (stamp,), stamp)))


def item(one: Envelope) -> int:
    return size_of(body_of(one.key, record_of(one), write_id=ID, version=one.version, ttl=-1))


FORMS: dict[str, tuple[Callable[[dict[str, Any]], Any], Callable[[Envelope], int]]] = {
    "the payload alone": (lambda turn: turn, lambda one: len(one.payload)),
    "Redis (hot, or alone) and SQLite: envelope": (lambda turn: turn, envelope),
    "head blob and table row": (lambda turn: turn, head),
    "Cosmos DB: item of a JSON value, stored as JSON": (lambda turn: turn, item),
    "Cosmos DB: item of the same as text": (str, item),
}


def cpu_us(arms: dict[str, Arm], values: list[dict[str, Any]], rounds: int) -> dict[str, tuple[float, float]]:
    """Microseconds of CPU of one encoding and one decoding, JSON included, by arm."""
    found: dict[str, list[tuple[float, float]]] = {}
    key = key_of(0)
    arms = {**arms, COMPRESSED: None}
    for name in arms:
        found[name] = []
    for turn in range(rounds):
        order = list(arms)
        random.Random(turn).shuffle(order)
        for name in order:
            began = time.process_time()
            codec = SMALL if name == COMPRESSED else CODEC
            made = [sealed(key, value, arms[name], codec) for value in values]
            between = time.process_time()
            for one in made:
                CODEC.decode(one)
            ended = time.process_time()
            found[name].append(((between - began) / len(values) * 1e6, (ended - between) / len(values) * 1e6))
    return {
        name: (statistics.median(one[0] for one in times), statistics.median(one[1] for one in times))
        for name, times in found.items()
    }


async def dictionary(scale: Scale) -> Result:
    """Bytes by form, and CPU by arm."""
    people, others = scale.of(400, 40), scale.of(400, 40)
    samples = [
        Sample(f"user/{person}", CODEC.prepare(message(n, f"user-{person}")).raw)
        for person in range(people)
        for n in range(TURNS)
    ]
    random.Random(1).shuffle(samples)
    began = time.process_time()
    shared = train(samples, size=32 * 1024, shared_by=10, level=CODEC.level)
    took = time.process_time() - began
    free = train(samples, size=32 * 1024, shared_by=1, level=CODEC.level)
    arms: dict[str, Arm] = {"none": None, "shared by 10 scopes": shared, "whatever pays (shared by 1)": free}
    values = [message(n, f"user-{people + n}") for n in range(others)]
    raw = statistics.fmean(len(CODEC.prepare(value).raw) for value in values)
    rows: list[list[str | int | float]] = []
    for form, (as_stored, size) in FORMS.items():
        means = [
            statistics.fmean(size(sealed(key_of(n), as_stored(value), arm)) for n, value in enumerate(values))
            for arm in arms.values()
        ]
        rows.append([form, *(round(mean) for mean in means), rounded(means[1] / means[0])])
    costs = cpu_us(arms, values, max(3, scale.rounds))
    large = [message(n, "user-x") for n in range(20)]
    whole = [len(replace(sealed(key_of(0), large, arm), raw=None).payload) for arm in arms.values()]
    rows.append(["payload of 20 turns in one record", *whole, rounded(whole[1] / whole[0])])
    none, ours = costs[COMPRESSED], costs["shared by 10 scopes"]
    return Result(
        "dictionary",
        facts=[
            Fact("dictionary", "mean value, serialised", round(raw), "bytes"),
            Fact("dictionary", f"training on {len(samples)} values", rounded(took), "s of CPU"),
            Fact("dictionary", "size, shared by 10 scopes", len(shared.content), "bytes"),
            at_most("dictionary", "payload with / without", float(rows[0][-1]), 0.65),
            at_most("dictionary", "encoding with / without, CPU", ours[0] / none[0], 1.1),
            at_most("dictionary", "decoding with / without, CPU", ours[1] / none[1], 1.1),
        ],
        grids=[
            Grid("stored bytes of one record", ["form", *arms, "shared / none"], rows),
            Grid(
                "CPU of one value, JSON included, µs",
                ["dictionary", "encode", "decode"],
                [[name, rounded(one[0]), rounded(one[1])] for name, one in costs.items()],
            ),
        ],
    )


if __name__ == "__main__":
    import asyncio

    found = asyncio.run(dictionary(Scale()))
    for fact in found.facts:
        print(f"{fact.name}: {fact.value:g} {fact.unit} {fact.target}")
    for grid in found.grids:
        print(f"\n{grid.title}\n{' | '.join(grid.columns)}")
        for row in grid.rows:
            print(" | ".join(str(cell) for cell in row))
