"""`MemoryApi`: what the memory's routes are told. No I/O, and no FastAPI."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Protocol

from thermocline.configured import duration
from thermocline.errors import ConfigurationError
from thermocline.identity.bearer import Principal

READ: Final = "Memory.Read"
WRITE: Final = "Memory.ReadWrite"
ERASE: Final = "Memory.Erase"

RESERVED: Final = "~thermocline"
"""The tenant of the jobs' own records. No token can name it: a tenant of Entra ID is a GUID, and the routes refuse it besides."""


class Tokens(Protocol):
    """Who tells whose token it is; `EntraTokens` is one."""

    async def check(self, token: str) -> Principal:
        """Raises `TokenRefused`, and `TierUnavailable` where that cannot be known now."""
        ...


@dataclass(frozen=True, slots=True)
class MemoryApi:
    """``tokens`` tells whose token a request bears; None: nobody is let in, every route answers 503, with ``missing`` as the reason.

    ``watch``: how often a process looks for jobs whose runner died (None: only when `run_jobs` is called, as by a timer). ``lease``: how long such a runner is
    waited for. ``longest_write``: as of `MemoryClient.forget`. Numbers are seconds. Raises `ConfigurationError`.
    """

    tokens: Tokens | None
    missing: str = ""
    watch: timedelta | float | None = 30.0
    lease: timedelta | float = 60.0
    longest_write: timedelta | float | None = None

    def __post_init__(self) -> None:
        for name in ("watch", "lease"):
            given: Any = getattr(self, name)
            if given is None and name == "watch":
                continue
            duration(given, f"MemoryApi: {name}", least=timedelta(milliseconds=100), most=timedelta(days=1))
        if self.longest_write is not None:
            duration(self.longest_write, "MemoryApi: longest_write", least=timedelta(seconds=1))
        missing: Any = self.missing
        if not isinstance(missing, str):
            raise ConfigurationError(f"MemoryApi: missing is text, not {missing!r:.80}")
        tokens: Any = self.tokens
        if tokens is None and not self.missing:
            raise ConfigurationError(
                "MemoryApi needs tokens=…, as EntraTokens(audience, tenants), or missing='why not'"
            )
        if tokens is not None and not callable(getattr(tokens, "check", None)):
            raise ConfigurationError(f"MemoryApi's tokens are an EntraTokens, not {type(tokens).__name__}")

    @property
    def lease_seconds(self) -> float:
        return _seconds(self.lease)

    @property
    def watch_seconds(self) -> float | None:
        return None if self.watch is None else _seconds(self.watch)


def _seconds(given: timedelta | float) -> float:
    return given.total_seconds() if isinstance(given, timedelta) else float(given)
