"""What a document of the change feed is: a record of ours, something else that lies in the container, or poison. Pure.

Only what the feed needs is read, and that is the key and the version. A value is not judged here: whoever reads the key does that, and a document that
came through a host's JSON need not have the value's checksum any more. For the same reason a key's name is taken from the item's id wherever that holds
the whole of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from thermocline.errors import CorruptRecord, InvalidKey
from thermocline.keys import COSMOS_PREFIX, from_cosmos_id
from thermocline.letters import Cause
from thermocline.model import Key
from thermocline.tiers.warm.item import FORMAT, version_of

_LATEST: Final = 1e11  # seconds since 1970: what is beyond is no time, and no number of it need fit into a float


@dataclass(frozen=True, slots=True)
class Change:
    """The authority has this version of this key."""

    key: Key
    version: int


@dataclass(frozen=True, slots=True)
class Poison:
    """Ours by its id, but its key or version cannot be read. ``key``: where it is the version alone."""

    cause: Cause
    error: str
    key: Key | None = None


def change_of(document: Any) -> Change | Poison | None:
    """What the document is; None: not a record of the cascade (a note, fence or epoch of the library, or a document of the program's own)."""
    if not isinstance(document, Mapping):
        return Poison(Cause.CORRUPT, f"it is no document but {type(document).__name__}")
    item_id = document.get("id")
    if not isinstance(item_id, str):
        return Poison(Cause.CORRUPT, "it has no id")
    if not item_id.startswith(COSMOS_PREFIX):
        return None
    key: Key | None = None
    try:
        key = _key_of(document, item_id)
        return Change(key, version_of(document, key))
    except (CorruptRecord, InvalidKey) as error:
        newer = _format_of(document) > FORMAT
        told = f"{error}; its format is newer: upgrade the worker" if newer else str(error)
        return Poison(Cause.UNREADABLE if newer else Cause.CORRUPT, told, key)


def _key_of(document: Mapping[str, Any], item_id: str) -> Key:
    """The key by whose id readers find the item. Raises `InvalidKey`."""
    tenant, scope, name = document.get("tenant"), document.get("scope"), document.get("n")
    if not isinstance(tenant, str) or not isinstance(scope, str):
        raise InvalidKey("it has no tenant or scope")
    try:
        return from_cosmos_id(tenant, scope, item_id)
    except InvalidKey:
        if not isinstance(name, str):
            raise
        return from_cosmos_id(tenant, scope, item_id, name)


def _format_of(document: Mapping[str, Any]) -> float:
    r = document.get("r")
    z = r.get("z") if isinstance(r, Mapping) else None
    return z if isinstance(z, int | float) else 0


def changed_at(document: Any) -> float | None:
    """When the service took the write, in whole seconds since 1970 (``_ts``); None: it does not say."""
    at = document.get("_ts") if isinstance(document, Mapping) else None
    return float(at) if isinstance(at, int | float) and 0 < at < _LATEST else None
