"""Azurite, Microsoft's emulator of Azure Storage."""

import http.client
import os
import ssl
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from thermocline.testing.rig.certificates import Certificates, make_certificates
from thermocline.testing.rig.errors import MissingPart, RigError
from thermocline.testing.rig.node import find_node, installed_package
from thermocline.testing.rig.server import Server

SCRIPT_VARIABLE = "THERMOCLINE_AZURITE"
VERSION = "3.36.0"
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The account key that is published in Azurite's documentation; the same on every machine, and no secret."""

_SCRIPT = Path("dist") / "src" / "azurite.js"
_SERVICES = ("blob", "queue", "table")


def find_azurite() -> Path:
    """Return Azurite's script: of THERMOCLINE_AZURITE (the script, or the folder of the package), else from the cache.

    The first call on a machine downloads it with npm. Raises MissingPart if it cannot be had.
    """
    given = os.environ.get(SCRIPT_VARIABLE)
    if given is None:
        return installed_package("azurite", VERSION, str(_SCRIPT))
    for candidate in (Path(given), Path(given) / _SCRIPT, Path(given) / "node_modules" / "azurite" / _SCRIPT):
        if candidate.is_file():
            return candidate.absolute()
    raise MissingPart(f"needs Azurite: {SCRIPT_VARIABLE}={given} holds no {_SCRIPT.name}")


class Azurite(Server):
    """Blob, queue and table service on loopback, with one account.

    The data lives in memory and ends with the process, unless ``persistent``. With ``tls`` it speaks HTTPS and takes
    Entra tokens (`LocalCredential`) beside the account key; clients must trust `ca_file`. ``image`` runs a Docker image
    instead (needs the package testcontainers).
    """

    name: ClassVar[str] = "azurite"
    _port_names: ClassVar[tuple[str, ...]] = _SERVICES

    def __init__(
        self,
        *,
        tls: bool = False,
        persistent: bool = False,
        port: int | None = None,
        image: str | None = None,
        patience: timedelta = timedelta(seconds=90),
    ) -> None:
        super().__init__(port=port, image=image, patience=patience)
        self._tls = tls
        self._persistent = persistent
        self._certificates: Certificates | None = None
        self.account = ACCOUNT
        self.key = KEY

    @property
    def blob_url(self) -> str:
        """URL of the blob service, with the account: ``http://127.0.0.1:port/account``."""
        return self._url("blob")

    @property
    def queue_url(self) -> str:
        """URL of the queue service, with the account."""
        return self._url("queue")

    @property
    def table_url(self) -> str:
        """URL of the table service, with the account."""
        return self._url("table")

    @property
    def connection_string(self) -> str:
        """All of it in one string, as the SDKs' ``from_connection_string`` takes it."""
        return (
            f"DefaultEndpointsProtocol={self._scheme};AccountName={self.account};AccountKey={self.key};"
            f"BlobEndpoint={self.blob_url};QueueEndpoint={self.queue_url};TableEndpoint={self.table_url};"
        )

    @property
    def ca_file(self) -> Path:
        """The authority that clients must trust (PEM). Raises RigError without ``tls``."""
        if self._certificates is None:
            raise RigError("azurite has a certificate only with tls=True, after its start")
        return self._certificates.ca_file

    def restart(self) -> None:
        """End Azurite in order and start it on the same ports. Only with ``persistent`` the data is still there."""
        if self.running:
            self._running_runner().terminate()
        self.start()

    @property
    def _scheme(self) -> str:
        return "https" if self._tls else "http"

    def _url(self, service: str) -> str:
        if not self._ports:
            raise RigError("azurite has no URL before its first start")
        return f"{self._scheme}://127.0.0.1:{self._ports[service]}/{self.account}"

    def _command(self) -> tuple[Sequence[str], Mapping[str, str]]:
        local = self._image is None
        folder = str(self.directory) if local else "/data"
        # It telephones home by default, and refuses clients that are newer than itself.
        arguments = ["--silent", "--disableTelemetry", "--skipApiVersionCheck"]
        arguments += ["--location", folder] if self._persistent else ["--inMemoryPersistence"]
        for service in _SERVICES:
            arguments += [f"--{service}Port", str(self._ports[service])]
            arguments += [f"--{service}Host", "127.0.0.1" if local else "0.0.0.0"]
        if self._tls:
            if self._certificates is None or not self._certificates.ca_file.exists():
                self._certificates = make_certificates(self.directory)
            arguments += ["--oauth", "basic"]
            arguments += ["--cert", f"{folder}/{self._certificates.cert_file.name}"]
            arguments += ["--key", f"{folder}/{self._certificates.key_file.name}"]
        program = [*find_node().command, str(find_azurite())] if local else ["azurite"]
        return [*program, *arguments], {"AZURITE_ACCOUNTS": f"{self.account}:{self.key}"}

    def _is_ready(self) -> bool:
        # By its own log first: only then those who answer on the ports are surely not somebody else.
        log = self.log_tail(50)
        if not all(f":{port}" in log for port in self._ports.values()) or log.count("successfully listening") < len(
            _SERVICES
        ):
            return False
        port = self._ports["blob"]
        connection = (
            http.client.HTTPSConnection(
                "127.0.0.1", port, timeout=5, context=ssl.create_default_context(cafile=self.ca_file)
            )
            if self._tls
            else http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        )
        try:
            connection.request("GET", f"/{self.account}?comp=list")
            return connection.getresponse().status in (200, 401, 403)
        finally:
            connection.close()
