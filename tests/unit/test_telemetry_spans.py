"""Spans: one per verb and one per call to a tier, below the caller's; hot hits sampled; keys hashed or left out, values never."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler

from thermocline import FolderMemory, Key, MemoryClient, ProcessMemory, SqliteMemory, telemetry
from thermocline.errors import Conflict, TierUnavailable
from thermocline.telemetry import names
from thermocline.testing import ChaosTier

KEY = Key("tenant", "user/42", "a name that nobody may see")


class Spans:
    """What the real SDK was given, through its own exporter in memory."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def take(self) -> list[ReadableSpan]:
        found = list(self.exporter.get_finished_spans())
        self.exporter.clear()
        return found


@pytest.fixture
def spans() -> Iterator[Spans]:
    found = Spans()
    with telemetry.configure(tracer_provider=found.provider, metrics=False):
        yield found
    found.provider.shutdown()


def client(folder: Path, **given: Any) -> MemoryClient:
    tiers: dict[str, Any] = {
        "hot": ProcessMemory(),
        "warm": SqliteMemory(folder / "warm.sqlite3"),
        "cold": FolderMemory(folder / "cold"),
    }
    return MemoryClient(**{**tiers, **given})


def told(found: list[ReadableSpan]) -> list[tuple[str, Any]]:
    return [(span.name.removeprefix("thermocline."), (span.attributes or {}).get(names.OUTCOME)) for span in found]


def root(found: list[ReadableSpan]) -> ReadableSpan:
    """The verb's span, after a look at the family: all others are its children, within its time."""
    verbs = [span for span in found if span.name.count(".") == 1]
    assert len(verbs) == 1, told(found)
    own = verbs[0]
    for span in found:
        assert span.start_time is not None
        assert span.end_time is not None
        assert own.start_time is not None
        if span is not own:
            assert span.parent is not None
            assert span.parent.span_id == own.context.span_id
            assert span.start_time >= own.start_time
    return own


async def test_a_write_is_a_span_with_one_for_each_call_to_a_tier(spans: Spans, tmp_path: Path) -> None:
    async with client(tmp_path) as memory:
        written = await memory.set(KEY, {"secret": "a value that nobody may see"})
        found = spans.take()

    own = root(found)
    assert own.name == "thermocline.set"
    assert own.attributes is not None
    assert own.attributes[names.VERSION] == written.version
    assert sorted(told(found)) == [("hot.announce", "ok"), ("hot.publish", "ok"), ("set", "ok"), ("warm.write", "ok")]


async def test_nothing_of_keys_and_values_is_told(spans: Spans, tmp_path: Path) -> None:
    async with client(tmp_path) as memory:
        await memory.set(KEY, "a value that nobody may see")
        await memory.get_many([KEY])
        await memory.get(Key("tenant", "user/43", "a name that nobody may see"))
        with pytest.raises(Conflict):
            await memory.set(KEY, "a value that nobody may see", if_absent=True)
        found = spans.take()

    shown = "".join(span.to_json() for span in found)
    assert "Conflict" in shown
    for secret in ("nobody may see", "user/4", "tenant"):
        assert secret not in shown
    assert all(not span.events for span in found), "an exception's event has its message, which may name a key"


async def test_a_miss_tells_of_each_tier_that_was_asked(spans: Spans, tmp_path: Path) -> None:
    async with client(tmp_path) as memory:
        assert await memory.get(KEY) is None
        found = spans.take()

    assert told(found) == [
        ("hot.get", "miss"),
        ("hot.look", "miss"),
        ("warm.read", "miss"),
        ("hot.settle", "ok"),
        ("get", "miss"),
    ]
    root(found)


async def test_a_stored_none_is_a_hit(spans: Spans, tmp_path: Path) -> None:
    async with client(tmp_path) as memory:
        await memory.set(KEY, None, write_around=True)
        spans.take()
        assert await memory.get(KEY) is None
        own = root(spans.take())

    assert own.attributes is not None
    assert (own.attributes[names.OUTCOME], own.attributes[names.TIER]) == ("hit", "warm")


