"""`TableMemory`: Azure Table Storage as an authority beside warm, for records that want to be cheap rather than queried."""

import re
from datetime import timedelta
from typing import Any, Final

from thermocline import configured
from thermocline.azure_storage.connecting import StorageTier, check_credential, limits_of
from thermocline.clock import SYSTEM_CLOCK, Clock, Deadline
from thermocline.errors import ConfigurationError
from thermocline.keys import TABLE_PREFIX
from thermocline.model import MemoryTier
from thermocline.tiers.table.atomic import RowsAtOnce
from thermocline.tiers.table.door import TIER, TableMissing
from thermocline.tiers.table.service import Account, TableService

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9]{2,62}")


class TableMemory(RowsAtOnce, StorageTier[TableService]):
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
        connection_timeout: timedelta | float = 5.0,
        read_timeout: timedelta | float = 30.0,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        check_credential(credential, tier=TIER)
        given: Any = table
        if not isinstance(given, str) or _NAME.fullmatch(table) is None:
            raise ConfigurationError(
                f"warm_plus: table is {table!r:.80}, which is no table's name: 3 to 63 letters and digits, a letter first (TABLE_NAME)"
            )
        if not str(account_url).startswith(("https://", "http://")):
            raise ConfigurationError(
                "warm_plus: account_url, the account's URL, must begin with https:// (TABLE_ACCOUNT_URL)"
            )
        if credential is None and "sig=" not in account_url:
            raise ConfigurationError(
                "warm_plus: Table Storage lets nobody in without a credential: pass credential=, for example"
                " azure.identity.aio.DefaultAzureCredential()"
            )
        configured.clock(clock, "warm_plus: clock")
        configured.switch(create, "warm_plus: create")
        limits = limits_of(
            TIER,
            connection_pool_size=connection_pool_size,
            connection_timeout=connection_timeout,
            read_timeout=read_timeout,
        )
        self._account = Account(
            account_url,
            table,
            credential=credential,
            **limits,
        )
        self._clock = clock
        self._create = create
        self._service = TableService(self._account, clock)

    async def _examine(self, deadline: Deadline) -> None:
        if self._create:
            await self._service.create(deadline)
        try:
            await self.ping(deadline=deadline)
        except TableMissing as error:
            raise ConfigurationError(
                f"warm_plus: there is no table {self._account.table!r}: create it, mend TABLE_NAME, or connect with create=True"
            ) from error

    async def ping(self, *, deadline: Deadline) -> None:
        """List at most one row of a partition that is never there: reaches the table, with the right to read it."""
        where = f"PartitionKey eq '{TABLE_PREFIX}'"
        await self._service.page(where, limit=1, token=None, deadline=deadline, select=())
