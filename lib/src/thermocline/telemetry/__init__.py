"""What is counted, timed and traced, and where it is sent.

In process: `Stats`, which costs a dictionary's increment per event, read by ``client.stats()``. With `configure` (extra ``otel`` or ``azure-monitor``)
the same figures, and spans, go to Azure Monitor, to OTLP or to the console. Every name is in `thermocline.telemetry.names`.
"""

from typing import TYPE_CHECKING

from thermocline.telemetry.charging import charge_to as charge_to
from thermocline.telemetry.charging import charged_to as charged_to
from thermocline.telemetry.correlating import correlate as correlate
from thermocline.telemetry.correlating import correlation as correlation
from thermocline.telemetry.correlating import correlation_id as correlation_id
from thermocline.telemetry.logs import JsonFormatter as JsonFormatter
from thermocline.telemetry.logs import without_secrets as without_secrets
from thermocline.telemetry.names import *  # noqa: F403 - the constants, by their __all__
from thermocline.telemetry.pipeline import Telemetry as Telemetry
from thermocline.telemetry.pipeline import configure as configure
from thermocline.telemetry.registry import CLIENTS as CLIENTS
from thermocline.telemetry.stats import OK as OK
from thermocline.telemetry.stats import Histogram as Histogram
from thermocline.telemetry.stats import Stats as Stats
from thermocline.telemetry.tracing import traced as traced
from thermocline.telemetry.tracing import trail as trail

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricExporter


def with_histograms(exporter: "MetricExporter") -> "MetricExporter":
    """An exporter for a pipeline of your own that sends ``thermocline.tier.duration``, too: ``PeriodicExportingMetricReader(with_histograms(exporter))``.
    Needs the extra ``otel``."""
    from thermocline.telemetry.histograms import WithHistograms

    return WithHistograms(exporter)
