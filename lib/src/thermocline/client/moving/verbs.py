"""The verbs of `MemoryClient` that move records between the tiers."""

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from thermocline.client.lifetime import Lifetime
from thermocline.client.reading import each_key
from thermocline.client.rights.verbs import RightsVerbs
from thermocline.configured import duration, switches
from thermocline.errors import InvalidArgument, ThermoclineError
from thermocline.model import Key
from thermocline.resilience import in_background

if TYPE_CHECKING:
    from thermocline.client.moving.moves import Moves
    from thermocline.client.moving.report import SweepReport
    from thermocline.client.moving.result import Moved, Prefetched
    from thermocline.client.moving.walk import Selection

LONG: Final = timedelta(minutes=10)
LEASE: Final = timedelta(seconds=60)  # how long a sweep that says nothing keeps others from taking its pass


class MovingVerbs(RightsVerbs):
    """`prefetch`, `promote`, `demote`, `sweep`."""

    async def prefetch(self, keys: Iterable[Key | str], *, timeout: Lifetime = None) -> "Prefetched":
        """Bring the values of these keys into hot, in as few calls as possible, so that reads that are about to come find them there.

        Of a thousand keys of one scope: one pipelined round trip to each Redis node for their leases, ten queries of the authority, and one round trip for
        what was found (and one call to cold for each payload that lies there and fits into hot). What hot has is not written again. Each key answers for
        itself; ``errors`` of the result holds those that could not be read, or that hot is not to have. Raises only `InvalidArgument`.
        """
        from thermocline.client.moving.prefetch import Prefetch

        errors: dict[Any, ThermoclineError] = {}
        given = each_key(keys, errors)
        deadline = await self._begin(timeout)
        prefetch = Prefetch(self._engine, self._recovery, self._cascade.leases)
        result = await in_background(prefetch.run(given, deadline))
        result.errors.update(errors)
        return result

    async def demote(
        self,
        keys: Iterable[Key | str] | None = None,
        *,
        tenant: str | None = None,
        scope: str | None = None,
        prefix: str = "",
        older_than: Lifetime = None,
        idle_for: Lifetime = None,
        larger_than: int | None = None,
        limit: int | None = None,
        dry_run: bool = False,
        timeout: Lifetime = LONG,
    ) -> "Moved":
        """Move payloads down to cold and leave a pointer in the authority. Readers notice nothing but the longer way; versions, expiry and tags stay.

        Either ``keys``, or a selection, all of whose parts have to hold: a ``scope`` (of the default tenant, or of ``tenant``), a whole ``tenant``, names that
        start with ``prefix``; not written for ``older_than``; neither written nor, as far as clients save their reads, read for ``idle_for``; of more than
        ``larger_than`` stored bytes. At most ``limit`` records. Payloads under 1,024 bytes stay. ``dry_run``: only counts, and says what it would save
        (``saves``).

        Can be killed at any point (P7), run twice and in two places at once: a record is replaced only as it was read. Hot is not told, since neither version
        nor value changes. Raises `InvalidArgument` where nothing is selected, `ConfigurationError` where the tiers cannot move or count,
        `TierUnavailable` if the authority cannot count now; what goes wrong with one record is in ``errors``.
        """
        chosen = _chosen(keys, tenant, scope, prefix, older_than, idle_for, larger_than, "demote")
        switches(dry_run=dry_run)
        deadline = await self._begin(timeout)
        moves = self._moves()
        work = moves.run(chosen, down=True, limit=_checked(limit), dry_run=dry_run, deadline=deadline)
        return await in_background(work)

    async def promote(
        self,
        keys: Iterable[Key | str] | None = None,
        *,
        tenant: str | None = None,
        scope: str | None = None,
        prefix: str = "",
        into_hot: bool = False,
        limit: int | None = None,
        dry_run: bool = False,
        timeout: Lifetime = LONG,
    ) -> "Moved":
        """Move payloads back up from cold into the authority, those that the route would keep there (up to ``cold_threshold_bytes``); ``into_hot``: and into
        hot, whatever lies there after that. The counterpart of `demote`, chosen by ``keys``, ``tenant``, ``scope`` and ``prefix`` as there, with the same
        promises and errors. The blobs stay until a sweep finds them unused for a day."""
        chosen = _chosen(keys, tenant, scope, prefix, None, None, None, "promote")
        switches(dry_run=dry_run, into_hot=into_hot)
        deadline = await self._begin(timeout)
        moves = self._moves()
        return await moves.run(
            chosen, down=False, into_hot=into_hot, limit=_checked(limit), dry_run=dry_run, deadline=deadline
        )

    async def sweep(
        self,
        *,
        dry_run: bool = False,
        max_records_per_second: float | None = None,
        max_request_units: float | None = None,
        max_duration: timedelta | None = None,
        even_if_empty: bool = False,
        disown: Iterable[str] = (),
        lease: timedelta | float = LEASE,
    ) -> "SweepReport":
        """One pass over everything that the authorities of the routes and cold hold, or the rest of a pass that was cut short.

        Demotes by the lifetimes' rules (`Lifetime.demote_after`, ``demote_idle``, ``demote_above``); ends what outlives its `Ceiling`; removes payloads to
        which no record points, a day after their last use at the earliest, and dead records where the tier does not by itself; merges and removes old
        notes of the library. For a timer: Functions, cron, or ``thermocline sweep``.

        After each page its place is written down, so that a pass whose process died is taken up by the next one, where it was. One process at a time: another
        one that comes within ``lease`` (60 seconds) of its last word returns at once, with ``busy_until``. Two at once would do no harm: each action is
        conditional on what was seen. Readers and writers go on meanwhile.

        Bounds: ``max_records_per_second`` on average; ``max_request_units`` as charged to this client while it sweeps, exceeded by at most
        eight records' moves and one page's reading; ``max_duration``. It then stops cleanly and says where. ``dry_run``: only counts. ``even_if_empty``:
        remove payloads though the authorities hold no record at all, which else looks like the wrong container.

        One set of authorities for one cold container: where others have put payloads into it, no payload is removed, and ``errors`` names them. ``disown``: the
        names of those that are gone for good, with all their records. Raises `InvalidArgument` for a bound that cannot be and for a name that does not
        stand in cold, `ConfigurationError`; an outage is no error: the report says why it stopped.
        """
        from thermocline.client.moving.pace import Pace
        from thermocline.client.moving.report import SweepReport
        from thermocline.client.moving.rules import Rules
        from thermocline.client.moving.sweep import Sweep, spent
        from thermocline.client.owners import disowned

        switches(dry_run=dry_run, even_if_empty=even_if_empty)
        held = duration(lease, "lease", least=timedelta(seconds=1), raises=InvalidArgument)
        engine = self._engine
        pace = Pace(
            engine.clock,
            per_second=max_records_per_second,
            request_units=max_request_units,
            duration=max_duration,
            spent=spent(engine),
        )
        deadline = await self._begin(None)
        await disowned(engine, disown, deadline, dry_run=dry_run)
        report = SweepReport(dry_run=dry_run)
        sweep = Sweep(engine, self._mover(), Rules(engine, self._writer), report, pace)
        return await in_background(sweep.run(lease=held, even_if_empty=even_if_empty))

    def _mover(self) -> "Moves":
        from thermocline.client.moving.moves import Moves
        from thermocline.client.moving.prefetch import Prefetch
        from thermocline.client.moving.transfer import Transfer

        return Moves(self._engine, Transfer(self._engine), Prefetch(self._engine, self._recovery, self._cascade.leases))

    def _moves(self) -> "Moves":
        from thermocline.client.moving.transfer import Transfer

        transfer = Transfer(self._engine)
        plans = self._engine.routes.plans()
        if not any(transfer.movable(plan) for plan in plans):
            transfer.needs(plans[0])
        return self._mover()


def _chosen(
    keys: Iterable[Key | str] | None,
    tenant: str | None,
    scope: str | None,
    prefix: str,
    older_than: Lifetime,
    idle_for: Lifetime,
    larger_than: int | None,
    verb: str,
) -> "Selection | list[Key]":
    from thermocline.client.moving.walk import Selection

    selection = Selection.of(tenant, scope, prefix, older_than, idle_for, larger_than)
    if keys is None:
        if selection.everything:
            raise InvalidArgument(f"say what to {verb}: keys, or a scope, a tenant, a prefix, an age or a size")
        return selection
    if not selection.everything:
        raise InvalidArgument(f"{verb} takes keys or a selection, not both")
    return list(dict.fromkeys(each_key(keys).values()))


def _checked(limit: Any) -> int | None:
    if limit is not None and (type(limit) is not int or limit < 1):
        raise InvalidArgument(f"limit is a whole number of records, at least 1, not {limit!r}")
    return limit
