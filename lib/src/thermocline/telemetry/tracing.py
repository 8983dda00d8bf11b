"""Spans: one for a verb of the client, and one below it for each call to a tier. Off (nobody called `configure`) a verb is its plain method and pays nothing.

A span costs more than a hot hit's own work, so a read that hot answers is followed in a few plain variables, and becomes a span afterwards, for one
hit in `names.HOT_HIT_RATE`. As soon as a call goes past hot, the span is made, as of when the verb began; then it is the tracer's own sampler that
decides. Keys are left out or hashed; of an error the class is told and never the message, which may name a key; values are never looked at.

A tracer, sampler or processor that raises costs its span, and never the call that it would have told of.
"""

import asyncio
import functools
import hashlib
import inspect
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sized
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar

from thermocline.errors import CorruptRecord, InvalidKey, TierUnavailable, UnknownOutcome
from thermocline.model import Envelope, Key, MemoryTier
from thermocline.telemetry import names
from thermocline.telemetry.correlating import correlation_id, follow
from thermocline.telemetry.stats import OK, Sample, Stats

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer

Result = TypeVar("Result")
Given = ParamSpec("Given")
Client = TypeVar("Client", bound=type[Any])

log = logging.getLogger("thermocline.telemetry")

HIT: Final = "hit"
MISS: Final = "miss"
UNAVAILABLE: Final = "unavailable"
_READS: Final = frozenset({"get", "look", "read", "get_payload"})  # a tier's calls that find one record, or none
_HOT: Final = str(MemoryTier.HOT)


@dataclass(slots=True)
class Tracing:
    """What spans need while they are on. ``rate``: one hot hit in so many becomes a span. ``hits``: how many there were."""

    tracer: "Tracer"
    rate: int = names.HOT_HIT_RATE
    key_hashes: bool = False
    hits: int = 0
    failed: bool = False

    def lost(self, error: Exception) -> None:
        """A span was lost to an error of what makes or takes spans; told once."""
        if not self.failed:
            self.failed = True
            log.warning(
                "spans are lost, and calls go on without them: making or ending one raises %s", type(error).__name__
            )


class _State:
    """A holder, so that who imported it sees the change. While spans are off (None) the clients' verbs are their plain methods."""

    __slots__ = ("_on", "_verbs")

    def __init__(self) -> None:
        self._on: Tracing | None = None
        self._verbs: list[_Wrapped] = []

    @property
    def on(self) -> Tracing | None:
        return self._on

    @on.setter
    def on(self, on: Tracing | None) -> None:
        self._on = on
        for verb in self._verbs:
            verb.switch(on is not None)

    def know(self, verb: "_Wrapped") -> None:
        self._verbs.append(verb)
        verb.switch(self._on is not None)


STATE: Final = _State()
_trail: ContextVar["Trail | None"] = ContextVar("thermocline_trail", default=None)


def trail() -> "Trail | None":
    """That of the verb under way in this task; None: there is none, or spans are off."""
    found = _trail.get()
    return found if found is None or not found.over else None


Step = tuple[str, int, int, str, str | None]
"""A call to hot that has no span yet: verb, when it began and ended (ns), outcome, class of the error."""


def _harmless(
    method: "Callable[Concatenate[Trail, Given], Result]",
) -> "Callable[Concatenate[Trail, Given], Result | None]":
    """What it raises is the tracer's trouble, and no caller's: None then."""

    def call(self: "Trail", /, *arguments: Given.args, **options: Given.kwargs) -> Result | None:
        try:
            return method(self, *arguments, **options)
        except Exception as error:  # noqa: BLE001 - a processor of the program's may raise anything
            self._on.lost(error)
            return None

    return call


