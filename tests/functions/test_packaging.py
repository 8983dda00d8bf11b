"""What an app is packed with: pinned by the lock, installed for Azure's machines, and enough for the worker to run it."""

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from infra.hooks import prepackage
from tests.functions.runtime_313 import ROOT, python_313, under_runtime

APPS = sorted(prepackage.EXTRAS)


def uv() -> str:
    """uv, as make has it; without one the test is skipped."""
    for candidate in (shutil.which("uv"), ROOT / ".uv" / "bin" / "uv"):
        if candidate is not None and Path(candidate).exists():
            return str(candidate)
    pytest.skip("needs uv on PATH")


def test_every_app_has_its_extras_and_every_extra_its_app() -> None:
    assert {path.parent.name for path in (ROOT / "apps").glob("*/function_app.py")} == set(APPS)


def test_requirements_are_what_the_lock_says() -> None:
    assert prepackage.outdated(uv()) == [], "run: make apps"


def test_the_hook_says_which_requirements_are_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "checkout"
    for name in ("pyproject.toml", "uv.lock", "apps", "infra/hooks"):
        source, target = ROOT / name, copy / name
        target.parent.mkdir(parents=True, exist_ok=True)
        leave = shutil.ignore_patterns(".python_packages", "wheels", "__pycache__")
        if source.is_dir():
            shutil.copytree(source, target, ignore=leave)
        else:
            shutil.copy(source, target)
    old = copy / "apps" / "memory-worker" / "requirements.txt"
    old.write_text(old.read_text().replace("aiohttp==", "aiohttp>="))
    command = [sys.executable, str(copy / "infra/hooks/prepackage.py"), "--check", "--uv", uv()]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)

    assert ran.returncode == 1
    assert ran.stderr.strip() == "requirements.txt is out of date in memory-worker: make apps"


@pytest.mark.parametrize("app", APPS)
def test_requirements_pin_everything_and_name_no_machine(app: str) -> None:
    lines = (ROOT / "apps" / app / "requirements.txt").read_text().splitlines()

    wheel, *pins = [line for line in lines if not line.startswith("#")]
    assert wheel.startswith(f"./wheels/{prepackage.wheel_name()}[")
    assert [pin for pin in pins if "==" not in pin.partition(";")[0]] == []
    assert {"azure-functions", "azure-cosmos", "redis"} <= {pin.partition("==")[0] for pin in pins}
    assert [line for line in lines if "://" in line or "index-url" in line] == []


@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="the packages are for Linux on x86-64"
)
def test_a_packed_app_is_indexed_by_the_worker_from_what_was_packed(tmp_path: Path) -> None:
    python_313()
    folder = tmp_path / "memory-worker"
    leave = shutil.ignore_patterns(".python_packages", "wheels", "__pycache__", "local.settings.json")
    shutil.copytree(ROOT / "apps" / "memory-worker", folder, ignore=leave)
    prepackage.build(uv(), [folder])
    prepackage.install(uv(), folder)

    assert prepackage.packed(folder)
    packages = folder / prepackage.PACKAGES
    told = under_runtime(folder, [{"function": "health", "http": {}}], {"PYTHONPATH": str(packages)})

    assert Path(told["library"]).is_relative_to(packages)
    assert "settle_changes" in told["functions"]
    assert told["results"][0]["status"] == 503, "nothing is configured"


def test_what_is_packed_counts_only_while_nothing_of_it_has_changed(tmp_path: Path) -> None:
    folder = tmp_path / "memory-worker"
    (folder / prepackage.PACKED).parent.mkdir(parents=True)
    (folder / "requirements.txt").write_text("redis==8.1.0\n")

    assert not prepackage.packed(folder)
    (folder / prepackage.PACKED).write_text(prepackage.made_of(folder))
    assert prepackage.packed(folder)
    (folder / "requirements.txt").write_text("redis==8.1.1\n")
    assert not prepackage.packed(folder)
