"""The runbooks: their parts, what they point to, and their commands. Those of ``thermocline`` are parsed as they stand, and marked blocks are run."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from thermocline.cli.app import app
from thermocline.telemetry import METRICS

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "runbooks"
RUNBOOKS = sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")
PAGES = [FOLDER / "README.md", *RUNBOOKS]
PARTS = ["How it shows", "How to confirm", "What to do", "How to know that it is over"]
TRIED = "<!-- tried by tests/docs/test_runbooks.py -->"
ASKED_FOR = {  # by issue 6
    "redis-out-of-memory",
    "hot-partition",
    "blob-throttling",
    "pool-exhausted",
    "wrong-lifetimes",
    "breaker-open",
    "recovery-queue-growing",
    "feed-lag",
    "rotation-failed",
    "region-down",
    "restore-from-backup",
    "forget-request",
}
_SECRET = re.compile(r"--account-key|list-keys|keys list|--connection-string|--key\b|--password|listKeys|--sas", re.I)


def console(text: str) -> list[str]:
    """The commands of the console blocks."""
    blocks = re.findall(r"^ *```console\n(.*?)^ *```", text, re.S | re.M)
    return [line.strip()[2:] for block in blocks for line in block.splitlines() if line.strip().startswith("$ ")]


def prose(text: str) -> list[str]:
    """Those that stand in a line of text, perhaps without their arguments."""
    return re.findall(r"`((?:thermocline|az|azd) [^`]*)`", re.sub(r"```.*?```", "", text, flags=re.S))


def of_thermocline(lines: list[str]) -> list[list[str]]:
    return [
        [word for word in shlex.split(line)[1:] if word != "…"] for line in lines if line.startswith("thermocline ")
    ]


def complaint(words: list[str]) -> tuple[str, str] | None:
    """What the command line has against these words, before anything begins: the kind, by its class, and the text. (typer brings a click of its own, or
    takes the one that is installed, by its version.)"""
    command: Any = typer.main.get_command(app)
    context = command.context_class(command, info_name="thermocline")
    try:
        while hasattr(command, "commands"):
            name, command, words = command.resolve_command(context, words)
            context = command.context_class(command, info_name=name, parent=context)
        command.make_context(context.info_name, words, parent=context.parent)
    except Exception as error:
        kinds = [kind.__name__ for kind in type(error).__mro__]
        if "Exit" in kinds:  # --help
            return None
        if "UsageError" not in kinds:
            raise
        return kinds[0], str(error)
    return None


def rows(page: Path) -> dict[str, str]:
    """Of the table of "How it shows": where, and what."""
    part = page.read_text(encoding="utf-8").split("## How it shows")[1].split("\n## ")[0]
    return dict(re.findall(r"^\| ([^|]+) \| (.+) \|$", part, re.M)[1:])


def figures(text: str) -> list[str]:
    return re.findall(r"`(?:hot|warm|warm_plus|cold|client)\.(\w+)`", text)


def titles() -> set[str]:
    book = json.loads((ROOT / "bicep/workbook/workbook.json").read_text(encoding="utf-8"))
    return {item["content"]["title"] for item in book["items"] if "title" in item["content"]}


def alerts() -> dict[str, str]:
    """The name of each alert, and its runbook's."""
    found = {}
    for name in ("log-alerts", "metric-alerts"):
        for one in json.loads((ROOT / f"bicep/alerts/{name}.json").read_text(encoding="utf-8"))["alerts"]:
            found[one["name"]] = one["runbook"]
    return found | {"service-health": "region-down"}


def test_the_runbooks_that_were_asked_for_are_there() -> None:
    assert {page.stem for page in RUNBOOKS} >= ASKED_FOR


