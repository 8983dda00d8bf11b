"""`configure`: what it refuses, that it is one at a time, and that nothing is needed while it is off."""

import subprocess
import sys
from datetime import timedelta
from textwrap import dedent
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from thermocline import telemetry
from thermocline.errors import ConfigurationError


class Synchronous:
    def get_token(self, *scopes: str) -> Any:
        raise AssertionError("nobody signs in here")


class Asynchronous:
    async def get_token(self, *scopes: str) -> Any:
        raise AssertionError("nobody signs in here")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"every": timedelta()}, "longer than zero"),
        ({"every": 60}, "timedelta"),
        ({"hot_hit_rate": 0}, "at least 1"),
        ({"hot_hit_rate": 0.5}, "at least 1"),
        ({"otlp": "localhost:4318"}, "http://localhost:4318"),
        ({"otlp": "http://localhost:1", "meter_provider": MeterProvider()}, "not both"),
        ({"console": True, "credential": Synchronous()}, "azure_monitor"),
        ({"console": True, "headers": {"a": "b"}}, "headers are for OTLP"),
        ({"azure_monitor": True, "credential": Asynchronous()}, "synchronous"),
        ({"azure_monitor": True, "credential": "a key"}, "synchronous"),
        ({"json_logs": "thermocline.log"}, "json_logs is True, or a file that is open"),
        ({"console": "thermocline.log"}, "console is True, or a file that is open"),
        ({"console": True, "sampler": "always_on"}, "sampler is a Sampler"),
        ({"meter_provider": object()}, "meter_provider is a MeterProvider"),
        ({"tracer_provider": True}, "tracer_provider is a TracerProvider"),
        ({"otlp": "http://localhost:1", "headers": "a=b"}, "headers is a mapping"),
        ({"otlp": 4318}, "otlp is True or the URL"),
        ({"console": True, "spans": "no"}, "spans is True or False"),
        ({"console": True, "service_name": 7}, "service_name is a string"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_change(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        telemetry.configure(**given)


def test_a_broken_connection_string_is_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("APPLICATIONINSIGHTS_CONNECTION_STRING", raising=False)
    with pytest.raises(ConfigurationError, match="APPLICATIONINSIGHTS_CONNECTION_STRING") as caught:
        telemetry.configure(connection_string="InstrumentationKey=hunter2")
    assert "hunter2" not in str(caught.value)
    assert telemetry.configure(metrics=False, spans=False).on is True  # nothing was left on
    telemetry.configure(metrics=False, spans=False).shutdown()


def test_the_same_again_is_the_same_and_another_is_refused() -> None:
    meters = MeterProvider([InMemoryMetricReader()])
    with telemetry.configure(meter_provider=meters, spans=False) as first:
        assert telemetry.configure(meter_provider=meters, spans=False) is first
        with pytest.raises(ConfigurationError, match="shutdown"):
            telemetry.configure(meter_provider=meters)
    first.shutdown()
    with telemetry.configure(meter_provider=meters, spans=False) as second:
        assert second is not first
        assert (first.on, second.on) == (False, True)
    meters.shutdown()


def test_it_is_shown_without_its_secrets() -> None:
    with telemetry.configure(otlp="http://127.0.0.1:9", headers={"api-key": "hunter2"}, metrics=False) as on:
        assert "hunter2" not in repr(on)


WITHOUT = """
    import importlib.abc
    import sys

    class Refuse(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] == "opentelemetry" or name.startswith("azure.monitor"):
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            return None

    sys.meta_path.insert(0, Refuse())
"""


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-I", "-W", "error", "-c", dedent(WITHOUT) + dedent(code)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_the_extra_it_says_what_to_install() -> None:
    out = run("""
        from thermocline import telemetry
        from thermocline.errors import ConfigurationError
        for given in ({}, {"otlp": "http://localhost:4318"}, {"console": True}, {"azure_monitor": True}):
            try:
                telemetry.configure(**given)
            except ConfigurationError as error:
                print(error)
    """)

    assert out.count('pip install "thermocline[otel]"') == 3
    assert out.count('pip install "thermocline[azure-monitor]"') == 1


def test_without_the_extra_the_client_counts_and_logs_are_json_all_the_same() -> None:
    out = run("""
        import asyncio, io, logging
        from thermocline import MemoryClient, ProcessMemory, telemetry

        async def main():
            async with MemoryClient(hot=ProcessMemory()) as client:
                await client.set("key", 1)
                await client.get("key")
                print(client.stats()["hot"]["hits"], (await client.health()).verdict.value)

        asyncio.run(main())
        handler = logging.StreamHandler(io.StringIO())
        handler.setFormatter(telemetry.JsonFormatter())
        with telemetry.correlation("order-7"):
            handler.emit(logging.LogRecord("thermocline", 30, "f", 1, "told", (), None))
        print(handler.stream.getvalue())
    """)

    assert out.startswith("1 ok")
    assert '"correlation_id": "order-7"' in out


def test_importing_the_client_does_not_load_opentelemetry() -> None:
    code = "import sys, thermocline.client; print([m for m in sys.modules if m.startswith('opentelemetry')])"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
