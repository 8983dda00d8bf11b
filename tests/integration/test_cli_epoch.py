"""``thermocline epoch`` on the strict Cosmos server, and where there is none."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner

from thermocline import WarmMemory
from thermocline.cli.app import app
from thermocline.testing.rig import CosmosServer

DATABASE = "cli"


def run(folder: Path, *words: str) -> tuple[int, str, str]:
    """In a thread, with an event loop of its own."""
    none = folder / "empty.env"
    none.touch()
    given = ["epoch", *words, "--home", str(folder / "home"), "--env-file", str(none)]
    with ThreadPoolExecutor(1) as thread:
        result = thread.submit(CliRunner().invoke, app, given).result()
    return result.exit_code, result.stdout, result.stderr


async def test_the_epoch_is_shown_and_raised(
    cosmos_server: CosmosServer, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    name = unique_name("epoch")
    where = ["--cosmos-account-uri", cosmos_server.url, "--cosmos-key", cosmos_server.key]
    where += ["--cosmos-database", DATABASE, "--cosmos-container", name]
    async with WarmMemory(cosmos_server.url, DATABASE, name, key=cosmos_server.key, create=True) as warm:
        assert run(tmp_path, *where) == (0, "epoch 0\n", "")
        assert run(tmp_path, "--raise", *where) == (0, "epoch 1, raised just now\n", "")
        assert await warm.epoch() == 1
        code, told, _ = run(tmp_path, "--raise", "--json", *where)

        assert (code, json.loads(told)) == (0, {"epoch": 2, "raised": True})
        assert await warm.epoch() == 2


@pytest.mark.parametrize("words", [(), ("--raise",)])
def test_without_cosmos_there_is_no_epoch(tmp_path: Path, words: tuple[str, ...]) -> None:
    code, told, why = run(tmp_path, *words)

    assert (code, told) == (5, "")
    assert "COSMOS_ACCOUNT_URI" in why
