"""The agent of the demo: it lives through a conversation and keeps it in three tiers, each thing where it belongs."""

import asyncio
import hashlib
import mimetypes
import re
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from thermocline.agents import Agent
from thermocline.policy import MemoryRules, Route

RECENT: Final = 40  # turns that stay single; older ones are packed
EPISODE: Final = 20  # turns that are packed together
STREAMED: Final = 1 << 20  # bytes from which a document is streamed
_WORD: Final = re.compile(r"[^\W\d_]{5,}")
_FACTS: Final = (
    ("name", re.compile(r"\bmy name is (\w+)", re.IGNORECASE)),
    ("home", re.compile(r"\bI live in ([A-Z]\w+)")),
    ("work", re.compile(r"\bI work (?:as|at) ([^.,;!?]{3,40})", re.IGNORECASE)),
    ("likes", re.compile(r"\bI (?:like|prefer|love) ([^.,;!?]{3,40})", re.IGNORECASE)),
)

ROUTES: Final = (
    # Single turns: in hot for the hour in which they are likely to be asked for, with the authority below.
    Route("turn/", rules=MemoryRules(hot_ttl_seconds=3600)),
    # What is known for good: written to warm alone; hot gets a copy when it is read.
    Route("profile", rules=MemoryRules(write_around=True)),
    Route("summary/", rules=MemoryRules(write_around=True)),
    # What is large or old: its payload in cold, a pointer in warm.
    Route("episode/", rules=MemoryRules(write_cold=True, write_around=True)),
    Route("document/", rules=MemoryRules(write_cold=True, write_around=True)),
)
"""Recent turns hot, profile and summaries warm, documents and old turns cold."""


def turn_name(number: int) -> str:
    return f"turn/{number:06d}"


def learn(profile: dict[str, Any], turn: dict[str, Any]) -> dict[str, Any]:
    """The profile after a turn: pure, so that anybody can work out what it must be."""
    turns = {**profile.get("turns", {})}
    turns[turn["role"]] = turns.get(turn["role"], 0) + 1
    facts = {**profile.get("facts", {})}
    if turn["role"] == "user":
        for name, pattern in _FACTS:
            found = pattern.search(turn["text"])
            if found is not None:
                facts[name] = found.group(1).strip()
    return {"facts": facts, "turns": turns}


def summarise(number: int, turns: list[dict[str, Any]]) -> dict[str, Any]:
    """What is kept of an episode in a few words: its words by weight, and how each of the user's turns began."""
    words = Counter(word.lower() for turn in turns for word in _WORD.findall(turn["text"]))
    asked = [turn["text"].split(". ")[0][:120] for turn in turns if turn["role"] == "user"]
    return {"episode": number, "turns": len(turns), "about": [w for w, _ in words.most_common(8)], "asked": asked[:6]}


class DemoAgent(Agent):
    """Handles ``{"number": n, "turn": {"role", "text", …}, "attach": [path, …]}`` and answers ``{"stored", "gone", "recalled", "documents"}``.

    ``stored`` has what was written under which name, ``recalled`` what the memory gave for this turn's context, ``documents`` the SHA-256 of the
    documents that were read again.
    """

    async def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        number: int = request["number"]
        turn: dict[str, Any] = request["turn"]
        answer: dict[str, Any] = {"stored": {}, "gone": [], "recalled": {}, "documents": {}}
        for path in request.get("attach", ()):
            answer["documents"][path.name] = await self._keep_document(path)
        await self.own.set(turn_name(number), turn)
        answer["stored"][turn_name(number)] = turn
        await self.own.update("profile", lambda profile: learn(profile, turn), default={})
        if number >= RECENT + EPISODE and (number - RECENT) % EPISODE == 0:
            await self._pack(number, answer)
        await self._recall(number, turn, answer)
        return answer

    async def _keep_document(self, path: Path) -> str:
        """Store a document; its SHA-256, worked out from the file."""
        media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        tags = {"kind": "document"}
        name = f"document/{path.name}"
        digest = hashlib.sha256()
        data = await asyncio.to_thread(_small, path)
        if data is not None:
            digest.update(data)
            await self.own.set(name, data, media_type=media_type, tags=tags)
        else:
            await self.own.set_stream(name, _chunks(path, digest), media_type=media_type, tags=tags)
        return digest.hexdigest()

    async def _pack(self, number: int, answer: dict[str, Any]) -> None:
        """The oldest single turns become one episode in cold and a summary in warm."""
        episode = (number - RECENT) // EPISODE - 1
        first = episode * EPISODE
        names = [turn_name(n) for n in range(first, first + EPISODE)]
        found = (await self.own.get_many(names)).raise_errors()
        turns = [found[name] for name in names]
        kept = {f"episode/{episode:04d}": turns, f"summary/{episode:04d}": summarise(episode, turns)}
        (await self.own.set_many(kept)).raise_errors()
        (await self.own.delete_many(names)).raise_errors()
        answer["stored"] |= kept
        answer["gone"] += names

    async def _recall(self, number: int, turn: dict[str, Any], answer: dict[str, Any]) -> None:
        """What a model would be given with this turn."""
        recalled = answer["recalled"]
        recalled["profile"] = await self.own.get("profile")
        first = max(0, number - 9)
        names = [turn_name(n) for n in range(first, number + 1)]
        recalled |= (await self.own.get_many(names)).raise_errors()
        episodes = max(0, (number - RECENT) // EPISODE)
        for episode in range(max(0, episodes - 2), episodes):
            name = f"summary/{episode:04d}"
            recalled[name] = await self.own.get(name)
        if turn["role"] == "user" and episodes and number % 6 == 0:  # the user comes back to something of long ago
            name = f"episode/{number * 7 % episodes:04d}"
            recalled[name] = await self.own.get(name)
        for name in turn.get("recall", ()):
            answer["documents"][name] = await self.digest_of(name)

    async def digest_of(self, document: str) -> str:
        """The SHA-256 of a document as the memory has it."""
        digest = hashlib.sha256()
        async for chunk in self.own.stream(f"document/{document}"):
            digest.update(chunk)
        return digest.hexdigest()


def _small(path: Path) -> bytes | None:
    """The bytes of a file that need not be streamed."""
    return path.read_bytes() if path.stat().st_size < STREAMED else None


async def _chunks(path: Path, digest: "hashlib._Hash") -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(1 << 18):
            digest.update(chunk)
            yield chunk
