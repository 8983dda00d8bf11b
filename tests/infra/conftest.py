"""The infrastructure as files: no service is needed."""

import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = str(Path(__file__).parents[2])
if ROOT not in sys.path:  # the parts of this folder's tests import each other as ``tests.infra.…``
    sys.path.insert(0, ROOT)

from tests.infra.arm_server import TOKEN, Cloud, serving  # noqa: E402
from tests.infra.operating import Azd  # noqa: E402


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
