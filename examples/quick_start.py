"""An agent that remembers who it talked to. Run it twice."""  # noqa: INP001 - a script of its own

import asyncio
from typing import Any

import thermocline


class Greeter(thermocline.Agent):
    async def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        user, text = request["user"], request["text"]
        visits = await self.own.increment(f"visits/{user}")
        last = await self.own.get(f"last/{user}", default="nothing yet")
        await self.own.set(f"last/{user}", text)
        return {"visits": visits, "you last said": last}


async def main() -> None:
    # Redis, Cosmos DB and Blob Storage where the environment names them; process memory, SQLite and a folder where it does not.
    async with await thermocline.connect() as memory:
        agent = thermocline.AgentBuilder[Greeter]().with_agent(Greeter).with_memory(client=memory).build()
        print(await agent.handle({"user": "mara", "text": "the water is cold today"}))


asyncio.run(main())
