"""What each app cannot do without, and what of it is missing in the environment. Names of variables only: no value is ever told."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

_HOT: Final = ("REDIS_HOST", "REDIS_URL")
_WARM: Final = ("COSMOS_ACCOUNT_URI", "COSMOS_ENDPOINT")


@dataclass(frozen=True, slots=True)
class Need:
    """One of ``variables`` has to be set; ``why`` says what for."""

    variables: tuple[str, ...]
    why: str

    def met(self, given: Mapping[str, str]) -> bool:
        return any(given.get(name, "").strip() for name in self.variables)


@dataclass(frozen=True, slots=True)
class Connection:
    """How a binding finds its service: by a connection string under ``prefix`` itself (emulators), or as an identity at ``prefix__`` ``address``."""

    prefix: str
    address: str

    def missing(self, given: Mapping[str, str]) -> list[Need]:
        """What is not said of it."""
        address, credential, client = (f"{self.prefix}__{part}" for part in (self.address, "credential", "clientId"))
        needs = [Need((address, self.prefix), f"the address that the triggers of {self.prefix} listen at")]
        if given.get(credential, "").strip().lower() == "managedidentity":
            needs.append(Need((client,), f"which managed identity the triggers of {self.prefix} sign in as"))
        return [need for need in needs if not need.met(given)]


@dataclass(frozen=True, slots=True)
class AppNeeds:
    """``name`` of the app; ``services`` that the memory needs, ``bound``: variables that its triggers name as ``%NAME%``."""

    name: str
    services: tuple[Need, ...] = ()
    bound: tuple[str, ...] = ()
    connections: tuple[Connection, ...] = ()
    settings: tuple[Need, ...] = field(default=())

    def missing(self, given: Mapping[str, str]) -> list[Need]:
        """What the app lacks, in words."""
        needs = [*self.services, *self.settings]
        needs += [Need((name,), "a trigger names it, and is not started without") for name in self.bound]
        found = [need for need in needs if not need.met(given)]
        for connection in self.connections:
            found += connection.missing(given)
        return found


WORKER: Final = AppNeeds(
    "memory-worker",
    services=(
        Need(_HOT, "the hot tier, which the change feed is settled into"),
        Need(_WARM, "the authority, whose change feed is followed"),
    ),
    bound=(
        "COSMOS_DATABASE",
        "COSMOS_CONTAINER",
        "THERMOCLINE_LEASES_CONTAINER",
        "THERMOCLINE_SWEEP_SCHEDULE",
        "THERMOCLINE_REPLAY_SCHEDULE",
        "THERMOCLINE_VAULT_EVENTS_QUEUE",
    ),
    connections=(Connection("COSMOS", "accountEndpoint"), Connection("EVENTS", "queueServiceUri")),
)
