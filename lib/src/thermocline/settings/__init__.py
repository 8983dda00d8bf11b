"""What is configured from outside: docs/configuration.md has every variable with its default, unit and reason.

`MemorySettings` is the only reader of the environment; `FileSettings` are those of one file alone. ``kinds`` has the kinds of their values.
"""

from thermocline.settings.kinds import ServiceUrl, data_folder, spelled
from thermocline.settings.memory import (
    DOTENV,
    READ_AS,
    FileSettings,
    MemorySettings,
    in_plain_words,
    redis_url,
    variables,
)

__all__ = [
    "DOTENV",
    "READ_AS",
    "FileSettings",
    "MemorySettings",
    "ServiceUrl",
    "data_folder",
    "in_plain_words",
    "redis_url",
    "spelled",
    "variables",
]
