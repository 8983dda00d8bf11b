"""MemorySettings: where values come from, and what is said about those that cannot be used."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

import thermocline.testing
from thermocline.errors import ConfigurationError
from thermocline.functions.settings import AppSettings, variable_of
from thermocline.resilience.deadline import CALL, COLD, CONNECT, HOT, WARM
from thermocline.settings import MemorySettings, data_folder, redis_url, variables

ROOT = Path(__file__).resolve().parents[2]
ACCOUNT = "https://account.documents.azure.com:443/"
ALL = [variable for name in MemorySettings.model_fields for variable in variables(name)]


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.upper() in ALL or name.upper().startswith("THERMOCLINE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)


def refused(told: str, **given: Any) -> None:
    with pytest.raises(ConfigurationError, match=told):
        MemorySettings(**given)


# --- where values come from ------------------------------------------------------------------------------------------


def test_with_nothing_set_no_service_is_named() -> None:
    settings = MemorySettings.load()
    assert not settings.any_service()
    assert settings.resolve_redis_url() is None
    assert (settings.cosmos_database, settings.cosmos_container, settings.blob_container) == (
        "memory",
        "state",
        "memory",
    )
    assert (settings.compression, settings.hot_max_bytes) == ("zstd", 64 * 2**20)
    assert settings.home == data_folder()


def test_keyword_before_environment_before_file_before_default(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text('COSMOS_DATABASE="file"\nCOSMOS_CONTAINER=file\nBLOB_CONTAINER=from-file\n')
    monkeypatch.setenv("COSMOS_DATABASE", "environment")
    monkeypatch.setenv("COSMOS_CONTAINER", "environment")
    settings = MemorySettings(cosmos_database="keyword")
    assert settings.cosmos_database == "keyword"
    assert settings.cosmos_container == "environment"
    assert settings.blob_container == "from-file"
    assert settings.key_vault_uri is None


def test_another_file_or_none(tmp_path: Path) -> None:
    Path(".env").write_text("COSMOS_DATABASE=usual\n")
    (tmp_path / "other").write_text("COSMOS_DATABASE=other\n")
    assert MemorySettings.load().cosmos_database == "usual"
    assert MemorySettings.load(tmp_path / "other").cosmos_database == "other"
    assert MemorySettings(env_file=None).cosmos_database == "memory"
    with pytest.raises(ConfigurationError, match=r"missing.env is no file; .* lines NAME=value$"):
        MemorySettings.load("missing.env")


def test_what_azd_writes_is_a_working_file() -> None:
    Path(".env").write_text(
        'AZURE_ENV_NAME="dev"\nREDIS_HOST="m.westeurope.redis.azure.net"\nREDIS_PASSWORD=""\nREDIS_PORT=""\n'
        f'COSMOS_ACCOUNT_URI="{ACCOUNT}"\nCOSMOS_KEY=""\nBLOB_ACCOUNT_URL="https://a.blob.core.windows.net/"\nTHERMOCLINE_HOME=""\n'
    )
    settings = MemorySettings.load()
    assert settings.resolve_redis_url() == "rediss://m.westeurope.redis.azure.net:10000"
    assert settings.cosmos_account_uri == ACCOUNT
    assert settings.cosmos_key is None
    assert settings.any_service()


def test_the_other_spelling_of_the_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSMOS_ENDPOINT", ACCOUNT)
    assert MemorySettings().cosmos_account_uri == ACCOUNT
    assert MemorySettings(cosmos_account_uri="https://other").cosmos_account_uri == "https://other"


def test_the_system_has_a_home_folder_of_its_own_and_it_is_not_the_users(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert MemorySettings().home == data_folder()
    assert MemorySettings().home.name == "thermocline"
    assert MemorySettings(home="~/here").home == tmp_path / "me" / "here"
    assert MemorySettings(home="here").home == tmp_path / "here"


def test_settings_do_not_change() -> None:
    settings = MemorySettings()
    with pytest.raises(Exception, match="frozen"):
        settings.redis_host = "other"
    assert settings == MemorySettings()


# --- the URL of Redis ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({"redis_url": "redis://h:1/2"}, "redis://h:1/2"),
        ({"redis_url": "redis://h:1", "redis_host": "other"}, "redis://h:1"),
        ({"redis_url": "redis://h:1/2?db=3", "redis_password": "p/@"}, "redis://:p%2F%40@h:1/2?db=3"),
        ({"redis_url": "redis://u:old@h:1", "redis_password": "new"}, "redis://u:new@h:1"),
        ({"redis_url": "unix:///run/redis.sock"}, "unix:///run/redis.sock"),
        ({"redis_host": "h"}, "redis://h:6379"),
        ({"redis_host": "h", "redis_ssl": True, "redis_port": 7}, "rediss://h:7"),
        ({"redis_host": "::1"}, "redis://[::1]:6379"),
        ({"redis_host": "h", "redis_password": "a:b/ü"}, "redis://:a%3Ab%2F%C3%BC@h:6379"),
        ({"redis_host": "x.redis.cache.windows.net"}, "rediss://x.redis.cache.windows.net:6380"),
        ({"redis_host": "X.westeurope.Redis.Azure.net", "redis_port": 1}, "rediss://X.westeurope.Redis.Azure.net:1"),
        ({"redis_host": "x.redis.azure.net", "redis_ssl": False}, "redis://x.redis.azure.net:10000"),
    ],
)
def test_the_url_is_made_of_what_is_given(given: dict[str, Any], url: str) -> None:
    assert MemorySettings(**given).resolve_redis_url() == url


def test_a_password_from_key_vault_goes_before_the_others() -> None:
    settings = MemorySettings(
        redis_host="h", redis_password_secret_name="redis-key", key_vault_uri="https://v.vault.azure.net"
    )
    assert settings.resolve_redis_url(password="fetched") == "redis://:fetched@h:6379"
    with pytest.raises(ConfigurationError, match="REDIS_PASSWORD_SECRET_NAME: the password was not fetched"):
        settings.resolve_redis_url()


@pytest.mark.parametrize("host", ["", " ", "a/b", "redis://h", "u@h"])
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(ConfigurationError, match="a host's name alone"):
        redis_url(host)


# --- what cannot be used -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("REDIS_URL", "http://secret@h", "no URL of the form rediss://host or redis://host or unix:///path"),
        ("REDIS_URL", "redis://:se/cret@h", "write special characters as %XX"),
        ("REDIS_HOST", "redis://h", "for a whole URL set REDIS_URL"),
        ("REDIS_PORT", "6379/tcp", "valid integer"),
        ("REDIS_PORT", "70000", "65535"),
        ("REDIS_SSL", "perhaps", "valid boolean"),
        ("COSMOS_ACCOUNT_URI", "account", "no URL of the form https://host or http://host"),
        ("COSMOS_DATABASE", "  ", "at least 1 character"),
        ("BLOB_ACCOUNT_URL", "https://", "no URL of the form https://host"),
        ("BLOB_CONTAINER", "Upper", "no container's name: 3 to 63 small letters"),
        ("BLOB_CONTAINER", "a--b", "single hyphens"),
        ("BLOB_CONTAINER", "ab", "3 to 63"),
        ("BLOB_CONTAINER", "a" * 64, "3 to 63"),
        ("KEY_VAULT_URI", "ftp://v", "no URL"),
        ("THERMOCLINE_COMPRESSION", "lz4", "'zstd' or 'gzip'"),
        ("THERMOCLINE_HOT_MAX_BYTES", "64 MB", "valid integer"),
        ("THERMOCLINE_HOT_MAX_BYTES", "64", "1048576"),
        ("THERMOCLINE_CALL_DEADLINE_MS", "0", "greater than or equal to 1"),
        ("THERMOCLINE_WARM_DEADLINE_MS", "-5", "greater than or equal to 1"),
        ("THERMOCLINE_COLD_DEADLINE_MS", "nan", "valid integer"),
        ("THERMOCLINE_CONNECT_DEADLINE_MS", "1e9", "integer|3600000"),
    ],
)
def test_a_value_that_cannot_be_used_is_told_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, told: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=f"^{variable}: .*(?:{told}).*; correct it or unset it$") as caught:
        MemorySettings.load()
    assert "secret" not in str(caught.value)
    assert ("in a password" in str(caught.value)) == (variable == "REDIS_URL")
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_all_bad_values_are_told_at_once() -> None:
    refused("REDIS_PORT.*THERMOCLINE_COMPRESSION", redis_port=0, compression="lz4")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"redis_urll": "x"}, "no setting 'redis_urll'; did you mean redis_url?"),
        ({"REDIS_URL": "redis://h"}, "no setting 'REDIS_URL'; did you mean redis_url?"),
        ({"redis_password": "x"}, "REDIS_PASSWORD is set, but neither REDIS_URL nor REDIS_HOST"),
        ({"redis_password_secret_name": "x"}, "REDIS_PASSWORD_SECRET_NAME is set, but neither"),
        ({"redis_host": "h", "redis_password_secret_name": "x"}, "set KEY_VAULT_URI as well"),
        ({"cosmos_key": "x"}, "COSMOS_KEY is set without COSMOS_ACCOUNT_URI"),
    ],
)
def test_parts_that_do_not_go_together_are_refused(given: dict[str, Any], told: str) -> None:
    refused(re.escape(told), **given)


@pytest.mark.parametrize(
    ("variable", "told"),
    [
        ("THERMOCLINE_HOT_DEADLINE", "did you mean THERMOCLINE_HOT_DEADLINE_MS?"),
        ("THERMOCLINE_HOMES", "did you mean THERMOCLINE_HOME?"),
        (
            "THERMOCLINE_NEER",
            "did you mean THERMOCLINE_NEAR_MAX_BYTES, THERMOCLINE_NEAR_MAX_ENTRIES or THERMOCLINE_NEAR_STALE_MS?",
        ),
        ("THERMOCLINE_XYZZYQW", "; docs/configuration.md lists all"),
        ("thermocline_compresion", "did you mean THERMOCLINE_COMPRESSION?"),
    ],
)
@pytest.mark.parametrize("place", ["environment", "file"])
def test_a_misspelt_variable_of_ours_is_refused(
    monkeypatch: pytest.MonkeyPatch, variable: str, told: str, place: str
) -> None:
    if place == "file":
        Path(".env").write_text(f"{variable}=1\n")
    else:
        monkeypatch.setenv(variable, "1")
    refused(f"there is no variable {variable.upper()}.*{re.escape(told)}")


def test_the_variables_of_the_rig_are_no_mistakes(monkeypatch: pytest.MonkeyPatch) -> None:
    files = Path(thermocline.testing.__file__).parent.rglob("*.py")
    names = {
        name for path in files for name in re.findall(r'"(THERMOCLINE_[A-Z_]+)"', path.read_text(encoding="utf-8"))
    }
    assert len(names) > 3
    for name in names:
        monkeypatch.setenv(name, "1")
    assert not MemorySettings.load().any_service()


def test_a_file_that_is_no_text_is_told() -> None:
    Path(".env").write_bytes(b"REDIS_URL=\xff\xfe\n")
    refused(".env cannot be read as a text file in UTF-8")


def test_secrets_are_never_shown() -> None:
    settings = MemorySettings(
        redis_url="redis://:s3cret@h", redis_password="s3cret", cosmos_account_uri=ACCOUNT, cosmos_key="s3cret"
    )
    assert isinstance(settings.cosmos_key, SecretStr)
    assert isinstance(settings.redis_password, SecretStr)
    assert "s3cret" not in f"{settings} {settings!r}"


# --- the page --------------------------------------------------------------------------------------------------------


def table() -> dict[str, tuple[str, str]]:
    """Per variable of docs/configuration.md its default and unit."""
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([A-Z_]+)` \| (.*?) \| (.*?) \| (.*) \|$", text, re.MULTILINE)
    return {variable: (default.strip("`"), unit) for variable, default, unit, _ in rows}


def test_the_page_lists_every_variable_with_its_default() -> None:
    expected = {}
    for name, field in MemorySettings.model_fields.items():
        default = "the user's data folder" if name == "home" else "–" if field.default is None else str(field.default)
        expected[variables(name)[0]] = default
    for name, field in AppSettings.model_fields.items():
        expected[variable_of(name)] = "–" if field.default in (None, ()) else str(field.default)
    assert {variable: default for variable, (default, _) in table().items()} == expected


def test_the_page_gives_every_number_its_unit() -> None:
    units = {variable: unit for variable, (_, unit) in table().items()}
    known = {
        variables(name)[0]: field.json_schema_extra["unit"]
        for name, field in MemorySettings.model_fields.items()
        if isinstance(field.json_schema_extra, dict)
    }
    assert len(known) == 9
    assert {variable: units[variable] for variable in known} == known
    assert all(units.values())


def test_the_page_names_every_other_spelling() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert [variable for variable in ALL if f"`{variable}`" not in text] == []


def test_the_deadlines_are_those_of_the_budget() -> None:
    settings = MemorySettings()
    in_ms = [span.total_seconds() * 1000 for span in (CALL, CONNECT, HOT, WARM, COLD)]
    assert in_ms == [
        settings.call_deadline_ms,
        settings.connect_deadline_ms,
        settings.hot_deadline_ms,
        settings.warm_deadline_ms,
        settings.cold_deadline_ms,
    ]
