"""An embedded hot tier in a process of its own, on a loopback port, so that it can be killed as a service is.

``python -m thermocline.cli.demo.hot_process PORT`` serves `ProcessMemory` until its standard input ends; it prints the port when it listens.
A frame is two lengths (u32), a JSON document and the packed envelopes that it speaks of, one after the other. One call at a time per connection.
"""

import asyncio
import contextlib
import json
import os
import struct
import sys
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Final

from thermocline import errors
from thermocline.clock import Deadline
from thermocline.codec import Codec
from thermocline.errors import ClientClosed, CorruptRecord, ThermoclineError, TierTimeout, TierUnavailable
from thermocline.model import Envelope, Key, MemoryTier
from thermocline.protocols import Announce, Busy, EntryOperation, Found, Leased, Look, Publish, Renew, Settle, Withdraw
from thermocline.telemetry import REQUESTS, Stats
from thermocline.tiers.local.process import ProcessMemory

_CODEC: Final = Codec()
_LENGTHS: Final = struct.Struct(">II")
_OPERATIONS: Final = {kind.__name__: kind for kind in (Announce, Publish, Withdraw, Settle, Look, Renew)}
_BROKEN: Final = (OSError, EOFError, asyncio.IncompleteReadError)


# --- frames ----------------------------------------------------------------------------------------------------------


async def _receive(reader: asyncio.StreamReader) -> tuple[Any, list[bytes]]:
    text, rest = _LENGTHS.unpack(await reader.readexactly(_LENGTHS.size))
    document = json.loads(await reader.readexactly(text))
    data = await reader.readexactly(rest)
    parts, at = [], 0
    for length in document["parts"]:
        parts.append(data[at : at + length])
        at += length
    return document["body"], parts


def _frame(body: Any, parts: Sequence[bytes]) -> bytes:
    text = json.dumps({"body": body, "parts": [len(part) for part in parts]}).encode()
    return b"".join((_LENGTHS.pack(len(text), sum(map(len, parts))), text, *parts))


def _key(key: Key) -> list[str]:
    return [key.tenant, key.scope, key.name]


def _wrap(envelope: Envelope | None, parts: list[bytes]) -> int | None:
    if envelope is None:
        return None
    parts.append(_CODEC.pack(envelope))
    return len(parts) - 1


def _unwrap(number: int | None, parts: list[bytes], key: Key) -> Envelope | None:
    return None if number is None else _CODEC.unpack(parts[number], key)


def _packed(operation: EntryOperation, parts: list[bytes]) -> dict[str, Any]:
    body: dict[str, Any] = {"kind": type(operation).__name__}
    for name in (field.name for field in fields(operation)):
        value = getattr(operation, name)
        if name == "key":
            value = _key(value)
        elif name == "envelope":
            value = _wrap(value, parts)
        body[name] = value
    return body


def _unpacked(body: dict[str, Any], parts: list[bytes]) -> EntryOperation:
    kind, key = _OPERATIONS[body.pop("kind")], Key(*body.pop("key"))
    if "envelope" in body:
        body["envelope"] = _unwrap(body["envelope"], parts, key)
    operation: EntryOperation = kind(key, **body)
    return operation


def _answer(found: Found | ThermoclineError | None, parts: list[bytes]) -> dict[str, Any]:
    if isinstance(found, ThermoclineError):
        return {"error": type(found).__name__, "text": str(found)}
    if isinstance(found, Leased):
        return {"floor": found.floor}
    if isinstance(found, Busy):
        return {"floor": found.floor, "busy": True, "envelope": _wrap(found.last, parts), "holder": found.holder}
    return {"envelope": _wrap(found, parts)}


def _found(body: dict[str, Any], parts: list[bytes], key: Key) -> Found | ThermoclineError | None:
    if "error" in body:
        return _error(body)
    if "busy" in body:
        holder = body["holder"]
        return Busy(body["floor"], _unwrap(body["envelope"], parts, key), holder is not None, holder)
    if "floor" in body:
        return Leased(body["floor"])
    return _unwrap(body["envelope"], parts, key)


def _error(body: dict[str, Any]) -> ThermoclineError:
    kind: Any = getattr(errors, body["error"], TierUnavailable)
    if issubclass(kind, TierUnavailable):
        outage: ThermoclineError = kind(body["text"], tier=str(MemoryTier.HOT))
        return outage
    error: ThermoclineError = kind(body["text"])
    return error


# --- the process -----------------------------------------------------------------------------------------------------


async def _serve_call(memory: ProcessMemory, body: dict[str, Any], parts: list[bytes], out: list[bytes]) -> Any:
    deadline = Deadline.after(body["seconds"])
    verb = body["verb"]
    if verb == "peek":
        keys = [Key(*key) for key in body["keys"]]
        return [_answer(found, out) for found in await memory.peek_many(keys, deadline=deadline)]
    if verb == "operate":
        operations = [_unpacked(operation, parts) for operation in body["operations"]]
        return [_answer(found, out) for found in await memory.operate_many(operations, deadline=deadline)]
    if verb == "drop":
        await memory.drop([Key(*key) for key in body["keys"]], deadline=deadline)
    return []


