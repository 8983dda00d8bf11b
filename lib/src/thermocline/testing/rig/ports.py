"""Free TCP ports on loopback, for servers that must be told their port."""

import random
import socket
from pathlib import Path

_LOWEST = 15_000
# Below every common system's ephemeral range. A port of that range may be taken by any outgoing connection while its
# server is down, and a client that reconnects to it there can even end up connected to itself.
_HIGHEST = 32_000
_LINUX_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_ATTEMPTS = 200

_random = random.SystemRandom()


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port of ``host`` on which nobody listens now, outside the range of outgoing connections.

    Another process may take it before its server does: callers try again with another one when the bind fails.
    Raises OSError if no free port was found.
    """
    for _ in range(_ATTEMPTS):
        port = _random.randrange(_LOWEST, _ceiling())
        if is_free(port, host):
            return port
    raise OSError(f"no free TCP port on {host} between {_LOWEST} and {_ceiling()}")


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Say whether a server could listen on ``port`` of ``host`` now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections of the last owner that linger in TIME_WAIT are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _ceiling() -> int:
    try:
        lowest_ephemeral = int(_LINUX_RANGE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return _HIGHEST
    return min(_HIGHEST, lowest_ephemeral) if lowest_ephemeral > _LOWEST + 1_000 else _HIGHEST
