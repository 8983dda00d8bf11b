"""What each profile of infra/ has that costs money whether it is used or not: profiles.json of this package, held equal to infra/ by a test."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from thermocline.errors import InvalidArgument

PROFILES: Final = ("dev", "team", "private", "regulated")

REDIS_GB: Final = {"Balanced_B0": 0.5, "Balanced_B1": 1.0, "Balanced_B3": 3.0, "Balanced_B5": 6.0}
"""Memory of a SKU in GB, of which about a fifth is kept free for the service."""


@dataclass(frozen=True, slots=True)
class Profile:
    """``max_throughput``: RU/s that Cosmos DB scales up to. ``always_ready``: instances of each app that are kept ready. ``endpoints``, ``zones``: private
    endpoints and DNS zones. ``gateways``, ``addresses``: NAT gateways and public IP addresses. ``log_alerts``: how many look how often, as ``PT5M``. ``keys``:
    customer-managed keys."""

    name: str
    max_throughput: int
    regions: int
    backup: str
    redis: str
    high_availability: bool
    storage: str
    apps: int
    memory_mb: int
    always_ready: int
    retention_days: int
    endpoints: int
    zones: int
    gateways: int
    addresses: int
    log_alerts: Mapping[str, int]
    metric_alerts: int
    keys: int


@cache
def _all() -> dict[str, Profile]:
    given = json.loads(files(__package__).joinpath("profiles.json").read_text(encoding="utf-8"))
    return {name: Profile(name, **parts) for name, parts in given.items()}


def profile(name: str) -> Profile:
    """Raises `InvalidArgument` for a profile that there is not."""
    if name not in _all():
        raise InvalidArgument(f"there is no profile {name!r}: {', '.join(PROFILES)}")
    return _all()[name]
