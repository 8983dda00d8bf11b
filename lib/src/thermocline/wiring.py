"""The composition root: from settings to a connected client. The one place that knows every tier.

Public as `thermocline.connect`; the file is not named so, as a module of that name would hide the function.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from inspect import signature
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from thermocline.client import NOT_GIVEN, MemoryClient
from thermocline.client.fitting import check_tier
from thermocline.client.near.options import NearCache
from thermocline.client.result import NotGiven
from thermocline.codec import Codec
from thermocline.configured import not_both, part, text
from thermocline.errors import ConfigurationError
from thermocline.identity import EntraLogins, PasswordLogins, Vault, VaultSecret, check_credential, default_credential
from thermocline.lifetimes import Lifetimes
from thermocline.model import MemoryTier
from thermocline.policy import MemoryRules, Route
from thermocline.protocols import Entries, Payloads, Tier, Versions
from thermocline.resilience import Budget, Hedging, Resilience, Rotating
from thermocline.settings import MemorySettings


class MemoryBuilder:
    """Gathers tiers and rules; `build` makes the client. Each method returns the builder.

    ``with_hot``, ``with_warm`` and ``with_cold`` take a tier, or what one is made of (`HotMemory`, `WarmMemory`, `ColdMemory`).
    """

    def __init__(self) -> None:
        self._hot: Entries | None = None
        self._warm: Versions | None = None
        self._cold: Payloads | Versions | None = None
        self._warm_plus: Versions | None = None
        self._rules: MemoryRules | None = None
        self._routes: list[Route] = []
        self._lifetimes: Lifetimes | None = None
        self._options: dict[str, Any] = {}
        self._credential: Any = None

    def with_credential(self, credential: Any) -> Self:
        """The asynchronous token credential for all that is named after this, instead of the default one; it stays open when the client is closed.
        Raises `ConfigurationError` for a synchronous one."""
        check_credential(credential)
        self._credential = credential
        return self

    def with_hot(
        self,
        tier: Entries | NotGiven | None = NOT_GIVEN,
        *,
        url: str | None = None,
        host: str | None = None,
        port: int | None = None,
        password: str | None = None,
        ssl: bool | None = None,
        sign_in: Any = None,
    ) -> Self:
        """The hot tier (None: there is none), or its ``url``, or ``host``, ``port``, ``password`` and ``ssl``, which left out are right for Azure's hosts.
        ``sign_in``: redis-py's credential provider, or a login that changes (`EntraLogins`, `PasswordLogins`), instead of a password. Raises
        `ConfigurationError`, also for two of these that exclude one another."""
        parts: dict[str, Any] = {"host": host, "port": port, "password": password, "ssl": ssl}
        if url is not None:
            not_both("with_hot", "a url, which names all of it,", parts)
        if isinstance(tier, NotGiven):
            from thermocline.settings import redis_url
            from thermocline.tiers.hot import HotMemory

            if url is None and host is None:
                raise ConfigurationError("with_hot takes a tier, a url or a host")
            if sign_in is not None:
                not_both("with_hot", "sign_in", {"password": password})
            address = url if url is not None else redis_url(**parts)
            tier = HotMemory(address, credential_provider=sign_in)
        else:
            not_both("with_hot", "a tier", {"url": url, **parts, "sign_in": sign_in})
            check_tier(tier, MemoryTier.HOT, "with_hot: tier (hot)")
        self._hot = tier
        return self

    def without_hot(self) -> Self:
        """No hot tier, whatever was said before: what a client then reads is the authority's own word."""
        self._hot = None
        return self

    def with_warm(
        self,
        tier: Versions | NotGiven | None = NOT_GIVEN,
        *,
        cosmos_endpoint: str | None = None,
        database: str = "memory",
        container: str = "state",
        credential: Any = None,
        key: str | Rotating[str] | None = None,
        create: bool = False,
    ) -> Self:
        """The warm tier (None: there is none), or a Cosmos DB account's endpoint with a ``credential`` or ``key``; without, the default credential.
        ``create``: make the container if it is missing (development; takes a key)."""
        if isinstance(tier, NotGiven):
            from thermocline.tiers.warm import WarmMemory

            if cosmos_endpoint is None:
                raise ConfigurationError("with_warm takes a tier or a cosmos_endpoint")
            identity = credential if credential is not None or key is not None else self.identity()
            tier = WarmMemory(cosmos_endpoint, database, container, credential=identity, key=key, create=create)
        else:
            not_both("with_warm", "a tier", {"cosmos_endpoint": cosmos_endpoint, "credential": credential, "key": key})
            check_tier(tier, MemoryTier.WARM, "with_warm: tier (warm)")
        self._warm = tier
        return self

    def with_cold(
        self,
        tier: Payloads | Versions | NotGiven | None = NOT_GIVEN,
        *,
        blob_account_url: str | None = None,
        container: str = "memory",
        credential: Any = None,
        create: bool = False,
        transfer: Literal["sdk", "obstore"] = "sdk",
    ) -> Self:
        """The cold tier (None: there is none), or a storage account's blob endpoint with a ``credential`` or a SAS in it; without, the default credential.
        ``create``: make the container if it is missing. ``transfer``: what carries payloads, see `ColdMemory`."""
        if isinstance(tier, NotGiven):
            from thermocline.tiers.cold import ColdMemory

            if blob_account_url is None:
                raise ConfigurationError("with_cold takes a tier or a blob_account_url")
            signed = "sig=" in urlsplit(text(blob_account_url, "with_cold: blob_account_url")).query
            identity = credential if credential is not None or signed else self.identity()
            tier = ColdMemory(blob_account_url, container, credential=identity, create=create, transfer=transfer)
        else:
            not_both("with_cold", "a tier", {"blob_account_url": blob_account_url, "credential": credential})
            check_tier(tier, MemoryTier.COLD, "with_cold: tier (cold)")
        self._cold = tier
        return self

    def with_warm_plus(
        self, account_url: str | Versions | None, table: str = "memory", credential: Any = None, *, create: bool = False
    ) -> Self:
        """The optional fourth tier (None: there is none): a `TableMemory`, or the account URL of Azure Table Storage and a table. It has the word for the keys
        of routes that say so. Without a ``credential`` (or a SAS in the URL) the default Azure credential; ``create``: make the table if it is missing.
        Raises `ConfigurationError` if the extra is not installed."""
        if isinstance(account_url, str):
            from thermocline.tiers.table import TableMemory

            signed = "sig=" in urlsplit(account_url).query
            identity = credential if credential is not None or signed else self.identity()
            account_url = TableMemory(account_url, table, credential=identity, create=create)
        check_tier(account_url, MemoryTier.WARM_PLUS, "with_warm_plus: account_url (warm_plus), where it is no URL,")
        self._warm_plus = account_url
        return self

    def with_rules(self, rules: MemoryRules | None = None, **fields: Any) -> Self:
        """The default rules, as a `MemoryRules` or as its fields, which change what an earlier call said. A switch that is None is left as it is."""
        if rules is not None and fields:
            raise ConfigurationError("with_rules takes a MemoryRules or its fields, not both")
        try:
            if rules is None:
                changed = {
                    name: value for name, value in fields.items() if value is not None or name.endswith("_ttl_seconds")
                }
                rules = replace(self._rules if self._rules is not None else MemoryRules(), **changed)
            self._rules = part(rules, "with_rules: rules", MemoryRules)
        except TypeError as error:
            raise ConfigurationError(f"with_rules: {error}; see MemoryRules for the names") from error
        return self

    def with_route(self, route: Route) -> Self:
        """An exception to the rules for some keys. Raises `ConfigurationError` for what is no `Route`."""
        part(route, "with_route: route", Route)
        self._routes.append(route)
        return self

    def with_lifetimes(self, lifetimes: Lifetimes | None = None, **fields: Any) -> Self:
        """How long records live and copies stay, as a `Lifetimes` or as its fields: ``rules``, ``ceilings``, ``presets``."""
        if lifetimes is not None and fields:
            raise ConfigurationError("with_lifetimes takes a Lifetimes or its fields, not both")
        try:
            self._lifetimes = (
                Lifetimes(**fields) if lifetimes is None else part(lifetimes, "with_lifetimes: lifetimes", Lifetimes)
            )
        except TypeError as error:
            raise ConfigurationError(f"with_lifetimes: {error}; see Lifetimes for the names") from error
        return self

    def with_near(
        self,
        near: NearCache | None = None,
        *,
        max_entries: int | None = None,
        max_bytes: int | None = None,
        stale_at_most: timedelta | float | None = None,
    ) -> Self:
        """Keep what hot answers inside the process, too, as a `NearCache` or as its fields (docs/near-cache.md). Raises `ConfigurationError`."""
        fields: dict[str, Any] = {"max_entries": max_entries, "max_bytes": max_bytes, "stale_at_most": stale_at_most}
        given = {name: value for name, value in fields.items() if value is not None}
        if near is not None and given:
            raise ConfigurationError("with_near takes a NearCache or its fields, not both")
        self._options["near"] = NearCache(**given) if near is None else part(near, "with_near: near", NearCache)
        return self

    def with_resilience(self, resilience: Resilience | None = None, **fields: Any) -> Self:
        """What is done about tiers that are slow, sick or away, as a `Resilience` or as its fields (docs/degrading.md). Raises `ConfigurationError`."""
        if resilience is not None and fields:
            raise ConfigurationError("with_resilience takes a Resilience or its fields, not both")
        try:
            given = Resilience(**fields) if resilience is None else resilience
            self._options["resilience"] = part(given, "with_resilience: resilience", Resilience)
        except TypeError as error:
            raise ConfigurationError(f"with_resilience: {error}; see Resilience for the names") from error
        return self

    def with_options(self, **options: Any) -> Self:
        """Further arguments of `MemoryClient`: ``codec``, ``budget``, ``clock``, ``executor``. Raises `ConfigurationError` for one that it does not have."""
        for name in options:
            if name not in signature(MemoryClient).parameters:
                raise ConfigurationError(f"with_options: there is no option {name!r}; see MemoryClient for the names")
        self._options.update(options)
        return self

    def tiers(self) -> dict[MemoryTier, Tier]:
        """The tiers that were given or made, to ask one of them directly; whoever connects one closes it."""
        given: dict[MemoryTier, Tier | None] = {
            MemoryTier.HOT: self._hot,
            MemoryTier.WARM: self._warm,
            MemoryTier.COLD: self._cold,
            MemoryTier.WARM_PLUS: self._warm_plus,
        }
        return {name: tier for name, tier in given.items() if tier is not None}

    async def close(self) -> None:
        """Close the credential that was made for the tiers. A client that was built here does it too."""
        for one in self._options.get("closes", ()):
            await one.close()

    def build(self) -> MemoryClient:
        """The client, which connects on first use or by ``async with``. Raises `ConfigurationError` (a ValueError) without any tier."""
        if not self.tiers():
            raise ConfigurationError("a memory needs at least one tier: call with_hot, with_warm or with_cold")
        return MemoryClient(
            hot=self._hot,
            warm=self._warm,
            cold=self._cold,
            warm_plus=self._warm_plus,
            rules=self._rules,
            routes=self._routes,
            lifetimes=self._lifetimes,
            **self._options,
        )

    def keep(self, part: Any) -> None:
        """Have the client open ``part`` before its tiers, if that has ``open``, and close it after them."""
        self._options.setdefault("closes", []).insert(0, part)

    def identity(self) -> Any:
        """The credential that was given, else the default one: made once for all tiers, and closed with the client."""
        if self._credential is None:
            self._credential = default_credential()
            self._options.setdefault("closes", []).append(self._credential)
        return self._credential


