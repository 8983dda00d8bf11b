"""``host.json``: the limits of one app that this host heeds."""

import json
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from thermocline.testing.functions.errors import BadApp

_KNOWN: Final = frozenset(
    {
        "version",
        "aggregator",
        "applicationInsights",
        "concurrency",
        "customHandler",
        "extensionBundle",
        "extensions",
        "functions",
        "functionTimeout",
        "healthMonitor",
        "http",
        "logging",
        "managedDependency",
        "queues",
        "retry",
        "singleton",
        "telemetryMode",
        "watchDirectories",
        "watchFiles",
    }
)


@dataclass(frozen=True)
class HostFile:
    """What the file says, with the official host's defaults where it does not."""

    route_prefix: str = "api"
    batch_size: int = 16
    """Messages of a queue under way at once."""
    max_dequeue_count: int = 5
    """Tries of a queue's message before it goes to the poison queue."""
    visibility_timeout: timedelta = timedelta(0)
    """How long a message whose invocation failed stays hidden."""
    base64: bool = True
    """Whether a queue's messages are base64 on the wire."""


def read_host_file(folder: Path) -> HostFile:
    """Read ``host.json`` of an app. Raises BadApp if there is none, or one that the official host would refuse."""
    path = folder / "host.json"
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadApp(f"{folder} holds no host.json; without it the host does not take the folder for an app") from error
    except ValueError as error:
        raise BadApp(f"{path} is no JSON (it allows no comments): {error}") from error
    if not isinstance(document, dict) or document.get("version") != "2.0":
        raise BadApp(f'{path} must be an object with "version": "2.0"')
    strangers = sorted(document.keys() - _KNOWN)
    if strangers:
        raise BadApp(f"{path} has {strangers[0]}, which host.json does not know")
    extensions = document.get("extensions", {})
    queues, http = extensions.get("queues", {}), extensions.get("http", {})
    return HostFile(
        route_prefix=str(http.get("routePrefix", "api")).strip("/"),
        batch_size=int(queues.get("batchSize", 16)),
        max_dequeue_count=int(queues.get("maxDequeueCount", 5)),
        visibility_timeout=_duration(path, queues.get("visibilityTimeout", "00:00:00")),
        base64=queues.get("messageEncoding", "base64") != "none",
    )


def _duration(path: Path, text: str) -> timedelta:
    try:
        hours, minutes, seconds = (float(part) for part in text.split(":"))
    except ValueError as error:
        raise BadApp(f"{path}: {text!r} is no time as HH:MM:SS") from error
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)
