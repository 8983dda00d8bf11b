"""`TableMemory`: Azure Table Storage as an authority beside warm, for records that want to be cheap rather than queried."""

import inspect
import re
from typing import Any, Final, Self

from thermocline.clock import SYSTEM_CLOCK, Clock, Deadline
from thermocline.errors import ConfigurationError
from thermocline.keys import TABLE_PREFIX
from thermocline.model import MemoryTier
from thermocline.telemetry import Stats
from thermocline.tiers.table.atomic import RowsAtOnce
from thermocline.tiers.table.door import TableMissing
from thermocline.tiers.table.service import Account, TableService

_CONNECTING: Final = 15.0  # seconds
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9]{2,62}")


class TableMemory(RowsAtOnce):
    """Table Storage. Plays `Versions`, `Census`, `Relocates`, `Purges`, `Notes` and `Atomic` for a client, over the keys of routes that say
    ``authority=Authority.WARM_PLUS``.

    ``account_url`` is ``https://<account>.table.core.windows.net``, perhaps with a SAS; ``table`` has 3 to 63 letters and digits, a letter first.
    ``credential`` is an asynchronous TokenCredential (``azure.identity.aio``, with the role "Storage Table Data Contributor"), an account key, a SAS (also
    one that changes, as a secret of Key Vault), an `AzureNamedKeyCredential` or `AzureSasCredential`, or None; it stays open when the tier is closed.
    ``connection_pool_size``: connections at most (100). ``connection_timeout``, ``read_timeout``: seconds to connect (5), and of silence on a connection
    (30). ``create``: `connect` makes the table if it is missing. Versions are given out by compare-and-set on one row per key; a row holds up to 960 KiB
    of payload.

    The SDK's retries are off. Nothing is sent before `connect`; `close` is needed, or use it in ``async with``.
    """

    tier = MemoryTier.WARM_PLUS

    def __init__(
        self,
        account_url: str,
        table: str = "memory",
        *,
        credential: Any = None,
        create: bool = False,
        connection_pool_size: int = 100,
        connection_timeout: float = 5.0,
        read_timeout: float = 30.0,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        _check_credential(credential)
        given: Any = table
        if not isinstance(given, str) or _NAME.fullmatch(table) is None:
            raise ConfigurationError(
                f"warm_plus: {table!r} is no table's name: 3 to 63 letters and digits, a letter first (TABLE_NAME)"
            )
        if not str(account_url).startswith(("https://", "http://")):
            raise ConfigurationError("warm_plus: the account URL must begin with https:// (TABLE_ACCOUNT_URL)")
        if credential is None and "sig=" not in account_url:
            raise ConfigurationError(
                "warm_plus: Table Storage lets nobody in without a credential: pass credential=, for example"
                " azure.identity.aio.DefaultAzureCredential()"
            )
        if connection_pool_size < 1 or connection_timeout <= 0 or read_timeout <= 0:
            raise ConfigurationError(
                "warm_plus: connection_pool_size, connection_timeout and read_timeout must be above 0"
            )
        self._account = Account(account_url, table, credential, connection_pool_size, connection_timeout, read_timeout)
        self._clock = clock
        self._create = create
        self._service = TableService(self._account, clock)
        self._connected = False

    @property
    def stats(self) -> Stats:
        """Where requests are counted under the name ``warm_plus``; a client puts its own here."""
        return self._service.stats

    @stats.setter
    def stats(self, stats: Stats) -> None:
        self._service.stats = stats

    @property
    def skew_ms(self) -> int:
        """By how much the service's clock is ahead of this machine's, 0 within a second."""
        return self._service.skew_ms

    @property
    def connected(self) -> bool:
        """Whether it is open: a client neither connects nor closes a tier that was opened before."""
        return self._connected

    async def connect(self) -> None:
        """Open the connections and look into the table, within 15 s. Idempotent.

        Raises `ConfigurationError` if the table is missing (and ``create`` was not asked for), `AccessDenied` for a wrong credential or role,
        `TierUnavailable` if the service cannot be reached.
        """
        opened = await self._service.open()
        if not opened:
            return
        try:
            await self._examine(Deadline.after(_CONNECTING, self._clock))
        except BaseException:
            await self._service.close()
            raise
        self._connected = True

    async def _examine(self, deadline: Deadline) -> None:
        if self._create:
            await self._service.create(deadline)
        try:
            await self.ping(deadline=deadline)
        except TableMissing as error:
            raise ConfigurationError(
                f"warm_plus: there is no table {self._account.table!r}: create it, mend TABLE_NAME, or connect with create=True"
            ) from error

    async def close(self) -> None:
        """Close the connections. Idempotent. The credential is its owner's to close."""
        self._connected = False
        await self._service.close()

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def ping(self, *, deadline: Deadline) -> None:
        """List at most one row of a partition that is never there: reaches the table, with the right to read it."""
        where = f"PartitionKey eq '{TABLE_PREFIX}'"
        await self._service.page(where, limit=1, token=None, deadline=deadline, select=())


def _check_credential(credential: Any) -> None:
    get_token = getattr(credential, "get_token", None) or getattr(credential, "get_token_info", None)
    if get_token is not None and not inspect.iscoroutinefunction(get_token):
        raise ConfigurationError(
            f"warm_plus: {type(credential).__name__} is a synchronous credential, which would block the event loop: take the one of azure.identity.aio"
        )
