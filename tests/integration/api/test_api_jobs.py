"""Exports and erasures as jobs: durable, restartable, one runner at a time."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.integration.api.desk import OTHER, Desk

from thermocline import Key
from thermocline.agents.service.memory.runner import Runner
from thermocline.agents.service.memory.store import OPEN_AT_ONCE, RUNNING, Job, JobStore, new_id
from thermocline.agents.service.memory_api import RESERVED, MemoryApi
from thermocline.testing import ManualClock
from thermocline.testing.entra import TENANT, EntraServer

SCOPE = "user/42"


@pytest.fixture
async def http(desk: Desk) -> httpx.AsyncClient:
    return await desk.http()


async def _fill(http: httpx.AsyncClient, count: int = 3, scope: str = SCOPE) -> None:
    operations = [{"op": "put", "scope": scope, "name": f"n{n}", "value": {"n": n}} for n in range(count)]
    answer = await http.post("/v1/batch", json={"operations": operations})
    assert {one["status"] for one in answer.json()["results"]} == {200}


async def test_an_export_is_a_job_with_lines(http: httpx.AsyncClient, desk: Desk) -> None:
    await _fill(http)
    begun = await http.post("/v1/exports", json={"scope": SCOPE})
    assert (begun.status_code, begun.json()["state"], begun.json()["scope"]) == (202, "queued", SCOPE)
    assert begun.headers["location"] == f"/v1/jobs/{begun.json()['id']}"

    job = await desk.ended(http, begun.headers["location"])
    assert (job["state"], job["attempts"], job["receipt"], job["detail"]) == ("done", 1, None, None)
    answer = await http.get(job["result"])
    lines = [json.loads(line) for line in answer.text.splitlines()]

    assert answer.headers["content-type"] == "application/x-ndjson"
    assert lines[0]["tenant"] == TENANT
    assert sorted(line["value"]["n"] for line in lines[1:-1]) == [0, 1, 2]
    assert lines[-1] == {"records": 3, "damaged": []}


async def test_an_export_of_all_the_tenant_holds_nothing_of_the_jobs(http: httpx.AsyncClient, desk: Desk) -> None:
    await _fill(http, scope="user/1")
    await _fill(http, scope="user/2")
    for _ in range(2):
        begun = await http.post("/v1/exports", json={"whole_tenant": True})
        job = await desk.ended(http, begun.headers["location"])
        text = (await http.get(job["result"])).text

        assert text.count('"n0"') == 2
        assert RESERVED not in text


async def test_an_erasure_is_a_job_with_a_receipt(http: httpx.AsyncClient, desk: Desk) -> None:
    await _fill(http)
    await _fill(http, scope="user/43")
    dry = await http.post("/v1/forgets", json={"scope": SCOPE, "dry_run": True})
    counted = await desk.ended(http, dry.headers["location"])
    assert counted["receipt"]["records"] == {"warm": 3}
    assert (await http.get("/v1/record", params={"scope": SCOPE, "name": "n0"})).status_code == 200

    begun = await http.post("/v1/forgets", json={"scope": SCOPE, "reason": "request 7"})
    job = await desk.ended(http, begun.headers["location"])

    assert (job["state"], job["result"]) == ("done", None)
    assert job["receipt"]["complete"]
    assert (job["receipt"]["reason"], job["receipt"]["records"]) == ("request 7", {"warm": 3})
    assert job["receipt"]["by"] == job["by"]
    assert (await http.get("/v1/records", params={"scope": SCOPE})).json()["items"] == []
    assert len((await http.get("/v1/records", params={"scope": "user/43"})).json()["items"]) == 3
    assert (await http.get(f"{begun.headers['location']}/result")).status_code == 404


@pytest.mark.parametrize("exported", [{"scope": SCOPE}, {"whole_tenant": True}], ids=str)
async def test_what_was_exported_goes_when_its_scope_is_erased(
    http: httpx.AsyncClient, desk: Desk, exported: dict[str, Any]
) -> None:
    await _fill(http)
    theirs = await desk.http(OTHER)
    places = {
        "it": (await http.post("/v1/exports", json=exported)).headers["location"],
        "another scope": (await http.post("/v1/exports", json={"scope": "user/43"})).headers["location"],
    }
    of_others = (await theirs.post("/v1/exports", json={"scope": SCOPE})).headers["location"]
    results = {name: (await desk.ended(http, place))["result"] for name, place in places.items()}
    kept = (await desk.ended(theirs, of_others))["result"]
    left_behind = Key(RESERVED, f"result/{places['it'].rpartition('/')[2]}", "a runner that died")
    await desk.app.state.memory.set(left_behind, b"lines")

    forgotten = (await http.post("/v1/forgets", json={"scope": SCOPE})).headers["location"]
    assert (await desk.ended(http, forgotten))["state"] == "done"

    assert (await http.get(results["it"])).status_code == 410
    assert (await http.get(places["it"])).json()["state"] == "gone"
    assert (await http.get(results["another scope"])).status_code == 200
    assert (await theirs.get(kept)).status_code == 200
    left = await desk.app.state.memory.list(scope=f"result/{places['it'].rpartition('/')[2]}", tenant=RESERVED)
    assert len(left) == 0


async def test_an_export_under_way_ends_when_its_scope_is_erased(entra: EntraServer, tmp_path: Path) -> None:
    """Its record changes under it: it loses the job, and what it wrote goes."""
    async with Desk(entra, tmp_path / "home", lease=0.3) as desk:
        http = await desk.http()
        await _fill(http)
        memory, store = desk.app.state.memory, desk.app.state.jobs.store
        job = _job("export")
        await store.add(job)
        slow = SlowExports(memory, MemoryApi(None, missing="x", watch=None, lease=0.3))
        running = asyncio.create_task(slow._run(job.id))
        await slow.begun.wait()
        forgotten = (await http.post("/v1/forgets", json={"scope": SCOPE})).headers["location"]
        assert (await desk.ended(http, forgotten))["state"] == "done"

        assert await running is False
        found = await store.read(job.id)
        assert found is not None
        assert found[0].state == "gone"
        await slow.close()


async def test_a_job_that_has_not_ended_has_no_result(http: httpx.AsyncClient, desk: Desk) -> None:
    store: JobStore = desk.app.state.jobs.store
    job = _job("export")
    await store.add(job)

    status = await http.get(f"/v1/jobs/{job.id}")
    result = await http.get(f"/v1/jobs/{job.id}/result")
    assert (status.json()["state"], status.headers["retry-after"]) == ("queued", "2")
    assert (result.status_code, result.headers["retry-after"]) == (409, "2")


async def test_a_tenant_has_so_many_open_jobs_and_no_more(http: httpx.AsyncClient, desk: Desk) -> None:
    store: JobStore = desk.app.state.jobs.store
    for _ in range(OPEN_AT_ONCE):
        await store.add(_job("export"))

    refused = await http.post("/v1/exports", json={"scope": SCOPE})
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "30")
    assert (await (await desk.http(OTHER)).post("/v1/exports", json={"scope": SCOPE})).status_code == 202


async def test_jobs_that_are_asked_for_together_are_counted(http: httpx.AsyncClient, desk: Desk) -> None:
    store: JobStore = desk.app.state.jobs.store
    for _ in range(OPEN_AT_ONCE - 1):
        await store.add(replace(_job("export"), until_ms=2**50))  # that nobody does now

    begun = await asyncio.gather(*(http.post("/v1/forgets", json={"scope": f"s{n}"}) for n in range(5)))
    assert sorted(one.status_code for one in begun)[:1] == [202]
    assert await store.count(TENANT) <= OPEN_AT_ONCE
    ids = {one.json()["id"] for one in begun if one.status_code == 202}
    assert len(ids) == 1


async def test_a_job_whose_runner_died_is_taken_over_when_its_lease_ends(http: httpx.AsyncClient, desk: Desk) -> None:
    await _fill(http)
    memory, store = desk.app.state.memory, desk.app.state.jobs.store
    clock = ManualClock(wall_ms=desk.app.state.jobs._clock.wall_ms())
    other = Runner(memory, MemoryApi(None, missing="x", watch=None, lease=60), clock=clock)
    job = _job("export")
    await store.add(job)
    dead = replace(job, state=RUNNING, runner="dead", attempts=1, until_ms=clock.wall_ms() + 60_000)
    found = await store.read(job.id)
    assert found is not None
    await store.save(dead, found[1])

    assert await other.take_over(seconds=10) == {"open": 1, "ended": 0}
    clock.advance(61)
    assert await other.take_over(seconds=10) == {"open": 1, "ended": 1}
    assert await other.take_over(seconds=10) == {"open": 0, "ended": 0}

    status = (await http.get(f"/v1/jobs/{job.id}")).json()
    assert (status["state"], status["attempts"]) == ("done", 2)
    assert '"records":3' in (await http.get(status["result"])).text
    await other.close()


async def test_two_who_take_over_at_once_do_it_once(http: httpx.AsyncClient, desk: Desk) -> None:
    await _fill(http)
    memory, store = desk.app.state.memory, desk.app.state.jobs.store
    api = MemoryApi(None, missing="x", watch=None)
    job = _job("export")
    await store.add(job)
    runners = [Runner(memory, api) for _ in range(4)]

    counts = await asyncio.gather(*(runner.take_over(seconds=20) for runner in runners))

    assert sum(one["ended"] for one in counts) == 1
    assert (await http.get(f"/v1/jobs/{job.id}")).json()["attempts"] == 1
    results = await memory.list(scope=f"result/{job.id}", tenant=RESERVED)
    assert len(results) == 1
    for runner in runners:
        await runner.close()


async def test_a_process_that_ends_leaves_its_jobs_to_the_next_at_once(entra: EntraServer, tmp_path: Path) -> None:
    async with Desk(entra, tmp_path / "home") as desk:
        http = await desk.http()
        await _fill(http)
        store = desk.app.state.jobs.store
        job = _job("export")
        await store.add(job)
        slow = SlowExports(desk.app.state.memory, MemoryApi(None, missing="x", watch=None))
        slow.start(job.id)
        await slow.begun.wait()
        assert (await http.get(f"/v1/jobs/{job.id}")).json()["state"] == "running"
        await slow.close()

        assert await desk.app.state.jobs.take_over(seconds=20) == {"open": 1, "ended": 1}
        assert (await http.get(f"/v1/jobs/{job.id}")).json()["state"] == "done"


async def test_a_lease_is_renewed_while_the_work_takes_longer(entra: EntraServer, tmp_path: Path) -> None:
    async with Desk(entra, tmp_path / "home") as desk:
        http = await desk.http()
        await _fill(http)
        memory, store = desk.app.state.memory, desk.app.state.jobs.store
        api = MemoryApi(None, missing="x", watch=None, lease=4)
        job = _job("export")
        await store.add(job)
        slow, other = SlowExports(memory, api), Runner(memory, api)
        task = slow.start(job.id)
        await slow.begun.wait()
        first = (await store.read(job.id))[0].until_ms
        while (await store.read(job.id))[0].until_ms < first + 1000:  # renewed beyond the first lease's end
            assert await other.take_over(seconds=5) == {"open": 1, "ended": 0}
            await asyncio.sleep(0.02)
        slow.go.set()

        assert await task is True
        assert (await http.get(f"/v1/jobs/{job.id}")).json()["attempts"] == 1
        await other.close()
        await slow.close()


async def test_a_job_that_fails_says_so_and_one_that_meets_an_outage_waits(http: httpx.AsyncClient, desk: Desk) -> None:
    memory, store = desk.app.state.memory, desk.app.state.jobs.store
    api = MemoryApi(None, missing="x", watch=None)
    broken, out = _job("export"), _job("export")
    await store.add(broken)
    await store.add(out)

    failing = Failing(memory, api, RuntimeError("s3cr3t"))
    assert await failing.start(broken.id) is True
    from thermocline import TierUnavailable

    waiting = Failing(memory, api, TierUnavailable("s3cr3t", tier="cold"))
    assert await waiting.start(out.id) is False

    told = (await http.get(f"/v1/jobs/{broken.id}")).json()
    waits = (await http.get(f"/v1/jobs/{out.id}")).json()
    assert (told["state"], waits["state"], waits["attempts"]) == ("failed", "queued", 1)
    assert "s3cr3t" not in json.dumps([told, waits])
    assert (await http.get(f"/v1/jobs/{broken.id}/result")).status_code == 409
    assert await failing.start(out.id) is False, "its time has not come"


async def test_a_result_that_has_expired(http: httpx.AsyncClient, desk: Desk) -> None:
    await _fill(http)
    place = (await http.post("/v1/exports", json={"scope": SCOPE})).headers["location"]
    job = await desk.ended(http, place)
    store: JobStore = desk.app.state.jobs.store
    found = await store.read(job["id"])
    assert found is not None
    assert found[0].result is not None
    key = store.result_key(found[0], found[0].result)
    lasts = await desk.app.state.memory.ttl(key)
    assert lasts.total_seconds() == pytest.approx(86_400, abs=60)
    await desk.app.state.memory.delete(key)

    assert (await http.get(f"{place}/result")).status_code == 410
    record = await desk.app.state.memory.ttl(Key(RESERVED, f"job/{job['id'][:2]}", job["id"]))
    assert record.total_seconds() == pytest.approx(7 * 86_400, abs=60)


def _job(kind: str) -> Job:
    from thermocline.clock import SYSTEM_CLOCK

    now = SYSTEM_CLOCK.wall_ms()
    return Job(new_id(), TENANT, kind, SCOPE, "tester", "", False, created_ms=now, updated_ms=now)


class SlowExports(Runner):
    """Begins, and waits for ``go`` before it does anything."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self.begun, self.go = asyncio.Event(), asyncio.Event()

    async def _work(self, job: Job) -> dict[str, Any]:
        self.begun.set()
        await self.go.wait()
        return await super()._work(job)


class Failing(Runner):
    def __init__(self, memory: Any, api: MemoryApi, error: Exception) -> None:
        super().__init__(memory, api)
        self._error = error

    async def _work(self, job: Job) -> dict[str, Any]:
        raise self._error
