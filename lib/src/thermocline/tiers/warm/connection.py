"""Connecting to Cosmos DB: what the account and the container must be, who pays, and whose clock is right."""

import asyncio
import importlib.util
import inspect
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Self

from thermocline import configured
from thermocline.clock import SYSTEM_CLOCK, Clock, Deadline
from thermocline.errors import ClientClosed, ConfigurationError, CorruptRecord, TierTimeout
from thermocline.model import Authority, MemoryTier
from thermocline.resilience import RetryBudget, Rotating, Skew
from thermocline.telemetry import REQUEST_UNITS, REQUESTS, THROTTLED, Stats, charged_to
from thermocline.tiers.warm import raw
from thermocline.tiers.warm.calls import bounded, once, told
from thermocline.tiers.warm.shape import DEFAULT_TTL, INDEXING, PATHS, check_account, check_container
from thermocline.tiers.warm.signing import Signer, check_key
from thermocline.tiers.warm.trouble import TIER, Kind, Trouble

if TYPE_CHECKING:
    from thermocline.tiers.warm.billing import Billed
    from thermocline.tiers.warm.sdk import Service

CONNECT_SECONDS: Final = 15.0
_LEAST_GRACE: Final = timedelta(minutes=2)


class Connection:
    """One account, one container, one event loop. `WarmMemory` has the parameters."""

    tier = MemoryTier.WARM
    authority = Authority.WARM

    def __init__(
        self,
        account_uri: str,
        database: str,
        container: str,
        *,
        connection_limit: int | None = None,
        client_kwargs: Mapping[str, Any] | None = None,
        credential: Any = None,
        key: str | Rotating[str] | None = None,
        clock: Clock = SYSTEM_CLOCK,
        grace: timedelta | float = timedelta(days=1),
        preferred_regions: Sequence[str] = (),
        create: bool = False,
        max_item_bytes: int = 1_900_000,
    ) -> None:
        """Raises `ConfigurationError` if something is missing or cannot be."""
        if client_kwargs is not None:
            configured.part(client_kwargs, "WarmMemory: client_kwargs", Mapping)  # type: ignore[type-abstract]
        options = dict(client_kwargs or {})
        self.credential = options.pop("credential", None) if credential is None else credential
        self.key = options.pop("key", None) if key is None else key
        needed: dict[str, Any] = {"account_uri": account_uri, "database": database, "container": container}
        for name, value in needed.items():
            if not isinstance(value, str) or not value:
                raise ConfigurationError(
                    f"WarmMemory needs {name} (COSMOS_ACCOUNT_URI, COSMOS_DATABASE, COSMOS_CONTAINER)"
                )
        if not account_uri.startswith(("https://", "http://")):
            raise ConfigurationError(  # not repeated: a whole connection string holds the key
                "account_uri, the Cosmos DB account's URI, is https://<name>.documents.azure.com, and no connection string"
            )
        lasting = configured.duration(
            grace, "WarmMemory: grace (longer than any write is under way)", least=_LEAST_GRACE
        )
        regions = configured.many(preferred_regions, "WarmMemory: preferred_regions", str)
        _check_rest(connection_limit, max_item_bytes, create, clock)
        if self.key is not None and self.credential is not None:
            raise ConfigurationError("give WarmMemory a credential or a key, not both")
        _check_credential(self.credential)
        self._signer = Signer(self.key) if isinstance(self.key, Rotating) else None
        if self.key is not None and self._signer is None:
            check_key(self.key)
        if hasattr(self.credential, "get_token") and account_uri.startswith("http://"):
            raise ConfigurationError(
                f"https is needed for signing in, and COSMOS_ACCOUNT_URI is {account_uri[:80]}; or set COSMOS_KEY (an emulator's)"
            )
        _need_sdk()
        self._uri, self._database, self._container = account_uri, database, container
        self._limit, self._options = connection_limit, options
        self._preferred, self._create, self._most = regions, create, max_item_bytes
        self._clock, self._grace_ms = clock, round(lasting / timedelta(milliseconds=1))
        self._service: Service | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connecting = asyncio.Lock()
        self._skew = Skew()
        self.stats = Stats()
        self.retries = RetryBudget()  # of a client: its own
        self.epoch_at_connect = 0

    @property
    def grace(self) -> timedelta:
        """How long an item outlives its record: T."""
        return timedelta(milliseconds=self._grace_ms)

    # --- connecting ---------------------------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether it is open: a client neither connects nor closes a tier that was opened before."""
        return self._service is not None

    async def connect(self) -> None:
        """Connect, and check the account and the container. Raises `ConfigurationError` for what can never work, `AccessDenied` with the role that is
        missing, `TierUnavailable`; `TierTimeout` after 15 seconds. Idempotent."""
        async with self._connecting:
            if self._service is not None:
                self._asked()
                return
            service = await self._new_service()
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    await self._check(service)
            except TimeoutError as error:
                raise TierTimeout(f"{self._uri} did not answer within {CONNECT_SECONDS:.0f} s", tier=TIER) from error
            except Trouble as trouble:
                raise trouble.error from trouble
            else:
                self._service, self._loop = service, asyncio.get_running_loop()
            finally:
                if self._service is not service:
                    with suppress(Trouble):  # what led here is the news
                        await service.close()

    async def _new_service(self) -> "Service":
        from thermocline.tiers.warm.sdk import OURS, Service

        credential = self.key if self.key is not None else self.credential
        if self._signer is not None:
            credential = await self._signer.first()
        if credential is None:
            raise ConfigurationError(
                "WarmMemory has neither credential nor key: give one, or let thermocline.connect() find the Azure identity"
            )
        if taken := OURS & self._options.keys():
            raise ConfigurationError(
                f"client_kwargs may not hold {', '.join(sorted(taken))}: a write takes effect once because of how they are set"
            )
        return Service(
            self._uri,
            credential,
            self._database,
            self._container,
            answered=self._answered,
            bills=self._billed,
            connection_limit=self._limit,
            signer=self._signer,
            preferred_regions=self._preferred,
            options=self._options,
            retries=lambda: self.retries,
        )

    async def _check(self, service: "Service") -> None:
        account = await service.open()
        check_account(account.consistency, account.multi_write)
        check_account(self._options.get("consistency_level", account.consistency), False)
        if self._create:
            await service.create(PATHS, DEFAULT_TTL, INDEXING)
        try:
            properties = await service.properties()
        except Trouble as trouble:
            if trouble.kind is not Kind.MISSING and not isinstance(trouble.error, ConfigurationError):
                raise
            raise ConfigurationError(
                f"the account {self._uri} has no container {self._database}/{self._container}: check COSMOS_DATABASE and COSMOS_CONTAINER, "
                "or create it (Bicep, or WarmMemory(..., create=True) with a key)"
            ) from trouble
        check_container(properties, self._database, self._container)
        self.epoch_at_connect = await epoch_of(service)

    async def close(self) -> None:
        """Close the connections. The credential stays open: it is the caller's. Idempotent; calls under way end as `TierUnavailable`."""
        service, self._service, self._loop = self._service, None, None
        if service is not None:
            with told():
                await service.close()

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _asked(self) -> "Service":
        if self._service is None:
            raise ClientClosed("WarmMemory is not connected: await connect() first (or it was closed)")
        if asyncio.get_running_loop() is not self._loop:
            raise ClientClosed("WarmMemory was connected in another event loop: make one for each loop")
        return self._service

    def _answered(self, status: int, headers: Mapping[str, str], seconds: float) -> None:
        self.stats.count(REQUESTS, TIER)
        charge = headers.get("x-ms-request-charge")
        if charge is not None:
            self.stats.charge(REQUEST_UNITS, TIER, charged_to(), float(charge))
        if status == 429:
            self.stats.count(THROTTLED, TIER)
        date = headers.get("Date")
        if date is not None:
            now = self._clock.wall_ms()
            self._skew.answered(date, now - seconds * 1000, now)

    def _billed(self, done: "Billed") -> None:
        self.stats.operated(TIER, done.operation, done.size, rows=done.rows)

    @property
    def skew_ms(self) -> int:
        """The server's clock less this machine's, in milliseconds; 0 where the difference is below a second."""
        return self._skew.ms

    def _now_ms(self) -> int:
        return self._clock.wall_ms() + self._skew.ms

    async def ping(self, *, deadline: Deadline) -> None:
        """One point read (1 request unit)."""
        service, deadline = self._asked(), bounded(deadline)
        with told():
            await once(lambda: epoch_of(service), deadline)