async def serve(port: int) -> None:
    """Serve process memory on loopback until standard input ends."""
    memory = ProcessMemory()
    await memory.connect()
    over = asyncio.get_running_loop().create_future()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                body, parts = await _receive(reader)
                out: list[bytes] = []
                try:
                    answers = await _serve_call(memory, body, parts, out)
                except ThermoclineError as error:
                    answers = {"error": type(error).__name__, "text": str(error)}
                writer.write(_frame(answers, out))
                await writer.drain()
        except _BROKEN:
            pass  # the caller hung up
        finally:
            writer.close()

    def told() -> None:
        if not os.read(sys.stdin.fileno(), 1) and not over.done():
            over.set_result(None)

    server = await asyncio.start_server(talk, "127.0.0.1", port)
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), told)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await over
    server.close()


# --- the tier --------------------------------------------------------------------------------------------------------


class RemoteMemory:
    """The hot tier that such a process serves: plays `Entries`. ``port`` is its port on loopback."""

    tier = MemoryTier.HOT

    def __init__(self, port: int) -> None:
        self.port = port
        self.stats = Stats()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def connect(self) -> None:
        """Bind to the running loop and see that the process answers. Raises `TierUnavailable`, and `ClientClosed` in another loop."""
        loop = asyncio.get_running_loop()
        if self._loop is not None and self._loop is not loop:
            raise ClientClosed("the hot process's tier belongs to another event loop: make one per loop")
        self._loop = loop
        if not self._free:
            await self.ping(deadline=Deadline.after(5.0))

    async def close(self) -> None:
        """Close the connections. Idempotent."""
        self._loop = None
        await self._hang_up()

    async def _hang_up(self) -> None:
        free, self._free = self._free, []
        for _, writer in free:
            writer.close()
            with contextlib.suppress(OSError):  # the other side was gone before us
                await writer.wait_closed()

    async def ping(self, *, deadline: Deadline) -> None:
        await self._call({"verb": "ping"}, [], deadline)

    async def peek(self, key: Key, *, deadline: Deadline) -> Envelope | None:
        found = (await self.peek_many([key], deadline=deadline))[0]
        if isinstance(found, ThermoclineError):
            raise found
        return found

    async def peek_many(self, keys: Sequence[Key], *, deadline: Deadline) -> list[Envelope | ThermoclineError | None]:
        body, parts = await self._call({"verb": "peek", "keys": [_key(key) for key in keys]}, [], deadline)
        answers: list[Envelope | ThermoclineError | None] = []
        for key, answer in zip(keys, body, strict=True):
            found = _found(answer, parts, key)
            answers.append(found if not isinstance(found, Leased | Busy) else None)
        return answers

    async def operate(self, operation: EntryOperation, *, deadline: Deadline) -> Found | None:
        found = (await self.operate_many([operation], deadline=deadline))[0]
        if isinstance(found, ThermoclineError):
            raise found
        return found

    async def operate_many(
        self, operations: Sequence[EntryOperation], *, deadline: Deadline
    ) -> list[Found | ThermoclineError | None]:
        sent: list[bytes] = []
        bodies = [_packed(operation, sent) for operation in operations]
        answers, parts = await self._call({"verb": "operate", "operations": bodies}, sent, deadline)
        return [_found(answer, parts, op.key) for op, answer in zip(operations, answers, strict=True)]

    async def drop(self, keys: Sequence[Key], *, deadline: Deadline) -> None:
        await self._call({"verb": "drop", "keys": [_key(key) for key in keys]}, [], deadline)

    async def _call(self, body: dict[str, Any], parts: list[bytes], deadline: Deadline) -> tuple[Any, list[bytes]]:
        """One request and its answer, over a connection that is this call's alone and is closed if the call is cut short (P10)."""
        if self._loop is not asyncio.get_running_loop():
            raise ClientClosed("the hot process's tier is not connected in this event loop: await connect() first")
        if deadline.expired():
            raise TierTimeout("the deadline had passed before hot was asked", tier="hot", sent=False)
        self.stats.count(REQUESTS, self.tier)
        seconds = min(deadline.remaining(), 60.0)
        sent = False
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(seconds):
                if self._free:
                    reader, writer = self._free.pop()
                else:
                    reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                sent = True
                writer.write(_frame({**body, "seconds": seconds}, parts))
                await writer.drain()
                answer, received = await _receive(reader)
        except TimeoutError as error:
            raise TierTimeout("the hot process did not answer in time", tier="hot", sent=sent) from error
        except _BROKEN as error:
            await self._hang_up()  # the other connections are as dead
            raise TierUnavailable(
                f"the hot process on port {self.port} cannot be reached: {error}", tier="hot", sent=sent
            ) from error
        else:
            self._free.append((reader, writer))
            writer = None
        finally:
            if writer is not None:
                writer.close()
        if isinstance(answer, dict):
            raise _error(answer)
        if not isinstance(answer, list):
            raise CorruptRecord("the hot process answered what is no answer")
        return answer, received


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
