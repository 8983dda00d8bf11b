"""The look at what was built, after azd has built it: the real doctor, over a real Redis."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from infra.hooks.postprovision import PAUSE, examine, interpreter, main
from tests.infra.built import ROOT

from thermocline.testing.rig.redis import RedisServer

HOOK: Final = ROOT / "infra" / "hooks" / "postprovision.py"


def variables(tmp_path: Path, **given: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return {**kept, "HOME": str(tmp_path), "THERMOCLINE_HOME": str(tmp_path / "home"), **given}


def nobody_waits(seconds: float) -> None:
    raise AssertionError(f"waited {seconds} s")


def test_what_answers_is_well(redis_server: RedisServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert examine(sys.executable, variables(tmp_path, REDIS_URL=redis_server.url), nobody_waits) == 0
    assert "hot" in capfd.readouterr().out


def test_it_looks_again_until_a_role_counts(redis_server: RedisServer, tmp_path: Path) -> None:
    given = variables(tmp_path, REDIS_URL="redis://127.0.0.1:1")
    waited: list[float] = []

    def pause(seconds: float) -> None:
        waited.append(seconds)
        given["REDIS_URL"] = redis_server.url

    assert examine(sys.executable, given, pause) == 0
    assert waited == [PAUSE]


def test_it_does_not_look_for_ever(tmp_path: Path) -> None:
    waited: list[float] = []

    code = examine(sys.executable, variables(tmp_path, REDIS_URL="redis://127.0.0.1:1"), waited.append, tries=2)

    assert code == 3
    assert waited == [PAUSE]


def test_a_setting_that_is_wrong_is_not_tried_again(tmp_path: Path) -> None:
    assert examine(sys.executable, variables(tmp_path, THERMOCLINE_HOM="x"), nobody_waits) == 5


def test_private_services_are_not_examined_from_outside(capfd: pytest.CaptureFixture[str]) -> None:
    assert (
        main({"AZURE_THERMOCLINE_BUILT": "regulated", "COSMOS_ACCOUNT_URI": "https://cosmos.example"}, nobody_waits)
        == 0
    )
    assert "From inside the network: azd env get-values > .env && thermocline doctor" in capfd.readouterr().out


def test_without_outputs_it_says_how_to_get_them(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(HOOK)],
        env=variables(tmp_path),
        cwd=HOOK.parent,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, "azd env refresh" in done.stdout) == (1, True)


def test_without_the_library_it_says_how_to_get_it_from_the_checkout(tmp_path: Path) -> None:
    """Not by its name, which on PyPI is nobody's, or somebody's."""
    bare, hook = tmp_path / "bare", tmp_path / "infra" / "hooks" / HOOK.name
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    hook.parent.mkdir(parents=True)
    hook.write_text(HOOK.read_text(encoding="utf-8"), encoding="utf-8")
    done = subprocess.run(
        [str(bare / "bin" / "python"), str(hook)],
        env=variables(tmp_path, COSMOS_ACCOUNT_URI="https://cosmos.example"),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0
    assert "nothing was examined" in done.stdout
    assert "pip install '.[azure,cli]'" in done.stdout


def test_there_is_a_python_that_has_the_library() -> None:
    assert interpreter() is not None
