"""The verbs of people's rights on `MemoryClient`: `export` and `forget`."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from thermocline.client.getting.verbs import GettingVerbs
from thermocline.configured import duration, switches
from thermocline.errors import ConfigurationError, InvalidArgument
from thermocline.model import DEFAULT_TENANT, Key

if TYPE_CHECKING:
    from thermocline.client.receipt import Receipt, ServiceRetention

_BY_BYTES = 1000


class RightsVerbs(GettingVerbs):
    """`export`, `forget`."""

    async def export(self, *, scope: str | None = None, tenant: str | None = None) -> AsyncGenerator[str, None]:
        """All that is held of a scope (of the default tenant, or of ``tenant``), or of a whole ``tenant``, as lines of JSON without line feeds:
        values and metadata, from every tier, payloads in cold included. docs/subjects-rights.md has the format.

        Reads the authorities, page by page in bounded memory; what is written meanwhile may be in it or not. Raises `InvalidArgument` without
        either, `TierUnavailable`; the last line names damaged records and counts the others: without it the export is cut short.
        """
        from thermocline.client.rights.export import Export

        tenant, scope = _subject(tenant, scope, "export")
        await self._begin(None)
        export = Export(self._engine, self._cascade, tenant=tenant, scope=scope)
        async with aclosing(export.lines()) as lines:
            async for line in lines:
                yield line

    async def forget(
        self,
        *,
        scope: str | None = None,
        tenant: str | None = None,
        by: str,
        reason: str = "",
        dry_run: bool = False,
        retention: "ServiceRetention | None" = None,
        longest_write: timedelta | float | None = None,
    ) -> "Receipt":
        """Erase a scope (of the default tenant, or of ``tenant``), or a whole ``tenant``, from every tier; nothing of it comes back by a reader, a writer,
        a demotion or a recovery that was under way. ``by`` says who asks for it and goes into the audit record, which holds none of the data.

        What is written to the scope while it runs may be erased as well; what is written after it is new. It takes ``longest_write`` (30 seconds) more than the
        work: that long a write that began before may be under way. Lower it only where every client's deadlines are shorter.
        ``dry_run``: counts, and erases nothing. ``retention`` says for how long the services keep backups, for the dates in the receipt; left out: as
        given to the client, else the longest that Azure allows.

        Raises `InvalidArgument` without a scope or a tenant, or without ``by``; `TierUnavailable` where something could not be erased: call it again then, it
        goes on. Other writers' calls that began before and reach the authority late fail with `Forgotten`.
        """
        from thermocline.client.receipt import ServiceRetention
        from thermocline.client.rights.forget import DEFAULT_WAIT, Forgetting

        tenant, scope = _subject(tenant, scope, "forget")
        words: dict[str, Any] = {"by": by, "reason": reason}
        for name, text in words.items():
            if not isinstance(text, str) or len(text.encode(errors="replace")) > _BY_BYTES:
                raise InvalidArgument(f"{name} is text of at most {_BY_BYTES} bytes")
        if not by.strip():
            raise InvalidArgument("say who asks for it (by=): it goes into the audit record")
        switches(dry_run=dry_run)
        wait = DEFAULT_WAIT
        if longest_write is not None:
            wait = duration(longest_write, "longest_write", least=timedelta(seconds=1), raises=InvalidArgument)
        await self._begin(None)
        given: Any = retention if retention is not None else self._retention
        if given is not None and not isinstance(given, ServiceRetention):
            raise ConfigurationError(f"retention is a ServiceRetention, not {type(given).__name__}")
        forgetting = Forgetting(
            self._engine,
            self._writer,
            self.delete_many,
            tenant=tenant,
            scope=scope,
            by=by,
            reason=reason,
            retention=given or ServiceRetention(),
            wait=wait,
        )
        near = self._near
        try:
            if near is not None and not dry_run:
                near.clear()
            return await forgetting.run(dry_run=dry_run)
        finally:
            if near is not None and not dry_run:
                near.clear()


def _subject(tenant: Any, scope: Any, verb: str) -> tuple[str, str | None]:
    if tenant is None and scope is None:
        raise InvalidArgument(f"name the scope, or the tenant, to {verb}: there is no {verb} of everything")
    tenant = DEFAULT_TENANT if tenant is None else tenant
    Key(tenant, "x" if scope is None else scope, "x")  # refuses what no key can have
    return tenant, scope
