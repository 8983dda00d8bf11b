"""get, set, rm and ls on the embedded tiers, by typer's own runner."""

import base64
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from thermocline.cli.app import app

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command on the embedded tiers of this test, in a folder without a .env."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")

    def run_it(*words: str, stdin: bytes | str | None = None) -> Result:
        result = CliRunner().invoke(app, [*words, "--home", str(tmp_path / "home")], input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run_it


def parsed(result: Result) -> Any:
    return json.loads(result.stdout)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("42", 42),
        ("null", None),
        ('""', ""),
        ("{}", {}),
        ("0", 0),
        ("false", False),
        ("plain words", "plain words"),
        ('{"a": [1, "ü"]}', {"a": [1, "ü"]}),
        ("NaN", "NaN"),
        ("12345678901234567890123", 12345678901234567890123),
    ],
)
def test_what_is_json_is_stored_as_json_and_the_rest_as_text(run: Run, word: str, value: Any) -> None:
    assert run("set", "key", word).exit_code == 0
    got = parsed(run("get", "key", "--json"))

    assert got["found"] is True
    assert got["value"] == value
    assert type(got["value"]) is type(value)


def test_text_and_bytes_on_request(run: Run) -> None:
    run("set", "text", "42", "--text")
    run("set", "bytes", "42", "--bytes")

    assert parsed(run("get", "text", "--json"))["value"] == "42"
    assert parsed(run("get", "bytes", "--json"))["base64"] == base64.b64encode(b"42").decode()
    assert run("set", "json", "no json", "--only-json").exit_code == 2
    assert run("set", "both", "1", "--text", "--bytes").exit_code == 2


def test_values_from_standard_input_and_files_come_back_byte_by_byte(run: Run, tmp_path: Path) -> None:
    data = bytes(range(256)) * 10
    (tmp_path / "in").write_bytes(data)

    assert run("set", "stdin", stdin=data).exit_code == 0
    assert run("set", "dash", "-", stdin="from a pipe\n").exit_code == 0
    assert run("set", "file", "--file", str(tmp_path / "in")).exit_code == 0

    assert run("get", "stdin").stdout_bytes == data
    assert run("get", "dash").stdout == "from a pipe\n"
    assert run("get", "file", "--output", str(tmp_path / "out")).exit_code == 0
    assert (tmp_path / "out").read_bytes() == data
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_missing_value_ends_with_1(run: Run) -> None:
    result = run("get", "nothing")
    as_json = run("get", "nothing", "--json")

    assert (result.exit_code, as_json.exit_code) == (1, 1)
    assert "there is no value under 'nothing'" in result.stderr
    assert result.stdout == ""
    assert parsed(as_json)["found"] is False


def test_keys_of_a_scope_are_others(run: Run) -> None:
    run("set", "name", "plain")
    run("set", "name", "scoped", "--scope", "user/1")
    run("set", "name", "theirs", "--scope", "user/1", "--tenant", "other")

    assert run("get", "name").stdout == "plain\n"
    assert run("get", "name", "--scope", "user/1").stdout == "scoped\n"
    assert run("get", "name", "--scope", "user/1", "--tenant", "other").stdout == "theirs\n"
    assert [item["name"] for item in parsed(run("ls", "--scope", "user/1", "--json"))["items"]] == ["name"]
    assert run("get", "name", "--tenant", "other").exit_code == 2


def test_conditions_lifetimes_and_tags(run: Run) -> None:
    first = parsed(run("set", "key", "1", "--ttl", "2h", "--tag", "kind=test", "--if-absent", "--json"))
    refused = run("set", "key", "2", "--if-absent")
    wrong = run("set", "key", "2", "--if-version", "7")
    again = run("set", "key", "2", "--if-version", str(first["version"]), "--ttl", "never")

    assert (refused.exit_code, wrong.exit_code, again.exit_code) == (6, 6, 0)
    assert first["expires"] is not None
    assert first["durable"] is True
    got = parsed(run("get", "key", "--json"))
    assert (got["value"], got["expires"]) == (2, None)


@pytest.mark.parametrize(
    "words",
    [
        ("set", "key", "1", "--ttl", "soon"),
        ("set", "key", "1", "--ttl", "-5s"),
        ("set", "key", "1", "--tag", "no equals sign"),
        ("set", "key", "1", "--file", "/no/such/file"),
        ("set", "", "1"),
        ("get", "x" * 20_000),
        ("ls", "--tenant", "t"),
        ("ls", "--cursor", "made up"),
        ("get", "key", "--no-such-option"),
    ],
)
def test_bad_usage_ends_with_2_and_says_why(run: Run, words: tuple[str, ...]) -> None:
    result = run(*words)

    assert result.exit_code == 2
    assert result.stderr.strip() != ""


def test_rm_deletes_and_says_what_was_not_there(run: Run) -> None:
    run("set", "a", "1")
    run("set", "b", "2")

    result = run("rm", "a", "b", "c", "--json")

    assert result.exit_code == 1
    assert parsed(result) == {"deleted": ["a", "b"], "missing": ["c"]}
    assert run("get", "a").exit_code == 1
    assert run("rm", "b").exit_code == 1


def test_ls_goes_on_where_it_ended(run: Run) -> None:
    for number in range(7):
        run("set", f"turn/{number}", "x", "--scope", "s")
    run("set", "other", "x", "--scope", "s")

    seen: list[str] = []
    cursor: list[str] = []
    for _ in range(4):
        page = parsed(run("ls", "turn/", "--scope", "s", "--limit", "3", "--json", *cursor))
        seen += [item["name"] for item in page["items"]]
        if page["cursor"] is None:
            break
        cursor = ["--cursor", page["cursor"]]
    table = run("ls", "--scope", "s")

    assert sorted(seen) == [f"turn/{number}" for number in range(7)]
    assert "other" in table.stdout
    assert "8 keys" in table.stderr


def test_a_large_value_is_listed_where_its_payload_lies(run: Run) -> None:
    run("set", "small", "--scope", "s", stdin=bytes(range(256)) * 10)
    run("set", "random", "--scope", "s", stdin=random.Random(1).randbytes(300_000))

    tiers = {item["name"]: item["tier"] for item in parsed(run("ls", "--scope", "s", "--json"))["items"]}
    assert tiers == {"small": "warm", "random": "cold"}
