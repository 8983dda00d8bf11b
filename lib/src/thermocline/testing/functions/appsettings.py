"""An app's settings: the local settings file, ``%NAME%`` in bindings, and what a binding's connection is made of."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from thermocline.testing.functions.errors import BadApp
from thermocline.testing.rig.azurite import ACCOUNT, KEY

LOCAL_SETTINGS: Final = "local.settings.json"
DEVELOPMENT: Final = "UseDevelopmentStorage=true"
_AZURITE: Final = f"AccountName={ACCOUNT};AccountKey={KEY};QueueEndpoint=http://127.0.0.1:10001/{ACCOUNT};"
_PLACE: Final = re.compile("%([^%]+)%")


@dataclass(frozen=True)
class Connection:
    """How to reach a service: by a connection string's parts, or at an address with a token of the app's identity."""

    name: str
    address: str
    by_key: Mapping[str, str] | None = field(default=None, repr=False)
    """The parts of the connection string; None: by identity."""
    client_id: str | None = None


# Binding type -> the setting that holds the address beside an identity, and the part of a connection string that does.
_ADDRESSES: Final = {
    "cosmosDBTrigger": ("accountEndpoint", "AccountEndpoint"),
    "queueTrigger": ("queueServiceUri", "QueueEndpoint"),
}


def local_values(folder: Path) -> dict[str, str]:
    """The ``Values`` of ``local.settings.json``; empty where there is no such file. Raises BadApp for one that cannot be read."""
    path = folder / LOCAL_SETTINGS
    if not path.exists():
        return {}
    return values_of(path)


def values_of(path: Path) -> dict[str, str]:
    """The ``Values`` of a local settings file. Raises BadApp for one that holds none, or values that are no text."""
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadApp(f"{path} cannot be read as JSON: {error}") from error
    values = document.get("Values") if isinstance(document, dict) else None
    if not isinstance(values, dict):
        raise BadApp(f"{path} holds no object named Values")
    for name, value in values.items():
        if not isinstance(value, str):
            raise BadApp(f"{path}: the value of {name} is no text; write it in quotes, as an environment holds it")
    return dict(values)


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Put ``values`` into this process' environment, and what was there back at the end."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def resolved(text: str, settings: Mapping[str, str], where: str) -> str:
    """``text`` with each ``%NAME%`` replaced by the setting. Raises BadApp, which names the setting, if there is none."""

    def value(found: re.Match[str]) -> str:
        if not settings.get(found[1], ""):
            raise BadApp(f"{where} is {text}, and there is no setting {found[1]}; set it")
        return settings[found[1]]

    return _PLACE.sub(value, text)


def connection(kind: str, name: str, settings: Mapping[str, str], where: str) -> Connection:
    """The connection of that name for a binding of type ``kind``. Raises BadApp if its settings are missing or of no use."""
    beside, within = _ADDRESSES[kind]
    text = settings.get(name, "")
    if text == DEVELOPMENT:
        text = _AZURITE
    if text:
        parts = dict(part.split("=", 1) for part in text.split(";") if "=" in part)
        if within not in parts:
            raise BadApp(f"{where}: the setting {name} is no connection string with {within}=")
        return Connection(name, parts[within], parts)
    address = settings.get(f"{name}__{beside}", "")
    if address:
        return Connection(name, address, None, settings.get(f"{name}__clientId") or None)
    raise BadApp(
        f"{where} is {name}, and there is neither a setting {name}__{beside} (with an identity) nor a connection string {name}"
    )
