"""Outages with stated outcomes: servers are broken under a memory that many callers use, and what they saw is judged. docs/chaos.md

    report = await play(by_name("redis killed"), seed=7)
    assert report.kept, report

* `SCENARIOS`: those of this library, each with what it breaks and what it states.
* `Scenario`, `Needs`, `Mix`: how to say one of your own; a `Stage` is what it breaks.
* `play` runs one against this library's client, or against what ``make`` makes; a `Report` says what came of it.
* ``python -m thermocline.testing.scenarios`` runs them and prints one page.

Needs the extra ``thermocline[testing]`` and the servers of `thermocline.testing.rig`.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thermocline.testing.scenarios.calls import Mix
    from thermocline.testing.scenarios.catalogue import SCENARIOS, by_name
    from thermocline.testing.scenarios.model import AWAY, UNSURE, Break, Scenario
    from thermocline.testing.scenarios.needs import Needs
    from thermocline.testing.scenarios.places import FEATURES, Places
    from thermocline.testing.scenarios.report import Report, page
    from thermocline.testing.scenarios.runner import play
    from thermocline.testing.scenarios.stage import Stage

__all__ = [
    "AWAY",
    "FEATURES",
    "SCENARIOS",
    "UNSURE",
    "Break",
    "Mix",
    "Needs",
    "Places",
    "Report",
    "Scenario",
    "Stage",
    "by_name",
    "page",
    "play",
]

_HOMES = {
    "AWAY": "model",
    "FEATURES": "places",
    "SCENARIOS": "catalogue",
    "UNSURE": "model",
    "Break": "model",
    "Mix": "calls",
    "Needs": "needs",
    "Places": "places",
    "Report": "report",
    "Scenario": "model",
    "Stage": "stage",
    "by_name": "catalogue",
    "page": "report",
    "play": "runner",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
