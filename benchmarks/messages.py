"""Turns of conversations as agents keep them: about 1.1 kB of JSON each, much of it the same in all, and much that is each one's own."""

import random
from typing import Any, Final

_OPENERS: Final = (
    "Could you check whether",
    "I would like to know if",
    "Please tell me when",
    "Thank you, that is all about",
    "Here is what I found about",
    "Let me look into",
    "I have updated your order and",
)
_GOODS: Final = ("running shoes", "rain jacket", "tent for two", "head torch", "sleeping bag", "water bottle")
_TEXT: Final = (
    "able about above across after again air all along also always another any area around ask away back base before begin below best between big bring build"
    " busy call came carry cause change check city class clear close cold come common cool could country cover cross day deep differ direct door draw dry early"
    " earth east easy eat end enough even ever every face fact fall farm fast feel few field fill final find fine fire first fish five fly follow food foot"
)
_WORDS: Final = tuple(_TEXT.split())


def message(number: int, user: str, *, secret: str = "") -> dict[str, Any]:
    """The same for the same number and user. ``secret`` stands in the text."""
    draw = random.Random(f"{number} {user}")
    text = " ".join(
        f"{draw.choice(_OPENERS)} {' '.join(draw.choices(_WORDS, k=draw.randint(6, 14)))} {draw.choice(_GOODS)}."
        for _ in range(draw.randint(5, 8))
    )
    return {
        "id": f"{draw.getrandbits(128):032x}",
        "conversation": f"{draw.getrandbits(64):016x}",
        "role": draw.choice(["user", "assistant", "tool"]),
        "author": {
            "id": user,
            "name": f"{draw.choice(['Ada', 'Grace', 'Edsger'])} {draw.getrandbits(32)}",
            "locale": "en-GB",
        },
        "created": f"2026-11-{draw.randint(1, 28):02}T{draw.randint(0, 23):02}:{draw.randint(0, 59):02}:07.{draw.randint(1, 999999):06}Z",
        "content": [{"type": "text", "text": f"{text} {secret}".rstrip()}],
        "tools": [
            {
                "name": "track_parcel",
                "arguments": {"order": draw.getrandbits(26)},
                "status": "succeeded",
                "ms": draw.randint(9, 900),
            }
        ],
        "usage": {
            "input_tokens": draw.randint(100, 4000),
            "output_tokens": draw.randint(10, 900),
            "model": "gpt-5-mini",
        },
        "metadata": {
            "channel": "web",
            "experiment": "control",
            "safety": {"blocked": False, "score": draw.randint(1, 99) / 100 + 0.001},
        },
    }
