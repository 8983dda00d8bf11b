"""What is counted, timed and traced, and where it is sent.

In process: `Stats`, which costs a dictionary's increment per event, read by ``client.stats()``. With `configure` (extra ``otel`` or ``azure-monitor``)
the same figures, and spans, go to Azure Monitor, to OTLP or to the console. Every name is in `thermocline.telemetry.names`.
"""

from thermocline.telemetry.names import *  # noqa: F403 - the constants, by their __all__
from thermocline.telemetry.stats import Histogram as Histogram
from thermocline.telemetry.stats import Stats as Stats