def builder(settings: MemorySettings | None = None, *, credential: Any = None, create: bool = False) -> MemoryBuilder:
    """A builder with the tiers that the settings name; the embedded ones if they name none. Connects nothing. ``credential``: an asynchronous token
    credential instead of the default one; it stays open. ``create``: containers that are missing are made when it does.

    A secret that the settings name goes before a key or password, and that before the credential (docs/identity.md).

    Raises `ConfigurationError` that names the variable.
    """
    settings = MemorySettings.load() if settings is None else part(settings, "settings", MemorySettings)
    made = MemoryBuilder()
    if credential is not None:
        made.with_credential(credential)
    if not settings.any_service():
        return _embedded(made, settings)
    secret = _secrets(made, settings)
    _sign_in_to_redis(made, settings, secret)
    if settings.cosmos_account_uri is not None:
        key = settings.cosmos_key.get_secret_value() if settings.cosmos_key is not None else None
        made.with_warm(
            cosmos_endpoint=settings.cosmos_account_uri,
            database=settings.cosmos_database,
            container=settings.cosmos_container,
            key=secret(settings.cosmos_key_secret_name) or key,
            create=create,
        )
    if settings.blob_account_url is not None:
        made.with_cold(
            blob_account_url=settings.blob_account_url,
            container=settings.blob_container,
            credential=secret(settings.blob_sas_secret_name),
            transfer=settings.blob_transfer,
            create=create,
        )
    if settings.table_account_url is not None:
        sas = secret(settings.table_sas_secret_name)
        made.with_warm_plus(settings.table_account_url, settings.table_name, sas, create=create)
    return tuned(made, settings)


