"""An app's settings on the local host: the file of Core Tools, %NAME% in bindings, and connections."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.functions.grounds import SAMPLE, bare

from thermocline.testing.functions import BadApp, FunctionsHost
from thermocline.testing.functions.appsettings import connection, local_values, resolved


def with_local_settings(tmp_path: Path, document: object) -> Path:
    folder = tmp_path / "app"
    shutil.copytree(SAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "local.settings.json").write_text(json.dumps(document) if not isinstance(document, str) else document)
    return folder


async def test_the_local_settings_count_for_what_is_not_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        **bare(tmp_path),
        "SAMPLE_SCHEDULE": "0 0 0 * * *",
        "SAMPLE_QUEUE": "of-the-file",
        "SAMPLE_TICK": "of-the-file",
    }
    folder = with_local_settings(tmp_path, {"IsEncrypted": False, "Values": values})
    monkeypatch.setenv("SAMPLE_QUEUE", "of-the-environment")
    async with FunctionsHost(folder, {"SAMPLE_TICK": "of-the-test"}, local_settings=True) as host:
        seen = {name: os.environ[name] for name in ("SAMPLE_SCHEDULE", "SAMPLE_QUEUE", "SAMPLE_TICK")}
        assert host.settings == dict(os.environ)

    assert seen == {
        "SAMPLE_SCHEDULE": "0 0 0 * * *",
        "SAMPLE_QUEUE": "of-the-environment",
        "SAMPLE_TICK": "of-the-test",
    }
    assert "SAMPLE_SCHEDULE" not in os.environ
    assert os.environ["SAMPLE_QUEUE"] == "of-the-environment"


async def test_the_file_counts_only_where_it_is_asked_for(tmp_path: Path) -> None:
    folder = with_local_settings(tmp_path, {"Values": bare(tmp_path)})
    with pytest.raises(BadApp, match="there is no setting SAMPLE_SCHEDULE"):
        async with FunctionsHost(folder):
            raise AssertionError("it started")


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("{ // a comment", "cannot be read as JSON"),
        ([], "holds no object named Values"),
        ({"Values": {"PORT": 7071}}, "the value of PORT is no text; write it in quotes"),
    ],
)
def test_a_file_that_cannot_be_used(document: object, said: str, tmp_path: Path) -> None:
    with pytest.raises(BadApp, match=said):
        local_values(with_local_settings(tmp_path, document))


def test_names_in_percent_signs() -> None:
    assert resolved("a-%B%-%C%", {"B": "1", "C": "2"}, "here") == "a-1-2"
    with pytest.raises(BadApp, match="here is %B%, and there is no setting B; set it"):
        resolved("%B%", {"B": ""}, "here")


def test_connections() -> None:
    by_key = connection("cosmosDBTrigger", "C", {"C": "AccountEndpoint=https://x/;AccountKey=a==;"}, "here")
    assert (by_key.address, by_key.by_key) == ("https://x/", {"AccountEndpoint": "https://x/", "AccountKey": "a=="})
    assert "a==" not in repr(by_key)

    by_identity = connection("queueTrigger", "E", {"E__queueServiceUri": "https://q", "E__clientId": "id"}, "here")
    assert (by_identity.address, by_identity.by_key, by_identity.client_id) == ("https://q", None, "id")

    azurite = connection("queueTrigger", "E", {"E": "UseDevelopmentStorage=true"}, "here")
    assert azurite.address == "http://127.0.0.1:10001/devstoreaccount1"

    with pytest.raises(BadApp, match="here: the setting C is no connection string with AccountEndpoint="):
        connection("cosmosDBTrigger", "C", {"C": "nonsense"}, "here")
    with pytest.raises(BadApp, match=r"here is C, and there is neither a setting C__accountEndpoint"):
        connection("cosmosDBTrigger", "C", {"C__clientId": "id"}, "here")


@pytest.mark.parametrize("missing", ["azure.functions", "uvicorn", "aiohttp"])
def test_what_is_missing_is_said(missing: str) -> None:
    program = (
        f"import runpy, sys; sys.modules[{missing!r}] = None; sys.argv[1:] = ['--index', 'nowhere'];"
        "runpy.run_module('thermocline.testing.functions', run_name='__main__')"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert ran.returncode == 1
    assert ran.stderr.endswith('install it with: pip install "thermocline[functions,service,testing]"\n')
    assert len(ran.stderr.splitlines()) == 1
