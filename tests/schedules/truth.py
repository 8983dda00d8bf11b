"""What really happened in the authority, and the judgement of every answer that a client gave.

The promise: a read that begins after version v was acknowledged to a writer or returned to any reader returns at least v, and what it returns is what
that version holds, neither deleted nor past its expiry. In a bounded world (COHERENCE section 3, where losses and failures mix) v counts for others only
once hot has been told of it; for the client that saw it, it counts at once (P6).
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from thermocline.clock import Clock
from thermocline.codec import Codec
from thermocline.model import Envelope, Hit, Key, Miss, Outcome
from thermocline.protocols import Effect, Verb, Write, Written

NOTHING = object()  # `get`'s default
_UNREAD = object()


@dataclass(slots=True)
class Commit:
    """One version, as the authority took it at ``at`` (virtual seconds)."""

    version: int
    at: float
    write: Write
    envelope: Envelope
    value: Any = _UNREAD  # decoded on first use

    def dead(self, now_ms: int) -> bool:
        return not self.envelope.live(now_ms)


class Truth:
    """The log of one schedule. ``problems`` says in words what was wrong; empty is good."""

    def __init__(self, clock: Clock, codec: Codec, payload_of: Any, *, exact: bool, journal: bool = False) -> None:
        self.clock = clock
        self.exact = exact
        self.problems: list[str] = []
        self.log: dict[Key, list[Commit]] = defaultdict(list)
        self.ids: set[str] = set()
        self.known: dict[Key, int] = {}  # acknowledged or returned to anybody
        self.told: dict[Key, int] = {}  # of which hot was told
        self.seen: dict[tuple[object, Key], int] = {}  # acknowledged or returned to this client
        self._codec = codec
        self._payload_of = payload_of
        self._journal = journal
        self.history: list[str] = []

    def problem(self, text: str) -> None:
        self.problems.append(f"{self.clock.monotonic():.6f}: {text}")
        self.note("PROBLEM", text)

    def note(self, *words: object) -> None:
        """Write down what happens, where a history is wanted."""
        if self._journal:
            self.history.append(" ".join([f"{self.clock.monotonic():.6f}", *map(str, words)]))

    # --- what happens ------------------------------------------------------------------------------------------------

    def commit(self, write: Write, written: Written) -> None:
        """The authority took a write."""
        if written.effect is not Effect.TOOK or written.envelope is None:
            return
        self.note("the authority took", write.verb.name, write.key, "as", written.version, "by", write.id[-6:])
        log = self.log[write.key]
        commit = Commit(written.version, self.clock.monotonic(), write, written.envelope)
        before = log[-1] if log else None
        if before is not None and before.version >= commit.version:
            self.problem(f"{write.key}: version {commit.version} was given out after {before.version}")
        if write.id in self.ids:
            self.problem(f"{write.key}: one write took effect twice")
        now = self.clock.wall_ms()
        if write.if_version is not None and (before is None or before.version != write.if_version):
            self.problem(f"{write.key}: a write took although its if_version did not hold")
        if write.if_absent and before is not None and not before.dead(now):
            self.problem(f"{write.key}: a write took although the key was there (if_absent)")
        self.ids.add(write.id)
        log.append(commit)
        if write.verb is Verb.PUT:
            self._check_basis(commit, before, now)

    def _check_basis(self, commit: Commit, before: Commit | None, now_ms: int) -> None:
        """An update stands on the value that it replaces: none is lost."""
        value = self.value_of(commit)
        if not isinstance(value, dict) or "on" not in value:
            return
        there = None if before is None or before.envelope.tombstone else self.value_of(before)["n"]
        gone = before is None or before.dead(now_ms)
        if value["on"] != there and not (gone and value["on"] == 0):
            self.problem(f"{commit.write.key}: an update of value {value['on']} replaced value {there}")

    def tell(self, key: Key, version: int) -> None:
        """Hot was told of a version."""
        if version > self.told.get(key, 0):
            self.told[key] = version

    def acknowledge(self, client: object, key: Key, version: int) -> None:
        """A client's caller was given this version."""
        self.note("client", client, "knows", key, "at", version)
        if version > self.known.get(key, 0):
            self.known[key] = version
        if version > self.seen.get((client, key), 0):
            self.seen[client, key] = version

    def required(self, client: object, key: Key) -> int:
        """The least that a read which begins now must return."""
        common = self.known if self.exact else self.told
        return max(
            common.get(key, 0) if self.exact else min(common.get(key, 0), self.known.get(key, 0)),
            self.seen.get((client, key), 0),
        )

    # --- questions ---------------------------------------------------------------------------------------------------

    def value_of(self, commit: Commit) -> Any:
        if commit.value is _UNREAD:
            envelope = commit.envelope
            if envelope.pointer:
                envelope = self._payload_of(envelope)
            commit.value = self._codec.decode(envelope, None)
        return commit.value

    def find(self, key: Key, version: int) -> Commit | None:
        for commit in reversed(self.log[key]):
            if commit.version == version:
                return commit
        return None

    def during(self, key: Key, begin: float) -> list[Commit | None]:
        """What the key's newest record was at some moment between ``begin`` and now; None: there was none."""
        log = self.log[key]
        past = [commit for commit in log if commit.at < begin]
        return [past[-1] if past else None, *(commit for commit in log if commit.at >= begin)]

    # --- judging answers ---------------------------------------------------------------------------------------------

    def looked_up(self, client: object, key: Key, required: int, outcome: Outcome) -> None:
        if isinstance(outcome, Hit):
            if self._current(key, outcome.version, required, "a hit"):
                self._held(key, outcome.version, outcome.value)
            self.acknowledge(client, key, outcome.version)
        elif isinstance(outcome, Miss):
            if self._current(key, outcome.version, required, "a miss") and outcome.version:
                commit = self.find(key, outcome.version)
                if commit is not None and not commit.dead(self.clock.wall_ms()):
                    self.problem(f"{key}: a miss at version {outcome.version}, which is a live value")
            self.acknowledge(client, key, outcome.version)

    def _current(self, key: Key, version: int, required: int, what: str) -> bool:
        if version < required:
            self.problem(f"{key}: STALE, {what} at version {version} although {required} was known when the read began")
            return False
        if version and self.find(key, version) is None:
            self.problem(f"{key}: {what} at version {version}, which the authority never gave out")
            return False
        return True

    def _held(self, key: Key, version: int, value: Any) -> None:
        commit = self.find(key, version)
        if commit is None:
            return
        if commit.envelope.tombstone:
            self.problem(f"{key}: RESURRECTED, version {version} is a deletion")
        elif commit.dead(self.clock.wall_ms()):
            self.problem(f"{key}: EXPIRED, version {version} ended at {commit.envelope.header.expires_ms} ms")
        elif self.value_of(commit) != value:
            self.problem(f"{key}: TORN, version {version} holds {self.value_of(commit)!r}, returned was {value!r}")

    def got(self, client: object, key: Key, required: int, value: Any) -> None:
        """A value without a version: some version must explain it; the oldest that does is the one that was seen."""
        now = self.clock.wall_ms()
        if value is NOTHING:
            if required and not any(commit.version >= required and commit.dead(now) for commit in self.log[key]):
                self.problem(
                    f"{key}: STALE, nothing was found although version {required} was known, and no later one is dead"
                )
            return
        held = [c for c in self.log[key] if not c.envelope.tombstone and self.value_of(c) == value]
        if not held:
            self.problem(f"{key}: {value!r} was returned, and never stored")
            return
        recent = [commit for commit in held if commit.version >= required]
        if not recent:
            self.problem(
                f"{key}: STALE, {value!r} is of version {held[-1].version}, and {required} was known when the read began"
            )
        elif all(commit.dead(now) for commit in recent):
            self.problem(f"{key}: EXPIRED, {value!r} was returned after its end")
        else:
            self.acknowledge(client, key, recent[0].version)

    def wrote(self, client: object, key: Key, version: int, value: Any = NOTHING) -> None:
        """A write was acknowledged as ``version``."""
        commit = self.find(key, version)
        if commit is None:
            self.problem(f"{key}: version {version} was acknowledged, and the authority never gave it out")
            return
        if value is not NOTHING and self.value_of(commit) != value:
            self.problem(
                f"{key}: {value!r} was acknowledged as version {version}, which holds {self.value_of(commit)!r}"
            )
        self.acknowledge(client, key, version)

    def refused(self, key: Key, begin: float, if_version: int | None, if_absent: bool) -> None:
        """A conditional write was refused: at some moment its condition must not have held."""
        states, now = self.during(key, begin), self.clock.wall_ms()
        if if_version is not None and all(state is not None and state.version == if_version for state in states):
            self.problem(f"{key}: if_version={if_version} was refused, and the key was at that version all the time")
        if if_absent and all(
            state is None or state.dead(int(now - (self.clock.monotonic() - begin) * 1000)) for state in states
        ):
            self.problem(f"{key}: if_absent was refused, and the key had no value all the time")

    def found_nothing(self, key: Key, begin: float, verb: Verb) -> None:
        """A delete or touch answered that there was nothing to act on."""
        states, now = self.during(key, begin), self.clock.wall_ms()
        if verb is Verb.DELETE and states[0] is not None:
            self.problem(f"{key}: a delete found nothing, and there was a record all the time")
        if verb is Verb.TOUCH and all(state is not None and not state.dead(now) for state in states):
            self.problem(f"{key}: a touch found nothing, and there was a value all the time")
