"""What `configure` sends, as it arrives: OTLP at a collector's stand-in, Azure Monitor's JSON over TLS at an ingestion endpoint's, the SDK's own memory."""

import asyncio
import gzip
import io
import json
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from thermocline import MemoryClient, ProcessMemory, SqliteMemory, telemetry
from thermocline.telemetry import names
from thermocline.testing.rig.certificates import Certificates, make_certificates


@dataclass
class Received:
    """The requests of a stand-in: path, headers, body as it was before it was packed."""

    url: str
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    def bodies(self, path: str) -> list[bytes]:
        return [body for of, _, body in self.requests if of == path]


@contextmanager
def stand_in(answer: bytes, certificates: Certificates | None = None) -> Iterator[Received]:
    """A server that takes everything and answers 200 with ``answer``."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            headers = {name.lower(): value for name, value in self.headers.items()}
            received.requests.append((self.path, headers, body))
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing on standard error."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    scheme = "http"
    if certificates is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.cert_file, certificates.key_file)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    received = Received(f"{scheme}://localhost:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def work(folder: Path) -> None:
    """A write, two hits and a miss."""
    async with MemoryClient(hot=ProcessMemory(), warm=SqliteMemory(folder / "warm.sqlite3")) as client:
        await client.set("key", "value")
        await client.get("key")
        await client.get("key")
        await client.get("nothing")


def attributes(of: Any) -> dict[str, str]:
    return {one.key: one.value.string_value for one in of.attributes}


async def test_otlp_gets_counters_histograms_with_exemplars_and_spans(tmp_path: Path) -> None:
    began = time.time_ns()
    with stand_in(b"") as collector:
        on = telemetry.configure(
            otlp=collector.url, headers={"api-key": "k"}, service_name="agent", every=timedelta(hours=1), hot_hit_rate=1
        )
        await work(tmp_path)
        await asyncio.to_thread(on.shutdown)

    assert {headers["api-key"] for _, headers, _ in collector.requests} == {"k"}
    metrics: dict[str, Any] = {}
    for body in collector.bodies("/v1/metrics"):
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            assert attributes(resource.resource)["service.name"] == "agent"
            metrics |= {one.name: one for scope in resource.scope_metrics for one in scope.metrics}
    hits = {attributes(p)[names.TIER]: p.as_double for p in metrics["thermocline.hits"].sum.data_points}
    assert hits["hot"] >= 2
    assert metrics["thermocline.hits"].sum.is_monotonic
    assert metrics["thermocline.hits"].unit == "{hit}"

    histogram = metrics["thermocline.tier.duration"]
    assert histogram.unit == "s"
    points = {
        (attributes(p)[names.TIER], attributes(p)[names.VERB], attributes(p)[names.OUTCOME]): p
        for p in histogram.histogram.data_points
    }
    point = points["hot", "get", "ok"]
    assert point.count == sum(point.bucket_counts) >= 3
    assert len(point.bucket_counts) == len(point.explicit_bounds) + 1
    assert 0 <= point.min <= point.sum / point.count <= point.max
    assert ("client", "set", "ok") in points

    spans = [
        span
        for body in collector.bodies("/v1/traces")
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    ids = {span.span_id: span.name for span in spans}
    assert {"thermocline.set", "thermocline.get", "thermocline.warm.write", "thermocline.hot.get"} <= set(ids.values())
    mine = [one for one in point.exemplars if one.time_unix_nano >= began]  # others are of clients of tests before
    assert mine
    for exemplar in mine:
        assert ids[exemplar.span_id] == "thermocline.hot.get"
        assert 0 < exemplar.as_double <= point.max


async def test_the_programs_own_provider_gets_counters_and_quantiles(tmp_path: Path) -> None:
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader])

    def collect() -> dict[str, list[Any]]:
        data = reader.get_metrics_data()
        scopes = data.resource_metrics[0].scope_metrics if data is not None else []
        return {one.name: list(one.data.data_points) for scope in scopes for one in scope.metrics}

    def of(points: list[Any], verb: str) -> dict[Any, float]:
        """By quantile: those of a verb of hot that was answered."""
        return {
            p.attributes.get(names.QUANTILE): p.value
            for p in points
            if (p.attributes[names.TIER], p.attributes[names.VERB], p.attributes[names.OUTCOME]) == ("hot", verb, "ok")
        }

    with telemetry.configure(meter_provider=meters, spans=False):
        await work(tmp_path)
        first = collect()
        again = collect()
        async with MemoryClient(hot=ProcessMemory()) as client:
            await client.set("key", 1)
            live = collect()
    off = collect()
    with telemetry.configure(meter_provider=meters, spans=False):
        on = collect()
    meters.shutdown()

    assert of(first["thermocline.tier.calls"], "get")[None] >= 3
    assert of(first["thermocline.tier.time"], "get")[None] > 0
    quantiles = of(first["thermocline.tier.latency"], "get")
    assert 0 < quantiles[0.5] <= quantiles[0.99]
    assert "thermocline.tier.latency" not in again, "nothing was called since the last collection"
    assert "thermocline.tier.duration" not in first
    breakers = {p.attributes[names.TIER]: p.value for p in live["thermocline.breaker.state"]}
    assert breakers["hot"] == 0
    assert "thermocline.floors" not in again, "no client is there"
    assert "thermocline.hits" not in off
    assert {p.attributes[names.TIER] for p in on["thermocline.hits"]} >= {"hot"}


async def test_the_console_gets_json_on_the_given_file(tmp_path: Path) -> None:
    out = io.StringIO()
    on = telemetry.configure(console=out, every=timedelta(hours=1))
    await work(tmp_path)
    await asyncio.to_thread(on.shutdown)

    text = out.getvalue()
    for name in ("thermocline.hits", "thermocline.tier.duration", "thermocline.warm.write"):
        assert f'"{name}"' in text


@pytest.mark.parametrize(
    ("variables", "given", "name"),
    [
        ({"WEBSITE_SITE_NAME": "func-memory-worker"}, None, "func-memory-worker"),
        ({"WEBSITE_SITE_NAME": "func-memory-worker", "OTEL_SERVICE_NAME": "worker"}, None, "worker"),
        ({"WEBSITE_SITE_NAME": "site", "OTEL_RESOURCE_ATTRIBUTES": "service.name=worker"}, None, "worker"),
        ({"WEBSITE_SITE_NAME": "func-memory-worker"}, "mine", "mine"),
        ({}, None, "unknown_service"),
    ],
)
async def test_a_function_app_is_called_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], given: str | None, name: str
) -> None:
    for variable in ("WEBSITE_SITE_NAME", "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    out = io.StringIO()
    on = telemetry.configure(console=out, every=timedelta(hours=1), service_name=given, spans=False)
    await work(tmp_path)
    await asyncio.to_thread(on.shutdown)

    assert f'"service.name": "{name}' in out.getvalue()


AZURE = """
    import asyncio, sys
    from pathlib import Path
    from azure.core.credentials import AccessToken
    from thermocline import MemoryClient, ProcessMemory, SqliteMemory, telemetry

    class Credential:
        def get_token(self, *scopes, **options):
            return AccessToken("the-token", 9999999999)

    async def main():
        for part in range(2):
            async with MemoryClient(hot=ProcessMemory(), warm=SqliteMemory(Path(sys.argv[2]) / f"{part}.sqlite3")) as client:
                await client.set("a name that nobody may see", "a value that nobody may see")
                await client.get("a name that nobody may see")
            on.flush()

    on = telemetry.configure(
        connection_string=f"InstrumentationKey=00000000-0000-0000-0000-000000000001;IngestionEndpoint={sys.argv[1]}/",
        credential=Credential(),
        service_name="agent",
        hot_hit_rate=1,
        exporter_options={"disable_offline_storage": True},
    )
    asyncio.run(main())
    on.shutdown()
