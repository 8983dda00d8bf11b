"""`configure`: where figures and spans go. Loads OpenTelemetry when it is called, and not before."""

import inspect
import os
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Self, TextIO

from thermocline.errors import ConfigurationError
from thermocline.telemetry import names
from thermocline.telemetry.logs import JsonLogs
from thermocline.telemetry.tracing import STATE, Tracing

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricExporter
    from opentelemetry.sdk.trace import TracerProvider as SDKTracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.sdk.trace.sampling import Sampler
    from opentelemetry.trace import Tracer, TracerProvider

    from thermocline.telemetry.instruments import Instruments

EVERY: Final = timedelta(seconds=60)
SITE: Final = "WEBSITE_SITE_NAME"  # what Azure Functions and App Service call the program

_lock = threading.Lock()
_current: "Telemetry | None" = None


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What was asked for; two calls that ask for the same are one. Not shown: it holds secrets."""

    azure_monitor: bool
    connection_string: str | None
    credential: Any
    otlp: str | bool
    headers: Mapping[str, str] | None
    console: bool | TextIO
    meter_provider: "MeterProvider | None"
    tracer_provider: "TracerProvider | None"
    service_name: str | None
    metrics: bool
    spans: bool
    every: timedelta
    sampler: "Sampler | None"
    hot_hit_rate: int
    key_hashes: bool
    json_logs: bool | TextIO
    exporter_options: Mapping[str, Any] | None

    @property
    def own(self) -> bool:
        """Whether a pipeline is to be made here, rather than one used that the program has."""
        return self.azure_monitor or self.otlp is not False or self.console is not False


@dataclass(slots=True)
class Telemetry:
    """What `configure` set up, until `shutdown`. A context manager."""

    _wanted: _Wanted = field(repr=False)
    _providers: list[Any] = field(default_factory=list, repr=False)
    _instruments: "Instruments | None" = field(default=None, repr=False)
    _logs: JsonLogs | None = field(default=None, repr=False)
    on: bool = True

    def flush(self, timeout: timedelta = timedelta(seconds=10)) -> bool:
        """Send what there is now. Blocks; in an event loop ``await asyncio.to_thread(telemetry.flush)``. False: not all of it arrived in time."""
        ms = round(timeout / timedelta(milliseconds=1))
        arrived = [provider.force_flush(ms) for provider in self._providers]  # each, whatever the others say
        return all(arrived)

    def shutdown(self) -> None:
        """Send what there is, and turn it all off; `configure` may be called anew. Blocks for up to the exporters' own time limits. Idempotent."""
        global _current
        with _lock:
            if not self.on:
                return
            self.on = False
            STATE.on = None
            if _current is self:
                _current = None
            if self._instruments is not None and not self._providers:
                self._instruments.live = False  # of the program's pipeline, which goes on
            if self._logs is not None:
                self._logs.remove()
        for provider in self._providers:
            provider.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()


def configure(
    *,
    azure_monitor: bool = False,
    connection_string: str | None = None,
    credential: Any = None,
    otlp: str | bool = False,
    headers: Mapping[str, str] | None = None,
    console: bool | TextIO = False,
    meter_provider: "MeterProvider | None" = None,
    tracer_provider: "TracerProvider | None" = None,
    service_name: str | None = None,
    metrics: bool = True,
    spans: bool = True,
    every: timedelta = EVERY,
    sampler: "Sampler | None" = None,
    hot_hit_rate: int = names.HOT_HIT_RATE,
    key_hashes: bool = False,
    json_logs: bool | TextIO = False,
    exporter_options: Mapping[str, Any] | None = None,
) -> Telemetry:
    """Send the figures of all clients of this process, those that exist and those to come, and spans of their calls.

    To where, any of:

    - **Azure Monitor**: ``connection_string``, or ``azure_monitor=True`` and APPLICATIONINSIGHTS_CONNECTION_STRING. ``credential`` is a synchronous one of
      azure.identity, for a resource that wants Entra sign-in; ``exporter_options`` are keywords of the exporters, such as ``disable_offline_storage``.
    - **OTLP** over HTTP: ``otlp="http://collector:4318"`` with ``headers``, or True for the OTEL_EXPORTER_OTLP_… variables.
    - the **console**: standard output, or a file.
    - None of them: the providers that the program has set up, or ``meter_provider`` and ``tracer_provider``. These get counters and quantiles in place of
      histograms (`with_histograms` has them for such a pipeline).

    The pipelines that are made here are thermocline's alone: the program's global providers are neither used nor set. Spans join the caller's trace either way.

    ``service_name``: what the program is called; left out, OTEL_SERVICE_NAME, or in Azure Functions and App Service the site's name. ``every``: how often
    metrics are sent. ``hot_hit_rate``: one hot hit in so many may become a span; misses, writes, errors all may, as ``sampler`` (OTEL_TRACES_SAMPLER, or
    all) decides. ``key_hashes``: spans carry a hash of the key. ``json_logs``: the library's log records go to standard error (or that file) as JSON.

    Asked for the same again it returns the same; raises `ConfigurationError` for something else while it is on (shut it down first), for what cannot be,
    and where the extra ``otel`` or ``azure-monitor`` is not installed.
    """
    wanted = _Wanted(
        azure_monitor or connection_string is not None,
        connection_string,
        credential,
        otlp,
        headers,
        console,
        meter_provider,
        tracer_provider,
        service_name,
        metrics,
        spans,
        every,
        sampler,
        hot_hit_rate,
        key_hashes,
        json_logs,
        exporter_options,
    )
    return _turn_on(wanted)


