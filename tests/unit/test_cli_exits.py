"""Exit codes, colour, machine output and the hint without the extra: the command as a process of its own."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import thermocline
from thermocline import errors
from thermocline.cli.terminal import Exit, exit_code

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Runs ``thermocline`` as a process, on embedded tiers of this test."""

    def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "SYSTEMROOT")}
        environment = {**kept, "THERMOCLINE_HOME": str(tmp_path / "home"), **variables}
        return subprocess.run(
            [sys.executable, "-m", "thermocline.cli", *words],
            capture_output=True,
            text=True,
            timeout=60,
            env=environment,
            cwd=tmp_path,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    return run


def test_nothing_configured_works_at_once(command: Command) -> None:
    assert command("set", "hello", "world").returncode == 0
    assert command("get", "hello").stdout == "world\n"


def test_an_unreachable_service_ends_with_3(command: Command) -> None:
    result = command("get", "x", "--blob-account-url", "http://127.0.0.1:1/account?sig=none")
    as_json = command("get", "x", "--blob-account-url", "http://127.0.0.1:1/account?sig=none", "--json")

    assert (result.returncode, as_json.returncode) == (3, 3)
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert json.loads(as_json.stdout)["exit"] == 3


def test_a_corrupt_file_ends_with_4(command: Command, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "warm.sqlite3").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)

    result = command("get", "x")
    doctor = command("doctor", "--json")

    assert result.returncode == 4
    assert "Restore it from a backup" in result.stderr
    assert doctor.returncode == 4
    assert any(not check["ok"] and check["tier"] == "warm" for check in json.loads(doctor.stdout)["checks"])


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"REDIS_URL": "http://wrong"}, "REDIS_URL"),
        ({"THERMOCLINE_HOEM": "/x"}, "THERMOCLINE_HOME"),
        ({"THERMOCLINE_WARM_DEADLINE_MS": "fast"}, "THERMOCLINE_WARM_DEADLINE_MS"),
        ({"COSMOS_KEY": "key"}, "COSMOS_ACCOUNT_URI"),
        ({"COSMOS_KEY": "notbase64", "COSMOS_ACCOUNT_URI": "https://x.documents.azure.com/"}, "COSMOS_KEY"),
        ({"COSMOS_ACCOUNT_URI": "http://127.0.0.1:9/"}, "https is needed for signing in"),
        ({"BLOB_CONTAINER": "Upper"}, "BLOB_CONTAINER: is no container's name"),
    ],
)
def test_a_wrong_setting_ends_with_5_and_is_named(command: Command, variables: dict[str, str], named: str) -> None:
    result = command("get", "x", **variables)

    assert result.returncode == 5
    assert named in result.stderr


def test_a_folder_in_the_way_ends_with_5(command: Command, tmp_path: Path) -> None:
    (tmp_path / "home" / "warm.sqlite3").mkdir(parents=True)

    assert command("get", "x").returncode == 5


def test_settings_come_from_options_before_the_environment_before_the_file(command: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.env").write_text(f"THERMOCLINE_HOME={tmp_path / 'file'}\n")

    assert command("set", "k", "file", "--env-file", "mine.env", THERMOCLINE_HOME="").returncode == 0
    assert command("set", "k", "option", "--home", str(tmp_path / "option")).returncode == 0

    assert (tmp_path / "file" / "warm.sqlite3").exists()
    assert (tmp_path / "option" / "warm.sqlite3").exists()
    assert not (tmp_path / "home").exists()
    assert command("get", "k", "--env-file", "none.env").returncode == 5


@pytest.mark.parametrize("variable", ["BLOB_ACCOUNT_URL", "COSMOS_ACCOUNT_URI"])
def test_who_is_not_signed_in_is_told_so_in_one_line(command: Command, variable: str) -> None:
    # An environment that names half an identity: no command line tool and no metadata service is asked.
    result = command(
        "get", "x", AZURE_TOKEN_CREDENTIALS="EnvironmentCredential", **{variable: "https://nowhere.invalid/"}
    )

    assert result.returncode == 3
    assert "not signed in to Azure" in result.stderr
    assert "`az login`" in result.stderr
    assert "role" not in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_the_doctor_advises_on_embedded_tiers_as_such(command: Command, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("no folder")

    result = command("doctor")
    checks = json.loads(command("doctor", "--json").stdout)["checks"]

    assert "warm, cold cannot be used as they are." in result.stdout
    assert "network" not in result.stdout
    assert "must be folders" in next(check["mend"] for check in checks if check["tier"] == "cold" and not check["ok"])
    assert all(round(taken, 3) == taken for check in checks if (taken := check["milliseconds"]) is not None)


def test_the_doctor_leaves_a_damaged_file_to_its_own_words(command: Command, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "warm.sqlite3").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)

    result = command("doctor")

    assert "warm cannot be used as it is." in result.stdout
    assert "Restore it from a backup" in result.stdout
    assert "network" not in result.stdout


def test_the_version_is_told(command: Command) -> None:
    result = command("--version")

    assert (result.returncode, result.stdout) == (0, f"thermocline {thermocline.__version__}\n")


def test_colour_only_where_it_is_wanted(command: Command) -> None:
    plain = command("doctor")
    forced = command("doctor", FORCE_COLOR="1")
    refused = command("doctor", FORCE_COLOR="1", NO_COLOR="1")
    by_option = command("doctor", "--no-color", FORCE_COLOR="1")

    colour = re.compile(r"\x1b\[[0-9;]*3[0-7]m")
    assert plain.returncode == 0
    assert "\x1b" not in plain.stdout + plain.stderr
    assert colour.search(forced.stdout) is not None
    assert colour.search(refused.stdout + refused.stderr) is None
    assert colour.search(by_option.stdout + by_option.stderr) is None


def test_a_reader_that_has_seen_enough_is_no_error(command: Command, tmp_path: Path) -> None:
    command("set", "long", "x" * 100_000)
    shell = f"{sys.executable} -m thermocline.cli get long --home {tmp_path / 'home'} | head -c 1"

    result = subprocess.run(["/bin/sh", "-c", shell], capture_output=True, text=True, timeout=60, check=False)

    assert result.stdout == "x"
    assert result.stderr == ""


def test_without_the_extra_one_line_says_what_to_install(tmp_path: Path) -> None:
    program = "import sys; sys.modules['typer'] = None; from thermocline.cli import main; main()"

    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert result.returncode == 5
    assert result.stderr == 'the command line needs typer; install it with: pip install "thermocline[cli]"\n'


def test_help_names_every_command(command: Command) -> None:
    result = command("--help")

    assert result.returncode == 0
    assert [verb for verb in ("demo", "get", "set", "rm", "ls", "stat", "doctor") if verb not in result.stdout] == []


def test_every_error_of_the_tree_has_an_exit_code() -> None:
    assert exit_code(errors.ConfigurationError("x")) is Exit.CONFIGURATION
    assert exit_code(errors.TierDamaged("x", tier="warm")) is Exit.CORRUPT
    assert exit_code(errors.AccessDenied("x", tier="warm")) is Exit.UNAVAILABLE
    assert exit_code(errors.UnknownOutcome("x", write_id="w")) is Exit.UNAVAILABLE
    assert exit_code(errors.Conflict("x")) is Exit.CONFLICT
    assert exit_code(errors.NotFound("x")) is Exit.NOT_FOUND
    assert exit_code(errors.TooLarge("x")) is Exit.USAGE
