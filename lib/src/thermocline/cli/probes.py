"""What `doctor` can find out about a service before any SDK is asked: its name, its port, its certificate. And about a folder: its room."""

import asyncio
import shutil
import socket
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

_SECONDS: Final = 5.0
_PORTS: Final = {"https": 443, "http": 80, "rediss": 10000, "redis": 6379}
_LOW_BYTES: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. ``ok`` None: it works, with a warning. ``mend`` says what to do. ``code`` is the exit code where it failed."""

    tier: str
    what: str
    ok: bool | None
    found: str
    mend: str = ""
    milliseconds: float | None = None
    code: int = 0


@dataclass(frozen=True, slots=True)
class Address:
    """Where a service is said to be. ``variable`` is the setting that names it."""

    tier: str
    host: str
    port: int
    secure: bool
    variable: str


def address_of(tier: str, url: str, variable: str) -> Address | None:
    """The address in a URL; None for one without a host, as a unix socket's."""
    parts = urlsplit(url)
    if parts.hostname is None:
        return None
    port = parts.port if parts.port is not None else _PORTS.get(parts.scheme, 443)
    return Address(tier, parts.hostname, port, parts.scheme in ("https", "rediss"), variable)


async def reach(address: Address, unavailable: int) -> list[Check]:
    """Name, port and certificate, one after the other until one fails."""
    checks = [await _resolve(address, unavailable)]
    if checks[-1].ok:
        checks.append(await _connect(address, unavailable))
    if checks[-1].ok and address.secure:
        checks.append(await _shake_hands(address, unavailable))
    return checks


async def _resolve(address: Address, code: int) -> Check:
    began = time.perf_counter()
    try:
        async with asyncio.timeout(_SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError):
        return Check(
            address.tier,
            "name",
            False,
            f"the name {address.host} cannot be resolved",
            f"check the spelling in {address.variable}; if the service has a private endpoint, this network must be linked to its private DNS zone",
            code=code,
        )
    places = ", ".join(sorted({str(entry[4][0]) for entry in found}))
    return Check(address.tier, "name", True, f"{address.host} is {places}", milliseconds=_since(began))


async def _connect(address: Address, code: int) -> Check:
    where = f"{address.host}:{address.port}"
    began = time.perf_counter()
    try:
        async with asyncio.timeout(_SECONDS):
            _, writer = await asyncio.open_connection(address.host, address.port)
    except ConnectionRefusedError:
        mend = f"check the port in {address.variable}, and that the service runs"
        return Check(address.tier, "port", False, f"nobody listens on {where}", mend, code=code)
    except (OSError, TimeoutError) as error:
        why = "no answer" if isinstance(error, TimeoutError) else str(error)
        mend = (
            "a firewall or the service's network rules are in the way: let this address in, or use the private endpoint"
        )
        return Check(address.tier, "port", False, f"{where} cannot be reached ({why})", mend, code=code)
    took = _since(began)
    writer.transport.abort()
    return Check(address.tier, "port", True, f"{where} answers", milliseconds=took)


async def _shake_hands(address: Address, code: int) -> Check:
    where = f"{address.host}:{address.port}"
    began = time.perf_counter()
    try:
        async with asyncio.timeout(_SECONDS):
            _, writer = await asyncio.open_connection(
                address.host, address.port, ssl=ssl.create_default_context(), server_hostname=address.host
            )
    except ssl.SSLCertVerificationError as error:
        mend = (
            f"use the host name that the certificate is for in {address.variable}; behind a proxy that breaks TLS open, or with a CA of your own,"
            " name its file in SSL_CERT_FILE"
        )
        found = f"the certificate of {where} is not trusted: {error.verify_message}"
        return Check(address.tier, "TLS", False, found, mend, code=code)
    except (OSError, TimeoutError) as error:
        why = "no answer" if isinstance(error, TimeoutError) else (getattr(error, "reason", None) or str(error))
        mend = f"check the scheme and port in {address.variable}: does the service speak TLS there?"
        return Check(address.tier, "TLS", False, f"TLS with {where} failed: {why}", mend, code=code)
    took = _since(began)
    session = writer.get_extra_info("ssl_object")
    version = session.version() if session is not None else "TLS"
    writer.transport.abort()
    return Check(address.tier, "TLS", True, f"{version}, the certificate is trusted", milliseconds=took)


def disk(tier: str, path: Path) -> Check:
    """The room on the disk that a path is on."""
    place = path
    while not place.exists() and place != place.parent:
        place = place.parent
    usage = shutil.disk_usage(place)
    found = f"{usage.free / 1e9:.1f} GB of {usage.total / 1e9:.1f} GB are free for {path}"
    if usage.free < _LOW_BYTES:
        return Check(tier, "disk", None, found, "free some space, or move the folder with THERMOCLINE_HOME")
    return Check(tier, "disk", True, found)


def _since(began: float) -> float:
    return (time.perf_counter() - began) * 1000
