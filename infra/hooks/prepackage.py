"""Before azd packs the apps: the library's wheel and all packages go into each app's folder, as Azure will run them.

What each app needs stands in its requirements.txt, pinned by uv.lock (``--lock`` writes it anew, ``--check`` compares). The packages are put beside the
code for Linux on x86-64 and Python 3.13, whatever this machine has, because the build service of Flex Consumption may take another Python
(azure.yaml says remoteBuild: false). Standard library only; uv does the work, and is fetched by pip into a temporary folder where there is none.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
UV_VERSION = "0.13.9"
EXTRAS = {
    "memory-worker": ("azure", "azure-monitor", "functions"),
    "memory-api": ("azure", "azure-monitor", "functions", "service"),
    "agent-sample": ("azure", "azure-monitor", "functions", "service"),
}
PYTHON = "3.13"
PLATFORM = "x86_64-manylinux_2_28"
PACKAGES = Path(".python_packages") / "lib" / "site-packages"  # where the worker looks
PACKED = Path(".python_packages") / "packed"  # of what the packages beside it were made
_HEAD = "# Written by `make apps` from uv.lock and infra/hooks/prepackage.py; the wheel is built into wheels/ when the app is packed.\n"


def wheel_name() -> str:
    """The file that the build makes of this version."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        version = tomllib.load(file)["project"]["version"]
    return f"thermocline-{version}-py3-none-any.whl"


@contextmanager
def found_uv(given: str | None) -> Iterator[str]:
    """uv: the one named, of PATH, of ``make``, or a temporary one. Raises SystemExit, with what to do, if none can be had."""
    for candidate in (given, shutil.which("uv"), ROOT / ".uv" / "bin" / "uv"):
        if candidate is not None and Path(candidate).exists():
            yield str(Path(candidate).absolute())
            return
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", folder, f"uv=={UV_VERSION}"]
        if subprocess.run(command, check=False).returncode != 0:  # noqa: S603 - our own words
            sys.exit("The apps are packed by uv, and there is none: install it (docs.astral.sh/uv), and try again.")
        yield str(Path(folder) / "bin" / "uv")


def run(*command: str | Path, folder: Path = ROOT) -> str:
    """What a command printed. Raises SystemExit with what it complained of."""
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    ran = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True, env=environment)  # noqa: S603
    if ran.returncode != 0:
        sys.exit(f"{' '.join(map(str, command[:4]))} … failed in {folder}:\n{ran.stderr.strip()}")
    return ran.stdout


def requirements(uv: str, extras: Sequence[str]) -> str:
    """A requirements file: the wheel with its extras, and every package that these bring, pinned by the lock."""
    options = ["--frozen", "--no-dev", "--no-emit-project", "--no-hashes", "--no-header", "--no-annotate"]
    named = [word for extra in extras for word in ("--extra", extra)]
    pins = run(uv, "export", "--quiet", *options, *named)
    return f"{_HEAD}./wheels/{wheel_name()}[{','.join(extras)}]\n{pins}"


def outdated(uv: str) -> list[str]:
    """The apps whose requirements.txt is not what the lock says now."""
    return [
        app
        for app, extras in EXTRAS.items()
        if not (file := ROOT / "apps" / app / "requirements.txt").exists()
        or file.read_text() != requirements(uv, extras)
    ]


def build(uv: str, apps: Sequence[Path]) -> None:
    """Put the library's wheel, and no older one, into ``wheels/`` of each app's folder."""
    with tempfile.TemporaryDirectory() as folder:
        run(uv, "build", "--quiet", "--wheel", "--out-dir", folder)
        wheel = Path(folder) / wheel_name()
        for app in apps:
            wheels = app / "wheels"
            shutil.rmtree(wheels, ignore_errors=True)
            wheels.mkdir()
            shutil.copy(wheel, wheels)


def made_of(folder: Path) -> str:
    """The digest of everything that an app's packages are made of: what it pins, the library, this file."""
    sources = [ROOT / "pyproject.toml", Path(__file__), folder / "requirements.txt"]
    sources += sorted(path for path in (ROOT / "lib").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    digest = hashlib.sha256()
    for path in sources:
        digest.update(f"{path.name}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def packed(folder: Path) -> bool:
    """Whether the app's folder has the packages already, whole and of what is here now."""
    note = folder / PACKED
    return note.exists() and note.read_text() == made_of(folder)


def install(uv: str, folder: Path) -> None:
    """Put what ``requirements.txt`` of an app's folder names beside its code, for Azure's machines. What was there before goes."""
    target = folder / PACKAGES
    (folder / PACKED).unlink(missing_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    chosen = [
        "--python-version",
        PYTHON,
        "--python-platform",
        PLATFORM,
        "--only-binary",
        ":all:",
        "--link-mode",
        "copy",
    ]
    python = ["--python", sys.executable]  # any: nothing is installed into it
    run(uv, "pip", "install", "--quiet", *python, *chosen, "--target", target, "-r", "requirements.txt", folder=folder)
    (folder / PACKED).write_text(made_of(folder))  # last: a run that was stopped half-way counts for nothing


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--lock", action="store_true", help="write each app's requirements.txt by uv.lock first")
    parser.add_argument("--check", action="store_true", help="only say which requirements.txt is out of date")
    parser.add_argument("--no-packages", action="store_true", help="the wheel alone")
    parser.add_argument("--uv", help="the uv to use (default: of PATH)")
    args = parser.parse_args(arguments)
    apps = {app: ROOT / "apps" / app for app in EXTRAS}
    with found_uv(args.uv) as uv:
        if args.lock:
            for app, folder in apps.items():
                (folder / "requirements.txt").write_text(requirements(uv, EXTRAS[app]))
        elif old := outdated(uv):
            print(f"requirements.txt is out of date in {', '.join(old)}: make apps", file=sys.stderr)
            return 1
        if args.check:
            return 0
        if not args.no_packages and all(packed(folder) for folder in apps.values()):
            return 0
        build(uv, list(apps.values()))
        if not args.no_packages:
            for folder in apps.values():
                install(uv, folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