class Trail:
    """What one call of a verb does, until it is a span and while it is one."""

    # What most trails never change costs them nothing here.
    over = False
    _span: "Span | None" = None
    _context: "Context | None" = None
    _found: Envelope | None = None
    _answered = _HOT  # the tier that found it
    _missed = False

    def __init__(self, on: Tracing, verb: str, stats: Stats, key: Any) -> None:
        self._on = on
        self._verb = verb
        self._stats = stats
        self._key = key
        self._steps: list[Step] = []
        self._began_ns = time.time_ns()

    # --- a call to a tier --------------------------------------------------------------------------------------------

    def follow(self, tier: str, verb: str, call: Awaitable[Result]) -> Awaitable[Result]:
        """A call to a tier, as a span or as what may become one."""
        if self._span is None:
            if tier == _HOT:
                return self._noted(verb, call)
            self.start()
        return self._traced(tier, verb, call)

    async def _noted(self, verb: str, call: Awaitable[Result]) -> Result:
        began = time.time_ns()
        try:
            result = await call
        except BaseException as error:
            self._missed = True
            self._steps.append((verb, began, time.time_ns(), _outcome_of(error), type(error).__name__))
            raise
        self._steps.append((verb, began, time.time_ns(), self._saw(_HOT, verb, result), None))
        return result

    async def _traced(self, tier: str, verb: str, call: Awaitable[Result]) -> Result:
        from opentelemetry import context, trace

        began = time.time_ns()
        span = self._tier_span(tier, verb, began)
        if span is None:
            return await call
        token = context.attach(trace.set_span_in_context(span, self._context))
        outcome, kind = OK, None
        try:
            with follow(f"{span.get_span_context().trace_id:032x}" if span.is_recording() else None):
                result = await call
            outcome = self._saw(tier, verb, result)
        except BaseException as error:
            outcome, kind = _outcome_of(error), type(error).__name__
            raise
        else:
            return result
        finally:
            context.detach(token)
            self._ended(span, (verb, tier), outcome, kind, began)

    @_harmless
    def _ended(self, span: "Span", call: tuple[str, str], outcome: str, error: str | None, began_ns: int) -> None:
        ended = time.time_ns()
        _finish(span, outcome, error, ended)
        self._sampled(span, call, outcome, began_ns, ended)

    @_harmless
    def _tier_span(self, tier: str, verb: str, began_ns: int) -> "Span":
        from opentelemetry.trace import SpanKind

        attributes: dict[str, str | int] = {names.TIER: tier, names.VERB: verb}
        name = names.TIER_SPAN.format(tier=tier, verb=verb)
        return self._on.tracer.start_span(name, self._context, SpanKind.CLIENT, attributes, start_time=began_ns)

    def near(self, found: Envelope) -> None:
        """The near cache answered."""
        self._found, self._answered = found, "near"

    def _saw(self, tier: str, verb: str, result: object) -> str:
        if verb not in _READS:
            return OK
        if isinstance(result, Envelope):
            self._found, self._answered = result, tier
            return HIT
        if isinstance(result, bytes):
            return HIT
        self._missed = True
        return MISS

    def _sampled(self, span: "Span", call: tuple[str, str], outcome: str, began_ns: int, ended_ns: int) -> None:
        """Remember the span as an example of how long such a call takes."""
        ids = span.get_span_context()
        if ids.trace_flags.sampled:
            timed = (*call, UNAVAILABLE if outcome == UNAVAILABLE else OK)
            sample = Sample((ended_ns - began_ns) / 1e9, ended_ns, ids.trace_id, ids.span_id)
            self._stats.sample(timed, sample)

    # --- the verb ----------------------------------------------------------------------------------------------------

    @_harmless
    def start(self) -> None:
        """Make the span, as of when the verb began, below the caller's current one."""
        from opentelemetry import trace

        attributes: dict[str, str | int] = {names.VERB: self._verb}
        correlated = correlation_id()
        if correlated is not None:
            attributes[names.CORRELATION] = correlated
        if isinstance(self._key, Key | str):
            hashed = _hash(self._key) if self._on.key_hashes else None
            if hashed is not None:
                attributes[names.KEY_HASH] = hashed
        elif isinstance(self._key, Sized):
            attributes[names.KEYS] = len(self._key)
        span = self._on.tracer.start_span(
            f"{names.SCOPE}.{self._verb}", attributes=attributes, start_time=self._began_ns
        )
        self._span, self._context = span, trace.set_span_in_context(span)
        steps, self._steps = self._steps, []
        for verb, began, ended, outcome, error in steps:
            below = self._tier_span(_HOT, verb, began)
            if below is not None:
                _finish(below, outcome, error, ended)
                self._sampled(below, (verb, _HOT), outcome, began, ended)

    @_harmless
    def end(self, outcome: str, error: str | None, result: object = None) -> None:
        """The verb is over. What hot answered is a span only now and then."""
        self.over = True
        ended = time.time_ns()
        seconds = max(0, ended - self._began_ns) / 1e9
        self._stats.observe(self._verb, names.CLIENT, seconds, UNAVAILABLE if outcome == UNAVAILABLE else OK)
        if self._span is None:
            if outcome in (HIT, OK) and not self._missed:
                self._on.hits += 1
                if self._on.hits % self._on.rate:
                    return
            self.start()
        span = self._span
        if span is None:  # it could not be made
            return
        if self._found is not None:
            span.set_attribute(names.TIER, self._answered)
            span.set_attribute(names.VERSION, self._found.version)
        version = getattr(result, "version", None)
        if isinstance(version, int) and not isinstance(version, bool):
            span.set_attribute(names.VERSION, version)
        _finish(span, outcome, error, ended)
        self._sampled(span, (self._verb, names.CLIENT), outcome, self._began_ns, ended)

    def outcome(self, result: object, default: object) -> tuple[str, str | None]:
        """What a verb that did not raise has come to, and the class of the error that it answers with."""
        if self._verb == "get":
            found = result is not default or (self._found is not None and not self._found.tombstone)
            return (HIT if found else MISS), None
        if self._verb == "lookup":
            error = getattr(result, "error", None)
            return type(result).__name__.lower(), None if error is None else type(error).__name__
        if self._verb == "exists":
            return (HIT if result is True else MISS), None
        return OK, None


