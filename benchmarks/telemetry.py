"""What telemetry costs a hot hit: off, with metrics, with spans as they are by default, and with a span for each hit. With OpenTelemetry's real SDK."""

import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from benchmarks.measuring import measured
from benchmarks.payload import patient, turn
from benchmarks.results import Result
from benchmarks.rounds import Arm, Group
from benchmarks.scale import Scale
from thermocline import telemetry
from thermocline.client import MemoryClient
from thermocline.testing.rig import RedisServer
from thermocline.tiers.hot import HotMemory
from thermocline.tiers.local.process import ProcessMemory
from thermocline.tiers.local.sqlite import SqliteMemory

METRICS = "metrics on, collected once a turn"
SPANS = "metrics and spans on, 1 hot hit in 1,000"
EACH = "a span for each hot hit"


class _Nowhere(SpanExporter):
    """Takes spans, and lets them go: what sending them costs is another machine's business."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


@dataclass(frozen=True, slots=True)
class Configured(Arm):
    """An arm whose turns run with telemetry ``on``; the figures are collected once in each turn, many times as often as in life."""

    on: Callable[[], telemetry.Telemetry] = telemetry.configure
    reader: InMemoryMetricReader | None = None
    tracers: TracerProvider | None = None

    async def run(self, operations: int) -> None:
        on = self.on()
        try:
            await Arm.run(self, operations)
            if self.reader is not None:
                self.reader.collect()
            if self.tracers is not None:
                self.tracers.force_flush()  # what its spans cost in their thread is this arm's, too
        finally:
            on.shutdown()


async def of_telemetry(scale: Scale) -> Result:
    return await measured("telemetry", telemetry_groups(scale))


@contextlib.asynccontextmanager
async def telemetry_groups(scale: Scale) -> AsyncIterator[list[Group]]:
    """The groups of this file, ready to be measured while the context lasts."""
    async with contextlib.AsyncExitStack() as stack:
        server = stack.enter_context(RedisServer())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        reader = InMemoryMetricReader()
        meters, tracers = MeterProvider([reader]), TracerProvider()
        tracers.add_span_processor(BatchSpanProcessor(_Nowhere()))
        stack.callback(meters.shutdown)
        stack.callback(tracers.shutdown)

        def metrics() -> telemetry.Telemetry:
            return telemetry.configure(meter_provider=meters, spans=False)

        def both() -> telemetry.Telemetry:
            return telemetry.configure(meter_provider=meters, tracer_provider=tracers)

        def each() -> telemetry.Telemetry:
            return telemetry.configure(meter_provider=meters, tracer_provider=tracers, hot_hit_rate=1)

        groups: list[Group] = []
        hots: list[tuple[str, HotMemory | ProcessMemory, int]] = [
            ("Redis", HotMemory(server.url), 2400),
            ("process memory", ProcessMemory(), 3000),
        ]
        for name, hot, operations in hots:
            warm = SqliteMemory(folder / f"{name}.sqlite3")
            client = await stack.enter_async_context(MemoryClient(hot=hot, warm=warm, budget=patient()))
            await client.set("turn", turn(0))
            arms = _arms(client, reader, tracers, metrics, both, each)
            groups.append(Group(f"telemetry, hot hit in {name}", arms, scale.operations(operations), scale.rounds))
        yield groups


def _arms(
    client: MemoryClient, reader: InMemoryMetricReader, tracers: TracerProvider, *on: Callable[[], telemetry.Telemetry]
) -> list[Arm]:
    async def get() -> object:
        return await client.get("turn")

    metrics, both, each = on
    return [
        Arm("telemetry off", get),
        Arm("telemetry off, again (control)", get),
        Configured(METRICS, get, on=metrics, reader=reader),
        Configured(SPANS, get, on=both, reader=reader, tracers=tracers),
        Configured(EACH, get, on=each, reader=reader, tracers=tracers),
    ]
