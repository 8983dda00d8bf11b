"""The direct methods, as the code that they replace used them, and the epoch."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from thermocline.clock import Deadline
from thermocline.errors import NotFound
from thermocline.tiers.warm import raw
from thermocline.tiers.warm.calls import persistently, told
from thermocline.tiers.warm.connection import Connection, epoch_of
from thermocline.tiers.warm.trouble import Kind, Trouble

DIRECT_SECONDS: Final = 60.0  # for methods that take no deadline


class Documents(Connection):
    """Raw documents beside the cascade's records, and the epoch item."""

    # --- the epoch ----------------------------------------------------------------------------------------------------

    async def epoch(self) -> int:
        """How often versions may have turned back, by a failover or a restore: what floors and hot entries are worth ends when it grows."""
        service = self._asked()
        with told():
            return await persistently(lambda: epoch_of(service), _patience())

    async def raise_epoch(self) -> int:
        """Raise it by one (after a failover or a restore) and return it. Raised twice by a lost answer, it does no harm."""
        service = self._asked()
        partition = list(raw.EPOCH_PARTITION)
        first = {"id": raw.EPOCH_ID, "tenant": partition[0], "scope": partition[1], "epoch": 1}

        async def raise_it() -> int:
            try:
                item = await service.patch(raw.EPOCH_ID, partition, [{"op": "incr", "path": "/epoch", "value": 1}])
            except Trouble as trouble:
                if trouble.kind is not Kind.MISSING:
                    raise
                try:
                    item = await service.create_item(first)
                except Trouble as other:
                    if other.kind is not Kind.EXISTS:
                        raise
                    raise Trouble(Kind.AGAIN, other.error) from other
            return int(item["epoch"])

        with told():
            return await persistently(raise_it, _patience())

    # --- raw documents ------------------------------------------------------------------------------------------------

    async def upsert(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """Store a raw document, replacing one of the same id and partition; returns it as the service has it. The cascade never reads it.

        ``id`` is needed; without ``tenant`` and ``scope`` its partition is ``pk``, or its id. Raises `InvalidArgument`, `TooLarge`, `TierUnavailable`.
        """
        service, document = self._asked(), raw.document_of(item)
        with told():
            return dict(await persistently(lambda: service.upsert(document), _patience()))

    async def _read_document(self, item_id: str, partition_key: Any = None) -> dict[str, Any]:
        service, partition = self._asked(), raw.partition_of(partition_key, item_id)
        try:
            return dict(await persistently(lambda: service.read(item_id, partition), _patience()))
        except Trouble as trouble:
            if trouble.kind is Kind.MISSING:
                raise NotFound(f"there is no document {item_id!r} in the partition {partition_key!r}") from trouble
            raise trouble.error from trouble

    async def delete(self, item_id: str, partition_key: Any = None) -> bool:
        """Delete a raw document; False: there was none (or an answer was lost, and this found its own work)."""
        service, partition = self._asked(), raw.partition_of(partition_key, item_id)
        try:
            await persistently(lambda: service.delete(item_id, partition), _patience())
        except Trouble as trouble:
            if trouble.kind is Kind.MISSING:
                return False
            raise trouble.error from trouble
        return True

    async def query(
        self, text: str, *, parameters: Mapping[str, Any] | None = None, partition_key: Any = None
    ) -> AsyncIterator[Any]:
        """The rows of a query, page by page: in one partition (a document's ``pk``, or ``[tenant, scope]``), or in the whole container.

        ``parameters`` by name, with their ``@``. Not repeated after a failure.
        """
        service = self._asked()
        partition = None if partition_key is None else raw.partition_of(partition_key, "-")
        with told():
            async for page in service.query(text, parameters or {}, partition):
                for row in page:
                    yield row


def _patience() -> Deadline:
    return Deadline.after(DIRECT_SECONDS)
