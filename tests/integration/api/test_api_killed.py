"""A process that is killed in the middle of a job: another one finishes it."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.integration.api.process import ServedApi

from thermocline.testing.entra import TENANT, EntraServer


async def _until(look: Callable[[], Awaitable[dict[str, Any]]], *states: str) -> dict[str, Any]:
    while True:
        found = await look()
        if found["state"] in states:
            return found
        await asyncio.sleep(0.02)


@pytest.mark.timeout(180)
async def test_a_job_outlives_the_process_that_ran_it(
    entra: EntraServer, tmp_path: Path, no_server_left_behind: None
) -> None:
    home = tmp_path / "home"
    token = entra.token(TENANT, roles=["Memory.ReadWrite", "Memory.Erase"])
    headers = {"authorization": f"Bearer {token}"}
    dying = ServedApi(entra.url, home, lease=1, longest_write=60)  # it waits a minute in the midst of an erasure
    heir = ServedApi(entra.url, home, watch=0.2, longest_write=1)
    await asyncio.to_thread(dying.start)
    try:
        async with httpx.AsyncClient(base_url=dying.url, headers=headers) as http:
            for n in range(3):
                await http.put("/v1/record", params={"scope": "s", "name": str(n)}, json=n)
            begun = await http.post("/v1/forgets", json={"scope": "s", "reason": "kill"})
            place = begun.headers["location"]

            async def look() -> dict[str, Any]:
                found: dict[str, Any] = (await http.get(place)).json()
                return found

            assert (await _until(look, "running"))["attempts"] == 1
        await asyncio.to_thread(dying.kill)
        await asyncio.to_thread(heir.start)
        async with httpx.AsyncClient(base_url=heir.url, headers=headers, timeout=30) as http:

            async def looked() -> dict[str, Any]:
                found: dict[str, Any] = (await http.get(place)).json()
                return found

            ended = await _until(looked, "done", "failed")
            left = (await http.get("/v1/records", params={"scope": "s"})).json()["items"]

        assert (ended["state"], ended["attempts"]) == ("done", 2)
        assert ended["receipt"]["complete"]
        assert ended["receipt"]["reason"] == "kill"
        assert left == []
    finally:
        await asyncio.to_thread(dying.stop)
        await asyncio.to_thread(heir.stop)
