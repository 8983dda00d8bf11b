"""`python -m thermocline.testing.functions`: the apps of this checkout on one machine; with ``--app`` one of them, which prints `READY http://…`."""

import argparse
import asyncio
import logging
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import Final

try:
    from thermocline.testing.functions.host import FunctionsHost
    from thermocline.testing.functions.indexing import described, index
    from thermocline.testing.rig.errors import RigError
except ImportError as _missing:
    sys.exit(str(_missing))

FIRST_PORT: Final = 7071  # as of the official host


def _arguments() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m thermocline.testing.functions", description="Azure Functions apps without Azure."
    )
    p.add_argument("--app", type=Path, help="serve the app of this folder alone, until SIGTERM or Ctrl-C")
    p.add_argument("--index", type=Path, help="print the functions of this folder as JSON, and end")
    p.add_argument("apps", nargs="*", help="without --app and --index: the names of the apps to serve (default: all)")
    p.add_argument("--folder", type=Path, default=Path("apps"), help="where the apps are (default: apps)")
    p.add_argument(
        "--services",
        action="store_true",
        help="over Redis, Cosmos DB and Azurite of the rig, with change feed and queue",
    )
    p.add_argument(
        "--home", type=Path, default=Path(".cache/functions"), help="where the embedded tiers keep their data"
    )
    p.add_argument(
        "--port",
        type=int,
        help=f"the (first) port; 0 takes free ones (default: {FIRST_PORT}, or with --app a free one)",
    )
    p.add_argument("--listen", action="store_true", help="follow the change feed and the queues")
    p.add_argument(
        "--lenient", action="store_true", help="leave out functions whose settings are missing, as Azure does"
    )
    p.add_argument("--local-settings", action="store_true", help="read local.settings.json")
    for name, what in (
        ("lease", "a lease of the change feed lasts"),
        ("poll", "between two looks at an empty feed or queue"),
        ("retry-delay", "before a failed batch is repeated"),
    ):
        p.add_argument(f"--{name}", type=float, help=f"seconds {what}, instead of what the app says")
    return p


def _seconds(value: float | None) -> timedelta | None:
    return None if value is None else timedelta(seconds=value)


async def serve(args: argparse.Namespace) -> None:
    """One app, until a signal."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    host = FunctionsHost(
        args.app,
        port=args.port or 0,
        strict=not args.lenient,
        listen=args.listen,
        local_settings=args.local_settings,
        lease=_seconds(args.lease),
        poll=_seconds(args.poll),
        retry_delay=_seconds(args.retry_delay),
    )
    os.chdir(args.app)  # as the worker does, so that no .env of a checkout counts
    async with host:
        for name, reason in host.in_error.items():
            print(f"{name} is not served: {reason}", flush=True)
        print(f"READY {host.url}", flush=True)
        await stop.wait()


async def run_all(args: argparse.Namespace) -> None:
    """Every app, each in its own process."""
    from thermocline.testing.functions.local import run  # the servers' SDKs, which one app by itself does not need

    port = FIRST_PORT if args.port is None else args.port or None
    await run(
        args.folder.absolute(), over_services=args.services, home=args.home.absolute(), first_port=port, only=args.apps
    )


def main() -> None:
    """Parse the command line and serve."""
    args = _arguments().parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        if args.index is not None:
            print(described(index(args.index)))
        else:
            asyncio.run(serve(args) if args.app is not None else run_all(args))
    except RigError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