async def test_a_hot_hit_is_a_span_now_and_then_and_everything_else_each_time(tmp_path: Path) -> None:
    spans = Spans()
    with telemetry.configure(tracer_provider=spans.provider, metrics=False, hot_hit_rate=10):
        async with client(tmp_path) as memory:
            await memory.set(KEY, 1)
            spans.take()
            for _ in range(35):
                await memory.get(KEY)
            hits = spans.take()
            for _ in range(5):
                await memory.get("nothing here")
            misses = spans.take()
    spans.provider.shutdown()

    assert told(hits) == [("hot.get", "hit"), ("get", "hit")] * 3
    assert sum(span.name == "thermocline.get" for span in misses) == 5
    for pair in zip(hits[::2], hits[1::2], strict=True):
        root(list(pair))


async def test_an_outage_is_an_error_by_its_class(spans: Spans, tmp_path: Path) -> None:
    chaos: Any = ChaosTier(SqliteMemory(tmp_path / "warm.sqlite3"))
    async with client(tmp_path, warm=chaos) as memory:
        chaos.down = True
        with pytest.raises(TierUnavailable):
            await memory.get(KEY)
        raised = spans.take()
        await memory.lookup(KEY)
        answered = spans.take()
        chaos.down = False

    for found in (raised, answered):
        own = root(found)
        read = next(span for span in found if span.name == "thermocline.warm.read")
        for span in (own, read):
            assert span.attributes is not None
            assert span.attributes[names.OUTCOME] == "unavailable"
            assert span.attributes[names.ERROR_TYPE] == "TierUnavailable"
            assert span.status.status_code is trace.StatusCode.ERROR
            assert span.status.description == "TierUnavailable"


async def test_the_parent_is_the_callers_current_span(spans: Spans, tmp_path: Path) -> None:
    async with client(tmp_path) as memory:
        with spans.provider.get_tracer("the caller").start_as_current_span("a request") as request:
            await memory.get(KEY)
        found = spans.take()

    own = next(span for span in found if span.name == "thermocline.get")
    assert own.parent is not None
    assert own.parent.span_id == request.get_span_context().span_id
    assert {span.context.trace_id for span in found} == {request.get_span_context().trace_id}


async def test_the_correlation_id_is_on_the_verb_and_a_hash_of_the_key_on_request(tmp_path: Path) -> None:
    spans = Spans()
    with telemetry.configure(tracer_provider=spans.provider, metrics=False, key_hashes=True):
        async with client(tmp_path) as memory:
            with telemetry.correlation("order-7"):
                await memory.set(KEY, 1)
            await memory.delete(KEY)
            await memory.get_many([KEY, "other"])
            found = {span.name: span.attributes or {} for span in spans.take() if span.name.count(".") == 1}
    spans.provider.shutdown()

    assert found["thermocline.set"][names.CORRELATION] == "order-7"
    assert names.CORRELATION not in found["thermocline.delete"]
    hashed = found["thermocline.set"][names.KEY_HASH]
    assert isinstance(hashed, str)
    assert len(hashed) == 16
    assert found["thermocline.delete"][names.KEY_HASH] == hashed
    assert found["thermocline.get_many"][names.KEYS] == 2
    assert names.KEY_HASH not in found["thermocline.get_many"]


async def test_within_a_call_the_trace_is_the_correlation_id(spans: Spans, tmp_path: Path) -> None:
    seen: list[str | None] = []

    class Told(SqliteMemory):
        async def read(self, *given: Any, **options: Any) -> Any:
            seen.append(telemetry.correlation_id())
            return await super().read(*given, **options)

    async with client(tmp_path, warm=Told(tmp_path / "warm.sqlite3")) as memory:
        await memory.get(KEY)
        with telemetry.correlation("order-7"):
            await memory.get(KEY)
        found = [span for span in spans.take() if span.name == "thermocline.get"]

    assert seen == [f"{found[0].context.trace_id:032x}", "order-7"]