def _finish(span: "Span", outcome: str, error: str | None, ended_ns: int) -> None:
    span.set_attribute(names.OUTCOME, outcome)
    if error is not None:
        span.set_attribute(names.ERROR_TYPE, error)
        if outcome not in (MISS, "cancelled"):
            from opentelemetry.trace import Status, StatusCode

            span.set_status(Status(StatusCode.ERROR, error))
    span.end(ended_ns)


def _outcome_of(error: BaseException) -> str:
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return "cancelled"
    if isinstance(error, CorruptRecord):
        return "corrupt"
    return UNAVAILABLE if isinstance(error, TierUnavailable | UnknownOutcome) else "error"


def _hash(key: Key | str) -> str | None:
    try:
        key = Key.of(key)
    except InvalidKey:
        return None
    return hashlib.sha256(f"{key.tenant}\0{key.scope}\0{key.name}".encode()).hexdigest()[:16]


# --- the client's verbs ----------------------------------------------------------------------------------------------


def traced(client: Client) -> Client:
    """A class decorator: the verbs of `names.VERBS` that the class has are followed while spans are on, and are its plain methods else. A client has
    its `Stats` as ``_engine.stats``."""
    for verb, kind in names.VERBS.items():
        method = getattr(client, verb, None)
        if method is not None:
            wrapped = _stream(verb, method) if inspect.isasyncgenfunction(method) else _verb(verb, kind, method)
            STATE.know(_Wrapped(client, verb, client.__dict__.get(verb), wrapped))
    return client


@dataclass(frozen=True, slots=True)
class _Wrapped:
    """A verb of a client class: its ``own`` method (None: it inherits it), and the one that is followed."""

    client: type[Any]
    verb: str
    own: Any
    wrapped: Any

    def switch(self, on: bool) -> None:
        if on:
            setattr(self.client, self.verb, self.wrapped)
        elif self.own is not None:
            setattr(self.client, self.verb, self.own)
        elif self.verb in self.client.__dict__:
            delattr(self.client, self.verb)


def _verb(verb: str, kind: str, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(method)
    async def call(self: Any, *arguments: Any, **options: Any) -> Any:
        on = STATE.on
        if on is None or trail() is not None:  # a verb within a verb is part of it
            return await method(self, *arguments, **options)
        return await _followed(on, verb, kind, method, self, arguments, options)

    return call


async def _followed(
    on: Tracing, verb: str, kind: str, method: Callable[..., Awaitable[Any]], client: Any, arguments: Any, options: Any
) -> Any:
    own = Trail(on, verb, client._engine.stats, arguments[0] if arguments else options.get("key"))  # noqa: SLF001
    if kind != "read":
        own.start()
    token = _trail.set(own)
    try:
        result = await method(client, *arguments, **options)
    except BaseException as error:
        missed = verb == "ttl" and type(error) is KeyError
        own.end(MISS if missed else _outcome_of(error), type(error).__name__)
        raise
    else:
        outcome, failed = own.outcome(result, options.get("default"))
        own.end(outcome, failed, result)
        return result
    finally:
        _trail.reset(token)


def _stream(verb: str, method: Callable[..., AsyncGenerator[Any, None]]) -> Callable[..., AsyncGenerator[Any, None]]:
    @functools.wraps(method)
    async def call(self: Any, *arguments: Any, **options: Any) -> AsyncGenerator[Any, None]:
        on = STATE.on
        async with aclosing(method(self, *arguments, **options)) as parts:
            if on is None or trail() is not None:
                async for part in parts:
                    yield part
                return
            own = Trail(on, verb, self._engine.stats, arguments[0] if arguments else None)
            own.start()
            outcome, error = OK, None
            try:
                while True:
                    token = _trail.set(own)  # between two parts the consumer's own calls are no part of this
                    try:
                        part = await anext(parts)
                    except StopAsyncIteration:
                        return
                    finally:
                        _trail.reset(token)
                    yield part
            except BaseException as failure:
                outcome, error = _outcome_of(failure), type(failure).__name__
                raise
            finally:
                own.end(outcome, error)

    return call
