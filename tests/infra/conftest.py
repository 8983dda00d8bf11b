"""The infrastructure as files: no service is needed."""

import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.infra.arm_server import TOKEN, Cloud, serving
from tests.infra.operating import Azd


@pytest.fixture
def azd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Azd:
    program = tmp_path / "azd"
    program.write_text(
        f"#!{sys.executable}\n"
        "import json, sys\n"
        "if sys.argv[1:] == ['auth', 'token', '--output', 'json']:\n"
        f"    print(json.dumps({{'token': {TOKEN!r}, 'expiresOn': '2026-11-21T00:00:00Z'}}))\n"
        "elif sys.argv[1:3] == ['env', 'set']:\n"
        f"    open({str(tmp_path / 'notes')!r}, 'a').write(' '.join(sys.argv[3:]) + chr(10))\n"
        "else:\n"
        "    sys.exit(2)\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))
    return Azd(tmp_path)


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


@pytest.fixture
def endpoint(cloud: Cloud) -> Iterator[str]:
    with serving(cloud) as url:
        yield url
