"""For tests of what is built on thermocline, and of tiers that others write. Nothing in the library imports it.

* `ManualClock`: a clock that a test moves. `JumpingClock`: the machine's, whose wall clock a test turns.
* `ChaosTier`: wraps any tier and makes it fail, lose answers, wait or be cancelled, by a script or a seed.
* `ChaosProxy`: stands before any TCP server, and breaks connections.
* `thermocline.testing.scenarios`: outages with stated outcomes, run against a memory and judged; docs/chaos.md.
* `SeededLoop`: an event loop whose order of steps and clock a seed decides.
* `thermocline.testing.conformance`: what a tier must do, as pytest classes to inherit from.
* `thermocline.testing.rig` and `thermocline.testing.pytest_plugin`: real servers, and pytest fixtures for them.
* `thermocline.testing.cosmos`: a strict emulator of Cosmos DB's REST surface, a process of its own.
* `thermocline.testing.functions`: Azure Functions apps without Azure; docs/functions.md (also needs the extras ``functions`` and ``service``).

Needs the extra ``thermocline[testing]``.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thermocline.testing.chaos import ChaosTier, Fault
    from thermocline.testing.clocks import JumpingClock, ManualClock
    from thermocline.testing.proxy import ChaosProxy
    from thermocline.testing.schedule import LoopClock, ScheduleStuckError, SeededLoop

__all__ = [
    "ChaosProxy",
    "ChaosTier",
    "Fault",
    "JumpingClock",
    "LoopClock",
    "ManualClock",
    "ScheduleStuckError",
    "SeededLoop",
]

_HOMES = {
    "ChaosProxy": "thermocline.testing.proxy",
    "ChaosTier": "thermocline.testing.chaos",
    "Fault": "thermocline.testing.chaos",
    "JumpingClock": "thermocline.testing.clocks",
    "LoopClock": "thermocline.testing.schedule",
    "ManualClock": "thermocline.testing.clocks",
    "ScheduleStuckError": "thermocline.testing.schedule",
    "SeededLoop": "thermocline.testing.schedule",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
