"""Correlation ids, and log records as JSON: one line each, without secrets."""

import asyncio
import io
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from thermocline import MemoryClient, ProcessMemory, SqliteMemory, telemetry
from thermocline.clock import Deadline
from thermocline.errors import InvalidArgument, ThermoclineError, TierUnavailable
from thermocline.protocols import EntryOperation, Found

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def record(message: str, *arguments: object, error: BaseException | None = None) -> logging.LogRecord:
    trouble: Any = None if error is None else (type(error), error, error.__traceback__)
    return logging.LogRecord("thermocline.client", logging.WARNING, "file.py", 7, message, arguments, trouble)


def line(given: logging.LogRecord) -> dict[str, Any]:
    text = telemetry.JsonFormatter().format(given)
    assert "\n" not in text
    found: dict[str, Any] = json.loads(text)
    return found


def test_a_given_id_holds_inside_the_block_and_in_its_tasks() -> None:
    async def inner() -> str | None:
        return telemetry.correlation_id()

    async def outer() -> tuple[str | None, str | None]:
        with telemetry.correlation("order-7") as given:
            assert given == "order-7"
            return await asyncio.create_task(inner()), telemetry.correlation_id()

    assert asyncio.run(outer()) == ("order-7", "order-7")
    assert telemetry.correlation_id() is None


@pytest.mark.parametrize(
    ("traceparent", "found"),
    [
        (f"00-{TRACE}-00f067aa0ba902b7-01", TRACE),
        (f"cc-{TRACE}-00f067aa0ba902b7-01-what-the-future-adds", TRACE),
        (f"ff-{TRACE}-00f067aa0ba902b7-01", None),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", None),
        (f"00-{TRACE.upper()}-00f067aa0ba902b7-01", None),
        ("nonsense", None),
        (None, None),
    ],
)
def test_a_traceparent_gives_its_trace_id_or_else_a_new_one_is_made(traceparent: str | None, found: str | None) -> None:
    with telemetry.correlation(traceparent=traceparent) as given:
        assert given == found or (found is None and len(given) == 32 and given != TRACE)
        assert int(given, 16)


@pytest.mark.parametrize("bad", ["", "two\r\nlines", "a b", "ä", "x" * 129, 7])
def test_what_no_header_can_carry_is_refused(bad: Any) -> None:
    with pytest.raises(InvalidArgument, match="correlation id"), telemetry.correlation(bad):
        pytest.fail("it was taken")


def test_a_header_is_set_only_where_there_is_an_id() -> None:
    headers: dict[str, str] = {"x-ms-client-request-id": "the SDK's own"}
    telemetry.correlate(headers)
    assert headers["x-ms-client-request-id"] == "the SDK's own"
    with telemetry.correlation("order-7"):
        telemetry.correlate(headers)
    assert headers == {"x-ms-client-request-id": "order-7"}


def test_a_record_is_one_line_of_json() -> None:
    with telemetry.correlation("order-7"):
        found = line(record("hot is away:\n%s", "for\na while"))

    assert found["message"] == "hot is away:\nfor\na while"
    assert (found["level"], found["logger"], found["correlation_id"]) == ("WARNING", "thermocline.client", "order-7")
    assert found["time"].endswith("+00:00")
    assert "error" not in found


def test_an_error_is_told_by_its_class_and_place_and_not_by_its_message() -> None:
    try:
        try:
            raise ConnectionResetError("reset while reading user/42")
        except ConnectionResetError as cause:
            raise TierUnavailable("no answer for 'user/42'", tier="hot") from cause
    except TierUnavailable as error:
        found = line(record("failed", error=error))

    assert found["error"] == ["TierUnavailable", "ConnectionResetError"]
    assert found["at"].startswith("test_an_error_is_told")
    assert "user/42" not in json.dumps(found)


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("DefaultEndpointsProtocol=https;AccountName=x;AccountKey=c2VjcmV0cw==;EndpointSuffix=y", "c2VjcmV0cw=="),
        ("rediss://default:hunter2@cache.example:10000/0 is away", "hunter2"),
        ("rediss://:hunter2@cache.example:10000/0 is away", "hunter2"),
        ("https://x.blob.core.windows.net/c/b?sv=1&sig=hunter2%3D&se=2", "hunter2"),
        ("Authorization: Bearer eyJhbGciOi.x.y", "eyJhbGciOi"),
        ("password = 'hunter2'", "hunter2"),
        ("InstrumentationKey=00000000-1111;IngestionEndpoint=https://z", "00000000-1111"),
        ("rediss://default:hun,;&ter2@cache.example:10000/0 is away", "ter2"),
        ('{"password": "hunter2"}', "hunter2"),
        ("{'client_secret': 'hunter2'}", "hunter2"),
        ('password="two words"', "words"),
        ("REDIS_PASSWORD=hunter2", "hunter2"),
        ("COSMOS_KEY=hunter2==", "hunter2"),
        ("redis_password_secret: hunter2", "hunter2"),
        ("AUTH default hunter2", "hunter2"),
        ("HELLO 3 AUTH default hunter2 SETNAME x", "hunter2"),
        ("Authorization: SharedKey account:hunter2==", "hunter2"),
        ("type%3dmaster%26ver%3d1.0%26sig%3dhunter2", "hunter2"),
    ],
)
def test_secrets_are_blotted_out(text: str, secret: str) -> None:
    found = line(record("%s", text))["message"]

    assert secret not in found
    assert "***" in found


def test_what_is_no_secret_stays() -> None:
    text = "Redis at cache.example:10000: the token bucket is empty (ERR max); see https://example.org/a:b"

    assert line(record(text))["message"] == text


def test_the_librarys_records_go_to_the_given_file_until_shutdown() -> None:
    log, out = logging.getLogger("thermocline.client"), io.StringIO()
    with telemetry.configure(metrics=False, spans=False, json_logs=out):
        log.warning("one")
    log.warning("two")

    assert [json.loads(one)["message"] for one in out.getvalue().splitlines()] == ["one"]


class Cut(ProcessMemory):
    """Can be cut off; remembers under which correlation id it was asked."""

    down = False

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str | None] = []

    async def operate(self, operation: EntryOperation, *, deadline: Deadline) -> Found | None:
        self._asked()
        return await super().operate(operation, deadline=deadline)

    async def operate_many(
        self, operations: Sequence[EntryOperation], *, deadline: Deadline
    ) -> list[Found | ThermoclineError | None]:
        self._asked()
        return await super().operate_many(operations, deadline=deadline)

    def _asked(self) -> None:
        if self.down:
            raise TierUnavailable("cut off", tier="hot")
        self.ids.append(telemetry.correlation_id())


async def test_what_goes_on_behind_calls_is_under_no_callers_id(tmp_path: Path) -> None:
    """The recovery queue is one task for all: it must not tell of Bob's key under the id of Alice's request, which began it."""
    hot = Cut()
    async with MemoryClient(hot=hot, warm=SqliteMemory(tmp_path / "warm.sqlite3")) as memory:
        hot.down = True
        for name in ("alice", "bob"):
            with telemetry.correlation(f"request-of-{name}"):
                await memory.set(name, 1)
        hot.down = False
        due = memory._recovery._task
        assert due is not None
        await due
    assert set(hot.ids) == {None}
    assert hot.ids
