"""The local host's HTTP side: routes, methods, what a function gets and gives, and the admin endpoints."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from tests.functions.grounds import SAMPLE, bare

from thermocline.testing.functions import BadApp, FunctionsHost, InvocationFailed
from thermocline.testing.functions.routes import read_route
from thermocline.testing.functions.web import seen_path, url_path


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[FunctionsHost]:
    async with FunctionsHost(SAMPLE, bare(tmp_path)) as running:
        yield running


@pytest.fixture
async def http(host: FunctionsHost) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=host.url) as client:
        yield client


async def test_a_function_gets_the_request_and_gives_the_answer(http: httpx.AsyncClient) -> None:
    answer = await http.post("/api/echo/a%20b/c/d?x=1&x=2&y=", content=b"body", headers={"X-Sample": "yes"})

    assert (answer.status_code, answer.headers["x-made"]) == (203, "here")
    assert answer.headers["content-type"] == "application/json"
    told = answer.json()
    assert told["url"].endswith("/api/echo/a%20b/c/d?x=1&x=2&y=")
    del told["url"]
    assert told == {
        "function": "echo",
        "method": "POST",
        "route": {"name": "a b", "rest": "c/d"},
        "query": {"x": "1,2"},
        "header": "yes",
        "body": "body",
    }


async def test_literal_routes_go_before_parameters(http: httpx.AsyncClient) -> None:
    assert (await http.get("/api/echo/fixed/word")).text == "fixed"
    assert (await http.get("/api/ECHO/fixed/other")).status_code == 203


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/echo/a/b", 404),  # without the prefix
        ("GET", "/api/nothing", 404),
        ("DELETE", "/api/echo/a/b", 404),  # as of the official host, which knows no 405
        ("GET", "/api/breaks", 500),
        ("GET", "/admin/nothing", 404),
        ("POST", "/admin/functions/nothing", 404),
        ("POST", "/admin/functions/echo", 400),  # it answers HTTP
    ],
)
async def test_what_is_refused(http: httpx.AsyncClient, method: str, path: str, status: int) -> None:
    answer = await http.request(method, path)

    assert answer.status_code == status
    assert "secret of the inside" not in answer.text


async def test_head_has_the_length_and_no_body(http: httpx.AsyncClient) -> None:
    answer = await http.head("/api/echo/a/b")

    assert answer.status_code == 203
    assert answer.content == b""
    assert int(answer.headers["content-length"]) > 0


async def test_timers_are_fired_by_name_and_over_http(
    host: FunctionsHost, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    await host.fire("tick")
    answer = await http.post("/admin/functions/tick", json={"input": ""})

    assert answer.status_code == 202
    assert [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()] == [
        {"what": "tick", "past_due": False},
        {"what": "tick", "past_due": False},
    ]


async def test_a_timer_that_fails_says_so(tmp_path: Path) -> None:
    async with (
        FunctionsHost(SAMPLE, {**bare(tmp_path), "SAMPLE_TICK": "breaks"}) as host,
        httpx.AsyncClient(base_url=host.url) as http,
    ):
        with pytest.raises(InvocationFailed, match=r"tick failed: ValueError: the timer broke") as failed:
            await host.fire("tick")
        assert isinstance(failed.value.__cause__, ValueError)
        answer = await http.post("/admin/functions/tick")
        assert (answer.status_code, answer.json()["error"]) == (500, "tick failed: ValueError: the timer broke")


async def test_events_past_the_queue_and_the_feed(host: FunctionsHost, tmp_path: Path) -> None:
    await host.event("events", {"a": 1}, dequeue_count=2)
    await host.feed("changes", [{"id": "7"}])

    assert [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()] == [
        {"what": "events", "body": '{"a": 1}', "count": 2},
        {"what": "changes", "ids": ["7"], "retry": 0, "failing": False},
    ]
    with pytest.raises(LookupError, match="no function nothing; it has"):
        await host.fire("nothing")
    with pytest.raises(LookupError, match="events has a queueTrigger, not a timerTrigger"):
        await host.fire("events")


async def test_the_admin_endpoints_list_what_there_is(http: httpx.AsyncClient) -> None:
    assert (await http.get("/admin/host/status")).json()["state"] == "Running"
    listed = {one["name"]: one for one in (await http.get("/admin/functions")).json()}

    assert listed.keys() == {"echo", "fixed", "breaks", "tick", "changes", "events"}
    assert listed["changes"]["isDisabled"] is True
    assert listed["echo"]["route"] == "api/echo/{name}/{*rest}"


async def test_missing_settings_stop_the_start_in_words(tmp_path: Path) -> None:
    settings = {name: value for name, value in bare(tmp_path).items() if "changes" not in name}

    with pytest.raises(BadApp, match="sample: changes: databaseName is %COSMOS_DATABASE%, and there is no setting"):
        async with FunctionsHost(SAMPLE, settings):
            raise AssertionError("it started")
    with pytest.raises(
        BadApp, match=r"sample: changes: connection is COSMOS, .* neither a setting COSMOS__accountEndpoint"
    ):
        async with FunctionsHost(SAMPLE, {**settings, "COSMOS_DATABASE": "d", "COSMOS_CONTAINER": "c"}):
            raise AssertionError("it started")


async def test_the_rest_runs_where_a_function_misses_its_settings(tmp_path: Path) -> None:
    settings = {name: value for name, value in bare(tmp_path).items() if name != "SAMPLE_SCHEDULE"}

    async with FunctionsHost(SAMPLE, settings, strict=False) as host, httpx.AsyncClient(base_url=host.url) as http:
        assert (await http.get("/api/echo/a/b")).status_code == 203
        assert host.in_error.keys() == {"tick"}
        with pytest.raises(BadApp, match="there is no setting SAMPLE_SCHEDULE; set it"):
            await host.fire("tick")


async def test_two_apps_do_not_share_a_process(host: FunctionsHost, tmp_path: Path) -> None:
    with pytest.raises(BadApp, match="one process per app"):
        async with FunctionsHost(SAMPLE, bare(tmp_path)):
            raise AssertionError("it started")


def test_a_path_arrives_as_behind_the_official_web_server() -> None:
    assert seen_path("/a%20b%2fc%C3%A4") == "/a b%2Fcä"
    assert url_path(seen_path("/a%20b%2fc%C3%A4;(x)")) == "/a%20b%2Fc%C3%A4;(x)"
    assert url_path(seen_path("/a%FFb")) == "/a%FFb"
    assert url_path(seen_path("/50%25")) == "/50%25"
    assert url_path(seen_path("/%2541")) == "/%41", "a literal %41 in a path cannot be told from an A"


@pytest.mark.parametrize(
    ("template", "path", "found"),
    [
        ("a/{b:int}/{c?}", "api/a/5", {"b": "5"}),
        ("a/{b:int}/{c?}", "api/a/5/x", {"b": "5", "c": "x"}),
        ("a/{b:int}/{c?}", "api/a/x", None),
        ("a/{b:guid}", "api/a/00000000-0000-0000-0000-00000000000f", {"b": "00000000-0000-0000-0000-00000000000f"}),
        ("{*rest}", "api", {"rest": ""}),
        ("{*rest}", "api/a/b", {"rest": "a/b"}),
        ("a", "api/a/b", None),
        ("a/{b}", "api/a/", None),
    ],
)
def test_routes(template: str, path: str, found: dict[str, str] | None) -> None:
    assert read_route("f", "api", template).match(path) == found


@pytest.mark.parametrize(
    ("prefix", "template", "said"),
    [
        ("", "admin/x", "begins with admin"),
        ("", "runtime", "begins with runtime"),
        ("api", "a/{b:datetime}", "constraint datetime"),
        ("api", "{*a}/b", "only the last part"),
        ("api", "x{a}", "cannot read x{a}"),
    ],
)
def test_routes_that_the_host_refuses(prefix: str, template: str, said: str) -> None:
    with pytest.raises(BadApp, match=said.replace("{", r"\{")):
        read_route("f", prefix, template)
