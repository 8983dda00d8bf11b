"""The bindings that this host knows, read off an app's functions as the worker hands them to the official host: as JSON."""

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from thermocline.testing.functions.errors import BadApp


@dataclass(frozen=True)
class Kind:
    """A type of binding: which options it needs, and which it may have besides."""

    trigger: bool
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    retries: bool = False
    """Whether the official host heeds a retry policy for it."""


KINDS: Final[Mapping[str, Kind]] = {
    "httpTrigger": Kind(True, ("route",), ("authLevel", "methods", "webHookType")),
    "http": Kind(False),
    "timerTrigger": Kind(True, ("schedule",), ("runOnStartup", "useMonitor"), retries=True),
    "queueTrigger": Kind(True, ("queueName", "connection")),
    "cosmosDBTrigger": Kind(
        True,
        ("connection", "databaseName", "containerName"),
        (
            "leaseConnection",
            "leaseDatabaseName",
            "leaseContainerName",
            "createLeaseContainerIfNotExists",
            "leasesContainerThroughput",
            "leaseContainerPrefix",
            "feedPollDelay",
            "leaseAcquireInterval",
            "leaseExpirationInterval",
            "leaseRenewInterval",
            "maxItemsPerInvocation",
            "startFromBeginning",
            "startFromTime",
            "preferredLocations",
        ),
        retries=True,
    ),
}
RETURN: Final = "$return"
_COMMON: Final = ("name", "type", "direction", "dataType")
_TIME: Final = re.compile(r"(\d\d):(\d\d):(\d\d)")


@dataclass(frozen=True)
class Binding:
    """One binding of a function; ``options`` as in ``function.json``."""

    type: str
    name: str
    out: bool
    options: Mapping[str, Any]

    @property
    def kind(self) -> Kind:
        """What is known of its type."""
        return KINDS[self.type]


@dataclass(frozen=True)
class Retry:
    """A retry policy: how often a failed invocation is repeated (None: until it succeeds), and after which delay."""

    limit: int | None
    shortest: timedelta
    longest: timedelta

    def delay(self, failed: int) -> timedelta:
        """How long to wait after the ``failed``-th failure (1 is the first); doubles from the shortest to the longest."""
        return min(self.longest, self.shortest * (1 << min(failed - 1, 30)))


def read_binding(function: str, text: str) -> Binding:
    """A binding of its JSON. Raises BadApp for a type or an option that this host does not know, and for an option that is missing."""
    raw: dict[str, Any] = json.loads(text)
    kind = KINDS.get(raw["type"])
    if kind is None:
        raise BadApp(f"{function}: this host knows no binding {raw['type']}{_nearest(raw['type'], KINDS)}")
    name = str(raw.get("name", ""))
    if raw["direction"] not in ("IN", "OUT"):
        raise BadApp(
            f"{function}: the binding {name} has the direction {raw['direction']}, which Python apps cannot have"
        )
    out = raw["direction"] == "OUT"
    if name == RETURN and not out:
        raise BadApp(f"{function}: the binding {RETURN} must have the direction OUT")
    options = {key: value for key, value in raw.items() if key not in _COMMON}
    known = (*kind.needs, *kind.takes)
    for option in options:
        if option not in known:
            raise BadApp(f"{function}: {raw['type']} has no option {option}{_nearest(option, known)}")
    for option in kind.needs:
        if option not in options:
            raise BadApp(f"{function}: {raw['type']} needs the option {option}")
    return Binding(raw["type"], name, out, options)


def read_retry(function: str, trigger: Binding, policy: Mapping[str, Any] | None) -> Retry | None:
    """The retry policy of a function's setting. Raises BadApp for one that the official host would refuse, or not heed."""
    if policy is None:
        return None
    if not trigger.kind.retries:
        raise BadApp(f"{function}: a retry policy has no effect on {trigger.type}; take it away")
    try:
        limit = int(policy["max_retry_count"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadApp(f"{function}: max_retry_count of the retry policy is no whole number") from error
    if limit < -1:
        raise BadApp(f"{function}: max_retry_count is {limit}; -1 means without end")
    strategy = policy.get("strategy")
    if strategy == "fixed_delay":
        shortest = longest = _duration(function, "delay_interval", policy)
    elif strategy == "exponential_backoff":
        shortest, longest = (
            _duration(function, "minimum_interval", policy),
            _duration(function, "maximum_interval", policy),
        )
    else:
        raise BadApp(f"{function}: the retry strategy is {strategy!r}; it is fixed_delay or exponential_backoff")
    if shortest > longest:
        raise BadApp(f"{function}: the retry policy's minimum_interval is above its maximum_interval")
    return Retry(None if limit == -1 else limit, shortest, longest)


def _duration(function: str, name: str, policy: Mapping[str, Any]) -> timedelta:
    found = _TIME.fullmatch(str(policy.get(name, "")))
    if found is None or int(found[2]) > 59 or int(found[3]) > 59:
        raise BadApp(f"{function}: {name} of the retry policy is {policy.get(name)!r}; write it as HH:MM:SS")
    return timedelta(hours=int(found[1]), minutes=int(found[2]), seconds=int(found[3]))


def _nearest(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known)}"
