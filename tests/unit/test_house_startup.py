"""Importing the library: quick, and possible without any extra. Each in a process of its own."""

import json
import subprocess
import sys
from textwrap import dedent

import pytest

HEAVY = ("redis", "azure", "aiohttp", "pydantic", "pydantic_settings", "rich", "typer", "sqlite3", "asyncio.subprocess")
EXTRAS = ("redis", "hiredis", "azure", "aiohttp", "rich", "typer", "cryptography", "hypothesis", "pytest", "psutil")
CPU_SECONDS = 0.150

WITHOUT_EXTRAS = f"""
    import importlib.abc
    import sys

    class Refuse(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] in {EXTRAS!r}:
                raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
            return None

    sys.meta_path.insert(0, Refuse())
"""


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-I", "-c", dedent(code)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_takes_little_time() -> None:
    """CPU time of the process, the best of five, so that a busy machine does not decide."""
    code = """
        import time
        began = time.process_time()
        import thermocline
        print(time.process_time() - began)
    """

    assert min(float(run(code)) for _ in range(5)) < CPU_SECONDS


def test_import_loads_nothing_heavy() -> None:
    loaded = json.loads(run("import json, sys, thermocline; print(json.dumps(sorted(sys.modules)))"))

    assert [name for name in loaded if any(name == heavy or name.startswith(heavy + ".") for heavy in HEAVY)] == []


def test_import_needs_no_extra() -> None:
    code = dedent(WITHOUT_EXTRAS) + "\nimport thermocline; print(thermocline.__name__)"

    assert run(code).strip() == "thermocline"


@pytest.mark.parametrize(
    "module",
    [
        "errors", "model", "clock", "protocols", "settings", "keys", "policy", "coherence", "codec", "resilience",
        "telemetry", "cost", "tiers.local", "client", "identity", "wiring", "agents",
    ],
)  # fmt: skip
def test_room_needs_no_extra(module: str) -> None:
    code = dedent(WITHOUT_EXTRAS) + f"\nimport thermocline.{module} as room; print(room.__name__)"

    assert run(code).strip() == f"thermocline.{module}"


def test_public_names_need_no_extra() -> None:
    """Every name of ``thermocline.__all__`` can be had; a tier whose SDK is missing says which extra to install."""
    code = dedent(WITHOUT_EXTRAS) + dedent("""
        import thermocline.errors
        wrong = {}
        for name in thermocline.__all__:
            try:
                getattr(thermocline, name)
            except (ImportError, thermocline.errors.ConfigurationError) as error:
                if "thermocline[" not in str(error):
                    wrong[name] = str(error)
        print(wrong)
    """)

    assert run(code).strip() == "{}"
