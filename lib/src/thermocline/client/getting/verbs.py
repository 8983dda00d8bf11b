"""The verb that makes what is not there."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from thermocline import telemetry
from thermocline.client.getting.options import Freshness, Options, options_of
from thermocline.client.getting.work import Order, Workshop, found_of
from thermocline.client.lifetime import Lifetime
from thermocline.client.result import NOT_GIVEN, NotGiven
from thermocline.client.runs import Make, Run, moment
from thermocline.client.updating import UpdateVerbs
from thermocline.clock import Deadline
from thermocline.errors import InvalidArgument
from thermocline.model import Envelope, Key

_NOTHING: Final = object()


class GettingVerbs(UpdateVerbs):
    """`get_or_set`."""

    async def get_or_set(
        self,
        key: Key | str,
        factory: Callable[[], Any],
        *,
        ttl: Lifetime | NotGiven = NOT_GIVEN,
        fresh_for: Lifetime = None,
        refresh_ahead: Lifetime = None,
        soft_timeout: Lifetime = None,
        hard_timeout: Lifetime = None,
        tags: Mapping[str, str] | None = None,
        type: Any = None,
        timeout: Lifetime = None,
    ) -> Any:
        """The value; where there is none, what ``factory`` makes, which is stored (``ttl`` and ``tags`` as of `set`) unless another writer was faster, whose
        value is returned then. ``factory`` takes nothing and is async, or plain and run in a thread. It runs once for all callers of this client, and where
        there is a hot tier once across processes. Values, None among them, are decoded as ``type`` if given, of the factory too.

        ``fresh_for`` (shorter than ttl): a value that was modified longer ago is refreshed; who waits for that longer than ``soft_timeout`` (0.1 s) gets the
        old value, as does everybody for whom the refresh fails, but never past its expiry. ``refresh_ahead``: so long before the end of its freshness (or its
        life) a hit begins a refresh that nobody waits for. ``hard_timeout``: how long to wait for the factory where there is no value; left out, until the
        call's ``timeout``, which without it holds for reading and for storing. Times are timedeltas or seconds.

        Raises what ``factory`` raises, `FactoryTimeout`, `TierUnavailable` if it cannot be told whether there is a value (the factory is not asked then), and
        what `set` raises for a value that cannot be stored. See docs/get-or-set.md.
        """
        key = Key.of(key)
        if not callable(factory):
            raise InvalidArgument(f"get_or_set takes a function without arguments, not {factory!r:.80}")
        options = options_of(
            ttl=ttl,
            fresh_for=fresh_for,
            refresh_ahead=refresh_ahead,
            soft_timeout=soft_timeout,
            hard_timeout=hard_timeout,
            tags=tags,
            timeout=timeout,
        )
        deadline = await self._begin(timeout)
        plan = self._engine.routes.route(key)
        if options.plain and plan.rules.read_fallback:
            value = await self.get(key, type=type, default=_NOTHING, timeout=timeout)
            if value is not _NOTHING:
                return value
            found = None
        else:
            found = await found_of(self._cascade, key, plan, deadline)
        order = Order(key, plan, factory, options, found)
        if found is not None:
            found = await self._fresh_enough(order, found)
        if found is None:
            found = await self._missing(replace(order, read=None), deadline)
        return await self._engine.decode(found, type)

    async def _missing(self, order: Order, deadline: Deadline) -> Envelope:
        hard = order.options.hard
        ends = deadline if hard is None else Deadline.after(hard, self._engine.clock)
        while True:
            came = moment()
            run = self._runs.missing(order.key, self._make(order))
            made = await self._runs.wait(run, ends.remaining())
            if run.serves(came):
                return made
            again = self._engine.budget.call(order.options.timeout)
            found = await found_of(self._cascade, order.key, order.plan, again)
            if found is not None:
                return found

    async def _fresh_enough(self, order: Order, found: Envelope) -> Envelope | None:
        """``found``, or what a refresh makes of it; None: it has expired meanwhile, and there is nothing else."""
        engine, options = self._engine, order.options
        freshness = options.freshness(found.header, engine.now_ms())
        if freshness is Freshness.FRESH:
            self._slide(order, found)
            return found
        came = moment()
        run = self._runs.due(order.key, self._make(order))
        if freshness is Freshness.AHEAD:
            return found
        newer = await self._refreshed(run, options) if run is not None else None
        if newer is not None and run is not None and run.serves(came):
            return newer
        if not found.live(engine.now_ms()):  # never past its expiry (P5)
            return None
        engine.stats.count(telemetry.SOFT_STALE, telemetry.CLIENT)
        return found

    def _make(self, order: Order) -> Make:
        workshop = Workshop(self._engine, self._cascade, self._writer, self._sealed, self._takeover.adopt)
        return lambda run: workshop.make(run, order)

    async def _refreshed(self, run: Run, options: Options) -> Envelope | None:
        """What the refresh makes in time; None: it takes longer, or failed, which is told in the log and counted."""
        try:
            return await self._runs.wait(run, options.soft)
        except Exception:  # noqa: BLE001 - whatever the factory raises: there is a value to serve; `Runs` tells of it
            return None

    def _slide(self, order: Order, found: Envelope) -> None:
        """A sliding record lives on by being read; but not one that is to be refreshed, whose age would begin anew with it."""
        if self._slides and not order.options.fresh_ms:
            self._touches.renew(found, order.plan)
