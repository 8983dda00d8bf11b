"""Immutable payloads."""

from collections.abc import AsyncIterator
from typing import Protocol, runtime_checkable

from thermocline.clock import Deadline
from thermocline.model import Key, Pointer
from thermocline.protocols.tier import Tier


@runtime_checkable
class Payloads(Tier, Protocol):
    """Immutable payloads, named by key and content (COHERENCE section 5). Nothing here removes a payload but ``sweep_payload``."""

    async def put_payload(self, key: Key, data: bytes | AsyncIterator[bytes], *, deadline: Deadline) -> Pointer:
        """Store it, or renew what is there already under that name; atomic: a reader sees all or nothing. An iterator is streamed in bounded memory."""
        ...

    async def get_payload(self, key: Key, pointer: Pointer, *, deadline: Deadline) -> bytes | None:
        """The payload, its digest checked; None: there is none of that name. Raises `CorruptRecord` if the content does not fit the digest."""
        ...

    def stream_payload(self, key: Key, pointer: Pointer, *, deadline: Deadline) -> AsyncIterator[bytes]:
        """The payload in chunks, digest checked at the end (`CorruptRecord` instead of the last chunk). A missing one raises `CorruptRecord`.
        ``deadline`` holds for each chunk's wait, not for the whole."""
        ...

    async def renew_payload(self, key: Key, pointer: Pointer, *, deadline: Deadline) -> Pointer | None:
        """Give the blob a new ETag and ``written_ms``, so that the sweeper leaves it alone; None: it is gone."""
        ...
