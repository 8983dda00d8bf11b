"""The hot tier's entries: the operations of `thermocline.coherence` as one Lua script, shown equal to them in tests/integration/test_hot_scripts.py."""

import hashlib
from collections.abc import Sequence
from typing import Any, Final

from thermocline.clock import Deadline
from thermocline.errors import CorruptRecord, InvalidArgument, ThermoclineError, TierFull, UnreadableRecord
from thermocline.keys import key_digest, redis_key
from thermocline.model import Envelope, Key
from thermocline.protocols import (
    Announce,
    Busy,
    EntryOperation,
    Found,
    Leased,
    Look,
    Publish,
    Renew,
    Withdraw,
)
from thermocline.tiers.hot.base import HotBase
from thermocline.tiers.hot.scripts import ENTRY, FILL, Script
from thermocline.tiers.hot.trouble import CrossSlot
from thermocline.tiers.hot.wire import Command

OWNER_BYTES: Final = 255
_MGET: Final = 1000  # keys of one MGET

Run = tuple[Script, int, Command]


class HotEntries(HotBase):
    """See `HotMemory`."""

    _epoch = b""  # what the names of this epoch's entries end with, outside the hash tag

    def enter_epoch(self, epoch: int) -> None:
        """From now on only entries of this epoch count: behind epoch 0 each has names of its own, and those of the others run out unread. Makes no
        request. Records, whose authority is Redis itself, belong to no epoch. Raises `InvalidArgument` for what is no epoch."""
        if epoch < 0:
            raise InvalidArgument(f"an epoch is a whole number, at least 0, not {epoch}")
        self._epoch = b"e%d" % epoch if epoch else b""

    async def peek(self, key: Key, *, deadline: Deadline) -> Envelope | None:
        name = redis_key(key) + self._epoch
        data = await self._call(("GET", name), deadline)
        if data is None:
            return None
        known = self._unpacked.get(name, data)
        found = self._seen(key, name, data) if known is None else known
        if isinstance(found, ThermoclineError):
            raise found
        return found

    async def peek_many(self, keys: Sequence[Key], *, deadline: Deadline) -> list[Envelope | ThermoclineError | None]:
        epoch = self._epoch
        names = [redis_key(key) + epoch for key in keys] if epoch else [redis_key(key) for key in keys]
        return self._seen_many(keys, names, await self._get_many(names, deadline))

    async def operate(self, operation: EntryOperation, *, deadline: Deadline) -> Found | None:
        script, keys, words = self._script(operation)
        try:
            answer = await self._run(script, keys, words, deadline)
        except TierFull as full:
            answer = await self._full(operation, full, deadline)
        found = self._found(operation, answer)
        if isinstance(found, CorruptRecord):
            found = await self._replace(operation, answer[1], deadline)
        if isinstance(found, ThermoclineError):
            raise found
        return found

    async def operate_many(
        self, operations: Sequence[EntryOperation], *, deadline: Deadline
    ) -> list[Found | ThermoclineError | None]:
        answers = await self._run_many([self._script(operation) for operation in operations], deadline)
        found: list[Found | ThermoclineError | None] = []
        for operation, answer in zip(operations, answers, strict=True):
            if isinstance(answer, TierFull):
                found.append(await self._alone(operation, deadline))
                continue
            one = self._found(operation, answer)
            found.append(await self._alone(operation, deadline) if isinstance(one, CorruptRecord) else one)
        return found

    async def drop(self, keys: Sequence[Key], *, deadline: Deadline) -> None:
        names = [redis_key(key) + self._epoch for key in keys]
        for answer in await self._call_many([(name, ("UNLINK", name)) for name in names], deadline):
            if isinstance(answer, ThermoclineError):
                raise answer

    async def state(self, key: Key, *, deadline: Deadline) -> str:
        """The entry's state in words, for people: ``absent``, ``a value``, or what its marker says (common.lua has its layout). Changes nothing."""
        data = await self._call(("GET", redis_key(key) + self._epoch), deadline)
        if data is None:
            return "absent"
        if not self._codec.is_marker(data):
            return "a value"
        if data[5:6] == b"L" and len(data) >= 22:
            floor = int.from_bytes(data[6:14], "big")
            return f"leased to a reader, floor {floor}" if len(data) > 22 else f"resting, floor {floor}"
        if data[5:6] == b"A" and len(data) >= 17:
            floor, writers = int.from_bytes(data[7:15], "big"), int.from_bytes(data[15:17], "big")
            return f"announced (writers: {writers}), floor {floor}" + (", marked" if data[6] else "")
        return "a marker that is damaged"

    # --- helpers -----------------------------------------------------------------------------------------------------

    async def _get_many(self, names: list[bytes], deadline: Deadline) -> list[Any]:
        """The bytes under these keys; an error stands in the place of what could not be asked."""
        try:
            await self._open(deadline)
        except ThermoclineError as error:
            return [error] * len(names)
        if (
            self._link.spread or not self._together
        ):  # every key has a slot of its own, so a pipeline to each node stands for its MGET
            return await self._call_many([(name, ("GET", name)) for name in names], deadline)
        found: list[Any] = []
        for start in range(0, len(names), _MGET):
            some = names[start : start + _MGET]
            try:
                found += await self._call(("MGET", *some), deadline)
            except CrossSlot:
                self._together = False
                return await self._get_many(names, deadline)
            except ThermoclineError as error:
                found += [error] * len(some)
        return found

    def _seen_many(
        self, keys: Sequence[Key], names: list[bytes], found: list[Any]
    ) -> list[Envelope | ThermoclineError | None]:
        known = self._unpacked.get
        seen: list[Envelope | ThermoclineError | None] = []
        for key, name, data in zip(keys, names, found, strict=True):
            if type(data) is bytes:
                envelope = known(name, data)
                seen.append(self._seen(key, name, data) if envelope is None else envelope)
            else:
                seen.append(data)
        return seen

    def _seen(self, key: Key, name: bytes, data: bytes) -> Envelope | ThermoclineError | None:
        """What stands under the ``name`` of a plain read, or (b"") came by a script."""
        if self._codec.is_marker(data):
            return None
        try:
            envelope = self._codec.unpack(data, key)
        except (CorruptRecord, UnreadableRecord) as error:
            return error
        if name:
            self._unpacked.add(name, data, envelope)
        return envelope

    def _script(self, operation: EntryOperation, *, valued: bool = True) -> Run:
        """The run of the script for an operation. ``valued`` False: without its envelope."""
        digest = key_digest(operation.key)
        packed = b""
        ceiling = self._times.ceiling_ms
        script = ENTRY
        if isinstance(operation, Look):
            name, owner, number = b"look", operation.reader, operation.lasting_ms
        elif isinstance(operation, Renew):
            name, owner, number = b"renew", operation.reader, operation.lasting_ms
        elif isinstance(operation, Announce):
            name, owner, number = b"announce", operation.writer, operation.lasting_ms
        elif isinstance(operation, Withdraw):
            name, owner, number = b"withdraw", operation.writer, 0
        else:
            publish = isinstance(operation, Publish)
            name, number = b"publish" if publish else b"settle", operation.version
            owner = operation.writer if isinstance(operation, Publish) else operation.reader or ""
            if operation.lasting_ms is not None:
                ceiling = min(ceiling, max(operation.lasting_ms, 0))
            if valued and operation.envelope is not None:
                packed = self._codec.pack(operation.envelope)
                if len(packed) > self._max_value:
                    packed = b""
                script = FILL if packed else ENTRY
        token = owner.encode()
        if len(token) > OWNER_BYTES or not (token or name == b"settle"):
            raise InvalidArgument(f"a reader's or writer's token has 1 to {OWNER_BYTES} bytes, not {len(token)}")
        key = redis_key(operation.key) + self._epoch
        return script, 1, (key, name, token, number, self._times.rest_ms, ceiling, digest, packed, self._now())

    def _found(self, operation: EntryOperation, answer: Any) -> Found | ThermoclineError | None:
        """What a script's answer says."""
        if isinstance(answer, ThermoclineError):
            return answer
        if answer[0] == 3:
            return None
        if answer[0] == 0:
            return self._seen(operation.key, b"", answer[1])
        if answer[0] == 1:
            return Leased(answer[1])
        if answer[0] == 4:
            return Busy(answer[1], leased=True, holder=answer[2].decode("utf-8", "replace"))
        last = self._seen(operation.key, b"", answer[2]) if answer[2] else None
        return Busy(answer[1], last if isinstance(last, Envelope) else None)

    async def _alone(self, operation: EntryOperation, deadline: Deadline) -> Found | ThermoclineError | None:
        try:
            return await self.operate(operation, deadline=deadline)
        except ThermoclineError as error:
            return error

    async def _full(self, operation: EntryOperation, full: TierFull, deadline: Deadline) -> Any:
        """Redis is full. What it does not take as a value it takes as a marker; where it refuses even that, the entry must go."""
        script, keys, words = self._script(operation, valued=False)
        try:
            return await self._run(script, keys, words, deadline)
        except TierFull:
            if not isinstance(operation, Announce | Publish):
                raise full from None
            await self._call(("UNLINK", redis_key(operation.key) + self._epoch), deadline)
            return [2, 0, b""] if isinstance(operation, Announce) else [3]

    async def _replace(
        self, operation: EntryOperation, damaged: bytes, deadline: Deadline
    ) -> Found | ThermoclineError | None:
        """A look found a damaged value: it goes, unless it was replaced meanwhile, and the reader looks again."""
        mark = hashlib.sha1(damaged, usedforsecurity=False).hexdigest().encode()
        name = redis_key(operation.key) + self._epoch
        words: Command = (name, b"discard", mark, 0, 0, 0, key_digest(operation.key), b"", self._now())
        await self._run(ENTRY, 1, words, deadline)
        script, keys, words = self._script(operation)
        return self._found(operation, await self._run(script, keys, words, deadline))
