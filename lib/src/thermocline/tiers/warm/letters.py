"""Dead letters as items of a container beside the memory's.

::

    {"id": the letter's, "tenant", "scope": of the document's key, or "" and "~unknown", "cause", "error", "n": the key's name or null,
     "v": version or 0, "attempts", "at": when (ms), "document": its outline}

The container has the memory's partition key paths and a defaultTtl, by which letters go (infra/contract.json). Listings and look-ups by id ask all
partitions: they are rare, and there are few letters.
"""

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from thermocline.clock import Deadline
from thermocline.cursors import pack_place, unpack_place
from thermocline.errors import ConfigurationError, CorruptRecord
from thermocline.letters import LASTING, PAGE, Letter, LetterFilter, LetterPage, check_page, letter_of
from thermocline.tiers.warm.calls import bounded, persistently, told
from thermocline.tiers.warm.connection import Connection
from thermocline.tiers.warm.shape import PATHS, check_account
from thermocline.tiers.warm.trouble import Kind, Trouble

if TYPE_CHECKING:
    from thermocline.tiers.warm.sdk import Service

INDEXING: Final[dict[str, Any]] = {
    "indexingMode": "consistent",
    "automatic": True,
    "includedPaths": [{"path": "/*"}],
    "excludedPaths": [{"path": "/document/*"}, {"path": '/"_etag"/?'}],
}


class CosmosLetters(Connection):
    """Plays `Letters`. `WarmMemory.letters` makes one of the same account and credential."""

    async def _check(self, service: "Service") -> None:
        account = await service.open()
        check_account(account.consistency, account.multi_write)
        if self._create:
            await service.create(PATHS, round(LASTING.total_seconds()), INDEXING)
        where = f"{self._database}/{self._container}"
        try:
            properties = await service.properties()
        except Trouble as trouble:
            if trouble.kind is not Kind.MISSING and not isinstance(trouble.error, ConfigurationError):
                raise
            raise ConfigurationError(
                f"there is no container {where} for dead letters: check THERMOCLINE_DEAD_LETTERS_CONTAINER, or create it (docs/change-feed.md)"
            ) from trouble
        paths = tuple((properties.get("partitionKey") or {}).get("paths") or ())
        ttl = properties.get("defaultTtl")
        if paths != PATHS or not isinstance(ttl, int) or ttl <= 0:
            raise ConfigurationError(
                f"the container {where} for dead letters is partitioned by {', '.join(paths) or 'nothing'} with a defaultTtl of {ttl}; it must be by"
                f" {', '.join(PATHS)}, with the seconds for which letters are kept ({round(LASTING.total_seconds())})"
            )

    async def put(self, letter: Letter, *, deadline: Deadline) -> None:
        """One request, sent again until it is answered."""
        service, deadline = self._asked(), bounded(deadline)
        tenant, scope = letter.partition
        item = {"id": letter.id, "tenant": tenant, "scope": scope, **letter.fields()}
        with told():
            await persistently(lambda: service.upsert(item), deadline)

    async def read(self, letter_id: str, *, deadline: Deadline) -> Letter | None:
        """One query of all partitions. Raises `CorruptRecord`."""
        rows = await self._rows("SELECT * FROM c WHERE c.id = @id", {"@id": letter_id}, 1, deadline)
        return _letter(rows[0]) if rows else None

    async def page(
        self, wanted: LetterFilter, *, limit: int = PAGE, cursor: str | None = None, deadline: Deadline
    ) -> LetterPage:
        """One query of all partitions. A letter that is damaged is passed over."""
        check_page(limit)
        given: dict[str, Any] = {"@last": "" if cursor is None else unpack_place(wanted.named, cursor)}
        text = "SELECT * FROM c WHERE c.id > @last"
        for name in ("cause", "tenant", "scope"):
            value = getattr(wanted, name)
            if value is not None:
                text += f" AND c.{name} = @{name}"
                given[f"@{name}"] = str(value)
        rows = await self._rows(text + " ORDER BY c.id", given, limit, deadline)
        letters = []
        for row in rows[:limit]:
            try:
                letters.append(_letter(row))
            except CorruptRecord:
                continue
        more = len(rows) > limit
        return LetterPage(letters, pack_place(wanted.named, str(rows[limit - 1]["id"])) if more else None)

    async def drop(self, letter: Letter, *, deadline: Deadline) -> bool:
        """One request; sent again until it is answered, so that after a lost answer it may say False of what it did itself."""
        return await self._delete(letter.id, letter.partition, letter.etag, deadline)

    async def discard(self, letter_id: str, *, deadline: Deadline) -> bool:
        """One query of all partitions, and `drop`'s request."""
        rows = await self._rows("SELECT * FROM c WHERE c.id = @id", {"@id": letter_id}, 1, deadline)
        if not rows:
            return False
        row = rows[0]
        return await self._delete(letter_id, (row.get("tenant"), row.get("scope")), row.get("_etag"), deadline)

    async def _delete(self, letter_id: str, partition: tuple[Any, Any], etag: str | None, deadline: Deadline) -> bool:
        service, deadline = self._asked(), bounded(deadline)
        try:
            await persistently(lambda: service.delete(letter_id, partition, etag=etag), deadline)
        except Trouble as trouble:
            if trouble.kind in (Kind.MISSING, Kind.REFUSED):
                return False
            raise trouble.error from trouble
        return True

    async def _rows(self, text: str, given: dict[str, Any], limit: int, deadline: Deadline) -> list[dict[str, Any]]:
        """One row more than ``limit``, if there are so many."""
        service, deadline = self._asked(), bounded(deadline)

        async def ask() -> list[dict[str, Any]]:
            rows: list[dict[str, Any]] = []
            async with aclosing(service.query(text, given, None, page=limit + 1)) as pages:
                async for page in pages:
                    rows += page
                    if len(rows) > limit:
                        break
            return rows[: limit + 1]

        with told():
            return await persistently(ask, deadline)


def _letter(item: dict[str, Any]) -> Letter:
    return letter_of(str(item["id"]), str(item.get("tenant")), str(item.get("scope")), item, item.get("_etag"))
