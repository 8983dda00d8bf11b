"""The commands ``letters`` on the embedded tiers, by typer's own runner."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from thermocline import Key, SqliteMemory
from thermocline.cli.app import app
from thermocline.clock import Deadline
from thermocline.feed.places import NoteLetters
from thermocline.keys import cosmos_id
from thermocline.letters import LASTING, Cause, Letter, letter_id, outline, partition_of

Run = Callable[..., Result]
KEYS = [Key("acme", "user/1", "profile"), Key("acme", "user/2", "profile"), Key("other", "s", "name")]


def letter_of(key: Key, cause: Cause) -> Letter:
    item: dict[str, Any] = {"id": cosmos_id(key), "tenant": key.tenant, "scope": key.scope, "n": key.name, "v": 7}
    known = None if cause is Cause.CORRUPT else key
    version = 0 if known is None else 7
    told, where = outline(item), partition_of(item)
    return Letter(letter_id(item), cause, f"it is {cause.value}", known, where, version, 5, 1_763_000_000_000, told)


LETTERS = [
    letter_of(KEYS[0], Cause.UNAVAILABLE),
    letter_of(KEYS[1], Cause.UNAVAILABLE),
    letter_of(KEYS[2], Cause.CORRUPT),
]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command on the embedded tiers of this test, in a folder without a .env."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")

    def run_it(*words: str) -> Result:
        result = CliRunner().invoke(app, ["letters", *words, "--home", str(tmp_path / "home")])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run_it


@pytest.fixture
def filled(run: Run, tmp_path: Path) -> Run:
    """Two letters that can be replayed and one that cannot; the key of the first has a value."""

    async def fill() -> None:
        warm = SqliteMemory(tmp_path / "home" / "warm.sqlite3")
        await warm.connect()
        for letter in LETTERS:
            await NoteLetters(warm).put(letter, deadline=Deadline.after(30))
        await warm.close()

    assert run("list").exit_code == 0  # makes the folder
    asyncio.run(fill())
    return run


def parsed(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def listed(run: Run, *words: str) -> list[str]:
    return sorted(letter["id"] for letter in parsed(run("list", "--json", *words))["letters"])


def test_none(run: Run) -> None:
    assert run("list").stdout == "no dead letters\n"
    assert parsed(run("list", "--json")) == {"letters": [], "cursor": None}


def test_list_and_its_filters(filled: Run) -> None:
    assert listed(filled) == sorted(letter.id for letter in LETTERS)
    assert listed(filled, "--cause", "corrupt") == [LETTERS[2].id]
    assert listed(filled, "--tenant", "acme", "--scope", "user/2") == [LETTERS[1].id]
    told = filled("list").stdout
    assert "acme/user/1/profile" in told
    assert f"other/s/? ({cosmos_id(KEYS[2])})" in told


def test_list_in_pages(filled: Run) -> None:
    seen, cursor = [], None
    while True:
        page = parsed(filled("list", "--json", "--limit", "1", *([] if cursor is None else ["--cursor", cursor])))
        seen += page["letters"]
        cursor = page["cursor"]
        if cursor is None:
            break
    assert sorted(letter["id"] for letter in seen) == sorted(letter.id for letter in LETTERS)
    assert "--cursor" in filled("list", "--limit", "1").stderr


def test_show(filled: Run) -> None:
    told = parsed(filled("show", LETTERS[0].id, "--json"))
    assert told["key"] == {"tenant": "acme", "scope": "user/1", "name": "profile"}
    assert (told["cause"], told["version"], told["attempts"]) == ("unavailable", 7, 5)
    assert told["set_aside"].startswith("2025-11-13T")
    assert "it is corrupt" in filled("show", LETTERS[2].id).stdout
    missing = filled("show", "0" * 40)
    assert (missing.exit_code, missing.stderr) == (1, f"thermocline: there is no dead letter {'0' * 40}\n")


def test_replay_by_id_and_by_cause(filled: Run) -> None:
    assert parsed(filled("replay", LETTERS[0].id, "--json")) == {"settled": 1, "kept": {}, "stopped": ""}
    assert "1 letter settled, 0 kept" in filled("replay", "--all", "--cause", "unavailable").stdout
    assert listed(filled) == [LETTERS[2].id]
    kept = filled("replay", "--all")
    assert kept.exit_code == 4
    assert "mend the document" in kept.stderr
    assert filled("replay", "0" * 40).exit_code == 1


def test_drop(filled: Run) -> None:
    assert parsed(filled("drop", LETTERS[0].id, "--json")) == {"dropped": 1, "missing": []}
    assert filled("drop", LETTERS[0].id).exit_code == 1
    assert parsed(filled("drop", "--all", "--tenant", "other", "--json"))["dropped"] == 1
    assert listed(filled) == [LETTERS[1].id]


def test_a_damaged_letter_is_dropped_by_its_id(filled: Run, tmp_path: Path) -> None:
    async def damage() -> None:
        warm = SqliteMemory(tmp_path / "home" / "warm.sqlite3")
        await warm.connect()
        await warm.write_note("letters/" + "d" * 40, b"damaged", lasting=LASTING, deadline=Deadline.after(30))
        await warm.close()

    asyncio.run(damage())
    assert "drop it by its id" in filled("show", "d" * 40).stderr
    assert parsed(filled("drop", "d" * 40, "--json")) == {"dropped": 1, "missing": []}
    assert filled("drop", "d" * 40).exit_code == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("replay",), "say which letters"),
        (("drop", "an-id", "--all"), "not both"),
        (("drop", "an-id", "--cause", "corrupt"), "go with --all"),
        (("list", "--scope", "user/1"), "the scope's tenant"),
    ],
)
def test_what_cannot_be_asked_for(filled: Run, words: tuple[str, ...], told: str) -> None:
    result = filled(*words)
    assert result.exit_code == 2
    assert told in result.stderr
    assert len(listed(filled)) == 3