@pytest.mark.parametrize("page", RUNBOOKS, ids=lambda page: page.stem)
def test_each_has_its_four_parts(page: Path) -> None:
    text = page.read_text(encoding="utf-8")

    assert [part for part in re.findall(r"^## (.*)$", text, re.M) if part in PARTS] == PARTS
    for part in PARTS:
        assert len(text.split(f"## {part}")[1].split("\n## ")[0].strip()) > 60, part
    confirm = text.split("## How to confirm")[1].split("\n## ")[0]
    assert console(confirm), "nothing to confirm it with"


@pytest.mark.parametrize("page", RUNBOOKS, ids=lambda page: page.stem)
def test_it_names_alerts_tiles_and_figures_that_there_are(page: Path) -> None:
    shown = rows(page)

    assert set(shown) == {"alerts", "workbook", "`client.stats()`"}
    assert set(re.findall(r"`([\w-]+)`", shown["alerts"])) == {
        name for name, runbook in alerts().items() if runbook == page.stem
    }
    named = re.findall(r"\*([^*]+)\*", shown["workbook"])
    assert named
    assert set(named) - titles() == set()
    assert set(figures(page.read_text(encoding="utf-8"))) - METRICS.keys() == set()


def test_the_index_has_each_with_its_alerts() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| \[([\w-]+)\]\(([\w-]+)\.md\) \| [^|]+ \| (.+) \|$", text, re.M)

    assert [name for name, file, _ in table if name != file] == []
    assert {name for name, _, _ in table} == {page.stem for page in RUNBOOKS}
    listed = {alert: name for name, _, named in table for alert in re.findall(r"`([\w-]+)`", named)}
    assert listed == alerts()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) if not link.startswith("http")]

    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_of_thermocline_are_ones_that_there_are(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    whole, named = of_thermocline(console(text)), of_thermocline(prose(text))
    assert whole or named, "a runbook without a command of thermocline"
    wrong = {shlex.join(words): complaint(list(words)) for words in whole}
    for words in named:
        found = complaint(list(words))
        if found is None or found[0] != "MissingParameter":  # a text need not repeat them
            wrong[shlex.join(words)] = found

    assert {words: found for words, found in wrong.items() if found is not None} == {}


@pytest.mark.parametrize("line", ["doctor --now", "mend", "sweep --max-duration", "backup", "forget --scope user/42"])
def test_a_command_that_there_is_not_is_seen(line: str) -> None:
    assert complaint(shlex.split(line)) is not None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_of_azure_take_names_from_the_environment_and_no_keys(page: Path) -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    given = set(re.findall(r"^\$ (\w+)=", text, re.M))
    given |= set(re.findall(r"^output (\w+) ", (ROOT / "infra/main.bicep").read_text(encoding="utf-8"), re.M))
    given |= {"PAYLOAD", "VERSION"}  # of the reader's case
    text = page.read_text(encoding="utf-8")
    for line in [*console(text), *prose(text)]:
        assert _SECRET.search(line) is None, line
        assert set(re.findall(r"\$(\w+)", line)) - given == set(), line


def test_a_key_on_a_command_line_would_be_seen() -> None:
    assert _SECRET.search('az storage blob list --account-name "$COLD" --account-key "$KEY"')
    assert _SECRET.search("az cosmosdb keys list --name memory")


WITH_TRIED = [page for page in RUNBOOKS if TRIED in page.read_text(encoding="utf-8")]


@pytest.mark.parametrize("page", WITH_TRIED, ids=lambda page: page.stem)
def test_marked_commands_work_on_embedded_tiers(page: Path, tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    for block in page.read_text(encoding="utf-8").split(TRIED)[1:]:
        lines = console(block.split("```")[1].join(("```", "```")))
        assert lines
        for line in lines:
            done = subprocess.run(
                [sys.executable, "-m", "thermocline.cli", *shlex.split(line)[1:]],
                capture_output=True,
                text=True,
                timeout=60,
                env={**kept, "THERMOCLINE_HOME": str(tmp_path / "home")},
                cwd=tmp_path,
                check=False,
            )
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


def test_some_runbooks_are_tried() -> None:
    assert len(WITH_TRIED) >= 3
