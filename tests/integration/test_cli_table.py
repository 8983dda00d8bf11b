"""The command line with Table Storage alone, on Azurite: doctor, set, get, stat."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.core.credentials import AzureNamedKeyCredential
from azure.data.tables import ResourceTypes, TableServiceClient, generate_account_sas

from thermocline.testing.rig import Azurite


@pytest.fixture
def variables(azurite: Azurite, unique_name: Callable[[str], str]) -> dict[str, str]:
    """A table, and an address that is signed."""
    name = unique_name("t").replace("-", "")
    with TableServiceClient.from_connection_string(azurite.connection_string) as service:
        service.create_table(name)
    sas = generate_account_sas(
        AzureNamedKeyCredential(azurite.account, azurite.key),
        resource_types=ResourceTypes(object=True, service=True, container=True),
        permission="raud",
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    return {"TABLE_ACCOUNT_URL": f"{azurite.table_url}?{sas}", "TABLE_NAME": name}


def run(variables: dict[str, str], folder: Path, *words: str) -> tuple[int, str]:
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    done = subprocess.run(
        [sys.executable, "-m", "thermocline.cli", *words],
        cwd=folder,
        env={**kept, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_table_alone(variables: dict[str, str], tmp_path: Path) -> None:
    code, said = run(variables, tmp_path, "doctor", "--json")
    checks = json.loads(said)["checks"]
    assert code == 0, said
    assert {check["tier"] for check in checks} == {"warm_plus"}
    assert {"name", "port", "connect", "round trip", "write"} <= {check["check"] for check in checks}

    assert run(variables, tmp_path, "set", "greeting", "hello")[0] == 0
    assert run(variables, tmp_path, "get", "greeting") == (0, "hello\n")
    code, said = run(variables, tmp_path, "stat", "greeting", "--json")
    assert code == 0, said
    assert "a value" in said
    assert "warm_plus" in said
    assert variables["TABLE_ACCOUNT_URL"].split("sig=")[1][:20] not in said


def test_a_missing_table_is_named_and_options_go_first(variables: dict[str, str], tmp_path: Path) -> None:
    code, said = run(variables, tmp_path, "doctor", "--table-name", "nowhere")

    assert code != 0
    assert "no table 'nowhere'" in " ".join(said.split())
