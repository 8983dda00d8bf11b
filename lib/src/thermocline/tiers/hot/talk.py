"""One exchange with a server over one connection of the SDK, which no other call uses meanwhile."""

import asyncio
from collections.abc import Sequence
from typing import Any

from thermocline.clock import Deadline
from thermocline.errors import ThermoclineError
from thermocline.tiers.hot import sdk
from thermocline.tiers.hot.lane import Said
from thermocline.tiers.hot.signing import SignIn
from thermocline.tiers.hot.wire import Command, packed, seconds_left, send


class Talks:
    """Calls over connections of the SDK's pools: to a node of a cluster, or (None) to the only server."""

    __slots__ = ("_client", "_node", "_sign_in", "_slots")

    def __init__(self, client: Any, node: Any, slots: asyncio.Semaphore, sign_in: SignIn | None) -> None:
        self._client = client
        self._node = node
        self._slots = slots
        self._sign_in = sign_in

    async def carry(self, commands: Sequence[Command], deadline: Deadline) -> Said:
        """See `Lanes.carry`. A call that is cancelled or times out in between closes its connection."""
        said = Said([], len(commands))
        try:
            async with asyncio.timeout(seconds_left(deadline)):
                if self._node is None:
                    await self._over(said, commands)
                else:
                    async with self._slots:  # a node's pool raises where all of its connections are in use
                        await self._over(said, commands)
        except (*sdk.CAUGHT, ThermoclineError) as error:
            said.error = error
        return said

    async def _over(self, said: Said, commands: Sequence[Command]) -> None:
        """An error that the server answers is a reply. Where the server has forgotten who we are it has done nothing from there on, and that part is
        sent once more."""
        await self._once(said, commands)
        if said.replies and isinstance(said.replies[-1], sdk.Forgotten):
            del said.replies[-1]
            await self._once(said, commands[len(said.replies) :])
            if isinstance(said.replies[-1], sdk.Forgotten):
                raise said.replies.pop()

    async def _once(self, said: Said, commands: Sequence[Command]) -> None:
        node, client, sign_in = self._node, self._client, self._sign_in
        connection = await client.connection_pool.get_connection() if node is None else node.acquire_connection()
        try:
            if node is not None and sign_in is not None:
                await sign_in.ready(connection)
            said.sent = True
            await send(connection, packed(connection.encoder, commands))
            for _ in commands:
                try:
                    said.replies.append(await connection.read_response(disable_decoding=True))
                except sdk.ResponseError as error:
                    said.replies.append(error)
                except sdk.Forgotten as error:
                    if sign_in is None:
                        raise
                    said.replies.append(error)
                    break  # redis-py has closed the connection
        finally:
            if node is None:
                await client.connection_pool.release(connection)
            else:
                node.release(connection)
