"""`AppSettings`: what the Functions apps are configured with besides the memory. ``infra/contract.json`` says which app has which of the variables."""

import re
from pathlib import Path
from typing import Annotated, Any, Final, Self
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from thermocline.errors import ConfigurationError
from thermocline.settings import DOTENV, ServiceUrl, told_of

_PART: Final = r"[0-9A-Za-z*/,\-]+"  # of a schedule


def _schedule(value: str) -> str:
    if re.fullmatch(rf"{_PART}( {_PART}){{5}}", value) is None:
        raise ValueError(
            "is no schedule: six parts with a space between, second minute hour day month weekday, as in 0 */10 * * * *"
        )
    return value


def _queue(value: str) -> str:
    if not 3 <= len(value) <= 63 or re.fullmatch("[a-z0-9](-?[a-z0-9])*", value) is None:
        raise ValueError(
            "is no queue's name: 3 to 63 small letters, digits and single hyphens, with a letter or digit first and last"
        )
    return value


def _tenants(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    given = [part.strip() for part in value.split(",") if part.strip()]
    for number, part in enumerate(given, 1):
        try:
            UUID(part)
        except ValueError as error:  # not repeated: health pages tell of it to everybody
            raise ValueError(
                f"has in place {number} what is no tenant's id: ids (GUIDs) of Entra tenants with a comma between"
            ) from error
    return tuple(str(UUID(part)) for part in given)


Schedule = Annotated[str, AfterValidator(_schedule)]
ContainerName = Annotated[str, Field(min_length=1, max_length=255)]


class AppSettings(BaseSettings):
    """What is configured for the apps: by keyword, else by environment variable, else by a line in ``.env``, else by default.

    An empty variable counts as not set. Raises `ConfigurationError`, which names the variable, for a value that cannot be used.
    """

    model_config = SettingsConfigDict(
        env_ignore_empty=True,
        env_file_encoding="utf-8",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        str_strip_whitespace=True,
        validate_default=False,
    )

    leases_container: ContainerName = Field("leases", validation_alias="THERMOCLINE_LEASES_CONTAINER")
    dead_letters_container: ContainerName = Field("dead-letters", validation_alias="THERMOCLINE_DEAD_LETTERS_CONTAINER")
    feed_attempts: int = Field(5, validation_alias="THERMOCLINE_FEED_ATTEMPTS", ge=1, le=100)
    sweep_schedule: Schedule = Field("0 */10 * * * *", validation_alias="THERMOCLINE_SWEEP_SCHEDULE")
    sweep_seconds: int = Field(
        240, validation_alias="THERMOCLINE_SWEEP_SECONDS", ge=1, le=540
    )  # of a function's ten minutes
    sweep_request_units: int = Field(20_000, validation_alias="THERMOCLINE_SWEEP_REQUEST_UNITS", ge=100)
    replay_schedule: Schedule = Field("0 */5 * * * *", validation_alias="THERMOCLINE_REPLAY_SCHEDULE")
    vault_events_queue: Annotated[str, AfterValidator(_queue)] = Field(
        "vault-events", validation_alias="THERMOCLINE_VAULT_EVENTS_QUEUE"
    )
    api_audience: str | None = Field(None, validation_alias="THERMOCLINE_API_AUDIENCE")
    api_tenants: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_tenants)] = Field(
        (), validation_alias="THERMOCLINE_API_TENANTS"
    )
    api_authority: ServiceUrl = Field("https://login.microsoftonline.com", validation_alias="THERMOCLINE_API_AUTHORITY")
    jobs_schedule: Schedule = Field("30 * * * * *", validation_alias="THERMOCLINE_JOBS_SCHEDULE")

    def __init__(self, *, env_file: Path | str | None = DOTENV, **values: Any) -> None:
        names = {name: variable_of(name) for name in type(self).model_fields}
        for name in values:
            if name not in names:
                raise ConfigurationError(
                    f"there is no setting {name!r} of the apps; docs/configuration.md lists all of them"
                )
        try:
            super().__init__(_env_file=env_file, **{names[name]: value for name, value in values.items()})
        except ValidationError as error:
            raise ConfigurationError(
                "; ".join(told_of(detail) for detail in error.errors(include_input=False))
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{env_file} cannot be read as a text file in UTF-8: {error}") from error

    @classmethod
    def load(cls, env_file: Path | str | None = DOTENV) -> Self:
        """The settings of the environment and of ``env_file``."""
        return cls(env_file=env_file)


def variable_of(name: str) -> str:
    """The variable of a setting of the apps."""
    return str(AppSettings.model_fields[name].validation_alias)
