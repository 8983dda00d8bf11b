"""`AppSettings`: what the Functions apps are configured with besides the memory. ``infra/contract.json`` says which app has which of the variables."""

from pathlib import Path
from typing import Annotated, Any, Final, Self
from uuid import UUID

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode

from thermocline.errors import ConfigurationError
from thermocline.settings import DOTENV, READ_AS, ServiceUrl, in_plain_words, spelled

_PART: Final = r"[0-9A-Za-z*/,\-]+"  # of a schedule


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


Schedule = Annotated[
    str,
    spelled(
        rf"{_PART}( {_PART}){{5}}",
        "is no schedule: six parts with a space between, second minute hour day month weekday, as in 0 */10 * * * *",
    ),
]
_Queue = Annotated[
    str,
    spelled(
        r"(?=.{3,63}\Z)[a-z0-9](-?[a-z0-9])*",
        "is no queue's name: 3 to 63 small letters, digits and single hyphens, with a letter or digit first and last",
    ),
]
ContainerName = Annotated[str, Field(min_length=1, max_length=255)]


class AppSettings(BaseSettings):
    """What is configured for the apps: by keyword, else by environment variable, else by a line in ``.env``, else by default.

    An empty variable counts as not set. Raises `ConfigurationError`, which names the variable, for a value that cannot be used.
    """

    model_config = READ_AS

    leases_container: ContainerName = Field("leases", validation_alias="THERMOCLINE_LEASES_CONTAINER")
    dead_letters_container: ContainerName = Field("dead-letters", validation_alias="THERMOCLINE_DEAD_LETTERS_CONTAINER")
    feed_attempts: int = Field(5, validation_alias="THERMOCLINE_FEED_ATTEMPTS", ge=1, le=100)
    sweep_schedule: Schedule = Field("0 */10 * * * *", validation_alias="THERMOCLINE_SWEEP_SCHEDULE")
    sweep_seconds: int = Field(
        240, validation_alias="THERMOCLINE_SWEEP_SECONDS", ge=1, le=540
    )  # of a function's ten minutes
    sweep_request_units: int = Field(20_000, validation_alias="THERMOCLINE_SWEEP_REQUEST_UNITS", ge=100)
    replay_schedule: Schedule = Field("0 */5 * * * *", validation_alias="THERMOCLINE_REPLAY_SCHEDULE")
    vault_events_queue: _Queue = Field("vault-events", validation_alias="THERMOCLINE_VAULT_EVENTS_QUEUE")
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
        with in_plain_words(env_file):
            super().__init__(_env_file=env_file, **{names[name]: value for name, value in values.items()})

    @classmethod
    def load(cls, env_file: Path | str | None = DOTENV) -> Self:
        """The settings of the environment and of ``env_file``."""
        return cls(env_file=env_file)


def variable_of(name: str) -> str:
    """The variable of a setting of the apps."""
    return str(AppSettings.model_fields[name].validation_alias)
