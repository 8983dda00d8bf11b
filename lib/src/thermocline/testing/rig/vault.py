"""Key Vault for tests: our strict server, over TLS, with a managed identity to sign in by."""

import json
import secrets
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

from thermocline.testing.rig.certificates import Certificates, make_certificates
from thermocline.testing.rig.errors import RigError
from thermocline.testing.rig.server import Server


class KeyVaultServer(Server):
    """A vault's secrets and a managed identity's endpoint in one process. All calls block, for about a millisecond on loopback.

    The identity has the role "Key Vault Secrets User" until `roles` says otherwise. Clients must trust `ca_file`; `environment` has that, and
    where the identity is, for a process of its own.
    """

    name: ClassVar[str] = "key-vault"

    def __init__(self, *, port: int | None = None, patience: timedelta = timedelta(seconds=30)) -> None:
        super().__init__(port=port, image=None, patience=patience)
        self._certificates: Certificates | None = None
        self._header = secrets.token_hex(16)

    @property
    def url(self) -> str:
        """The vault's URI, as in ``KEY_VAULT_URI``."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def ca_file(self) -> Path:
        """The authority that clients must trust (PEM). Raises RigError before the start."""
        if self._certificates is None:
            raise RigError("the vault has a certificate only after its start")
        return self._certificates.ca_file

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which azure-identity finds the managed identity, and OpenSSL the authority to trust."""
        return {
            "IDENTITY_ENDPOINT": f"{self.url}/msi/token",
            "IDENTITY_HEADER": self._header,
            "SSL_CERT_FILE": str(self.ca_file),
        }

    # --- what a test says to it ----------------------------------------------------------------------------------------

    def set(
        self,
        name: str,
        value: str,
        *,
        enabled: bool = True,
        expires_in: float | None = None,
        begins_in: float | None = None,
    ) -> str:
        """A new version of a secret, which is its current one from now on; returns its id. Times in seconds from now."""
        made = self._ask("set", name=name, value=value, enabled=enabled, expires_in=expires_in, begins_in=begins_in)
        return str(made["version"])

    def enable(self, name: str, enabled: bool, *, version: str | None = None) -> None:
        """Enable or disable a version, or all of them."""
        self._ask("enable", name=name, enabled=enabled, version=version)

    def delete(self, name: str) -> None:
        """Take a secret away."""
        self._ask("delete", name=name)

    def throttle(self, count: int, *, retry_after: int = 1) -> None:
        """Answer the next ``count`` requests with 429 and ``Retry-After`` (seconds)."""
        self._ask("faults", throttled=count, retry_after=retry_after)

    def fail(self, count: int) -> None:
        """Answer the next ``count`` requests with 500."""
        self._ask("faults", failing=count)

    def down(self, *parts: str) -> None:
        """Drop every request to these parts, ``vault`` and ``identity``; none: both are up again."""
        self._ask("faults", down=list(parts))

    def roles(self, *roles: str) -> None:
        """Give the identity exactly these roles, "Key Vault Secrets User" and "Key Vault Secrets Officer"."""
        self._ask("identity", roles=list(roles))

    def tokens(self, *, lifetime: float | None = None, principal: str | None = None, revoke: bool = False) -> str:
        """How long tokens live from now on (seconds), whose they are (``oid``), and whether those given out count no more. Returns the principal."""
        given: dict[str, Any] = {"revoke": revoke}
        if lifetime is not None:
            given["lifetime"] = lifetime
        if principal is not None:
            given["principal"] = principal
        return str(self._ask("identity", **given)["principal"])

    def stats(self, *, reset: bool = False) -> dict[str, Any]:
        """``asked``: how often by part and status; ``log``: method, path and status of each request; ``issued``: the claims of each token."""
        found: dict[str, Any] = self._ask("stats", reset=reset)
        return found

    # --- the process -----------------------------------------------------------------------------------------------------

    def _ask(self, control: str, **given: Any) -> Any:
        request = urllib.request.Request(
            f"{self.url}/_control/{control}",
            data=json.dumps(given).encode(),
            headers={"Content-Type": "application/json"},
        )
        context = ssl.create_default_context(cafile=self.ca_file)
        try:
            with urllib.request.urlopen(request, timeout=10, context=context) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                raise RigError(f"{control}: {error.code} {error.read().decode(errors='replace')}") from error

    def _command(self) -> tuple[Sequence[str], Mapping[str, str]]:
        if self._certificates is None or not self._certificates.ca_file.exists():
            self._certificates = make_certificates(self.directory)
        files = self._certificates
        command = [sys.executable, "-m", "thermocline.testing.vault", "--port", str(self.port)]
        command += ["--cert-file", str(files.cert_file), "--key-file", str(files.key_file)]
        return command, {"IDENTITY_HEADER": self._header}

    def _is_ready(self) -> bool:
        # By its own log first: only then who answers on the port is surely not somebody else.
        return f"READY {self.url}" in self.log_tail(5) and bool(self._ask("ping")["ok"])
