"""What 10,000 sessions of a realistic shape take in Redis: 20 turns each, the insights of the conversation, and the user's profile.

    python -m benchmarks.sessions [SESSIONS]

prints the figures as JSON. Memory is Redis' own ``used_memory`` (`INFO memory`), read before and after; every session is read back from Redis alone.
"""

import asyncio
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.results import Fact, Result, at_most, rounded
from benchmarks.scale import Scale

SESSIONS: Final = 10_000
TURNS: Final = 20
MOST_MIB: Final = 1024
_BATCH: Final = 40  # sessions written together
_PROSE: Final = (
    "parcel Thursday harbour invoice blue winter jacket size refund bicycle Rotterdam delivery address morning colour tea"
    " available exchange discount order please thank certainly tomorrow receipt warranty loyalty points branch opening hours"
)


def session(number: int) -> dict[str, Any]:
    """The values of one session by name: 20 turns of 100 to 1,200 characters, insights of about 1.5 kB, a profile of about 2 kB."""
    rng, vocabulary = random.Random(number), _PROSE.split()

    def prose(characters: int) -> str:
        words: list[str] = []
        while characters > 0:
            words.append(rng.choice(vocabulary))
            characters -= len(words[-1]) + 1
        return " ".join(words)

    made: dict[str, Any] = {
        f"turn/{turn:04}": {
            "turn": turn,
            "role": "assistant" if turn % 2 else "user",
            "at": f"2026-03-01T09:{turn:02}:00Z",
            "text": prose(rng.randint(400, 1200) if turn % 2 else rng.randint(100, 400)),
            "tools": rng.sample(["track_parcel", "read_profile", "search", "refund"], rng.randint(0, 2)),
            "tokens": {"in": rng.randint(50, 900), "out": rng.randint(10, 400)},
        }
        for turn in range(TURNS)
    }
    made["insights"] = [
        {"text": prose(140), "confidence": round(rng.random(), 3), "from": rng.randrange(TURNS)} for _ in range(8)
    ]
    made["profile"] = {
        "name": prose(20),
        "languages": ["en", "nl"],
        "preferences": {f"preference-{n}": prose(30) for n in range(20)},
        "addresses": [{"street": prose(25), "city": prose(10), "code": rng.randint(1000, 9999)} for _ in range(3)],
    }
    return made


async def measure(sessions: int) -> dict[str, float]:
    """Write all through a client, read a sample back from hot alone, and ask Redis what they take."""
    import redis.asyncio

    from benchmarks.payload import patient
    from thermocline import HotMemory, Key, MemoryClient, MemoryRules, SqliteMemory
    from thermocline.testing.rig import RedisServer

    with RedisServer() as server, tempfile.TemporaryDirectory() as folder:
        async with redis.asyncio.from_url(server.url) as raw:
            before = int((await raw.info("memory"))["used_memory"])
            rules = MemoryRules(hot_ttl_seconds=None)
            warm = SqliteMemory(Path(folder) / "warm.sqlite3")
            raw_bytes, keys = 0, 0
            began = time.perf_counter()
            async with MemoryClient(hot=HotMemory(server.url), warm=warm, rules=rules, budget=patient()) as memory:
                for start in range(0, sessions, _BATCH):
                    items: dict[Key, Any] = {}
                    for number in range(start, min(start + _BATCH, sessions)):
                        for name, value in session(number).items():
                            items[Key("shop", f"session/{number}", name)] = value
                    keys += len(items)
                    raw_bytes += sum(len(json.dumps(value, separators=(",", ":"))) for value in items.values())
                    batch = await memory.set_many(items)
                    assert not batch.errors, batch.errors
                wrote = time.perf_counter() - began
                hot_alone = MemoryRules(hot_ttl_seconds=None, read_fallback=False)
                sample = random.Random(1).sample(range(sessions), min(200, sessions))
            async with MemoryClient(hot=HotMemory(server.url), warm=warm, rules=hot_alone, budget=patient()) as memory:
                for number in sample:
                    wanted = {Key("shop", f"session/{number}", name): value for name, value in session(number).items()}
                    found = await memory.get_many(wanted)
                    assert dict(found) == wanted, f"session {number} is not as it was written"
            after = int((await raw.info("memory"))["used_memory"])
            held = int(await raw.dbsize())
    assert held >= keys, f"Redis holds {held} of {keys} keys"
    return {
        "sessions": sessions,
        "keys": keys,
        "json_mib": raw_bytes / 2**20,
        "redis_mib": (after - before) / 2**20,
        "bytes_a_session": (after - before) / sessions,
        "writes_per_second": keys / wrote,
    }


async def sessions(scale: Scale) -> Result:
    """What Redis says that 10,000 sessions take."""
    found = await measure(scale.of(SESSIONS, 80))
    title = f"{SESSIONS:,} sessions in Redis"
    return Result(
        "sessions",
        facts=[
            Fact(title, "keys", found["keys"]),
            Fact(title, "JSON", rounded(found["json_mib"]), "MiB"),
            at_most(title, "used_memory", found["redis_mib"], MOST_MIB, "MiB"),
            Fact(title, "a session", rounded(found["bytes_a_session"]), "bytes"),
            Fact(title, "written", rounded(found["writes_per_second"]), "keys a second"),
        ],
    )


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else SESSIONS)), indent=2))
