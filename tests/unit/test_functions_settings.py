"""AppSettings: its variables are those of the contract, and the memory's settings do not take them for typing errors."""

import json
from pathlib import Path
from typing import Any

import pytest

from thermocline.errors import ConfigurationError
from thermocline.functions import AppSettings
from thermocline.functions.settings import variable_of
from thermocline.settings import MemorySettings

CONTRACT = json.loads((Path(__file__).resolve().parents[2] / "infra" / "contract.json").read_text(encoding="utf-8"))
TENANT = "4f0e2b6c-3c3a-4b7e-9d1c-0a5d1f0a3f11"
GIVEN = {
    "feed_attempts": "3",
    "sweep_seconds": "9",
    "sweep_request_units": "100",
    "api_tenants": TENANT,
    "api_authority": "https://login.example",
    "api_audience": "api://memory",
} | {f"{name}_schedule": "0 0 3 * * SUN" for name in ("sweep", "replay", "jobs")}


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in AppSettings.model_fields:
        monkeypatch.delenv(variable_of(name), raising=False)
    monkeypatch.chdir(tmp_path)


def test_the_variables_are_those_of_the_contract() -> None:
    apps = ("memory-worker", "memory-api", "agent-sample")
    named = {variable for app in apps for variable in CONTRACT["settings"][app]}

    assert {variable_of(name) for name in AppSettings.model_fields} == named


def test_the_defaults_are_the_containers_and_the_queue_of_the_contract() -> None:
    settings = AppSettings(env_file=None)

    assert {settings.leases_container, settings.dead_letters_container} <= {*CONTRACT["cosmos"]["containers"]}
    assert settings.vault_events_queue == CONTRACT["queues"]["vaultEvents"]


def test_the_memory_takes_no_variable_of_the_apps_for_a_typing_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in AppSettings.model_fields:
        monkeypatch.setenv(variable_of(name), GIVEN.get(name, "other"))

    MemorySettings.load()
    settings = AppSettings.load()

    assert (settings.leases_container, settings.feed_attempts, settings.api_tenants) == ("other", 3, (TENANT,))


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THERMOCLINE_SWEEP_SECONDS", "")
    monkeypatch.setenv("THERMOCLINE_API_TENANTS", " ")

    assert (AppSettings.load().sweep_seconds, AppSettings.load().api_tenants) == (240, ())


def test_tenants_are_a_list_with_commas() -> None:
    given: Any = f" {TENANT.upper()},, {TENANT} "

    assert AppSettings(env_file=None, api_tenants=given).api_tenants == (TENANT, TENANT)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("THERMOCLINE_SWEEP_SCHEDULE", "*/10 * * * *"),
        ("THERMOCLINE_REPLAY_SCHEDULE", "every minute"),
        ("THERMOCLINE_FEED_ATTEMPTS", "0"),
        ("THERMOCLINE_SWEEP_SECONDS", "-1"),
        ("THERMOCLINE_VAULT_EVENTS_QUEUE", "Vault_Events"),
        ("THERMOCLINE_API_TENANTS", "contoso.com"),
        ("THERMOCLINE_API_AUTHORITY", "login.microsoftonline.com"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_its_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(ConfigurationError, match=name):
        AppSettings.load()


def test_a_variable_that_is_nearly_one_of_the_apps_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THERMOCLINE_SWEEP_SECOND", "5")

    with pytest.raises(ConfigurationError, match="did you mean THERMOCLINE_SWEEP_SECONDS"):
        MemorySettings.load()


@pytest.mark.parametrize(
    "name",
    [variable_of(name) for name in AppSettings.model_fields if not name.endswith(("_container", "_audience"))],
)
def test_a_value_that_is_refused_is_not_repeated(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Health pages tell of it to whoever asks; a secret may have been put into the wrong variable."""
    monkeypatch.setenv(name, "S3cr3t_")

    with pytest.raises(ConfigurationError, match=name) as refused:
        AppSettings.load()

    assert "S3cr3t" not in str(refused.value)
