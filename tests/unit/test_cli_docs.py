"""docs/command-line.md says what the command does: its commands, options and exit codes, and its first example, executed."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import typer

import thermocline.cli
from thermocline.cli.app import app
from thermocline.cli.terminal import Exit, counted

PAGE = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text(encoding="utf-8")


def test_every_command_and_shared_option_is_on_the_page() -> None:
    group = typer.main.get_command(app)
    commands = getattr(group, "commands")  # noqa: B009 - typer's own type for it differs between its versions
    shared = {
        option
        for parameter in commands["get"].params
        for option in parameter.opts
        if option.startswith(("--redis", "--cosmos", "--blob", "--home", "--env", "--json", "--no-color"))
    }

    assert set(re.findall(r"^\| `(\w+)[^|]*` \|", PAGE, re.MULTILINE)) == set(commands)
    assert {option for option in shared if f"`{option}" not in PAGE} == set()
    assert len(shared) == 11


def test_every_option_of_a_command_that_the_page_names_exists() -> None:
    commands = [*getattr(typer.main.get_command(app), "commands").values()]  # noqa: B009
    commands += [one for command in commands for one in getattr(command, "commands", {}).values()]
    known = {option for command in commands for parameter in command.params for option in parameter.opts}

    assert set(re.findall(r"`(--[a-z-]+)", PAGE)) - known == set()


def test_help_shows_no_name_of_a_variable() -> None:
    commands = [*getattr(typer.main.get_command(app), "commands").values()]  # noqa: B009
    commands += [one for command in commands for one in getattr(command, "commands", {}).values()]
    shown = {command.name: command.get_help(typer.Context(command)) for command in commands}

    assert len(shown) > 20
    assert {name: text for name, text in shown.items() if re.search(r"\w_\b", text)} == {}


def test_numbers_of_things_are_counted_in_words() -> None:
    """One is "1 record", by `counted`: no text of a command has a number and a plural beside each other."""
    plural = re.compile(
        r"\} (?:live |request )?(?:call|comparison|document|key|letter|line|payload|record|request|unit|value)s\b"
    )
    files = Path(thermocline.cli.__file__).parent.rglob("*.py")

    assert [f"{path.name}: {found}" for path in files for found in plural.findall(path.read_text("utf-8"))] == []
    assert (counted(1, "record"), counted(0, "record"), counted(2, "record")) == ("1 record", "0 records", "2 records")


def test_every_exit_code_is_on_the_page() -> None:
    assert [int(code) for code in re.findall(r"^\| (\d) \|", PAGE, re.MULTILINE)] == [int(code) for code in Exit]


def test_the_first_look_works_as_it_is_printed(tmp_path: Path) -> None:
    block = PAGE.split("<!-- executed by tests/unit/test_cli_docs.py -->")[1].split("```")[1]
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    steps = re.findall(r"^\$ thermocline (.*)\n((?:[^$\n].*\n)*)", block, re.MULTILINE)

    assert len(steps) == 8
    for words, expected in steps:
        result = subprocess.run(
            [sys.executable, "-m", "thermocline.cli", *shlex.split(words)],
            capture_output=True,
            text=True,
            timeout=60,
            env={**kept, "THERMOCLINE_HOME": str(tmp_path / "home")},
            cwd=tmp_path,
            check=True,
        )
        if expected:
            assert result.stdout == expected
