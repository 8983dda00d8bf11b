"""Histories: what several processes did to the same keys while things broke, written down, and judged afterwards.

* `Recorder` writes what one process does into a file, so that a killed process leaves its unfinished writes behind as open ones;
* `read_history` puts the files of all processes together;
* `check` accepts a read only if some legal order of the operations explains it, and says what is wrong with the others.

Begin and end are moments of CLOCK_MONOTONIC, which all processes of a Linux machine share; values are unique per write.
"""

from thermocline.testing.history.checker import Bound, Kind, Problem, Verdict, check
from thermocline.testing.history.events import Event, Fault, History, Outcome, Verb
from thermocline.testing.history.recorder import Recorder, read_history

__all__ = [
    "Bound",
    "Event",
    "Fault",
    "History",
    "Kind",
    "Outcome",
    "Problem",
    "Recorder",
    "Verb",
    "Verdict",
    "check",
    "read_history",
]
