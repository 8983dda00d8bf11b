"""Azure Functions apps without Azure: indexed as the worker does, served, fired, fed and killed. docs/functions.md has what the official host does besides.

    async with FunctionsHost("apps/memory-worker", settings) as host:
        await host.fire("sweep")
        await host.feed_until_idle()

Needs the extras ``thermocline[functions,service,testing]``.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thermocline.testing.functions.changes import FeedReport
    from thermocline.testing.functions.errors import BadApp, InvocationFailed
    from thermocline.testing.functions.host import FunctionsHost
    from thermocline.testing.functions.indexing import App, Function, index
    from thermocline.testing.functions.messages import QueueReport
    from thermocline.testing.functions.process import FunctionsProcess

__all__ = [
    "App",
    "BadApp",
    "FeedReport",
    "Function",
    "FunctionsHost",
    "FunctionsProcess",
    "InvocationFailed",
    "QueueReport",
    "index",
]

_HOMES = {
    "App": "indexing",
    "BadApp": "errors",
    "FeedReport": "changes",
    "Function": "indexing",
    "FunctionsHost": "host",
    "FunctionsProcess": "process",
    "InvocationFailed": "errors",
    "QueueReport": "messages",
    "index": "indexing",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