async def test_callers_who_share_a_read_each_have_a_span(spans: Spans, tmp_path: Path) -> None:
    async with client(tmp_path) as memory:
        await memory.set(KEY, "value", write_around=True)
        spans.take()
        values = await asyncio.gather(*(memory.get(KEY) for _ in range(5)))
        found = spans.take()

    assert values == ["value"] * 5
    assert sum(span.name == "thermocline.get" for span in found) == 5
    assert all(outcome == "hit" for name, outcome in told(found) if name == "get")


async def test_a_cancelled_call_is_no_error(spans: Spans, tmp_path: Path) -> None:
    chaos: Any = ChaosTier(SqliteMemory(tmp_path / "warm.sqlite3"))
    async with client(tmp_path, warm=chaos) as memory:
        task = asyncio.create_task(memory.update(KEY, lambda value: value))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        own = [span for span in spans.take() if span.name == "thermocline.update"]

    assert told(own) == [("update", "cancelled")]
    assert own[0].status.status_code is trace.StatusCode.UNSET


async def test_a_stream_is_a_span_and_what_its_reader_does_meanwhile_is_none_of_it(
    spans: Spans, tmp_path: Path
) -> None:
    async with client(tmp_path) as memory:
        await memory.set(KEY, b"x" * 300_000)
        spans.take()
        async for _ in memory.stream(KEY):
            assert telemetry.trail() is None
            await memory.exists("something else")
        found = spans.take()

    verbs = [span for span in found if span.name.count(".") == 1]
    assert {span.name for span in verbs} == {"thermocline.stream", "thermocline.exists"}
    assert all(span.parent is None for span in verbs)


async def test_what_the_tracers_sampler_refuses_is_not_made(tmp_path: Path) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider(sampler=ALWAYS_OFF)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with telemetry.configure(tracer_provider=provider, metrics=False, hot_hit_rate=1):
        async with client(tmp_path) as memory:
            await memory.set(KEY, 1)
            await memory.get(KEY)
            stats = memory._engine.stats
    provider.shutdown()

    assert exporter.get_finished_spans() == ()
    assert stats.samples == {}


async def test_off_again_nothing_is_traced_and_verbs_are_coroutines_still(tmp_path: Path) -> None:
    spans = Spans()
    telemetry.configure(tracer_provider=spans.provider, metrics=False).shutdown()
    async with client(tmp_path) as memory:
        await memory.set(KEY, 1)
        assert asyncio.iscoroutinefunction(memory.get)
        assert memory.get.__doc__
        assert "client" not in {tier for _, tier, _ in memory._engine.stats.latencies}
    spans.provider.shutdown()

    assert spans.take() == []


class Broken(SpanProcessor, Sampler):
    """A program's own, with a bug in one of its three places."""

    def __init__(self, place: str) -> None:
        self.place = place

    def _at(self, place: str) -> None:
        if place == self.place:
            raise RuntimeError("a bug, and a secret")

    def on_start(self, *_: Any, **__: Any) -> None:
        self._at("on_start")

    def on_end(self, *_: Any, **__: Any) -> None:
        self._at("on_end")

    def should_sample(self, *arguments: Any, **options: Any) -> Any:
        self._at("should_sample")
        return ALWAYS_ON.should_sample(*arguments, **options)

    def get_description(self) -> str:
        return self.place


@pytest.mark.parametrize("place", ["on_start", "on_end", "should_sample"])
async def test_what_fails_to_take_a_span_fails_no_call(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    broken = Broken(place)
    provider = TracerProvider(sampler=broken)
    provider.add_span_processor(broken)
    with telemetry.configure(tracer_provider=provider, metrics=False, hot_hit_rate=1):
        async with client(tmp_path) as memory:
            await memory.set(KEY, b"x" * 200_000)
            assert len(await memory.get(KEY)) == 200_000
            assert await memory.get("none") is None
            assert [chunk async for chunk in memory.stream(KEY)]
            assert (await memory.delete(KEY)).found

    assert [record.message for record in caplog.records] == [
        "spans are lost, and calls go on without them: making or ending one raises RuntimeError"
    ]
    provider.shutdown()
