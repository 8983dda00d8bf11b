"""`python -m thermocline.testing.vault --port N --tls`: prints `READY https://127.0.0.1:PORT` when it listens."""

from __future__ import annotations

import argparse
import asyncio
import atexit
import os
import secrets
import shutil
import signal
import ssl
import sys
import tempfile
from pathlib import Path

NEEDS = 'the vault needs {}; install it with: pip install "thermocline[testing]"'

try:
    from thermocline.testing.vault.server import VaultServer
    from thermocline.testing.vault.service import Service
except ModuleNotFoundError as _missing:
    sys.exit(NEEDS.format(_missing.name))


def _arguments() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m thermocline.testing.vault",
        description="A small strict Key Vault and a managed identity. IDENTITY_HEADER is taken from the environment; else it is printed.",
    )
    p.add_argument("--host", default="127.0.0.1", help="loopback address to listen on (default 127.0.0.1)")
    p.add_argument("--port", type=int, default=0, help="port; 0 (default) takes a free one")
    p.add_argument(
        "--tls", action="store_true", help="HTTPS, with a CA made at start; Key Vault's SDK takes nothing else"
    )
    p.add_argument(
        "--ca-file", type=Path, help="where to write the CA's certificate (default: a file in the temp folder)"
    )
    p.add_argument("--cert-file", type=Path, help="a certificate instead (PEM); with --key-file")
    p.add_argument("--key-file", type=Path, help="its key (PEM)")
    return p


def _context(args: argparse.Namespace) -> ssl.SSLContext | None:
    if args.cert_file is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(args.cert_file, args.key_file)
        return context
    if not args.tls:
        return None
    try:
        from thermocline.testing.cosmos.tls import server_context
    except ModuleNotFoundError as missing:
        sys.exit(NEEDS.format(missing.name))
    ca_file = args.ca_file
    if ca_file is None:
        folder = Path(tempfile.mkdtemp(prefix="thermocline-vault-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        ca_file = folder / "ca.pem"
    context = server_context(ca_file)
    print(f"CA {ca_file}", flush=True)
    return context


async def serve(args: argparse.Namespace) -> None:
    """Listen until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    header = os.environ.get("IDENTITY_HEADER")
    if header is None:
        header = secrets.token_hex(16)
        print(f"IDENTITY_HEADER {header}", flush=True)
    server = VaultServer(Service(header), context=_context(args))
    await server.start(args.host, args.port)
    print(f"READY {server.service.url}", flush=True)
    try:
        await stop.wait()
    finally:
        await server.stop()


def main() -> None:
    """Parse the command line and serve."""
    args = _arguments().parse_args()
    if args.host not in ("127.0.0.1", "::1", "localhost"):
        sys.exit("The server listens on loopback only: its control API has no authorization.")
    if (args.cert_file is None) != (args.key_file is None):
        sys.exit("--cert-file and --key-file go together.")
    asyncio.run(serve(args))


if __name__ == "__main__":
    main()
