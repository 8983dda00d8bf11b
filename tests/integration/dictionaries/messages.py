"""What dictionaries are trained with here: the turns of the benchmark."""

import json
from functools import cache
from typing import Any

from benchmarks.messages import message

from thermocline.codec import Dictionary, Sample, train
from thermocline.model import Key

__all__ = ["fleet", "message", "raw_of", "samples", "trained"]


def raw_of(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def samples(scopes: int, each: int, *, seed: int = 0, **more: Any) -> list[Sample]:
    return [
        Sample(f"user/{scope}", raw_of(message(seed * 1000 + n, f"user/{scope}", **more)))
        for scope in range(scopes)
        for n in range(each)
    ]


@cache
def trained(*, seed: int) -> Dictionary:
    return train(samples(30, 6, seed=seed), size=16 * 1024, shared_by=5, level=3)


def fleet(tenant: str, *, scopes: int = 14, each: int = 5) -> dict[Key, Any]:
    """Records of many scopes of one tenant."""
    return {
        Key(tenant, f"user/{scope}", f"m/{n}"): message(n, f"user/{scope}")
        for scope in range(scopes)
        for n in range(each)
    }
