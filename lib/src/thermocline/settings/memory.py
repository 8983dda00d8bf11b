"""`MemorySettings`: the only reader of the environment. docs/configuration.md has every variable with its default, unit and reason."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, Self
from urllib.parse import parse_qs, quote, unquote, urlsplit, urlunsplit

from pydantic import AliasChoices, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from thermocline.configured import switch, whole
from thermocline.errors import ConfigurationError
from thermocline.settings import kinds
from thermocline.settings.kinds import (
    BlobContainer,
    Bytes,
    Dictionary,
    Home,
    Host,
    Milliseconds,
    RedisUrl,
    SecretName,
    ServiceUrl,
    TableName,
    VaultUrl,
    data_folder,
    nothing,
)

DOTENV: Final = Path(".env")
OWN_PREFIX: Final = "THERMOCLINE_"

# Variables with our prefix that the rig of thermocline.testing reads; here only so that they are not taken for typing errors.
_RIG: Final = ("THERMOCLINE_AZURITE", "THERMOCLINE_REDIS_SERVER", "THERMOCLINE_REQUIRE_ALL")
_RIG_PREFIXES: Final = ("THERMOCLINE_RIG_", "THERMOCLINE_TEST_")

# And those that the Functions apps read besides (thermocline.functions.AppSettings).
_APPS: Final = (
    *(f"THERMOCLINE_{name}" for name in ("LEASES_CONTAINER", "DEAD_LETTERS_CONTAINER", "FEED_ATTEMPTS")),
    *(f"THERMOCLINE_SWEEP_{name}" for name in ("SCHEDULE", "SECONDS", "REQUEST_UNITS")),
    *(f"THERMOCLINE_{name}" for name in ("REPLAY_SCHEDULE", "VAULT_EVENTS_QUEUE", "JOBS_SCHEDULE")),
    *(f"THERMOCLINE_API_{name}" for name in ("AUDIENCE", "TENANTS", "AUTHORITY")),
)

# Azure's own host names tell the port, and that TLS is on.
_AZURE_REDIS: Final[Mapping[str, int]] = {".redis.azure.net": 10000, ".redis.cache.windows.net": 6380}


READ_AS: Final = SettingsConfigDict(
    env_ignore_empty=True,
    env_file_encoding="utf-8",
    extra="ignore",
    frozen=True,
    hide_input_in_errors=True,
    str_strip_whitespace=True,
    validate_default=False,
)


class MemorySettings(BaseSettings):
    """What is configured from outside: by keyword, else by environment variable, else by a line in ``.env``, else by default.

    An empty variable counts as not set. Raises `ConfigurationError`, which names the variable, for a value that cannot be used, for a keyword or
    a ``THERMOCLINE_`` variable that does not exist, and for parts that only work together. ``env_file``: another file than ``.env`` in the current
    folder; None: no file. Secrets are `SecretStr`, and neither they nor the URL that may hold one are ever shown.
    """

    model_config = READ_AS

    _environment_counts: ClassVar[bool] = True

    redis_url: RedisUrl | None = Field(None, validation_alias="REDIS_URL", repr=False)
    redis_host: Host | None = Field(None, validation_alias="REDIS_HOST")
    redis_port: int | None = Field(None, validation_alias="REDIS_PORT", ge=1, le=65535)
    redis_password: SecretStr | None = Field(None, validation_alias="REDIS_PASSWORD")
    redis_ssl: bool | None = Field(None, validation_alias="REDIS_SSL")
    redis_password_secret_name: SecretName | None = Field(None, validation_alias="REDIS_PASSWORD_SECRET_NAME")
    redis_auth: Literal["auto", "entra", "password"] = Field("auto", validation_alias="REDIS_AUTH")

    cosmos_account_uri: ServiceUrl | None = Field(
        None, validation_alias=AliasChoices("COSMOS_ACCOUNT_URI", "COSMOS_ENDPOINT")
    )
    cosmos_database: str = Field("memory", validation_alias="COSMOS_DATABASE", min_length=1)
    cosmos_container: str = Field("state", validation_alias="COSMOS_CONTAINER", min_length=1)
    cosmos_key: SecretStr | None = Field(None, validation_alias="COSMOS_KEY")
    cosmos_key_secret_name: SecretName | None = Field(None, validation_alias="COSMOS_KEY_SECRET_NAME")

    blob_account_url: ServiceUrl | None = Field(None, validation_alias="BLOB_ACCOUNT_URL", repr=False)  # may hold a SAS
    blob_container: BlobContainer = Field("memory", validation_alias="BLOB_CONTAINER")

    blob_sas_secret_name: SecretName | None = Field(None, validation_alias="BLOB_SAS_SECRET_NAME")
    blob_transfer: Literal["sdk", "obstore"] = Field("sdk", validation_alias="BLOB_TRANSFER")

    table_account_url: ServiceUrl | None = Field(
        None, validation_alias="TABLE_ACCOUNT_URL", repr=False
    )  # may hold a SAS
    table_name: TableName = Field("memory", validation_alias="TABLE_NAME")
    table_sas_secret_name: SecretName | None = Field(None, validation_alias="TABLE_SAS_SECRET_NAME")

    key_vault_uri: VaultUrl | None = Field(None, validation_alias="KEY_VAULT_URI")
    secret_refresh_ms: Milliseconds = Field(300_000, validation_alias="THERMOCLINE_SECRET_REFRESH_MS")

    home: Home = Field(default_factory=data_folder, validation_alias="THERMOCLINE_HOME")
    hot_max_bytes: Bytes = Field(64 * 2**20, validation_alias="THERMOCLINE_HOT_MAX_BYTES")
    hedge_share: float = Field(0, ge=0, le=1, validation_alias="THERMOCLINE_HEDGE_SHARE")
    near_max_entries: int = Field(0, ge=0, validation_alias="THERMOCLINE_NEAR_MAX_ENTRIES")
    near_max_bytes: Bytes = Field(64 * 2**20, validation_alias="THERMOCLINE_NEAR_MAX_BYTES")
    near_stale_ms: int = Field(
        1_000, ge=20, le=60_000, validation_alias="THERMOCLINE_NEAR_STALE_MS", json_schema_extra={"unit": "ms"}
    )
    compression: Annotated[Literal["zstd", "gzip"] | None, BeforeValidator(nothing)] = Field(
        "zstd", validation_alias="THERMOCLINE_COMPRESSION"
    )
    dictionary: Annotated[Dictionary | None, BeforeValidator(nothing)] = Field(
        None, validation_alias="THERMOCLINE_DICTIONARY"
    )
    call_deadline_ms: Milliseconds = Field(10_000, validation_alias="THERMOCLINE_CALL_DEADLINE_MS")
    connect_deadline_ms: Milliseconds = Field(15_000, validation_alias="THERMOCLINE_CONNECT_DEADLINE_MS")
    hot_deadline_ms: Milliseconds = Field(50, validation_alias="THERMOCLINE_HOT_DEADLINE_MS")
    warm_deadline_ms: Milliseconds = Field(500, validation_alias="THERMOCLINE_WARM_DEADLINE_MS")
    cold_deadline_ms: Milliseconds = Field(5_000, validation_alias="THERMOCLINE_COLD_DEADLINE_MS")

    def __init__(self, *, env_file: Path | str | None = DOTENV, **values: Any) -> None:
        given: Any = env_file
        if given is not None and not isinstance(given, str | Path):
            raise ConfigurationError(f"env_file is the path of a file, or None for no file, not {given!r:.80}")
        if env_file is not None and env_file != DOTENV and not Path(env_file).is_file():
            raise ConfigurationError(f"env_file: {env_file} is no file; give the path of a file with lines NAME=value")
        names = {name: variables(name)[0] for name in type(self).model_fields}
        for name in values:
            if name not in names:
                raise ConfigurationError(f"there is no setting {name!r}{_nearest(name.lower(), names)}")
        with in_plain_words(env_file):
            super().__init__(_env_file=env_file, **{names[name]: value for name, value in values.items()})
        _check_together(self)

    @classmethod
    def load(cls, env_file: Path | str | None = DOTENV) -> Self:
        """The settings of the environment and of ``env_file``."""
        return cls(env_file=env_file)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        given = (env_settings, dotenv_settings) if cls._environment_counts else (dotenv_settings,)
        for source in given:
            if isinstance(source, EnvSettingsSource):
                _refuse_unknown(source.env_vars)
        return init_settings, *given

    def any_service(self) -> bool:
        """Whether any service is named; if none is, the embedded tiers are used."""
        return any(
            given is not None
            for given in (
                self.redis_url,
                self.redis_host,
                self.cosmos_account_uri,
                self.blob_account_url,
                self.table_account_url,
            )
        )

    def redis_address(self) -> tuple[str, str | None] | None:
        """The URL of Redis without user and password, and the user if ``REDIS_URL`` names one; None: no Redis is configured."""
        if self.redis_url is None:
            return (
                None
                if self.redis_host is None
                else (redis_url(self.redis_host, port=self.redis_port, ssl=self.redis_ssl), None)
            )
        parts = urlsplit(self.redis_url)
        login, _, place = parts.netloc.rpartition("@")
        user = unquote(login.partition(":")[0])
        return urlunsplit(parts._replace(netloc=place)), user or None

    def redis_by_token(self) -> bool:
        """Whether Redis is signed in to with Entra tokens: where ``REDIS_AUTH`` says so, and by itself for Azure Managed Redis without a password."""
        if self.redis_auth != "auto":
            return self.redis_auth == "entra"
        address = self.redis_address()
        if address is None or self._redis_password_given():
            return False
        return (urlsplit(address[0]).hostname or "").endswith(".redis.azure.net") and address[0].startswith("rediss://")

    def _redis_password_given(self) -> bool:
        parts = urlsplit(self.redis_url or "")
        in_url = ":" in parts.netloc.rpartition("@")[0] or "password" in parse_qs(parts.query)
        return in_url or self.redis_password is not None or self.redis_password_secret_name is not None

    def resolve_redis_url(self, *, password: str | None = None) -> str | None:
        """The URL of Redis, with the password in it if there is one; None: no Redis is configured.

        ``REDIS_URL`` goes before ``REDIS_HOST``. ``password`` is the one that was fetched from Key Vault by `redis_password_secret_name`; it goes
        before ``REDIS_PASSWORD``, and that before one in the URL. Raises `ConfigurationError` where it is needed and missing.
        """
        if self.redis_url is None and self.redis_host is None:
            return None
        if password is None and self.redis_password is not None:
            password = self.redis_password.get_secret_value()
        if password is None and self.redis_password_secret_name is not None:
            raise ConfigurationError(
                "REDIS_PASSWORD_SECRET_NAME: the password was not fetched from Key Vault; call resolve_redis_url(password=...) with the"
                " secret's value, or set REDIS_PASSWORD"
            )
        if self.redis_url is not None:
            return self.redis_url if password is None else _with_password(self.redis_url, password)
        return redis_url(str(self.redis_host), port=self.redis_port, password=password, ssl=self.redis_ssl)


def redis_url(host: str, *, port: int | None = None, password: str | None = None, ssl: bool | None = None) -> str:
    """A Redis URL of its parts. Left out, ``ssl`` is on for Azure's hosts and else off, and ``port`` is 10000 for Azure Managed Redis
    (``*.redis.azure.net``), 6380 for Azure Cache for Redis (``*.redis.cache.windows.net``), and else 6379."""
    given: Any = host
    if not isinstance(given, str):
        raise ConfigurationError(f"the host of Redis is a string, not {given!r:.80}")
    if port is not None:
        whole(port, "the port of Redis", least=1, most=65_535)
    if ssl is not None:
        switch(ssl, "ssl of Redis")
    if password is not None and not isinstance(password, str):
        raise ConfigurationError(f"the password of Redis is a string, not a {type(password).__name__}")
    try:
        host = kinds.host(host.strip())
    except ValueError as error:
        raise ConfigurationError(f"the host of Redis {error}") from error
    azure = next((number for suffix, number in _AZURE_REDIS.items() if host.lower().endswith(suffix)), None)
    tls = azure is not None if ssl is None else ssl
    number = port if port is not None else azure if azure is not None else 6379
    place = f"[{host}]" if ":" in host and not host.startswith("[") else host
    secret = f":{quote(password, safe='')}@" if password else ""
    return f"{'rediss' if tls else 'redis'}://{secret}{place}:{number}"


def variables(name: str) -> list[str]:
    """The variables of a setting, the one of its own name first, then its other spellings."""
    alias = MemorySettings.model_fields[name].validation_alias
    return [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else [str(alias)]


def _with_password(url: str, password: str) -> str:
    parts = urlsplit(url)
    user, _, place = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}:{quote(password, safe='')}@{place}"))


def _refuse_unknown(given: Iterable[str]) -> None:
    known = {variable for name in MemorySettings.model_fields for variable in variables(name)} | {*_APPS}
    for variable in (name.upper() for name in given):
        if (
            variable.startswith(OWN_PREFIX)
            and variable not in known
            and variable not in _RIG
            and not variable.startswith(_RIG_PREFIXES)
        ):
            ours = [name.removeprefix(OWN_PREFIX) for name in sorted(known) if name.startswith(OWN_PREFIX)]
            nearest = _nearest(variable.removeprefix(OWN_PREFIX), ours, prefix=OWN_PREFIX)
            raise ConfigurationError(f"there is no variable {variable}{nearest}; docs/configuration.md lists all")


def _nearest(name: str, known: Iterable[str], *, prefix: str = "") -> str:
    """What may have been meant, which is also the first words of a name: for NEER all those of NEAR, at most four. What they all begin with does not count."""
    words = name.count("_") + 1
    begins: dict[str, list[str]] = {}
    for one in known:
        begins.setdefault("_".join(one.split("_")[:words]), []).append(one)
        begins.setdefault(one, []).append(one)
    close = difflib.get_close_matches(name, list(begins), n=1, cutoff=0.6)
    if not close:
        return ""
    meant = [prefix + one for one in dict.fromkeys(begins[close[0]])][:4]
    return f"; did you mean {' or '.join([', '.join(meant[:-1]), meant[-1]] if len(meant) > 1 else meant)}?"


@contextmanager
def in_plain_words(env_file: Path | str | None) -> Iterator[None]:
    """What pydantic says of settings from this file, as a `ConfigurationError`."""
    try:
        yield
    except ValidationError as error:
        raise ConfigurationError("; ".join(_told_of(detail) for detail in error.errors(include_input=False))) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{env_file} cannot be read as a text file in UTF-8: {error}") from error


def _told_of(detail: Mapping[str, Any]) -> str:
    """One of pydantic's errors in plain words, with the variable's name and without the value."""
    place = str(detail["loc"][0]) if detail["loc"] else ""
    variable = next(
        (variables(name)[0] for name in MemorySettings.model_fields if place in (name, *variables(name))), place
    )
    return f"{variable}: {str(detail['msg']).removeprefix('Value error, ')}; correct it or unset it"


def _check_together(settings: MemorySettings) -> None:
    without_redis = settings.redis_url is None and settings.redis_host is None
    if without_redis and (settings.redis_password is not None or settings.redis_password_secret_name is not None):
        given = "REDIS_PASSWORD" if settings.redis_password is not None else "REDIS_PASSWORD_SECRET_NAME"
        raise ConfigurationError(
            f"{given} is set, but neither REDIS_URL nor REDIS_HOST; set one of these, or unset {given}"
        )
    if (
        settings.redis_password_secret_name is not None
        and settings.key_vault_uri is None
        and settings.redis_password is None
    ):
        raise ConfigurationError(
            "REDIS_PASSWORD_SECRET_NAME names a secret in Key Vault; set KEY_VAULT_URI as well, or REDIS_PASSWORD instead"
        )
    _check_sign_in(settings)
    if settings.cosmos_key is not None and settings.cosmos_account_uri is None:
        raise ConfigurationError(
            "COSMOS_KEY is set without COSMOS_ACCOUNT_URI; set the account's endpoint, or unset the key"
        )


def _check_sign_in(settings: MemorySettings) -> None:
    named = {
        "COSMOS_KEY_SECRET_NAME": (
            settings.cosmos_key_secret_name,
            settings.cosmos_account_uri,
            "COSMOS_ACCOUNT_URI",
            settings.cosmos_key,
        ),
        "BLOB_SAS_SECRET_NAME": (settings.blob_sas_secret_name, settings.blob_account_url, "BLOB_ACCOUNT_URL", None),
        "TABLE_SAS_SECRET_NAME": (
            settings.table_sas_secret_name,
            settings.table_account_url,
            "TABLE_ACCOUNT_URL",
            None,
        ),
    }
    for variable, (name, service, needed, instead) in named.items():
        if name is not None and service is None:
            raise ConfigurationError(f"{variable} is set without {needed}; set that as well, or unset {variable}")
        if name is not None and settings.key_vault_uri is None and instead is None:
            raise ConfigurationError(f"{variable} names a secret in Key Vault; set KEY_VAULT_URI as well")
        if name is not None and "sig=" in urlsplit(str(service)).query:
            raise ConfigurationError(f"{variable} is set, and {needed} holds a SAS as well; take it out of the URL")
    if settings.redis_auth != "entra":
        return
    address = settings.redis_address()
    if address is None:
        raise ConfigurationError("REDIS_AUTH=entra is set, but neither REDIS_HOST nor REDIS_URL; set one of these")
    if settings._redis_password_given():  # noqa: SLF001 - a part of this class
        raise ConfigurationError(
            "REDIS_AUTH=entra signs in with tokens, but a password of Redis is set as well; unset one of the two"
        )
    parts = urlsplit(address[0])
    if parts.scheme == "redis" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
        raise ConfigurationError(
            "REDIS_AUTH=entra needs TLS, for a token is a password: set REDIS_SSL=true, or a URL with rediss://"
        )


class FileSettings(MemorySettings):
    """The settings of one file alone. The environment does not count, so that two sets of tiers can be named beside each other."""

    _environment_counts = False

    def __init__(self, *, env_file: Path | str | None, **values: Any) -> None:
        super().__init__(env_file=env_file, **values)
