"""The names that main.bicep gives, computed as Azure computes them; tests/infra holds them against the snapshots."""

from dataclasses import dataclass
from typing import Final

APPS: Final = ("agent-sample", "memory-api", "memory-worker")

_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz234567"
_WORD: Final = 0xFFFFFFFF


@dataclass(frozen=True)
class Names:
    group: str
    redis: str
    cosmos: str
    cold: str
    vault: str
    budget: str
    hosts: tuple[str, ...]
    sites: tuple[str, ...]


def names(subscription: str, environment: str, location: str) -> Names:
    """The names of what holds data, and of what must be unique in the world. ``subscription`` is its id, a GUID."""
    environment = environment.lower()
    token = unique_string(f"/subscriptions/{subscription}", environment, location)[:8]
    suffix = f"{environment}-{token}"
    return Names(
        group=f"rg-{suffix}",
        redis=f"redis-{suffix}",
        cosmos=f"cosmos-{suffix}",
        cold=f"stcold{token}",
        vault=f"kv-{suffix}",
        budget=f"budget-{suffix}",
        hosts=tuple(f"st{app.replace('-', '')}{token}" for app in APPS),
        sites=tuple(f"func-{app}-{suffix}" for app in APPS),
    )


def unique_string(*parts: str) -> str:
    """Azure's ``uniqueString``: a MurmurHash of 64 bits in two lanes, written as 13 characters of base 32."""
    data = "-".join(parts).encode()
    first = second = 0
    body, rest = data[: len(data) // 8 * 8], data[len(data) // 8 * 8 :]
    for at in range(0, len(body), 8):
        left, right = (int.from_bytes(body[at + step : at + step + 4], "little") for step in (0, 4))
        first = (_turn(first ^ _blend(left, 0x239B961B, 15, 0xAB0E9789), 19) + second) * 5 + 0x561CCD1B & _WORD
        second = (_turn(second ^ _blend(right, 0xAB0E9789, 17, 0x239B961B), 13) + first) * 5 + 0x0BCAA747 & _WORD
    if rest:
        first ^= _blend(int.from_bytes(rest[:4], "little"), 0x239B961B, 15, 0xAB0E9789)
        second ^= _blend(int.from_bytes(rest[4:], "little"), 0xAB0E9789, 17, 0x239B961B)
    first ^= len(data)
    second ^= len(data)
    first = first + second & _WORD
    second = second + first & _WORD
    first, second = _scatter(first), _scatter(second)
    first = first + second & _WORD
    second = second + first & _WORD
    number = second << 32 | first
    return "".join(_ALPHABET[number >> max(59 - 5 * at, 0) & 31 if at < 12 else number << 1 & 31] for at in range(13))


def _blend(word: int, before: int, by: int, after: int) -> int:
    return _turn(word * before & _WORD, by) * after & _WORD


def _turn(word: int, by: int) -> int:
    return (word << by | word >> 32 - by) & _WORD


def _scatter(word: int) -> int:
    for factor in (0x85EBCA6B, 0xC2B2AE35):
        word = (word ^ word >> (16 if factor == 0x85EBCA6B else 13)) * factor & _WORD
    return word ^ word >> 16
