"""The documents of a conversation: those of the bundled transcript, made by a fixed seed, or the files of the user's folder."""

import random
import struct
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from thermocline.cli.demo.transcript import Turn
from thermocline.errors import InvalidArgument

MOST_BYTES: Final = 1 << 30
_SEED: Final = 20260521
_TEXT: Final = """
the thermocline lies where warm water turns cold and a profile of salinity temperature oxygen density shows layer
mooring winch cable sensor buoy calibration drift sample station depth metre current season autumn upwelling
"""
_WORDS: Final = _TEXT.split()


def make(folder: Path) -> list[Path]:
    """Write the bundled conversation's documents, about 7 MB; the same bytes everywhere."""
    rng = random.Random(_SEED)  # noqa: S311 - figures, no secrets
    made = {
        "handbook.md": _handbook(rng).encode(),
        "stations.csv": _stations(rng).encode(),
        "profiles.csv": _profiles(rng).encode(),
        "mooring.log": _log(rng).encode(),
        "echogram.png": _picture(rng),
        "permit.txt": ("Permit 1184-B\nValid for the bay and the outer ridge.\n" + _prose(rng, 60)).encode(),
    }
    for name, data in made.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in made]


def of_folder(folder: Path) -> list[Path]:
    """The files of a folder, by name; not those below it. Raises `InvalidArgument`."""
    try:
        found = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
        total = sum(path.stat().st_size for path in found)
        for path in found:
            with path.open("rb"):
                pass
    except OSError as error:
        raise InvalidArgument(f"{error.filename} cannot be read: {error.strerror}; --attach takes a folder") from error
    if not found:
        raise InvalidArgument(f"{folder} has no files; --attach takes a folder with the documents")
    if total > MOST_BYTES:
        raise InvalidArgument(
            f"{folder} holds {total} bytes, and the demo takes at most {MOST_BYTES}; give fewer files"
        )
    return found


def spread(turns: Sequence[Turn], documents: Sequence[Path]) -> list[Turn]:
    """The turns, with the documents that no line names attached to some of them, evenly, and each read again later."""
    named = {name for turn in turns for name in turn.attach}
    rest = [path.name for path in documents if path.name not in named]
    spread_out = list(turns)
    for position, name in enumerate(rest):
        at = position * len(turns) // (2 * len(rest))
        later = min(len(turns) - 1, at + len(turns) // 3)
        spread_out[at] = replace(spread_out[at], attach=(*spread_out[at].attach, name))
        record = spread_out[later].record
        recalled = [*record.get("recall", []), name]
        spread_out[later] = replace(spread_out[later], record={**record, "recall": recalled})
    return spread_out


def _prose(rng: random.Random, sentences: int) -> str:
    lines = []
    for _ in range(sentences):
        words = rng.choices(_WORDS, k=rng.randint(6, 16))
        lines.append(" ".join(words).capitalize() + ".")
    return "\n".join(lines) + "\n"


def _handbook(rng: random.Random) -> str:
    return "".join(
        f"## {chapter + 1}. {rng.choice(_WORDS).capitalize()}\n\n{_prose(rng, 70)}\n" for chapter in range(90)
    )


def _stations(rng: random.Random) -> str:
    rows = (f"S{n:03d},{rng.uniform(54, 56):.5f},{rng.uniform(9, 13):.5f},{rng.randint(8, 230)}" for n in range(400))
    return "station,latitude,longitude,depth_m\n" + "\n".join(rows) + "\n"


def _profiles(rng: random.Random) -> str:
    lines = ["station,depth_m,temperature_c,salinity_psu,oxygen_ml_l"]
    for station in range(320):
        surface, step = rng.uniform(14, 19), rng.uniform(12, 30)
        for depth in range(160):
            warm = surface if depth < step else 4 + (surface - 4) * 0.9 ** (depth - step)
            lines.append(f"S{station:03d},{depth},{warm:.3f},{7 + depth / 15:.3f},{max(0.2, 8 - depth / 22):.3f}")
    return "\n".join(lines) + "\n"


def _log(rng: random.Random) -> str:
    kinds = ("INFO", "INFO", "INFO", "WARN", "DEBUG")
    return "".join(
        f"2026-05-{1 + n // 1440 % 28:02d}T{n // 60 % 24:02d}:{n % 60:02d}:00Z {rng.choice(kinds)} winch {' '.join(rng.choices(_WORDS, k=7))}"
        f" tension={rng.uniform(80, 400):.1f}N\n"
        for n in range(24_000)
    )


def _picture(rng: random.Random) -> bytes:
    """A greyscale PNG of noise over layers, about 1.5 MB: what does not compress."""
    width, height = 1500, 1000
    rows = b"".join(b"\0" + rng.randbytes(width) for _ in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
