"""AgentBuilder, Agent and the memory tools."""

from pathlib import Path
from typing import Any

import pytest

from thermocline import (
    Agent,
    AgentBuilder,
    FolderMemory,
    MemoryBuilder,
    MemoryClient,
    ProcessMemory,
    SqliteMemory,
)
from thermocline.errors import ConfigurationError, InvalidArgument, InvalidKey, TierUnavailable
from thermocline.testing import ChaosTier


class Echo(Agent):
    """Remembers the last text of each user."""

    def __init__(self, *, greeting: str = "hello", **parts: Any) -> None:
        super().__init__(**parts)
        self.greeting = greeting

    async def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        before = await self.own.get("last")
        await self.own.set("last", request["text"])
        return {"greeting": self.greeting, "before": before}


async def shout(text: str) -> str:
    return text.upper()


def tiers(folder: Path) -> tuple[ProcessMemory, SqliteMemory, FolderMemory]:
    return ProcessMemory(), SqliteMemory(folder / "warm.sqlite3"), FolderMemory(folder / "cold")


async def test_an_agent_of_tiers_connects_them_and_closes_them(tmp_path: Path) -> None:
    agent = AgentBuilder[Echo]().with_agent(Echo, greeting="ahoy").with_memory(*tiers(tmp_path)).build()

    async with agent:
        assert await agent.handle({"text": "one"}) == {"greeting": "ahoy", "before": None}
        assert await agent.handle({"text": "two"}) == {"greeting": "ahoy", "before": "one"}

    async with AgentBuilder[Echo]().with_agent(Echo).with_memory(*tiers(tmp_path)).build() as again:
        assert await again.handle({"text": "three"}) == {"greeting": "hello", "before": "two"}


async def test_agents_may_share_a_client_and_leave_it_open(tmp_path: Path) -> None:
    hot, warm, cold = tiers(tmp_path)
    async with MemoryClient(hot=hot, warm=warm, cold=cold) as memory:
        builder = AgentBuilder[Echo]().with_agent(Echo).with_memory(client=memory)
        async with builder.build() as one, builder.with_scope("agent/other").build() as other:
            await one.handle({"text": "one's"})
            assert (await other.handle({"text": "other's"}))["before"] is None
        assert await memory.scoped(scope="agent/Echo").get("last") == "one's"
        assert await memory.scoped(scope="agent/other").get("last") == "other's"


async def test_a_memory_builder_and_a_tenant(tmp_path: Path) -> None:
    builder = MemoryBuilder().with_warm(SqliteMemory(tmp_path / "warm.sqlite3"))
    agent = AgentBuilder[Echo]().with_agent(Echo).with_memory_builder(builder).with_scope("s", tenant="acme").build()

    async with agent:
        await agent.handle({"text": "x"})
        assert str(agent.own.key("last")) == "acme/s/last"
        assert [item.key.tenant for item in await agent.own.list()] == ["acme"]


async def test_the_memory_tools_read_and_write_the_agents_own_scope(tmp_path: Path) -> None:
    builder = AgentBuilder[Echo]().with_agent(Echo).with_memory(*tiers(tmp_path)).with_tool("shout", shout)

    async with builder.build() as agent:
        assert sorted(agent.tools) == ["memory_read", "memory_write", "shout"]
        assert await agent.call_tool("memory_read", key="plan") == {"found": False, "key": "plan"}
        written = await agent.call_tool("memory_write", key="plan", value=None)
        assert written["durable"] is True
        found = await agent.call_tool("memory_read", key="plan")
        assert found == {"found": True, "key": "plan", "value": None}
        await agent.call_tool("memory_write", key="short", value=1, ttl_seconds=60)
        remaining = await agent.own.ttl("short")
        assert remaining is not None
        assert 50 < remaining.total_seconds() <= 60
        assert await agent.call_tool("shout", text="ahoy") == "AHOY"


async def test_a_crafted_name_stays_in_the_scope(tmp_path: Path) -> None:
    hot, warm, cold = tiers(tmp_path)
    async with MemoryClient(hot=hot, warm=warm, cold=cold) as memory:
        await memory.scoped(tenant="victim", scope="agent/Echo").set("secret", "theirs")
        agent = AgentBuilder[Echo]().with_agent(Echo).with_memory(client=memory).build()

        for name in ("victim/agent/Echo/secret", "../../victim/agent/Echo/secret", "secret", "*", "}{"):
            assert (await agent.call_tool("memory_read", key=name))["found"] is False
        for bad in ("", None, 7, ("victim", "agent/Echo", "secret")):
            with pytest.raises((InvalidArgument, InvalidKey)):
                await agent.call_tool("memory_read", key=bad)


async def test_an_outage_reaches_the_agent_as_one(tmp_path: Path) -> None:
    chaos: Any = ChaosTier(SqliteMemory(tmp_path / "warm.sqlite3"))
    async with AgentBuilder[Echo]().with_agent(Echo).with_memory(warm=chaos).build() as agent:
        await agent.call_tool("memory_write", key="plan", value=1)
        chaos.down = True
        with pytest.raises(TierUnavailable):
            await agent.call_tool("memory_read", key="plan")


