"""Azure Functions apps without Azure: indexed as the worker does, served, fired, fed and killed. docs/functions.md has what the official host does besides.

    async with FunctionsHost("apps/memory-worker", settings) as host:
        await host.fire("sweep")
        await host.feed_until_idle()

Needs the extras ``thermocline[functions,service,testing]``.
"""

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
