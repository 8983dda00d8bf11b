"""The composition root: from settings to a connected client. The one place that knows every tier.

Public as `thermocline.connect`; the file is not named so, as a module of that name would hide the function.
"""

from datetime import timedelta
from typing import Any, Self
from urllib.parse import urlsplit

from thermocline.client import MemoryClient
from thermocline.codec import Codec
from thermocline.errors import ConfigurationError
from thermocline.identity import Credential, default_credential
from thermocline.lifetimes import Lifetimes
from thermocline.model import MemoryTier
from thermocline.policy import MemoryRules, Route
from thermocline.protocols import Entries, Payloads, Tier, Versions
from thermocline.resilience import Budget
from thermocline.settings import MemorySettings


class MemoryBuilder:
    """Gathers tiers and rules; `build` makes the client. Each method returns the builder.

    ``with_hot``, ``with_warm`` and ``with_cold`` take a tier, or what one is made of (`HotMemory`, `WarmMemory`, `ColdMemory`).
    """

    def __init__(self) -> None:
        self._hot: Entries | None = None
        self._warm: Versions | None = None
        self._cold: Payloads | Versions | None = None
        self._rules: MemoryRules | None = None
        self._routes: list[Route] = []
        self._lifetimes: Lifetimes | None = None
        self._options: dict[str, Any] = {}

    def with_hot(
        self,
        tier: Entries | None = None,
        *,
        url: str | None = None,
        host: str | None = None,
        port: int = 6379,
        password: str | None = None,
        ssl: bool = False,
    ) -> Self:
        """The hot tier, or its ``url``, or ``host``, ``port``, ``password`` and ``ssl``."""
        if tier is None:
            from thermocline.settings import redis_url
            from thermocline.tiers.hot import HotMemory

            if url is None and host is None:
                raise ConfigurationError("with_hot takes a tier, a url or a host")
            tier = HotMemory(url if url is not None else redis_url(str(host), port=port, password=password, ssl=ssl))
        self._hot = tier
        return self

    def without_hot(self) -> Self:
        """No hot tier, whatever was said before: what a client then reads is the authority's own word."""
        self._hot = None
        return self

    def with_warm(
        self,
        tier: Versions | None = None,
        *,
        cosmos_endpoint: str | None = None,
        database: str = "memory",
        container: str = "state",
        credential: Any = None,
        key: str | None = None,
        create: bool = False,
    ) -> Self:
        """The warm tier, or a Cosmos DB account's endpoint with a ``credential`` (or ``key``); without either, the default Azure credential.
        ``create``: make the container if it is missing (development; takes a key)."""
        if tier is None:
            from thermocline.tiers.warm import WarmMemory

            if cosmos_endpoint is None:
                raise ConfigurationError("with_warm takes a tier or a cosmos_endpoint")
            identity = credential if credential is not None or key is not None else self._identity()
            tier = WarmMemory(cosmos_endpoint, database, container, credential=identity, key=key, create=create)
        self._warm = tier
        return self

    def with_cold(
        self,
        tier: Payloads | Versions | None = None,
        *,
        blob_account_url: str | None = None,
        container: str = "memory",
        credential: Any = None,
        create: bool = False,
    ) -> Self:
        """The cold tier, or a storage account's blob endpoint with a ``credential`` or a SAS in it; without either, the default Azure credential.
        ``create``: make the container if it is missing."""
        if tier is None:
            from thermocline.tiers.cold import ColdMemory

            if blob_account_url is None:
                raise ConfigurationError("with_cold takes a tier or a blob_account_url")
            signed = "sig=" in urlsplit(blob_account_url).query
            identity = credential if credential is not None or signed else self._identity()
            tier = ColdMemory(blob_account_url, container, credential=identity, create=create)
        self._cold = tier
        return self

    def with_rules(self, rules: MemoryRules | None = None, **fields: Any) -> Self:
        """The default rules, as a `MemoryRules` or as its fields."""
        if rules is not None and fields:
            raise ConfigurationError("with_rules takes a MemoryRules or its fields, not both")
        try:
            self._rules = rules if rules is not None else MemoryRules(**fields)
        except TypeError as error:
            raise ConfigurationError(f"with_rules: {error}; see MemoryRules for the names") from error
        return self

    def with_route(self, route: Route) -> Self:
        """An exception to the rules for some keys."""
        self._routes.append(route)
        return self

    def with_lifetimes(self, lifetimes: Lifetimes | None = None, **fields: Any) -> Self:
        """How long records live and copies stay, as a `Lifetimes` or as its fields: ``rules``, ``ceilings``, ``presets``."""
        if lifetimes is not None and fields:
            raise ConfigurationError("with_lifetimes takes a Lifetimes or its fields, not both")
        try:
            self._lifetimes = lifetimes if lifetimes is not None else Lifetimes(**fields)
        except TypeError as error:
            raise ConfigurationError(f"with_lifetimes: {error}; see Lifetimes for the names") from error
        return self

    def with_options(self, **options: Any) -> Self:
        """Further arguments of `MemoryClient`: ``codec``, ``budget``, ``clock``, ``executor``."""
        self._options.update(options)
        return self

    def tiers(self) -> dict[MemoryTier, Tier]:
        """The tiers that were given or made, to ask one of them directly; whoever connects one closes it."""
        given: dict[MemoryTier, Tier | None] = {
            MemoryTier.HOT: self._hot,
            MemoryTier.WARM: self._warm,
            MemoryTier.COLD: self._cold,
        }
        return {name: tier for name, tier in given.items() if tier is not None}

    async def close(self) -> None:
        """Close the credential that was made for the tiers. A client that was built here does it too."""
        for part in self._options.get("closes", ()):
            await part.close()

    def build(self) -> MemoryClient:
        """The client, which connects on first use or by ``async with``. Raises `ConfigurationError` (a ValueError) without any tier."""
        if self._hot is None and self._warm is None and self._cold is None:
            raise ConfigurationError("a memory needs at least one tier: call with_hot, with_warm or with_cold")
        return MemoryClient(
            hot=self._hot,
            warm=self._warm,
            cold=self._cold,
            rules=self._rules,
            routes=self._routes,
            lifetimes=self._lifetimes,
            **self._options,
        )

    def _identity(self) -> Credential:
        """One credential for all tiers, closed with the client."""
        closes = self._options.setdefault("closes", [])
        if not closes:
            closes.append(default_credential())
        identity: Credential = closes[0]
        return identity


