"""Names of hosts, looked up in threads that are one service's own: where a name server does not answer, only that service's calls wait for it."""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

THREADS: Final = 2  # of one service: a lookup is rare, since its answer is kept


class Lookups:
    """A resolver as aiohttp's connector wants it (`aiohttp.abc.AbstractResolver`). The event loop's own would use the threads that everybody shares."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="thermocline-names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[dict[str, Any]]:
        """The addresses of a host. Raises OSError (`socket.gaierror`) where it has none."""
        found = await asyncio.get_running_loop().run_in_executor(self._threads, _addresses, host, port, family)
        return [
            {
                "hostname": host,
                "host": address,
                "port": port,
                "family": kind,
                "proto": protocol,
                "flags": socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            }
            for kind, protocol, address in found
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False)


def _addresses(host: str, port: int, family: socket.AddressFamily) -> list[tuple[int, int, str]]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family, flags=socket.AI_ADDRCONFIG)
    numbers = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    # by getnameinfo, which keeps the scope of a link-local IPv6 address
    return [(kind, protocol, socket.getnameinfo(address, numbers)[0]) for kind, _, protocol, _, address in found]
