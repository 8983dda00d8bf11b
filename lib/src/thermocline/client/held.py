"""Cold as those see it who take payloads away: the sweep and `forget`."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from thermocline.clock import Deadline
from thermocline.keys import PAYLOAD_ROOT


class Held(Protocol):
    """A payload as cold lists it."""

    @property
    def path(self) -> str: ...
    @property
    def etag(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def modified_ms(self) -> int: ...


@runtime_checkable
class Sweepable(Protocol):
    """Cold, as far as its payloads can be listed and removed."""

    async def list_payloads(
        self, prefix: str = PAYLOAD_ROOT, *, limit: int, cursor: str | None, deadline: Deadline
    ) -> tuple[Sequence[Held], str | None]: ...

    async def sweep_payload(self, path: str, *, etag: str, unmodified_since_ms: int, deadline: Deadline) -> bool: ...
