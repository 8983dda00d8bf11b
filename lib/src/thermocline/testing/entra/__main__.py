"""``python -m thermocline.testing.entra serve`` prints ``READY http://127.0.0.1:PORT`` when it listens; ``… token --url URL`` prints a token of it."""

import argparse
import asyncio
import json
import signal
import sys
import urllib.request

from thermocline.testing.entra.minting import AUDIENCE, TENANT
from thermocline.testing.entra.server import EntraServer


def _arguments() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m thermocline.testing.entra", description="A small, strict Entra ID.")
    verbs = p.add_subparsers(dest="verb", required=True)
    serve = verbs.add_parser("serve", help="listen on loopback until SIGTERM or SIGINT")
    serve.add_argument("--port", type=int, default=0, help="port; 0 (default) takes a free one")
    token = verbs.add_parser("token", help="print a token of a server that runs")
    token.add_argument("--url", required=True, help="where it listens, as http://127.0.0.1:8123")
    token.add_argument("--tenant", default=TENANT, help=f"the tenant's id (default {TENANT})")
    token.add_argument("--audience", default=AUDIENCE, help=f"whom the token is for (default {AUDIENCE})")
    token.add_argument(
        "--role", action="append", default=[], help="a role, as Memory.Read; several times; left out: all of them"
    )
    token.add_argument("--user", default="user", help="whose token: any word")
    token.add_argument("--seconds", type=int, default=3600, help="how long it counts (default an hour)")
    return p


async def serve(port: int) -> None:
    """Listen until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = EntraServer()
    await server.start(port=port)
    print(f"READY {server.url}", flush=True)
    try:
        await stop.wait()
    finally:
        await server.stop()


def minted(args: argparse.Namespace) -> str:
    """A token of the server at ``args.url``."""
    roles = args.role or ["Memory.Read", "Memory.ReadWrite", "Memory.Erase"]
    given = {
        "tenant": args.tenant,
        "audience": args.audience,
        "roles": roles,
        "user": args.user,
        "lifetime": args.seconds,
    }
    request = urllib.request.Request(f"{args.url}/_control/token", data=json.dumps(given).encode())
    with urllib.request.urlopen(request, timeout=10) as answer:
        return str(json.load(answer)["token"])


def main() -> None:
    """Parse the command line and do it."""
    args = _arguments().parse_args()
    if args.verb == "serve":
        asyncio.run(serve(args.port))
        return
    try:
        print(minted(args))
    except OSError as error:
        sys.exit(f"There is no server at {args.url}: {error}. Start one: python -m thermocline.testing.entra serve")


if __name__ == "__main__":
    main()
