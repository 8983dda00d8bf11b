"""Where the worker's own runtime is (Python 3.13), and what it says of an app."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / ".cache" / "check" / "functions-3.13"
_SCRIPT = Path(__file__).parent / "under_runtime.py"


def python_313() -> Path:
    """Its Python; the test is skipped where `make functions-env` found none."""
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        pytest.skip("needs Python 3.13 with azure-functions-runtime: make functions-env")
    return python


def clean_environment() -> dict[str, str]:
    """This process' variables without any that configures an app."""
    prefixes = ("THERMOCLINE_", "REDIS_", "COSMOS", "BLOB_", "TABLE_", "EVENTS", "KEY_VAULT", "AZURE_", "SAMPLE_")
    return {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}


def under_runtime(
    folder: Path, events: Sequence[Mapping[str, Any]] = (), settings: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Index the app there, hand it the events, and return what came of both."""
    ran = subprocess.run(
        [python_313(), _SCRIPT, folder],
        input=json.dumps(list(events)),
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
        env={**clean_environment(), **(settings or {})},
    )
    lines = [line for line in ran.stdout.splitlines() if line.startswith("TOLD ")]
    assert lines, f"it ended with {ran.returncode} and told nothing:\n{ran.stderr}"
    told: dict[str, Any] = json.loads(lines[-1].removeprefix("TOLD "))
    return told
