"""One exchange with a server over one connection of the SDK."""

from typing import Any, ClassVar

from thermocline.tiers.hot.signing import SignIn
from thermocline.tiers.hot.wire import Command, packed, send


class Talk:
    """Commands and their replies over one connection. What it has come to stays here when it breaks off."""

    answered: ClassVar[type[Exception]]  # what the SDK raises for an error that the server answers
    forgotten: ClassVar[type[Exception]]  # ... for the answer that it does not know who we are

    __slots__ = ("replies", "sent")

    def __init__(self) -> None:
        self.replies: list[Any] = []
        self.sent = False

    async def plainly(self, pool: Any, command: Command) -> Any:
        """One command to the only server, and its reply."""
        connection = await pool.get_connection()
        try:
            self.sent = True
            await send(connection, packed(connection, [command]))
            return await connection.read_response(disable_decoding=True)
        finally:
            await pool.release(connection)

    async def over(self, client: Any, node: Any, commands: list[Command], sign_in: SignIn | None = None) -> None:
        """To a node of a cluster, or (None) to the only server. An error that the server answers is a reply. Where the server has forgotten who we are
        it has done nothing from there on, and that part is sent once more."""
        await self._once(client, node, commands, sign_in)
        if self.replies and isinstance(self.replies[-1], self.forgotten):
            del self.replies[-1]
            await self._once(client, node, commands[len(self.replies) :], sign_in)
            if isinstance(self.replies[-1], self.forgotten):
                raise self.replies.pop()

    async def _once(self, client: Any, node: Any, commands: list[Command], sign_in: SignIn | None) -> None:
        connection = await client.connection_pool.get_connection() if node is None else node.acquire_connection()
        try:
            if node is not None and sign_in is not None:
                await sign_in.ready(connection)
            self.sent = True
            await send(connection, packed(connection, commands))
            for _ in commands:
                try:
                    self.replies.append(await connection.read_response(disable_decoding=True))
                except self.answered as error:
                    self.replies.append(error)
                except self.forgotten as error:
                    if sign_in is None:
                        raise
                    self.replies.append(error)
                    break  # redis-py has closed the connection
        finally:
            if node is None:
                await client.connection_pool.release(connection)
            else:
                node.release(connection)
