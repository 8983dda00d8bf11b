"""Hearing of changes: what a hot tier must do for a near cache above it, inside a process."""

from collections.abc import Collection
from datetime import timedelta
from typing import Protocol, runtime_checkable

from thermocline.clock import Clock
from thermocline.model import Key


class Ear(Protocol):
    """Who is told of changes. Neither method awaits anything or raises."""

    def changed(self, names: Collection[bytes] | None) -> None:
        """These names were written or removed; None: any may have been, and nothing is heard until the next `told`."""
        ...

    def told(self, until: float) -> None:
        """Whatever changed before ``until`` (seconds of the clock's monotonic time) has been told by `changed`."""
        ...


class Listening(Protocol):
    """An ear's connections to the service. ``how``: by what it hears ("" while it hears nothing); ``why``: what keeps it from hearing, in plain words
    ("": nothing that lasts)."""

    how: str
    why: str

    def hears(self, name: bytes) -> bool:
        """Whether changes of this name are told: in a cluster, whether the server that has it is listened to."""
        ...

    async def close(self) -> None:
        """Hear no more. Idempotent."""
        ...


@runtime_checkable
class Invalidates(Protocol):
    """A hot tier that tells of changes, whoever makes them."""

    def name_of(self, key: Key, *, record: bool) -> bytes:
        """The name under which changes of the key's entry are told; ``record``: of its record, where hot itself is the authority."""
        ...

    def listen(self, ear: Ear, *, clock: Clock, within: timedelta) -> Listening:
        """Begin to listen, in the running loop, and go on until it is closed: a connection that breaks is made anew. `Ear.told` comes several times
        ``within`` that time, while all is well. Makes no request itself and raises nothing."""
        ...