def _secrets(made: MemoryBuilder, settings: MemorySettings) -> Callable[[str | None], VaultSecret | None]:
    """Gives out the secrets of the vault by name; the vault is made with the first."""
    vault: Vault | None = None

    def secret(name: str | None) -> VaultSecret | None:
        nonlocal vault
        if name is None or settings.key_vault_uri is None:
            return None
        if vault is None:
            refresh = timedelta(milliseconds=settings.secret_refresh_ms)
            vault = Vault(settings.key_vault_uri, made.identity(), refresh=refresh)
            made.keep(vault)
        return vault.secret(name)

    return secret


def _sign_in_to_redis(
    made: MemoryBuilder, settings: MemorySettings, secret: Callable[[str | None], VaultSecret | None]
) -> None:
    address = settings.redis_address()
    if address is None:
        return
    password = secret(settings.redis_password_secret_name)
    if password is not None:
        made.with_hot(url=address[0], sign_in=PasswordLogins(password, user=address[1]))
    elif settings.redis_by_token():
        logins = EntraLogins(made.identity())
        made.keep(logins)
        made.with_hot(url=address[0], sign_in=logins)
    else:
        made.with_hot(url=settings.resolve_redis_url())


def _embedded(made: MemoryBuilder, settings: MemorySettings) -> MemoryBuilder:
    from thermocline.tiers.local.folder import FolderMemory
    from thermocline.tiers.local.process import ProcessMemory
    from thermocline.tiers.local.sqlite import SqliteMemory

    home = settings.home
    made.with_hot(ProcessMemory(settings.hot_max_bytes))
    made.with_warm(SqliteMemory(home / "warm.sqlite3"))
    made.with_cold(FolderMemory(home / "cold"))
    return tuned(made, settings)


