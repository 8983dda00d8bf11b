"""Which servers a scenario needs."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """Which tiers there are, and what of them can be broken. ``redis``: ``server``, ``cluster`` (of three masters with a replica each) or
    ``none`` (process memory); ``warm``: ``cosmos`` or ``sqlite``; ``cold``: ``blob`` or ``folder``. ``proxied``: which of ``redis``, ``cosmos`` and ``blob``
    are reached through a `ChaosProxy`."""

    redis: str = "server"
    warm: str = "cosmos"
    cold: str = "folder"
    proxied: frozenset[str] = frozenset()
    apart: int = 0  # clients in processes of their own, besides two here
    here: int = 2
    hot_ttl: float = 300.0  # seconds
    settings: dict[str, str | int] = field(default_factory=dict)  # lines of redis.conf

    def __post_init__(self) -> None:
        for value, known in (
            (self.redis, ("server", "cluster", "none")),
            (self.warm, ("cosmos", "sqlite")),
            (self.cold, ("blob", "folder")),
        ):
            if value not in known:
                raise ValueError(f"there is no {value!r}; one of {', '.join(known)}")
