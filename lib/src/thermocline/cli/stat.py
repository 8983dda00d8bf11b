"""The command ``stat``: what lies where. Each tier is asked directly, past the cascade."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any

import typer

from thermocline.cli.options import Scope, Session, Tenant, close_all, command, key_of
from thermocline.cli.records import Name, named
from thermocline.cli.terminal import Exit, exit_code, moment, size
from thermocline.clock import SYSTEM_CLOCK, Deadline
from thermocline.codec import Codec, id_text
from thermocline.errors import CorruptRecord, ThermoclineError
from thermocline.model import Envelope, Header, Key, MemoryTier, Pointer, instant
from thermocline.protocols import Entries, Payloads, Tier, Versions
from thermocline.tiers.local.process import ProcessMemory

_SECONDS = 10.0  # of one question
_PAYLOAD_SECONDS = 300.0  # of reading a payload through
_COMPRESSORS = {0: "", 1: "zstd", 2: "gzip"}


@dataclass(slots=True)
class Seen:
    """What one tier answered. ``state`` in words; sizes in bytes, None where there is no value."""

    tier: str
    what: str  # "entry", "record" or "payload"
    state: str
    version: int | None = None
    raw: int | None = None
    stored: int | None = None
    compressor: str = ""
    expires: datetime | None = None
    authority: str = ""
    pointer: str = ""
    error: Exception | None = field(default=None, repr=False)

    @property
    def there(self) -> bool:
        return self.state in ("a value", "a pointer")


class Asking:
    """Asks the tiers of one key."""

    def __init__(self, key: Key, tiers: Mapping[MemoryTier, Tier], *, quick: bool) -> None:
        self._key = key
        order = (MemoryTier.WARM, MemoryTier.COLD, MemoryTier.HOT, MemoryTier.WARM_PLUS)
        self._authority = next((name for name in order if name in tiers), None)
        self._quick = quick
        self._codec = Codec()
        self._pointer: Pointer | None = None
        self.seen: list[Seen] = []

    async def ask(self, name: MemoryTier, tier: Tier) -> None:
        """Ask one tier for all that it may know. An outage or damage is an answer too."""
        try:
            await tier.connect()
            if isinstance(tier, ProcessMemory):
                self.seen.append(Seen(name, "entry", "each process has its own"))
                return
            if isinstance(tier, Entries):
                await self._entry(name, tier)
            if isinstance(tier, Versions):
                await self._record(name, tier)
            if isinstance(tier, Payloads) and self._pointer is not None:
                await self._payload(name, tier, self._pointer)
        except ThermoclineError as error:
            self.seen.append(Seen(name, "", f"{type(error).__name__}: {error}", error=error))

    async def _entry(self, name: MemoryTier, tier: Entries) -> None:
        deadline = Deadline.after(_SECONDS)
        found = await tier.peek(self._key, deadline=deadline)
        if found is not None:
            self.seen.append(self._of(name, "entry", found))
            return
        state = await tier.state(self._key, deadline=deadline) if hasattr(tier, "state") else "no value"
        self.seen.append(Seen(name, "entry", state))

    async def _record(self, name: MemoryTier, tier: Versions) -> None:
        found = await tier.read(self._key, deadline=Deadline.after(_SECONDS))
        if found is None:
            if name == self._authority:  # that the others have no record is nothing to tell
                self.seen.append(Seen(name, "record", "absent"))
            return
        self.seen.append(self._of(name, "record", found))
        if found.pointer and self._pointer is None:
            self._pointer = self._codec.pointer_of(found)

    async def _payload(self, name: MemoryTier, tier: Payloads, pointer: Pointer) -> None:
        if self._quick:
            self.seen.append(Seen(name, "payload", "not read (--quick)", stored=pointer.size, pointer=pointer.path))
            return
        read = 0
        async for chunk in tier.stream_payload(self._key, pointer, deadline=Deadline.after(_PAYLOAD_SECONDS)):
            read += len(chunk)
        self.seen.append(Seen(name, "payload", "whole, digest right", stored=read, pointer=pointer.path))

    def _of(self, name: MemoryTier, what: str, envelope: Envelope) -> Seen:
        header = envelope.header
        if envelope.tombstone:
            state = "deleted (a tombstone)"
        elif not envelope.live(SYSTEM_CLOCK.wall_ms()):
            state = "expired"
        else:
            state = "a pointer" if envelope.pointer else "a value"
        pointer = self._codec.pointer_of(envelope) if envelope.pointer else None
        return Seen(
            name,
            what,
            state,
            version=header.version,
            raw=None if envelope.tombstone else header.raw_length,
            stored=None if envelope.tombstone else len(envelope.payload),
            compressor=_compressor(header),
            expires=instant(header.expires_ms),
            authority=header.authority.name.lower(),
            pointer="" if pointer is None else pointer.path,
        )


def _compressor(header: Header) -> str:
    name = _COMPRESSORS.get(header.compressor, str(header.compressor))
    return f"{name} {id_text(header.dictionary)}" if header.dictionary else name


@command
async def stat(
    session: Session,
    name: Name,
    tenant: Tenant = None,
    scope: Scope = None,
    quick: Annotated[bool, typer.Option("--quick", help="Do not read a payload in cold through.")] = False,
) -> int:
    """Show what lies where: each tier is asked directly."""
    key = key_of(name, tenant, scope)
    made = session.builder()
    tiers = made.tiers()
    asking = Asking(key, tiers, quick=quick)
    try:
        for tier_name, tier in tiers.items():
            await asking.ask(tier_name, tier)
    finally:
        await close_all([*tiers.values()])
        await made.close()
    seen = asking.seen
    if session.terminal.as_json:
        session.terminal.document({"key": named(key), "tiers": [_document(one) for one in seen]})
    else:
        _show(session, key, seen)
    return _code(seen)


def _code(seen: list[Seen]) -> int:
    """Damage goes before an outage, and that before nothing found."""
    errors = [one.error for one in seen if one.error is not None]
    damaged = [error for error in errors if isinstance(error, CorruptRecord) or exit_code(error) == Exit.CORRUPT]
    if damaged:
        return Exit.CORRUPT
    if errors:
        return exit_code(errors[0])
    return Exit.OK if any(one.there for one in seen) else Exit.NOT_FOUND


def _document(one: Seen) -> dict[str, Any]:
    return {
        "tier": one.tier,
        "what": one.what,
        "state": one.state,
        "version": one.version,
        "raw_size": one.raw,
        "stored_size": one.stored,
        "compressor": one.compressor,
        "expires": one.expires,
        "authority": one.authority,
        "pointer": one.pointer,
        "error": None if one.error is None else type(one.error).__name__,
    }


def _show(session: Session, key: Key, seen: list[Seen]) -> None:
    terminal = session.terminal
    terminal.say(f"{key.name}  (tenant {key.tenant}, scope {key.scope})", style="bold")
    rows = [
        (
            one.tier,
            one.what,
            one.state,
            one.version,
            None if one.raw is None else size(one.raw),
            None if one.stored is None else f"{size(one.stored)} {one.compressor}".rstrip(),
            moment(one.expires),
        )
        for one in seen
        if one.error is None
    ]
    columns = ("tier", "what", "state", "version", "raw", "stored", "expires")
    terminal.table("", columns, rows, numbers="version,raw,stored")
    for path in dict.fromkeys(one.pointer for one in seen if one.pointer):
        terminal.say(f"payload: {path}")
    versions = {one.version for one in seen if one.version is not None}
    if len(versions) > 1:
        terminal.say(
            "The tiers hold different versions: a write went on while they were asked, or hot is still to be told of one (docs/consistency.md).",
            style="yellow",
        )
    for one in seen:
        if one.error is not None:
            terminal.note(f"{one.tier}: {one.error}", style="red")