def _turn_on(wanted: _Wanted) -> Telemetry:
    global _current
    _check(wanted)
    with _lock:
        if _current is not None:
            if _current._wanted == wanted:  # noqa: SLF001 - its own
                return _current
            raise ConfigurationError("telemetry is on already, otherwise configured: call shutdown() of it first")
        _current = _set_up(wanted)
        return _current


_SWITCHES: Final = ("azure_monitor", "metrics", "spans", "key_hashes")
_PARTS: Final = {
    "console": ("write", "True, or a file that is open for writing text"),
    "json_logs": ("write", "True, or a file that is open for writing text"),
    "meter_provider": ("get_meter", "a MeterProvider"),
    "tracer_provider": ("get_tracer", "a TracerProvider"),
    "sampler": ("should_sample", "a Sampler"),
    "headers": ("items", "a mapping of names to values"),
    "exporter_options": ("items", "a mapping of names to values"),
    "service_name": ("encode", "a string"),
    "connection_string": ("encode", "a string"),
}


def _check(wanted: _Wanted) -> None:
    for name in _SWITCHES:
        if not isinstance(getattr(wanted, name), bool):
            raise ConfigurationError(f"{name} is True or False, not {type(getattr(wanted, name)).__name__}")
    for name, (has, what) in _PARTS.items():
        given = getattr(wanted, name)
        if given is not None and not hasattr(given, has) and not (isinstance(given, bool) and has == "write"):
            raise ConfigurationError(f"{name} is {what}, not {type(given).__name__}")
    every: object = wanted.every
    if not isinstance(every, timedelta) or every <= timedelta():
        raise ConfigurationError(f"every is a timedelta longer than zero, not {every!r:.80}")
    rate: object = wanted.hot_hit_rate
    if isinstance(rate, bool) or not isinstance(rate, int) or rate < 1:
        raise ConfigurationError(f"hot_hit_rate is at least 1 (each hot hit), not {rate!r:.80}")
    if wanted.own and (wanted.meter_provider is not None or wanted.tracer_provider is not None):
        raise ConfigurationError(
            "give providers of your own, or a destination (Azure Monitor, otlp, console), not both"
        )
    otlp: object = wanted.otlp
    if not isinstance(otlp, bool) and not (isinstance(otlp, str) and otlp.startswith(("http://", "https://"))):
        raise ConfigurationError(
            f"otlp is True or the URL of a collector, such as http://localhost:4318, not {otlp!r:.80}"
        )
    if (wanted.credential is not None or wanted.exporter_options is not None) and not wanted.azure_monitor:
        raise ConfigurationError("credential and exporter_options are for Azure Monitor: give azure_monitor=True too")
    if wanted.headers is not None and wanted.otlp is False:
        raise ConfigurationError("headers are for OTLP: give otlp, the URL of a collector, too")
    get_token = getattr(wanted.credential, "get_token", None)
    if wanted.credential is not None and (get_token is None or inspect.iscoroutinefunction(get_token)):
        raise ConfigurationError(
            "Azure Monitor takes a synchronous credential, as of azure.identity (not azure.identity.aio)"
        )


def _set_up(wanted: _Wanted) -> Telemetry:
    try:
        made = _own(wanted) if wanted.own else _given(wanted)
    except ImportError as error:
        extra = "azure-monitor" if wanted.azure_monitor else "otel"
        raise ConfigurationError(
            f'telemetry needs OpenTelemetry ({error.name} is missing): pip install "thermocline[{extra}]"'
        ) from error
    if wanted.json_logs is not False:
        made._logs = JsonLogs(None if wanted.json_logs is True else wanted.json_logs)  # noqa: SLF001 - its own
    return made


# --- a pipeline that is made here ------------------------------------------------------------------------------------


def _own(wanted: _Wanted) -> Telemetry:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from thermocline.telemetry.histograms import WithHistograms
    from thermocline.telemetry.instruments import Instruments

    made = Telemetry(wanted)
    resource = Resource.create(_who(wanted.service_name))
    tracers = TracerProvider(sampler=wanted.sampler, resource=resource) if wanted.spans else None
    metric_exporters, span_exporters = _exporters(wanted, tracers)
    if wanted.metrics:
        ms = wanted.every / timedelta(milliseconds=1)
        readers = [PeriodicExportingMetricReader(WithHistograms(one), ms) for one in metric_exporters]
        meters = MeterProvider(readers, resource)
        made._providers.append(meters)  # noqa: SLF001
        quantiles = (
            [names.LATENCY] if wanted.azure_monitor else []
        )  # of a histogram it keeps count, sum, least and most
        made._instruments = Instruments(meters.get_meter(names.SCOPE), summaries=quantiles)  # noqa: SLF001
    if tracers is not None:
        for exporter in span_exporters:
            tracers.add_span_processor(BatchSpanProcessor(exporter))
        made._providers.append(tracers)  # noqa: SLF001
        _trace(wanted, tracers.get_tracer(names.SCOPE))
    return made