def test_what_is_missing_or_wrong_is_said(tmp_path: Path) -> None:
    def plain(text: str) -> str:
        return text

    with pytest.raises(ConfigurationError, match="with_agent"):
        AgentBuilder[Echo]().with_memory(ProcessMemory()).build()
    with pytest.raises(ConfigurationError, match="with_memory"):
        AgentBuilder[Echo]().with_agent(Echo).build()
    with pytest.raises(ConfigurationError, match="at least one tier"):
        AgentBuilder[Echo]().with_agent(Echo).with_memory().build()
    with pytest.raises(ConfigurationError, match="subclass"):
        AgentBuilder[Echo]().with_agent(dict)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="must be async"):
        AgentBuilder[Echo]().with_agent(Echo).with_memory(ProcessMemory()).with_tool("plain", plain).build()
    with pytest.raises(ConfigurationError, match="already"):
        AgentBuilder[Echo]().with_agent(Echo).with_memory(ProcessMemory()).with_tools({"x": shout}).with_tool(
            "x", shout
        ).build()
    with pytest.raises(ConfigurationError, match="a name"):
        AgentBuilder[Echo]().with_tool("", shout)
    client = MemoryClient(hot=ProcessMemory())
    with pytest.raises(ConfigurationError, match="tiers or a client"):
        AgentBuilder[Echo]().with_memory(ProcessMemory(), client=client)


async def test_an_unknown_tool_is_named_with_those_there_are(tmp_path: Path) -> None:
    agent = AgentBuilder[Echo]().with_agent(Echo).with_memory(ProcessMemory()).build()

    with pytest.raises(InvalidArgument, match="there is no tool 'search'; there are: memory_read, memory_write"):
        await agent.call_tool("search", query="x")


@pytest.mark.parametrize("name", ["memory_read", "memory_write"])
def test_a_tool_named_as_one_for_the_memory_is_refused(name: str) -> None:
    builder = AgentBuilder[Echo]().with_agent(Echo).with_memory(ProcessMemory()).with_tool(name, shout)

    with pytest.raises(ConfigurationError, match=f"has a tool '{name}' for its memory; give yours another name"):
        builder.build()


@pytest.mark.parametrize(
    ("tool", "arguments", "told"),
    [
        ("memory_read", {}, r"memory_read takes \(key: str\): missing a required argument: 'key'"),
        ("memory_read", {"name": "x"}, r"memory_read takes \(key: str\): "),
        ("memory_read", {"key": "x", "version": 1}, "unexpected keyword argument 'version'"),
        ("memory_write", {"key": "x"}, r"memory_write takes \(key: str, value: Any, ttl_seconds: .*\): .*'value'"),
        ("memory_write", {"key": "x", "value": 1, "ttl_seconds": "soon"}, "ttl"),
        ("shout", {"words": "x"}, r"shout takes \(text: str\)"),
    ],
)
async def test_arguments_that_a_tool_does_not_take_are_told_to_the_model(
    tool: str, arguments: dict[str, Any], told: str
) -> None:
    builder = AgentBuilder[Echo]().with_agent(Echo).with_memory(ProcessMemory()).with_tool("shout", shout)

    async with builder.build() as agent:
        with pytest.raises(InvalidArgument, match=told):
            await agent.call_tool(tool, **arguments)


async def test_a_tool_may_take_a_name() -> None:
    async def greet(name: str) -> str:
        return f"hello {name}"

    builder = AgentBuilder[Echo]().with_agent(Echo).with_memory(ProcessMemory()).with_tool("greet", greet)

    async with builder.build() as agent:
        assert await agent.call_tool("greet", name="Ada") == "hello Ada"


class Part:
    """Something that a client closes at its end, as a credential."""

    closed = 0

    async def close(self) -> None:
        self.closed += 1


async def test_an_agent_that_cannot_connect_closes_its_own_memory_and_no_shared_one(tmp_path: Path) -> None:
    part = Part()
    own = MemoryBuilder().with_warm(FolderMemory(_file(tmp_path) / "cold")).with_options(closes=[part])
    with pytest.raises(TierUnavailable):
        async with AgentBuilder[Echo]().with_agent(Echo).with_memory_builder(own).build():
            pass
    assert part.closed == 1

    shared = MemoryClient(warm=FolderMemory(_file(tmp_path) / "cold"), closes=[part])
    with pytest.raises(TierUnavailable):
        async with AgentBuilder[Echo]().with_agent(Echo).with_memory(client=shared).build():
            pass
    assert part.closed == 1
    await shared.close()
    assert part.closed == 2


def _file(folder: Path) -> Path:
    """A file, where a folder is expected."""
    path = folder / "file"
    path.write_text("")
    return path
