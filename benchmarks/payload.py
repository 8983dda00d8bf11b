"""What all arms store and read: about 512 bytes of JSON, as a turn of a conversation."""

import json
from typing import Any


def turn(number: int) -> dict[str, Any]:
    """A value whose compact JSON has about 512 bytes."""
    return {
        "turn": number,
        "role": "assistant",
        "at": "2026-03-01T09:30:00Z",
        "text": "The parcel left Rotterdam this morning and should reach you on Thursday. " * 5,
        "tools": ["track_parcel", "read_profile"],
        "tokens": {"in": 412, "out": 64},
    }


def packed(number: int) -> bytes:
    """The same as bytes, for arms without a serialiser of their own."""
    return json.dumps(turn(number), separators=(",", ":")).encode()
