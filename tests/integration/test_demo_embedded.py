"""`thermocline demo` on the embedded tiers, as a process: the whole course, its figures, and that its check bites."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Demo = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def demo(tmp_path: Path) -> Demo:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
        return subprocess.run(
            [sys.executable, "-X", "dev", "-W", "error", "-m", "thermocline.cli", "demo", *words],
            capture_output=True,
            text=True,
            timeout=110,
            env={
                **kept,
                "TMPDIR": str(tmp_path),
                "THERMOCLINE_HOME": str(tmp_path / "home"),
                "REDIS_URL": "redis://127.0.0.1:1",
            },
            cwd=tmp_path,
            check=False,
        )

    return run


def talk(path: Path, turns: int) -> Path:
    lines = [{"role": "user" if n % 2 == 0 else "assistant", "text": f"Turn {n} of mine."} for n in range(turns)]
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return path


def test_the_bundled_conversation_loses_nothing(demo: Demo, tmp_path: Path) -> None:
    result = demo("--json")

    assert result.returncode == 0, result.stderr
    assert [word for word in ("Warning", "Traceback", "never awaited") if word in result.stderr] == []
    told: dict[str, Any] = json.loads(result.stdout)
    stats, outage = told["stats"], told["outage"]
    assert told["differences"] == []
    assert told["compared"] > 2 * told["keys"]
    assert 0 < stats["hot"]["hits"] < stats["hot"]["reads"]
    assert stats["hot"]["promotions"] > 0
    assert stats["warm"]["writes"] > told["turns"]
    assert stats["cold"]["bytes_raw"] > told["document_bytes"]
    assert "SIGKILL" in outage["stopped"]
    assert outage["hot_calls_failed"] > 0
    assert outage["settled"] is True
    assert outage["keys_told_to_hot_afterwards"] >= outage["turns"]
    assert outage["authority_reads_per_turn_during"] > outage["authority_reads_per_turn_before"]
    assert [path.name for path in tmp_path.iterdir()] == []  # it leaves nothing behind


def test_one_altered_value_fails_it(demo: Demo, tmp_path: Path) -> None:
    result = demo("--tamper", "--transcript", str(talk(tmp_path / "talk.jsonl", 10)))

    assert result.returncode == 4
    assert re.search(r"\d+ DIFFERENCES? IN", result.stdout)
    assert "Mallory" in result.stdout


def test_a_conversation_of_ones_own_with_documents(demo: Demo, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "small.txt").write_text("a few words")
    (folder / "empty.bin").write_bytes(b"")
    (folder / "large.bin").write_bytes(os.urandom(3_000_000))

    result = demo("--transcript", str(talk(tmp_path / "talk.jsonl", 90)), "--attach", str(folder))

    assert result.returncode == 0, result.stderr + result.stdout
    assert "in hot (here a process of its own, asked over a socket, while SQLite is inside this one)" in result.stdout
    assert "90 turns and 3 documents (3.0 MB)" in result.stdout
    assert "Every value is as it was written" in result.stdout
    for tier in ("hot", "warm", "cold"):
        assert f"\n {tier} " in result.stdout


@pytest.mark.parametrize("turns", [1, 2, 5])
def test_a_conversation_of_a_few_turns(demo: Demo, tmp_path: Path, turns: int) -> None:
    result = demo("--transcript", str(talk(tmp_path / "talk.jsonl", turns)), "--json")

    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["turns"] == turns


def test_with_keep_the_conversation_stays_for_the_other_commands(demo: Demo, tmp_path: Path) -> None:
    file = talk(tmp_path / "talk.jsonl", 65)

    assert demo("--transcript", str(file), "--keep").returncode == 2  # in a folder that is about to go
    result = demo("--transcript", str(file), "--keep", "--home", str(tmp_path / "kept"))

    assert result.returncode == 0, result.stderr
    assert (tmp_path / "kept" / "warm.sqlite3").stat().st_size > 0
    assert list((tmp_path / "kept" / "cold").rglob("*")) != []


def test_services_of_the_environment_are_used_only_on_request(demo: Demo, tmp_path: Path) -> None:
    file = str(talk(tmp_path / "talk.jsonl", 4))

    assert demo("--transcript", file).returncode == 0
    refused = demo("--transcript", file, "--from-env")

    assert refused.returncode == 3
    assert "Redis at 127.0.0.1:1 cannot be reached" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_bad_lines_end_with_2_and_their_number(demo: Demo, tmp_path: Path) -> None:
    file = tmp_path / "talk.jsonl"
    file.write_text('{"role": "user", "text": "x"}\nnonsense\n')

    result = demo("--transcript", str(file))

    assert result.returncode == 2
    assert "talk.jsonl, line 2: is no JSON" in result.stderr


def test_the_quick_start_is_twenty_lines_and_remembers(tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "examples" / "quick_start.py"
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}

    said = [
        subprocess.run(
            [sys.executable, "-X", "dev", "-W", "error", str(script)],
            capture_output=True,
            text=True,
            timeout=60,
            env={**kept, "THERMOCLINE_HOME": str(tmp_path / "home")},
            cwd=tmp_path,
            check=True,
        ).stdout
        for _ in range(2)
    ]

    assert said == [
        "{'visits': 1, 'you last said': 'nothing yet'}\n",
        "{'visits': 2, 'you last said': 'the water is cold today'}\n",
    ]
    lines = [line for line in script.read_text().splitlines() if line.strip()]
    assert len(lines) <= 20
