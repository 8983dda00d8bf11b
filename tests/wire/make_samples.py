"""Writes new wire samples beside the old ones: ``python tests/wire/make_samples.py``. Never changes or drops a sample that is there, nor the dictionary.

Add a value to `VALUES` (or a kind to `new_samples`) under a new name first. Samples are read by every later version, for ever.
"""

import base64
import datetime as dt
import json
import sys
import uuid
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from thermocline.codec import Codec, Dictionary, Sample, train
from thermocline.model import Authority, Envelope, Key, Pointer

DICTIONARY: Final = Path(__file__).parent / "samples.zdict"  # what the samples whose names end with -dictionary need
MANIFEST: Final = Path(__file__).parent / "samples.json"
KEY: Final = Key("acme", "user/42", "Prófile {v2}/..")
NOW: Final = 1_790_000_000_000
EXPIRES: Final = NOW + 3_600_000

# By name, as an expression that the test evaluates in the names of this module: the expected value, independent of the codec.
VALUES: Final[dict[str, str]] = {
    "none": "None",
    "true": "True",
    "zero": "0",
    "empty-text": "''",
    "empty-bytes": "b''",
    "bytes": "bytes(range(256)) * 8",
    "text": "'Grüße, 世界 🌊 ' * 90",
    "json": "{'name': 'Ada', 'langs': ['de', None, True], 'score': 0.25, 'n': -9007199254740991, 'ü': {}}",
    "json-long": "[{'turn': n, 'text': 'the same words again'} for n in range(60)]",
    "numbers": "[1.0, -0.0, float('inf'), 2**53, -2**63, 2**64 - 1, 2**64, -2**70]",
    "nested": "{'raw': b'\\x00\\xff', 't': (1, ('a',)), 's': {1}, 'f': frozenset(['x']), 'm': {1: 'one', (2, 3): None}}",
    "times": "[dt.datetime(2026, 1, 2, 3, 4, 5, 678901), dt.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo('Europe/Berlin')),"
    " dt.datetime(2026, 1, 1, tzinfo=dt.timezone(-dt.timedelta(hours=3, minutes=30))), dt.datetime(2026, 1, 1, tzinfo=dt.UTC),"
    " dt.date(2026, 2, 28), dt.time(23, 59, 59, 1, fold=1), dt.timedelta(days=-1, microseconds=7)]",
    "scalars": "[uuid.UUID(int=7), Decimal('-12.3400'), Decimal('1E+400')]",
    "msgpack-long": "[(n, 'the same words again', 1.0) for n in range(60)]",
}
_NAMES: Final = {"Decimal": Decimal, "ZoneInfo": ZoneInfo, "dt": dt, "uuid": uuid}
POINTER: Final = Pointer("tc1/p/acme/user~2f42/x/" + "ab" * 32, "ab" * 32, 1234, NOW - 5)


def dictionary() -> Dictionary:
    """The samples' own, made once: another zstd would make another of the same values."""
    if not DICTIONARY.exists():
        told = [
            [f"the same words again, said by {scope} at {n}", {"turn": n, "text": "the same words again"}]
            for scope in range(8)
            for n in range(4)
        ]
        rows = [Sample(str(n // 4), json.dumps(one).encode() * 4) for n, one in enumerate(told)]
        DICTIONARY.write_bytes(train(rows, size=2048, shared_by=2, level=3).content)
    return Dictionary(DICTIONARY.read_bytes())


def expected(expression: str) -> Any:
    """What a sample's ``value`` stands for."""
    return eval(expression, dict(_NAMES))  # our own manifest, in a test


def new_samples() -> Iterator[tuple[str, str | None, Envelope]]:
    """Name, value's expression (None: it has none), envelope."""
    for method in (None, "zstd", "gzip"):
        codec = Codec(compression=method, threshold=0)
        for name, expression in VALUES.items():
            value = expected(expression)
            sample = codec.encode(KEY, value, now_ms=NOW, expires_ms=EXPIRES)
            if method is None or sample.header.compressor:
                yield f"{name}-{method or 'plain'}", expression, sample.stamped(version=7, authority=Authority.WARM)
    codec = Codec()
    for name, expression in VALUES.items():
        sample = codec.seal(KEY, codec.prepare(expected(expression)), now_ms=NOW, dictionary=dictionary())
        if sample.header.dictionary:
            yield f"{name}-dictionary", expression, sample.stamped(version=7, authority=Authority.WARM)
    for authority in Authority:
        sample = codec.encode(KEY, 1, now_ms=NOW, media_type="application/x-one", tags={"kind": "fact", "ä": ""})
        yield f"tags-{authority.name.lower()}", "1", sample.stamped(version=2**53 - 1, authority=authority)
    yield "tombstone", None, codec.tombstone(KEY, now_ms=NOW).stamped(version=9, authority=Authority.WARM)
    long = codec.encode(KEY, expected(VALUES["json-long"]), now_ms=NOW, tags={"kind": "log"})
    yield "pointer", None, codec.point(long, POINTER).stamped(version=3, authority=Authority.COLD)
    packed = codec.seal(KEY, codec.prepare(expected(VALUES["json-long"])), now_ms=NOW, dictionary=dictionary())
    yield "pointer-dictionary", None, codec.point(packed, POINTER).stamped(version=3, authority=Authority.WARM)


def describe(expression: str | None, envelope: Envelope) -> dict[str, Any]:
    header = envelope.header
    return {
        "value": expression,
        "header": {name: int(getattr(header, name)) for name in header.__dataclass_fields__},
        "media_type": envelope.media_type,
        "tags": dict(envelope.tags),
        "bytes": base64.b64encode(Codec().pack(envelope)).decode(),
    }


def merged(samples: dict[str, Any]) -> dict[str, Any]:
    """The samples that are there, as they are, and behind them those that are new."""
    new = {name: describe(expression, envelope) for name, expression, envelope in new_samples() if name not in samples}
    return samples | new


def main() -> int:
    old = json.loads(MANIFEST.read_text(encoding="utf-8"))
    samples = merged(old)
    MANIFEST.write_text(json.dumps(samples, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    sys.stdout.write(f"{len(samples) - len(old)} new samples, {len(old)} kept\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
