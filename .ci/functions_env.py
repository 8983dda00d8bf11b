"""Run by `make functions-env`: an environment of Python 3.13, as Azure runs the apps, with the worker's own runtime (azure-functions-runtime).

Where no Python 3.13 can be found, says so and makes none: the tests that need it are then skipped by name. Nothing is downloaded but packages.
"""

import os
import pathlib
import subprocess
import sys

EXTRAS = ("azure", "azure-monitor", "functions", "service")


def usable(python: str) -> bool:
    """Whether it starts, and is the one that is wanted: a shim may be on PATH for a version that is not switched on."""
    try:
        told = subprocess.run(
            [python, "-c", "import sys; print(sys.version_info[:2])"], capture_output=True, text=True, check=False
        )
    except OSError:
        return False
    return told.stdout.strip() == "(3, 13)"


def python_313(uv: str) -> str | None:
    """Of PATH, of uv, or of pyenv."""
    found = subprocess.run(
        [uv, "python", "find", "--no-python-downloads", "3.13"], capture_output=True, text=True, check=False
    )
    pyenv = pathlib.Path(os.environ.get("PYENV_ROOT", pathlib.Path.home() / ".pyenv"))
    candidates = ["python3.13", found.stdout.strip(), *map(str, sorted(pyenv.glob("versions/3.13*/bin/python3.13")))]
    return next((python for python in candidates if python and usable(python)), None)


def main() -> int:
    uv, home = sys.argv[1], pathlib.Path(sys.argv[2])
    python = python_313(uv)
    if python is None:
        print(
            "No Python 3.13 here: the apps are not indexed by the worker's own runtime. Install it (uv python install 3.13)."
        )
        return 0
    environment = {**os.environ, "UV_PROJECT_ENVIRONMENT": str(home)}
    subprocess.run([uv, "venv", "--quiet", "--clear", "--python", python, str(home)], check=True)
    extras = [word for extra in EXTRAS for word in ("--extra", extra)]
    subprocess.run([uv, "sync", "--quiet", "--frozen", "--no-dev", *extras], check=True, env=environment)
    exported = [
        uv,
        "export",
        "--quiet",
        "--frozen",
        "--no-hashes",
        "--no-emit-project",
        "--no-header",
        "--no-annotate",
        "--only-group",
        "dev",
    ]
    pins = subprocess.run(exported, check=True, capture_output=True, text=True).stdout.splitlines()
    runtime = [pin.partition(";")[0].strip() for pin in pins if pin.startswith("azure-functions-runtime==")]
    constraints = home / "constraints.txt"
    constraints.write_text("\n".join(pin for pin in pins if "==" in pin) + "\n")
    install = [uv, "pip", "install", "--quiet", "--python", str(home), "--constraint", str(constraints), *runtime]
    subprocess.run(install, check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
