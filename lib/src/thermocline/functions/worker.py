"""What the app memory-worker does with its events. Each function raises where its event has to come again, and only there."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from thermocline import telemetry
from thermocline.client import MemoryClient, Verdict
from thermocline.errors import ConfigurationError, TierUnavailable
from thermocline.feed import Replay, Settling, letters_of
from thermocline.functions.events import EXPIRED, NEAR_EXPIRY, NEW_VERSION, vault_event_of
from thermocline.functions.needs import WORKER as NEEDS
from thermocline.functions.process import PROCESS, AppHealth, AppProcess
from thermocline.letters import Cause, LetterFilter, Letters

log = logging.getLogger("thermocline.functions")

REPLAYED_AT_ONCE: Final = 1000  # letters of one timer's turn


class Worker:
    """The worker's events over the memory of a process. Nothing is read or made before the first event."""

    def __init__(
        self, process: AppProcess = PROCESS, *, pause: Callable[[float], Awaitable[object]] = asyncio.sleep
    ) -> None:
        self._process = process
        self._pause = pause
        self._client: MemoryClient | None = None
        self._settling: Settling | None = None
        self._letters: Letters | None = None
        self._replayed_to: str | None = None

    async def settle_changes(self, documents: Sequence[Mapping[str, Any]]) -> None:
        """A batch of the change feed. Raises `TierUnavailable` where it has to come again: hot is down, or what cannot be settled cannot be set aside
        either; the host must then give the same batch again, without an end."""
        settling, _ = await self._parts()
        done = await settling.settle(documents)
        if done.set_aside:
            log.warning("%d of %d documents of the feed were set aside", len(done.set_aside), len(documents))

    async def sweep(self) -> None:
        """One slice of a sweep, within THERMOCLINE_SWEEP_SECONDS and THERMOCLINE_SWEEP_REQUEST_UNITS; the next one goes on there. Of two at once one
        works. Raises `TierUnavailable` where a tier could not be asked, so that it shows; what was done stays done."""
        settings = self._process.settings()
        await self._parts()  # as the others: not with a tier missing
        client = await self._process.client()
        report = await client.sweep(
            max_duration=timedelta(seconds=settings.sweep_seconds), max_request_units=settings.sweep_request_units
        )
        if report.busy_until is not None:
            log.info("another process is sweeping")
            return
        for error in report.errors:
            log.warning("sweep: %s", error)
        if report.stopped.startswith("a tier"):
            raise TierUnavailable(f"the sweep stopped at {report.where}: {report.stopped}", tier="lower", sent=False)
        log.info(
            "swept %d records and %d payloads: %d demoted, %d orphans removed; %s",
            report.records,
            report.payloads,
            report.demotions.moved,
            report.orphans,
            "the pass is complete" if report.finished else f"it goes on at {report.where}",
        )

    async def replay_dead_letters(self) -> None:
        """What was set aside as a part of hot was unavailable is settled again; what fails again stays. The next turn goes on where
        this one ended, and after the last letter at the first. Raises `TierUnavailable` where the letters cannot be read."""
        _, letters = await self._parts()
        await letters.connect()
        client = await self._process.client()
        done = await Replay(client, letters).all(
            LetterFilter(cause=Cause.UNAVAILABLE), limit=REPLAYED_AT_ONCE, cursor=self._replayed_to
        )
        self._replayed_to = done.cursor
        if done.settled or done.kept:
            log.info("dead letters: %d settled, %d kept. %s", done.settled, len(done.kept), done.stopped)

    async def vault_event(self, body: bytes | str) -> None:
        """A message of the vault's queue. A new version of a secret that the tiers sign in with is read at once, before the old one is refused. Raises
        `InvalidArgument` for what is no event, and `TierUnavailable` where the secret cannot be read: the message comes again, and after its last try
        it is in the poison queue."""
        event = vault_event_of(body)
        kind = "secret" if event.of_secret else "key"
        if event.what not in (NEW_VERSION, *NEAR_EXPIRY, *EXPIRED):
            log.info("Key Vault: %s of the %s %s: nothing to do", event.what, kind, event.name)
            return
        renewed: dict[str, bool] = {}
        if event.of_secret:
            renewed = await (await self._process.client()).renew_secrets(event.name)
        if any(renewed.values()):
            log.info("Key Vault: the %s %s was read anew", kind, event.name)
        elif event.what in NEAR_EXPIRY:
            log.warning("Key Vault: the %s %s nears its expiry and has no new version", kind, event.name)
        elif event.what in EXPIRED:
            log.error("Key Vault: the %s %s has expired and has no new version", kind, event.name)

    async def health(self) -> AppHealth:
        """What is missing or wrong, how the tiers are, the feed's figures, and whether letters have a place. Why a tier is not well is logged and not in it,
        for strangers can ask. Raises nothing of our tree."""
        found = await self._process.health(NEEDS)
        document = found.document
        memory = document.pop("memory", None)
        if memory is not None:
            if not found.ready:
                log.warning(
                    "the memory is not well: %s", telemetry.without_secrets("; ".join(memory["reasons"]))[:1000]
                )
            document["memory"] = {"tiers": {tier: one["verdict"] for tier, one in memory.get("tiers", {}).items()}}
        if not found.ready:
            return found
        try:
            settling, letters = await self._parts()
            document["feed"] = settling.figures()
            await letters.connect()
        except TierUnavailable as error:
            log.warning("the place for dead letters cannot be asked: %s", telemetry.without_secrets(str(error))[:1000])
            document["wrong"].append("the place for dead letters cannot be asked now; the log says why")
            document["status"] = Verdict.DEGRADED.value
        except ConfigurationError as error:
            document["wrong"].append(str(error))
            document["status"] = "misconfigured"
            return AppHealth(False, document)
        return found

    async def _parts(self) -> tuple[Settling, Letters]:
        client = await self._process.client()
        if self._settling is None or self._letters is None or self._client is not client:
            settings = self._process.settings()
            letters = letters_of(client, settings.dead_letters_container)
            self._settling = Settling(client, letters, attempts=settings.feed_attempts, pause=self._pause)
            self._letters, self._client = letters, client
            self._process.keep(letters)
            self._process.keep(_Ended(self._settling))
        return self._settling, self._letters


class _Ended:
    """A settling is no longer counted when its process closes."""

    def __init__(self, settling: Settling) -> None:
        self._settling = settling

    async def close(self) -> None:
        self._settling.close()


WORKER: Final = Worker()
"""That of this process."""