async def epoch_of(service: "Service") -> int:
    """The number in the epoch item; 0 where there is none. Raises `Trouble` (of `CorruptRecord`, if it is none)."""
    try:
        item = await service.read(raw.EPOCH_ID, raw.EPOCH_PARTITION)
    except Trouble as trouble:
        if trouble.kind is Kind.MISSING:
            return 0
        raise
    number = item.get("epoch")
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    if type(number) is not int or number < 0:
        raise Trouble(
            Kind.FATAL, CorruptRecord(f"the epoch item in Cosmos DB holds no number but {str(number)[:50]!r}: mend it")
        )
    return number


def _check_rest(connection_limit: int | None, max_item_bytes: int, create: bool, clock: Clock) -> None:
    if connection_limit is not None:
        configured.whole(connection_limit, "WarmMemory: connection_limit", least=1)
    configured.whole(max_item_bytes, "WarmMemory: max_item_bytes", least=1, unit="bytes")
    configured.switch(create, "WarmMemory: create")
    configured.clock(clock, "WarmMemory: clock")


def _check_credential(credential: Any) -> None:
    if isinstance(credential, bool | int | float | list | tuple | set | bytes):
        raise ConfigurationError(f"credential is an asynchronous token credential, not a {type(credential).__name__}")
    get_token = getattr(credential, "get_token", None) or getattr(credential, "get_token_info", None)
    if get_token is not None and not inspect.iscoroutinefunction(get_token):
        raise ConfigurationError(
            f"{type(credential).__name__} is a synchronous credential, which would block the event loop: take the one of azure.identity.aio"
        )


def _need_sdk() -> None:
    try:
        missing = [name for name in ("azure.cosmos", "aiohttp") if importlib.util.find_spec(name) is None]
    except ModuleNotFoundError:  # not even the namespace "azure"
        missing = ["azure"]
    if missing:
        raise ConfigurationError('WarmMemory needs the Cosmos DB SDK: pip install "thermocline[cosmos]"')