"""


def test_azure_monitor_gets_deltas_and_spans_with_the_credentials_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Microsoft's exporters in a process of its own, over TLS, since a token goes over nothing else."""
    certificates = make_certificates(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates.ca_file))
    monkeypatch.setenv("APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL", "true")
    monkeypatch.setenv("APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED", "true")
    with stand_in(b'{"itemsReceived": 1, "itemsAccepted": 1, "errors": []}', certificates) as ingestion:
        command = [sys.executable, "-c", dedent(AZURE), ingestion.url, str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=90)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr, "an exporter that logs an error with each batch"

    assert {headers["authorization"] for _, headers, _ in ingestion.requests} == {"Bearer the-token"}
    items: list[dict[str, Any]] = []
    for _, _, body in ingestion.requests:
        text = body.decode()
        items += json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]
    assert "nobody may see" not in json.dumps(items)

    metrics = [item["data"]["baseData"] for item in items if item["data"]["baseType"] == "MetricData"]
    durations = [
        point
        for one in metrics
        for point in one["metrics"]
        if point["name"] == "thermocline.tier.duration" and one["properties"][names.VERB] == "write"
    ]
    assert [point["count"] for point in durations] == [1, 1], "a write before each flush, and none told twice"
    assert all(0 < point["min"] <= point["value"] <= point["max"] for point in durations)
    quantiles = [
        one["properties"][names.QUANTILE]
        for one in metrics
        for point in one["metrics"]
        if point["name"] == "thermocline.tier.latency" and one["properties"][names.VERB] == "write"
    ]
    assert sorted(quantiles) == ["0.5", "0.5", "0.99", "0.99"], "of a histogram Azure Monitor keeps no quantiles"
    writes = [
        point["value"]
        for one in metrics
        for point in one["metrics"]
        if point["name"] == "thermocline.writes" and one["properties"][names.TIER] == "warm"
    ]
    assert sum(writes) == 2

    calls = [item["data"]["baseData"]["name"] for item in items if item["data"]["baseType"] == "RemoteDependencyData"]
    assert calls.count("thermocline.set") == calls.count("thermocline.warm.write") == 2
    ours = [item for item in items if "thermocline." in json.dumps(item["data"])]  # the exporter tells of itself, too
    assert {item["tags"]["ai.cloud.role"] for item in ours} == {"agent"}
