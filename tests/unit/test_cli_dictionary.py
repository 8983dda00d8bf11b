"""dictionary train, list, show, remove as commands, on the embedded tiers; and the setting that makes programs write with one."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from thermocline import ConfigurationError, Key, MemoryClient, MemorySettings, SqliteMemory
from thermocline.cli.app import app
from thermocline.wiring import builder

Run = Callable[..., Result]


async def fill(home: Path, *, tenant: str = "acme", each: int = 6) -> None:
    """Of twenty people some notes that are alike, each with something of its own."""
    async with MemoryClient(warm=SqliteMemory(home / "warm.sqlite3")) as memory:
        await memory.set_many(
            {
                Key(tenant, f"user/{person}", f"note/{n}"): {
                    "kind": "preference",
                    "spoken": f"whoever asks person{person * 7919} is told that tea is better than coffee {n}",
                    "source": {"channel": "web", "model": "gpt-5-mini", "confidence": n + 0.5},
                    "tags": ["drinks", "taste", f"own{person * 104729 + n}"],
                }
                for person in range(20)
                for n in range(each)
            }
        )


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THERMOCLINE_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    asyncio.run(fill(tmp_path / "home"))

    def run_it(*words: str) -> Result:
        result = CliRunner().invoke(app, list(words))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run_it


def parsed(result: Result) -> Any:
    return json.loads(result.stdout)


def test_train_list_show_use_and_remove(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert parsed(run("dictionary", "list", "--tenant", "acme", "--json")) == {"dictionaries": [], "latest": None}
    assert "has no dictionaries" in run("dictionary", "list").stdout
    tried = parsed(run("dictionary", "train", "--tenant", "acme", "--dry-run", "--json"))
    assert (tried["stored"], tried["why"], tried["shared_by"]) == (False, "a dry run", 10)
    assert tried["packed"] < tried["without"] <= tried["raw"]

    trained = run("dictionary", "train", "--tenant", "acme", "--size", "16k")
    assert trained.exit_code == 0, trained.output
    assert "THERMOCLINE_DICTIONARY=latest" in trained.stdout
    again = parsed(run("dictionary", "train", "--tenant", "acme", "--size", "16384", "--json"))
    number = again["id"]
    assert (again["stored"], again["new"]) == (True, False)
    listed = parsed(run("dictionary", "list", "--tenant", "acme", "--json"))
    assert ([one["id"] for one in listed["dictionaries"]], listed["latest"]) == ([number], number)
    assert f"{number} " in run("dictionary", "list", "--tenant", "acme").stdout

    monkeypatch.setenv("THERMOCLINE_DICTIONARY", "latest")
    words = ("--tenant", "acme", "--scope", "user/1")
    value = '{"kind":"preference","spoken":"whoever asks is told that tea is better than coffee","source":{"channel":"web","model":"gpt-5-mini"}}'
    assert run("set", "note/new", value, *words).exit_code == 0
    monkeypatch.delenv("THERMOCLINE_DICTIONARY")
    assert json.loads(run("get", "note/new", *words).stdout) == json.loads(value)
    stat = parsed(run("stat", "note/new", *words, "--json"))
    assert f"zstd {number}" in {tier["compressor"] for tier in stat["tiers"]}

    shown = parsed(run("dictionary", "show", number, "--tenant", "acme", "--count", "--save", "one.zdict", "--json"))
    assert (shown["records"], shown["size"]) == (1, (tmp_path / "one.zdict").stat().st_size)
    assert f"dictionary {number}" in run("dictionary", "show", number, "--tenant", "acme").stdout
    assert run("dictionary", "show", number, "--tenant", "acme", "--save", "one.zdict").exit_code == 2
    assert run("dictionary", "show", number).exit_code == 1, "the default tenant has none"

    refused = run("dictionary", "remove", number, "--tenant", "acme")
    assert (refused.exit_code, "--yes" in refused.stderr) == (2, True)
    assert run("dictionary", "remove", number, "--tenant", "acme", "--yes").exit_code == 6
    assert run("rm", "note/new", *words).exit_code == 0
    assert run("dictionary", "remove", number, "--tenant", "acme", "--yes").exit_code == 0
    assert parsed(run("dictionary", "list", "--tenant", "acme", "--json"))["latest"] is None


def test_what_forget_could_not_undo_is_asked_for(run: Run) -> None:
    refused = run("dictionary", "train", "--tenant", "acme", "--shared-by", "1")
    assert refused.exit_code == 2
    assert "forgotten" in refused.stderr
    made = run("dictionary", "train", "--tenant", "acme", "--shared-by", "1", "--yes", "--json")
    assert parsed(made)["stored"]
    assert "forget does not undo it" in run("dictionary", "show", parsed(made)["id"], "--tenant", "acme").stdout
    told = run("forget", "--tenant", "acme", "--scope", "user/3", "--by", "me", "--longest-write", "1")
    assert told.exit_code == 4
    assert f"dictionary {parsed(made)['id']}" in told.stderr


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("train", "--size", "big"), "--size is a number of bytes"),
        (("train", "--size", "1"), "1024 to 131072 bytes"),
        (("train", "--samples", "3"), "samples is a whole number"),
        (("train", "--shared-by", "0"), "shared_by is a whole number"),
        (("train", "--shared-by", "30"), "of more scopes"),
        (
            ("train", "--prefix", "nothing/"),
            "no values to learn from in the tenant 'acme', all scopes, names nothing/*",
        ),
        (("train", "--scope", "user/3"), "6 values to learn from in the tenant 'acme', the scope 'user/3', names *"),
        (("show", "12"), "8 hexadecimal digits"),
        (("remove", "latest", "--yes"), "8 hexadecimal digits"),
    ],
)
def test_bad_words_are_refused_with_what_to_do(run: Run, words: tuple[str, ...], why: str) -> None:
    result = run("dictionary", *words, "--tenant", "acme")
    assert (result.exit_code, why in result.stderr) == (2, True), result.stderr


def test_the_setting_is_checked() -> None:
    assert MemorySettings(env_file=None).dictionary is None
    assert MemorySettings(env_file=None, dictionary="off").dictionary is None
    assert MemorySettings(env_file=None, dictionary="latest").dictionary == "latest"
    with pytest.raises(ConfigurationError, match=r"THERMOCLINE_DICTIONARY.*8 hexadecimal digits"):
        MemorySettings(env_file=None, dictionary="newest")
    with pytest.raises(ConfigurationError, match="THERMOCLINE_COMPRESSION"):
        builder(MemorySettings(env_file=None, dictionary="latest", compression="gzip"))
