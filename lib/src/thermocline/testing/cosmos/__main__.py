"""`python -m thermocline.testing.cosmos --port N`: prints `READY http://127.0.0.1:PORT/` when it listens."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import sys
import tempfile
import threading
from pathlib import Path

NEEDS = 'the Cosmos DB emulator needs {}; install it with: pip install "thermocline[testing]"'

try:
    from thermocline.testing.cosmos.auth import EMULATOR_KEY, Guard
    from thermocline.testing.cosmos.server import CosmosServer
    from thermocline.testing.cosmos.service import Service
except ModuleNotFoundError as _missing:
    sys.exit(NEEDS.format(_missing.name))

PARENT_SECONDS = 1.0


def _arguments() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m thermocline.testing.cosmos", description="A small strict Cosmos DB server."
    )
    p.add_argument("--host", default="127.0.0.1", help="loopback address to listen on (default 127.0.0.1)")
    p.add_argument("--port", type=int, default=0, help="port; 0 (default) takes a free one")
    p.add_argument("--key", default=EMULATOR_KEY, help="account key, base64 (default: the emulators' public key)")
    p.add_argument(
        "--ranges", type=int, default=1, choices=range(1, 9), help="physical ranges per container (default 1)"
    )
    p.add_argument("--tls", action="store_true", help="HTTPS, with a CA made at start")
    p.add_argument(
        "--ca-file", type=Path, help="where to write the CA's certificate (default: a file in the temp folder)"
    )
    p.add_argument("--aad", choices=("off", "any", "roles"), help="Entra tokens (default: any with --tls, else off)")
    p.add_argument(
        "--exit-with-parent", action="store_true", help="end when standard input is closed or the parent is gone"
    )
    return p


def _watch_stdin(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Ends the server when the pipe to the parent closes, which the kernel does however the parent dies."""

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 4096):
            pass
        loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=wait, daemon=True, name="watch-stdin").start()


def _watch_parent(loop: asyncio.AbstractEventLoop, stop: asyncio.Event, parent: int) -> None:
    """Ends the server when the parent is gone, though a child that the parent forked still holds the pipe open."""
    if os.getppid() == parent:
        loop.call_later(PARENT_SECONDS, _watch_parent, loop, stop, parent)
    else:
        stop.set()


async def serve(args: argparse.Namespace) -> None:
    """Listen until SIGTERM, SIGINT or the parent's end."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    context = None
    ca_file: Path | None = None
    made = False
    if args.tls:
        try:
            from thermocline.testing.cosmos import tls
        except ModuleNotFoundError as missing:  # plain HTTP does without it
            sys.exit(NEEDS.format(missing.name))

        made = args.ca_file is None
        ca_file = Path(tempfile.mkdtemp(prefix="thermocline-cosmos-")) / "ca.pem" if made else args.ca_file
        context = tls.server_context(ca_file)
    aad = args.aad if args.aad is not None else "any" if args.tls else "off"
    server = CosmosServer(Service(Guard(args.key, aad), args.ranges), context=context)
    port = await server.start(args.host, args.port)
    if ca_file is not None:
        print(f"CA {ca_file}", flush=True)
    print(f"READY {'https' if args.tls else 'http'}://{args.host}:{port}/", flush=True)
    if args.exit_with_parent:
        _watch_stdin(loop, stop)
        _watch_parent(loop, stop, os.getppid())
    try:
        await stop.wait()
    finally:
        await server.stop()
        if made and ca_file is not None:
            ca_file.unlink(missing_ok=True)
            ca_file.parent.rmdir()


def main() -> None:
    """Parse the command line and serve."""
    args = _arguments().parse_args()
    if args.host not in ("127.0.0.1", "::1", "localhost"):
        sys.exit("The server listens on loopback only: its control API has no authorization.")
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)  # many long-lived small objects: fewer full collections
    asyncio.run(serve(args))


if __name__ == "__main__":
    main()
