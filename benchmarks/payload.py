"""What all arms store and read: about 512 bytes of JSON, as a turn of a conversation; and the deadlines of the clients."""

import json
from datetime import timedelta
from typing import Any

from thermocline.resilience import Budget


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


def patient() -> Budget:
    """Deadlines that a machine busy with other things does not reach; that there are deadlines costs the same."""
    span = timedelta(seconds=30)
    return Budget(call=span, hot=span, warm=span, cold=span)
