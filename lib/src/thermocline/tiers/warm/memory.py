"""`WarmMemory`: Azure Cosmos DB for NoSQL as the authority over keys."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, overload

from thermocline.blobs.upkeep import check_census
from thermocline.clock import Deadline
from thermocline.errors import CorruptRecord, InvalidArgument, InvalidKey, ThermoclineError
from thermocline.keys import COSMOS_PREFIX, cosmos_id, cosmos_partition
from thermocline.model import Envelope, Key
from thermocline.protocols import Inventory, Listed, Page, Write, Written
from thermocline.telemetry import CORRUPT
from thermocline.tiers.warm import listing
from thermocline.tiers.warm.calls import bounded, persistently, told
from thermocline.tiers.warm.item import envelope_of, record_of, ttl_of, version_of
from thermocline.tiers.warm.notes import KeptNotes
from thermocline.tiers.warm.plain import PlainDocuments
from thermocline.tiers.warm.trouble import TIER, Kind, Trouble
from thermocline.writes import pointable_until, too_old

if TYPE_CHECKING:
    from thermocline.tiers.warm.letters import CosmosLetters
    from thermocline.tiers.warm.writing import Writing

AT_ONCE: Final = 16  # writes of a batch under way at the same time
IDS_A_QUERY: Final = 100  # of a `read_many`; answers above 4 MB come in further pages


class WarmMemory(PlainDocuments, KeptNotes):
    """Plays `Versions`, `Census`, `Relocates`, `Notes` and `Atomic`. The constructor does no I/O; `connect` binds to the running loop.

    ``account_uri`` is the account's endpoint, ``database`` and ``container`` must exist with the partition key paths ``/tenant``, ``/scope`` and the
    defaultTtl -1 (``create=True`` makes them, with a key only: for development and the emulator). ``credential`` is an asynchronous token
    credential of azure.identity, and stays the caller's to close; ``key`` is an account key, or one that
    changes (a secret of Key Vault). ``grace`` is how long an item outlives its
    record (T of docs/consistency.md; at least two minutes). ``connection_limit`` bounds the connections (default: aiohttp's 100). ``preferred_regions``:
    where to read, nearest first, if the route accepts their lag; by default the write region. ``client_kwargs`` go to CosmosClient. An item is
    refused above ``max_item_bytes`` (the service's limit is 2 MB).

    It retries what Cosmos DB did not carry out (429 after the time asked for, 449, 410) and what got no answer, within the call's deadline; nobody
    else does. ``skew_ms`` is the server's clock less this one, 0 below a second.
    """

    atomic_most = 100

    @overload
    async def read(self, key: Key, *, deadline: Deadline) -> Envelope | None: ...

    @overload
    async def read(self, item_id: str, partition_key: Any = None) -> dict[str, Any]: ...

    async def read(self, *args: Any, **kwargs: Any) -> Any:
        """Of a `Key`: the newest record (`Versions.read`), by one point read. Of an id and a partition key: that raw document as a dict, with the
        service's ``_etag`` and ``_ts``; raises `NotFound`."""
        if kwargs.keys() & {"key", "deadline"} or (args and isinstance(args[0], Key)):
            return await self._read(*args, **kwargs)
        return await self._read_document(*args, **kwargs)

    async def _read(self, key: Key, *, deadline: Deadline) -> Envelope | None:
        service, deadline = self._asked(), bounded(deadline)
        try:
            item = await persistently(
                lambda: service.read(cosmos_id(key), cosmos_partition(key)), deadline, self.retries
            )
        except Trouble as trouble:
            if trouble.kind is Kind.MISSING:
                return None
            raise trouble.error from trouble
        return envelope_of(item, key)

    async def read_many(self, keys: Sequence[Key], *, deadline: Deadline) -> list[Envelope | ThermoclineError | None]:
        """One point read for a key that is alone in its partition, else one query per partition and hundred keys; all at once, each for itself."""
        self._asked()
        deadline = bounded(deadline)
        partitions: dict[tuple[str, str], list[Key]] = {}
        for key in dict.fromkeys(keys):
            partitions.setdefault((key.tenant, key.scope), []).append(key)
        chunks = [
            found[start : start + IDS_A_QUERY]
            for found in partitions.values()
            for start in range(0, len(found), IDS_A_QUERY)
        ]
        gate = asyncio.Semaphore(AT_ONCE)

        async def of_chunk(chunk: list[Key]) -> dict[Key, Envelope | ThermoclineError | None]:
            async with gate:
                try:
                    if len(chunk) == 1:
                        return {chunk[0]: await self._read(chunk[0], deadline=deadline)}
                    return await self._query_chunk(chunk, deadline)
                except ThermoclineError as error:
                    return dict.fromkeys(chunk, error)

        answers: dict[Key, Envelope | ThermoclineError | None] = {}
        for answer in await asyncio.gather(*map(of_chunk, chunks)):
            answers |= answer
        return [answers[key] for key in keys]

    async def _query_chunk(self, chunk: list[Key], deadline: Deadline) -> dict[Key, Envelope | ThermoclineError | None]:
        service = self._asked()
        ids = {cosmos_id(key): key for key in chunk}
        names = [f"@p{number}" for number in range(len(ids))]
        text = f"SELECT * FROM c WHERE c.id IN ({', '.join(names)})"  # noqa: S608 - the ids go in as parameters
        parameters = dict(zip(names, ids, strict=True))

        async def ask() -> list[dict[str, Any]]:
            pages = service.query(text, parameters, cosmos_partition(chunk[0]))
            return [item async for page in pages for item in page]

        with told():
            items = await persistently(ask, deadline, self.retries)
        answers: dict[Key, Envelope | ThermoclineError | None] = dict.fromkeys(chunk)
        for item in items:
            key = ids[item["id"]]
            try:
                answers[key] = envelope_of(item, key)
            except ThermoclineError as error:
                answers[key] = error
        return answers

    async def write(self, write: Write, *, deadline: Deadline) -> Written:
        """COHERENCE section 4: one request for a known key and for a new one, three for an existing key of which nothing is known."""
        deadline = bounded(deadline)
        return await self._writing(write).run(deadline)

    def _writing(self, write: Write) -> "Writing":
        from thermocline.tiers.warm.writing import Writing

        return Writing(self._asked(), write, clock=self._now_ms, grace_ms=self._grace_ms, most_bytes=self._most)

    async def write_many(self, writes: Sequence[Write], *, deadline: Deadline) -> list[Written | ThermoclineError]:
        """Those of one partition together, in batches of a hundred, as long as nothing stands in the way (`thermocline.tiers.warm.together`); the
        others each by itself. Sixteen requests at a time."""
        from thermocline.tiers.warm.together import carry_out

        service = self._asked()
        answers: dict[int, Written | ThermoclineError] = {}
        begun: dict[Writing, int] = {}
        try:
            within = bounded(deadline)
        except ThermoclineError as late:
            return [late] * len(writes)
        for number, write in enumerate(writes):
            try:
                begun[self._writing(write)] = number
            except ThermoclineError as error:
                answers[number] = error
        for writing, answer in (await carry_out(service, list(begun), AT_ONCE, within)).items():
            answers[begun[writing]] = answer
        return [answers[number] for number in range(len(writes))]

    async def write_atomic(self, writes: Sequence[Write], *, deadline: Deadline) -> list[Written]:
        """One transactional batch, of 2 MB at most (else `TooLarge`); see `thermocline.tiers.warm.atomic` for how it takes effect once."""
        from thermocline.tiers.warm.atomic import Transaction

        service, deadline = self._asked(), bounded(deadline)
        if len(writes) == 0:
            return []
        return await Transaction(
            service, writes, clock=self._now_ms, grace_ms=self._grace_ms, most_bytes=self._most
        ).run(deadline)

    async def scan(
        self, tenant: str, scope: str, prefix: str, *, limit: int, cursor: str | None, deadline: Deadline
    ) -> Page:
        """In the order of the names, by code point; see `thermocline.tiers.warm.listing` for why a key comes exactly once. A damaged record is left
        out, and counted."""
        service = self._asked()
        listing.check(tenant, scope, prefix, limit)
        last = listing.last_of(tenant, scope, prefix, cursor)
        deadline = bounded(deadline)
        given = {"@own": COSMOS_PREFIX, "@prefix": prefix, "@last": last, "@now": self._now_ms()}
        with told():
            rows, more = await persistently(
                lambda: service.page(listing.QUERY, given, (tenant, scope), limit=limit), deadline
            )
        items: list[Listed] = []
        for row in rows:
            try:
                items.append(listing.listed_of(row, tenant, scope))
            except (CorruptRecord, InvalidKey):
                self.stats.count(CORRUPT, TIER)
        return Page(items, listing.cursor_of(tenant, scope, prefix, rows[-1]["n"]) if more and rows else None)

    async def census(
        self, *, tenant: str | None = None, scope: str | None = None, limit: int, cursor: str | None, deadline: Deadline
    ) -> Inventory:
        """`thermocline.tiers.warm.census` says in which order, and what it costs: at most eight queries a page."""
        from thermocline.tiers.warm.census import Count

        service = self._asked()
        check_census(tenant, scope, limit)
        deadline = bounded(deadline)
        return await Count(service, tenant, scope, cursor).page(limit, deadline)

    def letters(self, container: str) -> "CosmosLetters":
        """The place for dead letters in another container of the same database, by the same identity; not connected. It counts into these ``stats``."""
        from thermocline.tiers.warm.letters import CosmosLetters

        made = CosmosLetters(
            self._uri,
            self._database,
            container,
            connection_limit=self._limit,
            client_kwargs=self._options,
            credential=self.credential,
            key=self.key,
            clock=self._clock,
            preferred_regions=self._preferred,
            create=self._create,
        )
        made.stats = self.stats
        return made

    async def relocate(self, old: Envelope, new: Envelope, *, deadline: Deadline) -> bool:
        """Replace the record of exactly the copy that was read as ``old`` (by its ETag) by ``new``, a pointer to its payload or the payload
        itself; version and ring stay. False: the copy was replaced meanwhile, and nothing was done. Raises `TierUnavailable` if unknown."""
        service, deadline = self._asked(), bounded(deadline)
        if old.etag is None or old.key != new.key:
            raise InvalidArgument("relocate takes an envelope as it was read from warm, and one of the same key")
        key, r = new.key, record_of(new)
        operations: list[dict[str, Any]] = [
            {"op": "set", "path": "/r", "value": r},
            {"op": "set", "path": "/ttl", "value": ttl_of(new.header, self._now_ms(), self._grace_ms)},
        ]
        item_id, partition, etag = cosmos_id(key), cosmos_partition(key), old.etag
        until = pointable_until(new)
        condition = None if until is None else f"FROM c WHERE GetCurrentTimestamp() < {until}"
        try:
            await persistently(
                lambda: service.patch(item_id, partition, operations, etag=etag, condition=condition), deadline
            )
        except Trouble as trouble:
            if trouble.kind is Kind.MISSING:
                return False
            if trouble.kind is not Kind.REFUSED:
                raise trouble.error from trouble
        else:
            return True
        # An earlier copy of this patch may be what changed the ETag.
        try:
            item = await persistently(lambda: service.read(item_id, partition), deadline)
        except Trouble as missed:
            if missed.kind is Kind.MISSING:
                return False
            raise missed.error from missed
        if item.get("_etag") == etag:  # so it was the other condition
            raise too_old(key, TIER)
        return version_of(item, key) == old.version and item.get("r") == r
