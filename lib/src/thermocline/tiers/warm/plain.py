"""Plain names for a client, as documents ``{"id", "pk", "value"}``, the shape that the code which this library replaces wrote; and such documents in the
containers that it had, to be read and removed."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

from thermocline.clock import Deadline
from thermocline.codec import JSON, Codec
from thermocline.errors import ConfigurationError, CorruptRecord, InvalidArgument
from thermocline.model import Key
from thermocline.protocols import PlainCopy
from thermocline.tiers.warm import raw
from thermocline.tiers.warm.calls import bounded, persistently, told
from thermocline.tiers.warm.connection import Connection
from thermocline.tiers.warm.documents import Documents
from thermocline.tiers.warm.trouble import Kind, Trouble

ENCODED: Final = (
    "tc_value"  # an envelope in base64, where the value is no JSON that Cosmos DB would give back unchanged
)
EXPIRES: Final = "tc_expires_ms"
_UNDEFINED: Final[
    dict[str, Any]
] = {}  # on the wire: a document without the property that its container is partitioned by


class PlainDocuments(Documents):
    """Plays `PlainNames` in the tier's own container."""

    _plain_codec = Codec()

    async def plain_get(self, name: str, *, deadline: Deadline) -> PlainCopy | None:
        """One point read."""
        service, partition, deadline = self._asked(), raw.partition_of(None, name), bounded(deadline)
        try:
            item = await persistently(lambda: service.read(name, partition), deadline)
        except Trouble as trouble:
            if trouble.kind is Kind.MISSING:
                return None
            raise trouble.error from trouble
        return copy_of(item, self._now_ms())

    async def plain_set(self, name: str, value: Any, *, lasting_ms: int, deadline: Deadline) -> None:
        """One upsert. The document's ``ttl`` is in whole seconds, rounded up; its exact end stands beside it."""
        service, deadline, now = self._asked(), bounded(deadline), self._now_ms()
        serialised = self._plain_codec.prepare(value)
        document: dict[str, Any] = {"id": name, "pk": name}
        if serialised.serialiser == JSON or isinstance(value, str):
            document["value"] = (
                value
                if isinstance(value, str)
                else self._plain_codec.native(self._plain_codec.seal(_key(name), serialised, now_ms=now))
            )
        else:
            packed = self._plain_codec.pack(self._plain_codec.seal(_key(name), serialised, now_ms=now))
            document[ENCODED] = base64.b64encode(packed).decode()
        if lasting_ms:
            document["ttl"] = -(-lasting_ms // 1000)
            document[EXPIRES] = now + lasting_ms
        item = raw.document_of(document)
        with told():
            await persistently(lambda: service.upsert(item), deadline)

    async def plain_delete(self, name: str, *, deadline: Deadline) -> bool:
        service, partition, deadline = self._asked(), raw.partition_of(None, name), bounded(deadline)
        return await _removed(service, name, partition, deadline)

    async def plain_list(self, prefix: str, *, deadline: Deadline) -> list[str]:
        """A query of the ids in all partitions."""
        service, deadline = self._asked(), bounded(deadline)

        async def ask() -> list[str]:
            pages = service.query("SELECT c.id FROM c WHERE STARTSWITH(c.id, @prefix)", {"@prefix": prefix}, None)
            return [str(item["id"]) async for page in pages for item in page]

        with told():
            return await persistently(ask, deadline)


class LegacyDocuments(Connection):
    """The container of an application that this library's replaces, to be read and emptied: plays `PlainCopies` for a `LegacySource`.

    It takes what `WarmMemory` takes. The container may be partitioned by any one path: by ``/pk`` or ``/id`` a read is one point read; by another, as the
    ``/service`` that the old templates deployed, it is a query over all partitions, of which the newest document counts. A document's value is its ``value``,
    or without one all of it but what Cosmos DB adds. Nothing is ever written to it.
    """

    _path = ""

    async def _check(self, service: Any) -> None:
        await service.open()
        try:
            properties = await service.properties()
        except Trouble as trouble:
            if trouble.kind is not Kind.MISSING and not isinstance(trouble.error, ConfigurationError):
                raise
            raise ConfigurationError(
                f"there is no legacy container {self._database}/{self._container}: check its name, or leave the source out"
            ) from trouble
        key = properties.get("partitionKey") or {}
        paths = list(key.get("paths") or ())
        if len(paths) != 1:
            raise ConfigurationError(
                f"the legacy container {self._database}/{self._container} is partitioned by {', '.join(paths) or 'nothing'}: LegacyDocuments reads"
                " those with one path, as /pk or /service"
            )
        self._path = paths[0].strip("/")

    async def ping(self, *, deadline: Deadline) -> None:
        """One read of the container's definition."""
        service, deadline = self._asked(), bounded(deadline)
        with told():
            await persistently(service.properties, deadline)

    async def plain_get(self, name: str, *, deadline: Deadline) -> PlainCopy | None:
        found = await self._find(name, bounded(deadline))
        copies = [copy_of(item, self._now_ms()) for item, _ in sorted(found, key=_written)]
        return copies[-1] if copies else None

    async def plain_delete(self, name: str, *, deadline: Deadline) -> bool:
        service, deadline = self._asked(), bounded(deadline)
        removed = [await _removed(service, name, at, deadline) for _, at in await self._find(name, deadline)]
        return any(removed)

    async def plain_list(self, prefix: str, *, deadline: Deadline) -> list[str]:
        """A query of the ids in all partitions; an id that several partitions have is named once."""
        service, deadline = self._asked(), bounded(deadline)

        async def ask() -> set[str]:
            pages = service.query("SELECT c.id FROM c WHERE STARTSWITH(c.id, @prefix)", {"@prefix": prefix}, None)
            return {str(item["id"]) async for page in pages for item in page}

        with told():
            return list(await persistently(ask, deadline))

    async def _find(self, name: str, deadline: Deadline) -> list[tuple[dict[str, Any], list[Any]]]:
        """The documents of that id, each with its partition."""
        service = self._asked()
        raw.partition_of(None, name)  # an id that no document can have
        if self._path in ("pk", "id"):
            try:
                return [(await persistently(lambda: service.read(name, [name]), deadline), [name])]
            except Trouble as trouble:
                if trouble.kind is Kind.MISSING:
                    return []
                raise trouble.error from trouble

        async def ask() -> list[dict[str, Any]]:
            pages = service.query("SELECT * FROM c WHERE c.id = @id", {"@id": name}, None)
            return [item async for page in pages for item in page]

        with told():
            items = await persistently(ask, deadline)
        return [(item, [_at(item, self._path)]) for item in items]


def copy_of(item: Mapping[str, Any], now_ms: int) -> PlainCopy | None:
    """What a document holds; None if its end has passed. Raises `CorruptRecord`."""
    ttl, written = item.get("ttl"), item.get("_ts")
    expires = item.get(EXPIRES, 0)
    if not expires and isinstance(ttl, int) and ttl > 0 and isinstance(written, int):
        expires = (written + ttl) * 1000
    if 0 < expires <= now_ms:
        return None
    if isinstance(item.get(ENCODED), str):
        try:
            packed = base64.b64decode(item[ENCODED], validate=True)
        except binascii.Error as error:
            raise CorruptRecord(f"the document {item.get('id')!r:.80} holds no base64") from error
        codec = Codec()
        return PlainCopy(codec.decode(codec.unpack(packed, _key(str(item["id"])))), expires)
    if "value" in item:
        return PlainCopy(item["value"], expires)
    return PlainCopy({name: value for name, value in item.items() if not name.startswith("_")}, expires)


def _written(found: tuple[Mapping[str, Any], Any]) -> int:
    moment = found[0].get("_ts", 0)
    return moment if isinstance(moment, int) else 0


def _at(item: Mapping[str, Any], path: str) -> Any:
    """The partition key value of a document."""
    value: Any = item
    for part in path.split("/"):
        if not isinstance(value, Mapping) or part not in value:
            return _UNDEFINED
        value = value[part]
    return value


async def _removed(service: Any, name: str, partition: Any, deadline: Deadline) -> bool:
    try:
        await persistently(lambda: service.delete(name, partition), deadline)
    except Trouble as trouble:
        if trouble.kind is Kind.MISSING:
            return False
        raise trouble.error from trouble
    return True


def _key(name: str) -> Key:
    """The key that an encoded value's envelope is made for."""
    if not name:
        raise InvalidArgument("a name is a string that is not empty")
    return Key("warm", "plain", name)
