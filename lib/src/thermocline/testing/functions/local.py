"""`make functions`: every app of a checkout on this machine, each in its own process, until Ctrl-C."""

import asyncio
import json
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

from thermocline.testing.functions.errors import BadApp
from thermocline.testing.functions.process import FunctionsProcess
from thermocline.testing.functions.surroundings import CLIENT, COMMON, embedded, services, signing_in
from thermocline.testing.rig.ports import is_free

_FED: Final = ("cosmosDBTrigger", "queueTrigger")


async def run(
    folder: Path, *, over_services: bool, home: Path, first_port: int | None, only: Sequence[str] = ()
) -> None:
    """Serve the apps below ``folder`` until SIGINT or SIGTERM; ``only``: these of them. ``first_port`` None takes free ports.

    Raises BadApp where there is no app, StartFailed for one that does not start, MissingPart for a server that cannot be had.
    """
    apps = found(folder, only)
    taken = (
        [] if first_port is None else [port for port in range(first_port, first_port + len(apps)) if not is_free(port)]
    )
    if taken:
        raise BadApp(f"port {taken[0]} is taken; name another first one with --port, or 0 for free ones")
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as running:
        say(f"The tiers are {'the servers of the rig' if over_services else f'the embedded ones, in {home}'}.")
        place = services(folder.parent / "infra" / "contract.json") if over_services else embedded(home)
        settings = {**COMMON, **await running.enter_async_context(signing_in())}
        settings |= await running.enter_async_context(place)
        hosts = {
            app: FunctionsProcess(
                app,
                settings if over_services else settings | await without_feeds(app),
                port=None if first_port is None else first_port + number,
                listen=True,
                strict=False,
                local_settings=True,
            )
            for number, app in enumerate(apps)
        }
        for host in hosts.values():
            running.push_async_callback(asyncio.to_thread, host.stop)
        await asyncio.gather(*(asyncio.to_thread(host.start) for host in hosts.values()))
        for app, host in hosts.items():
            tell(app.name, host.url, await host.functions())
        say(
            f"\nA token for the APIs: {sys.executable} -m thermocline.testing.entra token --url {settings['THERMOCLINE_API_AUTHORITY']}"
        )
        if over_services:
            say(
                f"A client over the same servers: {sys.executable} -m thermocline.cli doctor --env-file {write_settings(home, settings)}"
            )
        say("READY. Ctrl-C ends all of it.")
        await stop.wait()
        say("Ending.")


def found(folder: Path, only: Sequence[str]) -> list[Path]:
    """The folders of the apps. Raises BadApp where there is none, or none of a name that was asked for."""
    apps = {path.parent.name: path.parent for path in sorted(folder.glob("*/function_app.py"))}
    if not apps:
        raise BadApp(
            f"{folder} holds no folder with a function_app.py; run this at the top of a checkout, or name the folder of the apps"
        )
    for name in only:
        if name not in apps:
            raise BadApp(f"there is no app {name} in {folder}; there are {', '.join(apps)}")
    return [path for name, path in apps.items() if not only or name in only]


async def without_feeds(app: Path) -> dict[str, str]:
    """Settings that switch off what needs a service: embedded tiers have no change feed and no queue."""
    command = (sys.executable, "-m", "thermocline.testing.functions", "--index", str(app))
    indexing = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    told, wrong = await indexing.communicate()
    if indexing.returncode != 0:
        raise BadApp(wrong.decode(errors="replace").strip())
    functions: list[dict[str, Any]] = json.loads(told.splitlines()[-1])
    return {f"AzureWebJobs.{one['name']}.Disabled": "true" for one in functions if one["trigger"] in _FED}


def write_settings(home: Path, settings: Mapping[str, str]) -> Path:
    """Write what a client of one's own needs, as `MemorySettings(env_file=...)` reads it; readable by this user alone."""
    home.mkdir(parents=True, exist_ok=True)
    file = home / "services.env"
    file.touch(mode=0o600)
    file.write_text("".join(f"{name}={settings[name]}\n" for name in CLIENT))
    return file


def tell(name: str, url: str, functions: Sequence[Mapping[str, Any]]) -> None:
    """Print where an app is and how to set off its functions."""
    say(f"\n{name}  {url}")
    for one in functions:
        if one["error"] is not None:
            say(f"  {one['name']:<22} is not served: {one['error']}")
        elif one["isDisabled"]:
            say(f"  {one['name']:<22} is off: it needs SERVICES=1")
        elif one["route"] is not None:
            say(f"  {one['name']:<22} {url}/{one['route']}")
        elif one["trigger"] == "timerTrigger":
            say(f"  {one['name']:<22} curl -X POST {url}/admin/functions/{one['name']}")
        else:
            say(f"  {one['name']:<22} listens")


def say(line: str) -> None:
    """Print at once: who waits for READY may read through a pipe."""
    print(line, flush=True)
