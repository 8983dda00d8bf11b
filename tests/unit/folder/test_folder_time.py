"""`FolderMemory` and time: deadlines, locks, writes that are given up, several writers."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import pytest
from tests.unit.folder.ground import KEY, put, soon

from thermocline.blobs import wire
from thermocline.errors import ClientClosed, TierTimeout, UnknownOutcome
from thermocline.keys import head_path
from thermocline.protocols import Effect
from thermocline.tiers.local.files import Files, TemporaryFile
from thermocline.tiers.local.folder import FolderMemory


class GatedExecutor(Executor):
    """One thread that works only while the gate is open."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.threads: list[threading.Thread] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def work() -> None:
            self.gate.wait()
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(fn(*args, **kwargs))
            except Exception as error:  # noqa: BLE001 - the future carries it
                future.set_exception(error)

        thread = threading.Thread(target=work)
        self.threads.append(thread)
        thread.start()
        return future


async def test_before_connecting_and_in_another_loop_it_says_so(folder: FolderMemory, tmp_path: Path) -> None:
    with pytest.raises(ClientClosed, match="connect"):
        await FolderMemory(tmp_path / "other").read(KEY, deadline=soon())
    with pytest.raises(ClientClosed, match="another event loop"):
        await asyncio.to_thread(lambda: asyncio.run(folder.read(KEY, deadline=soon())))


async def test_lock_of_somebody_else_is_waited_for(folder: FolderMemory) -> None:
    with folder._files.lock(head_path(KEY)) as held:
        assert held
        with pytest.raises(TierTimeout) as caught:
            await folder.write(put(folder, 1, 1), deadline=soon(0.05))
        task = asyncio.create_task(folder.write(put(folder, 2, 2), deadline=soon()))
        await asyncio.sleep(0)
        assert not task.done()
    written = await task

    assert not caught.value.sent
    assert written.effect is Effect.TOOK
    assert len(await ring(folder)) == 1


async def ring(tier: FolderMemory) -> list[str]:
    head = wire.unpack_head((tier.path / head_path(KEY)).read_bytes(), KEY)
    return [stamp.id for stamp in head.ring]


async def test_write_that_was_given_up_before_it_began_never_happens(tmp_path: Path) -> None:
    executor = GatedExecutor()
    async with FolderMemory(tmp_path / "cold", executor=executor, fsync=False) as tier:
        executor.gate.clear()
        with pytest.raises(TierTimeout):
            await tier.write(put(tier, 1, 1), deadline=soon(0.02))
        cancelled = asyncio.create_task(tier.write(put(tier, 2, 2), deadline=soon()))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        executor.gate.set()
        for thread in executor.threads:
            thread.join()

        assert await tier.read(KEY, deadline=soon()) is None


class SlowFiles(Files):
    """A disk that takes its time over putting a file in its place."""

    entered, go_on = threading.Event(), threading.Event()

    def publish(self, spool: TemporaryFile, path: str) -> None:
        self.entered.set()
        self.go_on.wait()
        super().publish(spool, path)


async def test_disk_that_answers_too_late_is_an_unknown_outcome(tmp_path: Path) -> None:
    """The new head has begun to take its place when the deadline comes."""
    executor = GatedExecutor()
    async with FolderMemory(tmp_path / "cold", executor=executor, fsync=False) as tier:
        files = tier._files = SlowFiles(tier.path, fsync=False)
        write = put(tier, 1, 1)
        task = asyncio.create_task(tier.write(write, deadline=soon(0.3)))
        await asyncio.to_thread(files.entered.wait)
        with pytest.raises(UnknownOutcome) as caught:
            await task
        files.go_on.set()
        for thread in executor.threads:
            thread.join()

        assert caught.value.write_id == write.id
        assert await ring(tier) == [write.id]


async def test_writers_of_one_key_at_once_all_take_effect(tmp_path: Path) -> None:
    async with FolderMemory(tmp_path / "cold", fsync=False) as tier:
        written = await tier.write_many([put(tier, n, n) for n in range(40)], deadline=soon())

        assert len({getattr(w, "version", None) for w in written}) == 40