def builder(settings: MemorySettings | None = None, *, create: bool = False) -> MemoryBuilder:
    """A builder with the tiers that the settings name; the embedded ones if they name none. Connects nothing. ``create``: containers that are
    missing are made when it does.

    Raises `ConfigurationError` that names the variable.
    """
    settings = settings if settings is not None else MemorySettings.load()
    made = MemoryBuilder()
    if not settings.any_service():
        return _embedded(made, settings)
    url = settings.resolve_redis_url()
    if url is not None:
        made.with_hot(url=url)
    if settings.cosmos_account_uri is not None:
        key = settings.cosmos_key
        made.with_warm(
            cosmos_endpoint=settings.cosmos_account_uri,
            database=settings.cosmos_database,
            container=settings.cosmos_container,
            key=key.get_secret_value() if key is not None else None,
            create=create,
        )
    if settings.blob_account_url is not None:
        made.with_cold(blob_account_url=settings.blob_account_url, container=settings.blob_container, create=create)
    return _common(made, settings)


def _embedded(made: MemoryBuilder, settings: MemorySettings) -> MemoryBuilder:
    from thermocline.tiers.local.folder import FolderMemory
    from thermocline.tiers.local.process import ProcessMemory
    from thermocline.tiers.local.sqlite import SqliteMemory

    home = settings.home
    made.with_hot(ProcessMemory(settings.hot_max_bytes))
    made.with_warm(SqliteMemory(home / "warm.sqlite3"))
    made.with_cold(FolderMemory(home / "cold"))
    return _common(made, settings)


def _common(made: MemoryBuilder, settings: MemorySettings) -> MemoryBuilder:
    return made.with_options(
        codec=Codec(compression=settings.compression),
        budget=Budget(
            call=timedelta(milliseconds=settings.call_deadline_ms),
            connect=timedelta(milliseconds=settings.connect_deadline_ms),
            hot=timedelta(milliseconds=settings.hot_deadline_ms),
            warm=timedelta(milliseconds=settings.warm_deadline_ms),
            cold=timedelta(milliseconds=settings.cold_deadline_ms),
        ),
    )


async def connect(settings: MemorySettings | None = None) -> MemoryClient:
    """A connected client by the settings (read from the environment and ``.env`` if left out). Close it, or use it by ``async with await connect()``.

    With nothing configured: process memory, SQLite and a folder, under ``THERMOCLINE_HOME``. Raises `ConfigurationError` that names the variable, and
    `TierUnavailable` in plain words for an authority that cannot be reached within 15 s.
    """
    client = builder(settings).build()
    try:
        await client.connect()
    except BaseException:
        await client.close()  # the credential that was made for it
        raise
    return client
