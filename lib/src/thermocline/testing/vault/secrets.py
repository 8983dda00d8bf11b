"""Secrets and their versions, as Key Vault keeps and shows them."""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass, field
from typing import Any, Final

NAME: Final = re.compile("[0-9A-Za-z-]{1,127}")
MOST_BYTES: Final = 25_000  # of a value


class VaultError(Exception):
    """An answer that is no success, in Key Vault's shape."""

    def __init__(
        self, status: int, code: str, message: str, *, inner: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.inner = status, code, message, inner
        self.headers = headers or {}

    def body(self) -> dict[str, Any]:
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.inner is not None:
            error["innererror"] = {"code": self.inner}
        return {"error": error}


@dataclass(slots=True)
class Version:
    """One version of a secret. Times in seconds since 1970."""

    value: str
    enabled: bool = True
    not_before: float | None = None
    expires: float | None = None
    content_type: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    created: float = field(default_factory=time.time)
    updated: float = field(default_factory=time.time)

    def attributes(self) -> dict[str, Any]:
        shown: dict[str, Any] = {"enabled": self.enabled, "created": int(self.created), "updated": int(self.updated)}
        if self.not_before is not None:
            shown["nbf"] = int(self.not_before)
        if self.expires is not None:
            shown["exp"] = int(self.expires)
        return {**shown, "recoveryLevel": "Recoverable+Purgeable", "recoverableDays": 90}


class Secrets:
    """All secrets of a vault. The newest version of a name is its current one."""

    def __init__(self) -> None:
        self._names: dict[str, list[Version]] = {}

    def add(self, name: str, version: Version) -> Version:
        """A new version. Raises VaultError for a name or value that cannot be."""
        _check_name(name)
        if len(version.value.encode()) > MOST_BYTES:
            raise VaultError(400, "BadParameter", "The secret's value is text of at most 25k bytes.")
        self._names.setdefault(name.lower(), []).append(version)
        return version

    def get(self, name: str, version: str = "") -> Version:
        """The version, or (empty) the newest. An expired one is given out too, as Key Vault does: whoever asks looks at ``exp``."""
        found = self.versions(name)
        kept = found[-1] if not version else next((one for one in found if one.id == version), None)
        if kept is None:
            raise _missing(f"{name}/{version}")
        if not kept.enabled:
            raise VaultError(
                403, "Forbidden", "Operation get is not allowed on a disabled secret.", inner="SecretDisabled"
            )
        return kept

    def versions(self, name: str) -> list[Version]:
        """All of a name, oldest first. Raises VaultError if there is none."""
        _check_name(name)
        found = self._names.get(name.lower())
        if found is None:
            raise _missing(name)
        return found

    def names(self) -> list[str]:
        return sorted(self._names)

    def remove(self, name: str) -> None:
        self.versions(name)
        del self._names[name.lower()]


def _check_name(name: str) -> None:
    if NAME.fullmatch(name) is None:
        raise VaultError(400, "BadParameter", f"The request URI contains an invalid name: {name[:200]}")


def _missing(name: str) -> VaultError:
    return VaultError(
        404,
        "SecretNotFound",
        f"A secret with (name/id) {name} was not found in this key vault. If you recently deleted this secret you may be able to recover it.",
    )
