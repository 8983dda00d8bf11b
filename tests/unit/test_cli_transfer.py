"""migrate, backup and restore as commands, on the embedded tiers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from thermocline.cli.app import app

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command on the embedded tiers of the source; the environment names others, which must not count for the target."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THERMOCLINE_HOME", str(tmp_path / "source"))
    (tmp_path / "target.env").write_text(f"THERMOCLINE_HOME={tmp_path / 'target'}\n")
    (tmp_path / "elsewhere.env").write_text(f"THERMOCLINE_HOME={tmp_path / 'elsewhere'}\nTHERMOCLINE_HOM=x\n")

    def run_it(*words: str) -> Result:
        result = CliRunner().invoke(app, list(words))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run_it


def parsed(result: Result) -> Any:
    return json.loads(result.stdout)


def fill(run: Run) -> None:
    for n in range(3):
        assert run("set", f"n/{n}", str(n), "--tenant", "t", "--scope", "s").exit_code == 0
    assert run("set", "plain", "words").exit_code == 0


def there(run: Run, tmp_path: Path, home: str, tenant: str = "t", scope: str = "s") -> list[str]:
    listed = parsed(run("ls", "--tenant", tenant, "--scope", scope, "--home", str(tmp_path / home), "--json"))
    return sorted(item["name"] for item in listed["items"])


def test_the_steps_of_a_migration(run: Run, tmp_path: Path) -> None:
    fill(run)
    to = ("--to", "target.env", "--quiet", "1")
    assert run("migrate", "status", *to).exit_code == 1
    plan = parsed(run("migrate", "plan", *to, "--json"))
    assert (plan["records"], plan["possible"], plan["request_units"]) == (4, True, 0)
    assert run("migrate", "cut-over", *to).exit_code == 6, "there is none yet"
    assert parsed(run("migrate", "copy", *to, "--dry-run", "--json"))["written"] == 4
    assert there(run, tmp_path, "target") == []
    copied = parsed(run("migrate", "copy", *to, "--json"))
    assert (copied["written"], copied["clean"]) == (4, True)
    assert there(run, tmp_path, "target") == ["n/0", "n/1", "n/2"]
    assert "4 equal" in run("migrate", "verify", *to).stdout
    run("set", "n/1", "anew", "--tenant", "t", "--scope", "s")
    differs = run("migrate", "verify", *to, "--json")
    assert (differs.exit_code, parsed(differs)["different"]) == (
        4,
        ["t/s/n/1: time of writing, kind of value, media type"],
    )
    assert parsed(run("migrate", "dual-write", *to, "--json"))["phase"] == "dual"
    over = run("migrate", "cut-over", *to)
    assert over.exit_code == 0
    assert "the target has the word" in over.stdout
    assert parsed(run("migrate", "status", *to, "--json"))["state"]["phase"] == "target"
    assert run("migrate", "copy", *to).exit_code == 6
    run("set", "n/9", "since", "--tenant", "t", "--scope", "s", "--home", str(tmp_path / "target"))
    assert "the source has the word" in run("migrate", "rollback", *to).stdout
    assert there(run, tmp_path, "source") == ["n/0", "n/1", "n/2", "n/9"]
    assert run("migrate", "cut-over", *to).exit_code == 0
    assert parsed(run("migrate", "finish", *to, "--json"))["phase"] == "done"
    assert run("migrate", "rollback", *to).exit_code == 6


def test_to_another_tenant_and_another_authority_of_the_same_tiers(run: Run, tmp_path: Path) -> None:
    fill(run)
    assert run("migrate", "copy", "--tenant", "t", "--to-tenant", "u", "--name", "rename").exit_code == 0
    assert there(run, tmp_path, "source", "u") == ["n/0", "n/1", "n/2"]
    assert run("migrate", "copy", "--to-authority", "cold", "--name", "cool", "--tenant", "u").exit_code == 0
    found = parsed(run("migrate", "verify", "--to-authority", "cold", "--name", "cool", "--tenant", "u", "--json"))
    assert (found["none"], found["equal"]) == (True, 3)


def test_what_cannot_be_is_told(run: Run) -> None:
    fill(run)
    assert run("migrate", "plan").exit_code == 5
    assert run("migrate", "copy", "--to", "no.env").exit_code == 5
    assert run("migrate", "copy", "--to", "elsewhere.env").exit_code == 5, "a variable that does not exist"
    assert run("migrate", "plan", "--to", "target.env", "--dry-run").exit_code == 2
    assert run("migrate", "sideways", "--to", "target.env").exit_code == 2
    assert run("migrate", "copy", "--to", "target.env").exit_code == 0
    plan = run("migrate", "plan", "--to", "target.env", "--name", "another")
    assert plan.exit_code == 6
    assert "merge" in plan.stderr


def test_a_backup_and_its_way_back(run: Run, tmp_path: Path) -> None:
    fill(run)
    assert run("backup", "kept", "--verify").exit_code == 2
    made = parsed(run("backup", "kept", "--json"))
    assert (made["records"], len(made["chunks"])) == (4, 1)
    assert run("backup", "kept").exit_code == 6
    assert "every checksum fits" in run("backup", "kept", "--verify").stdout
    home = ("--home", str(tmp_path / "back"))
    assert parsed(run("restore", "kept", "--dry-run", "--json", *home))["written"] == 4
    assert parsed(run("restore", "kept", "--tenant", "t", "--json", *home))["outside"] == 1
    assert there(run, tmp_path, "back") == ["n/0", "n/1", "n/2"]
    run("rm", "n/1", "--tenant", "t", "--scope", "s", *home)
    kept = run("restore", "kept", *home)
    assert (kept.exit_code, "1 deleted since" in kept.stdout, "--overwrite" in kept.stdout) == (0, True, True)
    assert parsed(run("restore", "kept", "--overwrite", "--json", *home))["written"] == 1
    chunk = tmp_path / "kept" / "chunk-000001.jsonl"
    chunk.write_bytes(chunk.read_bytes()[:-10])
    assert run("backup", "kept", "--verify").exit_code == 4
    assert run("restore", "kept", "--home", str(tmp_path / "never")).exit_code == 4
    assert there(run, tmp_path, "never") == []
