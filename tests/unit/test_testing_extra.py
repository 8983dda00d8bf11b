"""Without the packages of the extra ``testing``: one line that says what to install."""

import subprocess
import sys

import pytest

HINT = 'install it with: pip install "thermocline[testing]"'


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("module", "missing"),
    [
        ("thermocline.testing.conformance", "pytest"),
        ("thermocline.testing.pytest_plugin", "pytest"),
        ("thermocline.testing.rig", "cryptography"),
        ("thermocline.testing.rig.entra", "azure"),
    ],
)
def test_an_import_says_what_to_install(module: str, missing: str) -> None:
    result = run(f"import sys; sys.modules[{missing!r}] = None; import {module}")

    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == f"ImportError: {module} needs {missing}; {HINT}"


@pytest.mark.parametrize(("missing", "words"), [("aiohttp", "[]"), ("cryptography", "['--tls']")])
def test_the_emulator_says_what_to_install(missing: str, words: str) -> None:
    result = run(
        f"import runpy, sys; sys.modules[{missing!r}] = None; sys.argv[1:] = {words};"
        "runpy.run_module('thermocline.testing.cosmos', run_name='__main__')"
    )

    assert result.returncode == 1
    assert result.stderr == f"the Cosmos DB emulator needs {missing}; {HINT}\n"