def _who(service_name: str | None) -> dict[str, str]:
    """The resource's attributes. Without them all Functions apps of one Application Insights would be "unknown_service"."""
    if service_name is not None:
        return {"service.name": service_name}
    told = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    site = os.environ.get(SITE, "")
    return {} if told or not site else {"service.name": site}


def _trace(wanted: _Wanted, tracer: "Tracer") -> None:
    STATE.on = Tracing(tracer, wanted.hot_hit_rate, wanted.key_hashes)


def _exporters(
    wanted: _Wanted, tracers: "SDKTracerProvider | None"
) -> tuple[list["MetricExporter"], list["SpanExporter"]]:
    metrics: list[MetricExporter] = []
    spans: list[SpanExporter] = []
    for asked, make in ((wanted.azure_monitor, _azure), (wanted.otlp, _otlp), (wanted.console, _console)):
        if asked is not False:
            of_metrics, of_spans = make(wanted)
            metrics += [of_metrics()] if wanted.metrics else []
            spans += [of_spans(tracers)] if tracers is not None else []
    return metrics, spans


_Makers = tuple[Callable[[], "MetricExporter"], Callable[["SDKTracerProvider"], "SpanExporter"]]


def _azure(wanted: _Wanted) -> _Makers:
    from azure.monitor.opentelemetry.exporter import AzureMonitorMetricExporter, AzureMonitorTraceExporter

    options = {"connection_string": wanted.connection_string, **(wanted.exporter_options or {})}
    if wanted.credential is not None:
        options["credential"] = wanted.credential

    def make(kind: Any, **more: Any) -> Any:
        try:
            return kind(**{**more, **options})
        except ValueError as error:
            raise ConfigurationError(
                "Azure Monitor's connection string is missing or wrong: copy it whole from the Application Insights resource"
                " into APPLICATIONINSIGHTS_CONNECTION_STRING, or give connection_string"
            ) from error

    # Without the provider it asks the global one for the resource, which is not ours, and logs an error with each batch.
    return lambda: make(AzureMonitorMetricExporter), lambda tracers: make(
        AzureMonitorTraceExporter, tracer_provider=tracers
    )


def _otlp(wanted: _Wanted) -> _Makers:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    headers = None if wanted.headers is None else dict(wanted.headers)
    base = wanted.otlp.rstrip("/") if isinstance(wanted.otlp, str) else None
    return (
        lambda: OTLPMetricExporter(None if base is None else f"{base}/v1/metrics", headers=headers),
        lambda _: OTLPSpanExporter(None if base is None else f"{base}/v1/traces", headers=headers),
    )


def _console(wanted: _Wanted) -> _Makers:
    from opentelemetry.sdk.metrics.export import ConsoleMetricExporter
    from opentelemetry.sdk.trace.export import ConsoleSpanExporter

    out: dict[str, Any] = {} if isinstance(wanted.console, bool) else {"out": wanted.console}
    return lambda: ConsoleMetricExporter(**out), lambda _: ConsoleSpanExporter(**out)


# --- a pipeline that the program has ---------------------------------------------------------------------------------

_of_provider: "weakref.WeakKeyDictionary[MeterProvider, Instruments]" = weakref.WeakKeyDictionary()
_of_program: "list[Instruments]" = []  # those of the global provider, at most one: it may be set after they are made


def _given(wanted: _Wanted) -> Telemetry:
    from opentelemetry import metrics, trace

    made = Telemetry(wanted)
    if wanted.metrics:
        made._instruments = _instruments(wanted, metrics.get_meter)  # noqa: SLF001
        made._instruments.live = True  # noqa: SLF001
    if wanted.spans:
        _trace(wanted, trace.get_tracer(names.SCOPE, tracer_provider=wanted.tracer_provider))
    return made


def _instruments(wanted: _Wanted, get_meter: Callable[..., Any]) -> "Instruments":
    """Those that were made before on this provider, if there are: what is on a meter cannot be taken off, nor put there twice."""
    from thermocline.telemetry.instruments import OF_DURATIONS, Instruments

    provider = wanted.meter_provider
    found = (_of_program[0] if _of_program else None) if provider is None else _of_provider.get(provider)
    if found is None:
        found = Instruments(get_meter(names.SCOPE, meter_provider=provider), summaries=OF_DURATIONS)
        if provider is None:
            _of_program.append(found)
        else:
            _of_provider[provider] = found
    return found
