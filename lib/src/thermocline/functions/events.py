"""Key Vault's events, as Event Grid puts them into the queue: CloudEvents in JSON. Pure."""

import base64
import binascii
import json
import re
from dataclasses import dataclass
from typing import Any, Final

from thermocline.errors import InvalidArgument

_OURS: Final = "Microsoft.KeyVault."
NEW_VERSION: Final = "SecretNewVersionCreated"
NEAR_EXPIRY: Final = ("SecretNearExpiry", "KeyNearExpiry")
EXPIRED: Final = ("SecretExpired", "KeyExpired")
_NAME: Final = re.compile("[0-9A-Za-z-]{1,127}")  # of a secret or key


@dataclass(frozen=True, slots=True)
class VaultEvent:
    """``what`` happened (the event's type without Microsoft.KeyVault), to the secret or key ``name``. The value is in no event."""

    what: str
    name: str
    vault: str

    @property
    def of_secret(self) -> bool:
        return self.what.startswith("Secret")


def vault_event_of(body: bytes | str) -> VaultEvent:
    """The event in a message, plain or in base64. Raises `InvalidArgument` for what is none: nothing of the body is repeated."""
    event = _document(body)
    kind, data = event.get("type", event.get("eventType")), event.get("data")
    if not isinstance(kind, str) or not kind.startswith(_OURS) or not isinstance(data, dict):
        raise InvalidArgument(
            "a message of the vault's queue is no event of Key Vault: it has no such type, or no data"
        )
    name, vault = data.get("ObjectName"), data.get("VaultName", "")
    if not isinstance(name, str) or _NAME.fullmatch(name) is None or not isinstance(vault, str):
        raise InvalidArgument("an event of Key Vault names no secret or key (data.ObjectName)")
    return VaultEvent(kind.removeprefix(_OURS)[:100], name, vault)


def _document(body: bytes | str) -> dict[str, Any]:
    raw = body.encode(errors="replace") if isinstance(body, str) else body
    if not raw.lstrip().startswith(b"{"):
        try:
            raw = base64.b64decode(raw, validate=True)
        except binascii.Error as error:
            raise InvalidArgument("a message of the vault's queue is neither JSON nor base64 of it") from error
    try:
        event = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument("a message of the vault's queue is no JSON") from error
    if not isinstance(event, dict):
        raise InvalidArgument("a message of the vault's queue is no event: it is no object")
    return event
