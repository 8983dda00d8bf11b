"""The kinds of values that settings have: each takes the text of a variable, or says in plain words what it is not."""

import os
import re
import sys
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field


def url(*schemes: str, hint: str = "") -> AfterValidator:
    def check(value: str) -> str:
        try:
            parts = urlsplit(value)
            usable = parts.scheme in schemes and bool(parts.path if parts.scheme == "unix" else parts.hostname)
            _ = parts.port
        except ValueError:
            usable = False
        if not usable:
            forms = [f"{scheme}:///path" if scheme == "unix" else f"{scheme}://host" for scheme in schemes]
            raise ValueError(f"is no URL of the form {' or '.join(forms)}{hint}")
        return value

    return AfterValidator(check)


def host(value: str) -> str:
    if any(mark in value for mark in "/@?# ") or not value:
        raise ValueError(
            "is a host's name alone, without scheme, path, user or password; for a whole URL set REDIS_URL"
        )
    return value


def spelled(pattern: str, otherwise: str) -> AfterValidator:
    """For a text that the pattern matches from end to end; else ValueError says ``otherwise``."""

    def check(value: str) -> str:
        if re.fullmatch(pattern, value) is None:
            raise ValueError(otherwise)
        return value

    return AfterValidator(check)


def nothing(value: Any) -> Any:
    return None if isinstance(value, str) and value.strip().lower() in ("none", "off") else value


def data_folder() -> Path:
    """Where this system keeps a user's application data, for us."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "thermocline"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "thermocline"
    given = os.environ.get("XDG_DATA_HOME", "")
    base = Path(given) if given.startswith("/") else Path.home() / ".local" / "share"  # a relative one is to be ignored
    return base / "thermocline"


def home(value: Path) -> Path:
    try:
        return value.expanduser().absolute()
    except RuntimeError as error:
        raise ValueError("names a home folder that cannot be found; give an absolute path") from error


RedisUrl = Annotated[str, url("rediss", "redis", "unix", hint=" (in a password, write special characters as %XX)")]
ServiceUrl = Annotated[str, url("https", "http")]
VaultUrl = Annotated[str, url("https", hint=" (Key Vault speaks nothing but TLS)")]
SecretName = Annotated[
    str,
    spelled(
        "[0-9A-Za-z-]{1,127}",
        "is no secret's name in Key Vault: 1 to 127 letters, digits and hyphens (the name, not the value)",
    ),
]
BlobContainer = Annotated[
    str,
    spelled(
        r"(?=.{3,63}\Z)[a-z0-9$](-?[a-z0-9])*",
        "is no container's name: 3 to 63 small letters, digits and single hyphens, with a letter or digit first and last",
    ),
]
TableName = Annotated[
    str, spelled("[A-Za-z][A-Za-z0-9]{2,62}", "is no table's name: 3 to 63 letters and digits, a letter first")
]
Dictionary = Annotated[
    str,
    spelled(
        "latest|[0-9a-f]{8}",
        "is latest, the id of a dictionary (8 hexadecimal digits: thermocline dictionary list), or none",
    ),
]
Host = Annotated[str, AfterValidator(host)]
Home = Annotated[Path, AfterValidator(home)]
Milliseconds = Annotated[int, Field(ge=1, le=3_600_000, json_schema_extra={"unit": "ms"})]
Bytes = Annotated[int, Field(ge=2**20, json_schema_extra={"unit": "bytes"})]
