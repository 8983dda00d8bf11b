"""What an application before this library left, as the source of a migration: plain keys in Redis, documents ``{"id", "pk", "value"}``, blobs."""

from typing import Any, Protocol, runtime_checkable

from thermocline.client import MemoryClient
from thermocline.client.legacy import connect_sources
from thermocline.clock import Deadline
from thermocline.errors import ConfigurationError
from thermocline.model import Key, MemoryTier
from thermocline.policy import LegacySource, MemoryRules, Route
from thermocline.protocols import Entries

_SECONDS = 600.0  # for finding all names of one store
_OWN = ("tc1:", "tc1/", "tc1.")  # what this library wrote itself


@runtime_checkable
class NamesListed(Protocol):
    """A store whose plain names can be found."""

    tier: MemoryTier

    async def plain_list(self, prefix: str, *, deadline: Deadline) -> list[str]: ...


def old_memory(legacy: LegacySource, hot: Entries, **options: Any) -> MemoryClient:
    """A client that knows nothing but these old copies: the source of a `Migration`, with the keys of `old_keys` and ``merge``. ``hot`` is an empty
    `ProcessMemory`. Nothing old is changed or removed; where the application goes on meanwhile, give its client the same `LegacySource`."""
    rules = MemoryRules(write_through=False, hot_ttl_seconds=None)
    return MemoryClient(hot=hot, routes=[Route("", rules=rules, legacy=legacy)], **options)


async def old_keys(legacy: LegacySource, *, prefix: str = "") -> list[Key]:
    """The keys of all plain names in the old stores that begin with ``prefix``, each once, in order. Held in memory: about 200 bytes a name. Raises
    `ConfigurationError` for a store whose names cannot be found, or where another rule than the names themselves leads from a key to its copies;
    `TierUnavailable`."""
    names: set[str] = set()
    opened = await connect_sources(legacy.sources())
    try:
        for source in legacy.sources():
            if not isinstance(source, NamesListed):
                raise ConfigurationError(f"the names in {source.tier} cannot be found: name the keys yourself")
            found = await source.plain_list(prefix, deadline=Deadline.after(_SECONDS))
            names.update(name for name in found if name and not name.startswith(_OWN))
    finally:
        for part in opened:
            await part.close()
    keys = [Key.of(name) for name in sorted(names)]
    strangers = [key for key in keys if legacy.name(key) != key.name]
    if strangers:
        raise ConfigurationError(
            f"the source has a rule of its own for names, by which {strangers[0].name!r:.80} is not its key's: name the keys yourself"
        )
    return keys
