"""What a call, a builder of agents and the settings are given wrongly: refused by its name before anything is done."""

import math
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from thermocline import (
    AgentBuilder,
    Dictionaries,
    FolderMemory,
    MemoryClient,
    MemorySettings,
    ProcessMemory,
    SqliteMemory,
)
from thermocline.agents import ModelTarget
from thermocline.errors import ConfigurationError, InvalidArgument, InvalidKey

Wrong = tuple[Any, ...]


class Odd:
    """Of no kind that anything takes."""

    def __repr__(self) -> str:
        return "<odd>"


ODD = Odd()
DURATION: Final[Wrong] = (ODD, "2", [], True, -1, 0, math.nan, math.inf, timedelta(-1), 1e300)
GIVEN: dict[str, Any] = {
    "key": "k",
    "value": 1,
    "items": {"k": 1},
    "keys": ["k"],
    "scope": "s",
    "by": "me",
    "name": "k",
}
NO_SWITCH: Final[Wrong] = ("no", 0, None, [])


@pytest.mark.parametrize(
    ("verb", "takes", "name", "wrongs"),
    [
        ("set", ("key", "value"), "if_absent", NO_SWITCH),
        ("set", ("key", "value"), "write_around", NO_SWITCH),
        ("set", ("key", "value"), "tags", (0, [], "a", ODD)),
        ("set", ("key", "value"), "tier", (b"warm", 3, "luke")),
        ("set_many", ("items",), "atomic", NO_SWITCH),
        ("set_many", ("items",), "write_around", NO_SWITCH),
        ("delete_many", ("keys",), "atomic", NO_SWITCH),
        ("get", ("key",), "tier", (b"warm", 3, "luke")),
        ("get", ("key",), "timeout", (0, -1, "1", True)),
        ("list", (), "cursor", (0, [], {}, 3)),
        ("list", (), "limit", (0, 1001, "3", True)),
        ("demote", ("keys",), "dry_run", NO_SWITCH),
        ("promote", ("keys",), "dry_run", NO_SWITCH),
        ("promote", ("keys",), "into_hot", NO_SWITCH),
        ("sweep", (), "dry_run", NO_SWITCH),
        ("sweep", (), "even_if_empty", NO_SWITCH),
        ("sweep", (), "lease", (*DURATION, 0.9)),
        ("forget", ("scope", "by"), "dry_run", NO_SWITCH),
        ("forget", ("scope", "by"), "longest_write", (*DURATION, 0.9)),
    ],
)
async def test_a_call_refuses_what_is_wrong_before_it_does_anything(
    verb: str, takes: tuple[str, ...], name: str, wrongs: Wrong, tmp_path: Path
) -> None:
    async with MemoryClient(
        hot=ProcessMemory(), warm=SqliteMemory(tmp_path / "w"), cold=FolderMemory(tmp_path)
    ) as memory:
        await memory.set("k", "old")
        for wrong in wrongs:
            with pytest.raises(InvalidArgument, match=rf"\b{name}\b"):
                await getattr(memory, verb)(**{one: GIVEN[one] for one in takes}, **{name: wrong})
        assert await memory.get("k") == "old"


@pytest.mark.parametrize(
    ("method", "wrong", "name"),
    [
        ("with_agent", {"agent_class": dict}, "agent_class"),
        ("with_tool", {"name": 3, "handler": print}, "name"),
        ("with_tool", {"name": "tool", "handler": 3}, "handler"),
        ("with_tools", {"tools": [print]}, "tools"),
        ("with_memory_builder", {"memory_builder": ODD}, "memory_builder"),
        ("with_models", {"complexity_threshold": "0.5"}, "complexity_threshold"),
        ("with_models", {"slm": ODD}, "slm"),
        ("with_models", {"llm": "gpt"}, "llm"),
        ("with_models", {"llm": ModelTarget("rich", "large", 3)}, "llm's invoker"),  # type: ignore[arg-type]
        ("with_memory", {"hot": ODD}, "hot"),
        ("with_memory", {"hot": ProcessMemory}, "hot"),
        ("with_memory", {"warm": 0}, "warm"),
        ("with_memory", {"cold": []}, "cold"),
        ("with_memory", {"client": ODD}, "client"),
        ("with_memory", {"client": False}, "client"),
    ],
)
def test_an_agents_builder_refuses_at_once_what_is_wrong(method: str, wrong: dict[str, Any], name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"\b{name}\b"):
        getattr(AgentBuilder(), method)(**wrong)


@pytest.mark.parametrize("wrong", [ODD, 3, 0, None, "", b"s", [], "\ud800", "x" * 1001])
@pytest.mark.parametrize("name", ["scope", "tenant"])
def test_an_agents_scope_is_looked_at_at_once(name: str, wrong: Any) -> None:
    if (name, wrong) == ("tenant", None):
        AgentBuilder[Any]().with_scope("s", tenant=None)  # the default one
        return
    with pytest.raises(InvalidKey, match=rf"\b{name}\b"):
        AgentBuilder[Any]().with_scope(**{"scope": "s", name: wrong})


@pytest.mark.parametrize("wrong", [ODD, 3, 0, True, [], b".env", "no such file"])
def test_what_is_no_file_of_settings_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="env_file"):
        MemorySettings(env_file=wrong)


def test_dictionaries_are_of_a_client() -> None:
    wrong: Any = ODD
    with pytest.raises(ConfigurationError, match="memory is a MemoryClient"):
        Dictionaries(wrong)
