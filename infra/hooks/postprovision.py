"""After azd has built everything: `thermocline doctor` over what was built. Standard library only; it writes nothing and prints no secret, as there is none."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
TRIES: Final = 20
PAUSE: Final = 30.0  # seconds; Azure says that a role may take up to ten minutes to count
_UNREACHED: Final = 3  # thermocline's exit code for a service that does not answer or lets nobody in
_LATER: Final = "azd env get-values > .env && thermocline doctor"
_INSTALL: Final = (  # as docs/azure.md begins; the name is not ours on PyPI until something is published there
    "python3 -m venv .venv && .venv/bin/python -m pip install '.[azure,cli]' && . .venv/bin/activate"
)


def interpreter() -> str | None:
    """A Python that has the library with what the command needs; None: there is none yet."""
    for folder in ("bin", "Scripts"):
        for python in sorted((ROOT / ".venv" / folder).glob("python*")):
            if _has_library(str(python)):
                return str(python)
    return sys.executable if _has_library(sys.executable) else None


def examine(python: str, variables: Mapping[str, str], pause: Callable[[float], None], tries: int = TRIES) -> int:
    """Runs the doctor until roles that were just given count. Returns its last exit code."""
    code = 0
    with tempfile.TemporaryDirectory() as folder:  # an .env of the repository would mix in
        for attempt in range(tries):
            code = subprocess.run(  # noqa: S603
                [python, "-m", "thermocline.cli", "doctor"], env=dict(variables), cwd=folder, check=False
            ).returncode
            if code != _UNREACHED or attempt + 1 == tries:
                break
            print(f"A role does not count yet, which is usual; the doctor looks again in {PAUSE:.0f} seconds.")
            pause(PAUSE)
    return code


def main(variables: Mapping[str, str], pause: Callable[[float], None] = time.sleep) -> int:
    if variables.get("AZURE_THERMOCLINE_BUILT") in ("private", "regulated"):
        print(
            f"The services have no public access, so they are not examined from here. From inside the network: {_LATER}"
        )
        return 0
    if not variables.get("COSMOS_ACCOUNT_URI"):
        print("The outputs of the deployment are not in the environment: azd env refresh, then " + _LATER)
        return 1
    python = interpreter()
    if python is None:
        print(f"thermocline is not installed yet, so nothing was examined. Do it: {_INSTALL}, then {_LATER}")
        return 0
    code = examine(python, variables, pause)
    if code != 0:
        print(f"Everything was built, and the doctor is not content (above). When it is mended: {_LATER}")
        return 1
    return 0


def _has_library(python: str) -> bool:
    look = "import thermocline.cli, azure.cosmos, azure.identity, azure.storage.blob, redis, typer"
    return subprocess.run([python, "-c", look], capture_output=True, check=False).returncode == 0  # noqa: S603


if __name__ == "__main__":
    sys.exit(main(os.environ))
