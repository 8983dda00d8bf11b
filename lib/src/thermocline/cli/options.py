"""The options that all commands share, and the decorator that gives them to a command."""

import asyncio
import functools
import inspect
import os
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from thermocline.cli.terminal import Terminal
from thermocline.errors import InvalidArgument, ThermoclineError
from thermocline.model import DEFAULT_TENANT, Key
from thermocline.protocols import Tier
from thermocline.settings import DOTENV, MemorySettings
from thermocline.wiring import MemoryBuilder, builder

_PANEL = "Where the memory is"


def _place(help_text: str, *names: str) -> Any:
    return typer.Option(*names, help=help_text, rich_help_panel=_PANEL, show_default=False)


Home = Annotated[Path | None, _place("Folder of the embedded tiers (THERMOCLINE_HOME).", "--home")]
EnvFile = Annotated[Path | None, _place("File with lines NAME=value, instead of .env.", "--env-file")]
RedisUrl = Annotated[str | None, _place("Hot: redis://… or rediss://… (REDIS_URL).", "--redis-url")]
CosmosUri = Annotated[
    str | None, _place("Warm: the Cosmos DB account's endpoint (COSMOS_ACCOUNT_URI).", "--cosmos-account-uri")
]
CosmosDatabase = Annotated[str | None, _place("Its database (COSMOS_DATABASE).", "--cosmos-database")]
CosmosContainer = Annotated[str | None, _place("Its container (COSMOS_CONTAINER).", "--cosmos-container")]
CosmosKey = Annotated[str | None, _place("Its key (better: COSMOS_KEY, or none and sign in to Azure).", "--cosmos-key")]
BlobUrl = Annotated[
    str | None, _place("Cold: the storage account's blob endpoint (BLOB_ACCOUNT_URL).", "--blob-account-url")
]
BlobContainer = Annotated[str | None, _place("Its container (BLOB_CONTAINER).", "--blob-container")]
TableUrl = Annotated[
    str | None, _place("Fourth tier: the storage account's table endpoint (TABLE_ACCOUNT_URL).", "--table-account-url")
]
TableName = Annotated[str | None, _place("Its table (TABLE_NAME).", "--table-name")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
NoColor = Annotated[bool, typer.Option("--no-color", help="No colour (also: NO_COLOR, or no terminal).")]

_SHARED: dict[str, tuple[Any, Any]] = {
    "as_json": (AsJson, False),
    "no_color": (NoColor, False),
    "home": (Home, None),
    "env_file": (EnvFile, None),
    "redis_url": (RedisUrl, None),
    "cosmos_account_uri": (CosmosUri, None),
    "cosmos_database": (CosmosDatabase, None),
    "cosmos_container": (CosmosContainer, None),
    "cosmos_key": (CosmosKey, None),
    "blob_account_url": (BlobUrl, None),
    "blob_container": (BlobContainer, None),
    "table_account_url": (TableUrl, None),
    "table_name": (TableName, None),
}


@dataclass(slots=True)
class Session:
    """One run of a command: where it writes, and the settings that its options and the environment give."""

    terminal: Terminal
    given: dict[str, Any] = field(default_factory=dict)
    env_file: Path | None = None

    def settings(self, **instead: Any) -> MemorySettings:
        """The settings; ``instead`` go before all else. Raises `ConfigurationError` that names the variable or option."""
        values = {**self.given, **instead}
        return MemorySettings(env_file=DOTENV if self.env_file is None else self.env_file, **values)

    def builder(self) -> MemoryBuilder:
        """A builder with the tiers of the settings."""
        return builder(self.settings())


def first_of(group: ExceptionGroup[Exception]) -> ThermoclineError:
    """The first of our errors in a group, to be told; a group without any is raised as it is."""
    ours = group.subgroup(ThermoclineError)
    if ours is None:
        raise group
    first: BaseException = ours
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    assert isinstance(first, ThermoclineError)
    return first


Command = Callable[..., Coroutine[Any, Any, int | None]]


def command(function: Command) -> Callable[..., None]:
    """A typer command of an async function ``(session, ...)``: with the shared options, errors in plain words, and its exit code."""

    @functools.wraps(function)
    def run(**values: Any) -> None:
        terminal = Terminal(as_json=values.pop("as_json"), no_color=values.pop("no_color"))
        env_file = values.pop("env_file")
        shared = {name: values.pop(name) for name in _SHARED if name in values}
        given = {name: value for name, value in shared.items() if value is not None}
        session = Session(terminal, given, env_file)
        code: int | None = None
        try:
            code = asyncio.run(function(session, **values))
        except (ThermoclineError, KeyError) as error:
            terminal.fail(error)
        except ExceptionGroup as group:
            terminal.fail(first_of(group))
        except BrokenPipeError:  # whoever read our output has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        if code is not None and code != 0:
            raise typer.Exit(code)

    own = [parameter for name, parameter in inspect.signature(function).parameters.items() if name != "session"]
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in _SHARED.items()
    ]
    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + shared
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


Tenant = Annotated[str | None, typer.Option(help="The tenant; of a single key only with --scope.", show_default=False)]
Scope = Annotated[str | None, typer.Option(help="The key's scope, as user/42.", show_default=False)]


def key_of(name: str, tenant: str | None, scope: str | None) -> Key:
    """The key that a command names: a plain name, or one of a scope. Raises `InvalidArgument`."""
    if scope is not None:
        return Key(DEFAULT_TENANT if tenant is None else tenant, scope, name)
    if tenant is not None:
        raise InvalidArgument("--tenant needs --scope: a key is tenant / scope / name")
    return Key.of(name)


async def close_all(tiers: list[Tier]) -> None:
    """Close what was opened, the last one first."""
    for tier in reversed(tiers):
        await tier.close()