def tuned(made: MemoryBuilder, settings: MemorySettings) -> MemoryBuilder:
    """The builder with what the settings say besides tiers: the time of calls, the compression, the near cache."""
    if settings.near_max_entries > 0:
        made.with_near(
            max_entries=settings.near_max_entries,
            max_bytes=settings.near_max_bytes,
            stale_at_most=timedelta(milliseconds=settings.near_stale_ms),
        )
    if settings.hedge_share > 0:
        made.with_resilience(hedge=Hedging(share=settings.hedge_share))
    return made.with_options(
        codec=_codec(settings),
        budget=Budget(
            call=timedelta(milliseconds=settings.call_deadline_ms),
            connect=timedelta(milliseconds=settings.connect_deadline_ms),
            hot=timedelta(milliseconds=settings.hot_deadline_ms),
            warm=timedelta(milliseconds=settings.warm_deadline_ms),
            cold=timedelta(milliseconds=settings.cold_deadline_ms),
        ),
    )


def _codec(settings: MemorySettings) -> Codec:
    if settings.dictionary is not None and settings.compression != "zstd":
        raise ConfigurationError(
            "THERMOCLINE_DICTIONARY needs zstd, and THERMOCLINE_COMPRESSION says otherwise: leave one of them out"
        )
    return Codec(compression=settings.compression, dictionaries=settings.dictionary)


async def connect(settings: MemorySettings | None = None, *, credential: Any = None) -> MemoryClient:
    """A connected client by the settings (read from the environment and ``.env`` if left out). Close it, or use it by ``async with await connect()``.
    ``credential``: an asynchronous token credential instead of the default one; it stays open.

    With nothing configured: process memory, SQLite and a folder, under ``THERMOCLINE_HOME``. Raises `ConfigurationError` that names the variable, and
    `TierUnavailable` in plain words for an authority that cannot be reached within 15 s.
    """
    client = builder(settings, credential=credential).build()
    try:
        await client.connect()
    except BaseException:
        await client.close()  # the credential that was made for it
        raise
    return client
