"""An authority that tells of its commits."""

from collections.abc import Callable, Sequence
from typing import Any

from thermocline.clock import Deadline
from thermocline.errors import ThermoclineError
from thermocline.protocols import Write, Written
from thermocline.tiers.local.sqlite import SqliteMemory
from thermocline.tiers.local.sqlite_group import Writing


class RecordingSqlite(SqliteMemory):
    """Tells ``sink`` of each transaction, at the moment of its commit."""

    sink: Callable[[Write, Written], None] | None = None

    def _commit(self, writes: Sequence[Write], claim: Any, deadline: Deadline) -> list[Written | ThermoclineError]:
        done = super()._commit(writes, claim, deadline)
        if self.sink is not None:
            for write, written in zip(writes, done, strict=True):
                if isinstance(written, Written):
                    self.sink(write, written)
        return done

    def _commit_each(self, calls: Sequence[Writing]) -> list[Written | ThermoclineError]:
        done = super()._commit_each(calls)
        if self.sink is not None:
            for call, written in zip(calls, done, strict=True):
                if isinstance(written, Written):
                    self.sink(call.write, written)
        return done
