"""`FolderMemory` beyond what every tier must do: its files, its deadlines, its sweeper, and a store that is damaged or gone."""

from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.folder.ground import CODEC, KEY, put, soon

from thermocline.errors import ConfigurationError, CorruptRecord, InvalidArgument, TierUnavailable, UnreadableRecord
from thermocline.keys import head_path
from thermocline.protocols import Effect, Payloads, Versions
from thermocline.testing import ManualClock
from thermocline.tiers.local.files import MARK
from thermocline.tiers.local.folder import FolderMemory


class InlineExecutor(Executor):
    """Runs each call where it is submitted, as the tests on virtual time do."""

    def __init__(self) -> None:
        self.calls = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.calls += 1
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - the future carries it
            future.set_exception(error)
        return future


@pytest.fixture
async def folder(tmp_path: Path, clock: ManualClock) -> AsyncIterator[FolderMemory]:
    async with FolderMemory(tmp_path / "cold", clock=clock, executor=InlineExecutor(), fsync=False) as tier:
        yield tier


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_plays_its_parts(tmp_path: Path) -> None:
    tier = FolderMemory(tmp_path / "cold")

    assert isinstance(tier, Payloads)
    assert isinstance(tier, Versions)
    assert not tier.path.exists()  # nothing is done before connect


async def test_everything_that_blocks_goes_through_the_executor(tmp_path: Path) -> None:
    executor = InlineExecutor()
    async with FolderMemory(tmp_path / "cold", executor=executor) as tier:
        calls = []
        for call in (
            tier.ping(deadline=soon()),
            tier.write(put(tier, 1, 1), deadline=soon()),
            tier.read(KEY, deadline=soon()),
            tier.put_payload(KEY, b"x", deadline=soon()),
            tier.scan("t", "s", "", limit=1, cursor=None, deadline=soon()),
        ):
            before = executor.calls
            await call
            calls.append(executor.calls - before)

    assert all(count > 0 for count in calls)


async def test_same_write_again_is_the_same_write(folder: FolderMemory) -> None:
    write = put(folder, "value", 1)
    first = await folder.write(write, deadline=soon())
    await folder.write(put(folder, "later", 2), deadline=soon())

    again = await folder.write(write, deadline=soon())

    assert (again.effect, again.version) == (Effect.TOOK, first.version)
    assert CODEC.decode((await folder.read(KEY, deadline=soon())) or pytest.fail("gone")) == "later"


async def test_version_is_the_clock_or_one_more(folder: FolderMemory, clock: ManualClock) -> None:
    first = await folder.write(put(folder, 1, 1), deadline=soon())
    second = await folder.write(put(folder, 2, 2), deadline=soon())
    clock.advance(1)
    third = await folder.write(put(folder, 3, 3), deadline=soon())
    clock.set_wall(1000)
    fourth = await folder.write(put(folder, 4, 4), deadline=soon())
    known = await folder.write(put(folder, 5, 5, known=third.version + 10), deadline=soon())

    assert second.version == first.version + 1
    assert third.version == first.version + 1_000_000
    assert fourth.version == third.version + 1
    assert known.version == third.version + 11


# --- files -----------------------------------------------------------------------------------------------------------


async def test_nobody_else_may_read_the_files(folder: FolderMemory) -> None:
    await folder.write(put(folder, 1, 1), deadline=soon())
    pointer = await folder.put_payload(KEY, b"x", deadline=soon())

    for path in (head_path(KEY), pointer.path):
        assert (folder.path / path).stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.path.rglob("*"))


async def test_no_temporary_file_stays(folder: FolderMemory) -> None:
    await folder.write(put(folder, 1, 1), deadline=soon())
    await folder.put_payload(KEY, b"x", deadline=soon())
    await folder.write(put(folder, 1, 2, if_version=1), deadline=soon())
    with pytest.raises(InvalidArgument):
        await folder.put_payload(KEY, _wrong_chunks(), deadline=soon())

    assert files_in(folder.path / "new") == []


async def _wrong_chunks() -> AsyncIterator[Any]:
    yield b"good"
    yield "bad"


async def test_connect_removes_what_the_dead_left_and_nothing_of_the_living(folder: FolderMemory) -> None:
    (folder.path / "new" / "left").write_bytes(b"half")
    living = folder._files.new_spool()
    living.add(b"being written")
    try:
        async with FolderMemory(folder.path):
            assert len(files_in(folder.path / "new")) == 1
        living.add(b" to its end")
        folder._files.publish(living, "elsewhere")
    finally:
        living.discard()

    assert (folder.path / "elsewhere").read_bytes() == b"being written to its end"


async def test_head_that_was_damaged_is_neither_returned_nor_overwritten(folder: FolderMemory) -> None:
    await folder.write(put(folder, "value", 1), deadline=soon())
    path = folder.path / head_path(KEY)
    whole = path.read_bytes()
    for data, kind in (
        (b"", CorruptRecord),
        (whole[:-1], CorruptRecord),
        (whole[:3] + b"\x09" + whole[4:], UnreadableRecord),
    ):
        path.write_bytes(data)
        with pytest.raises(kind):
            await folder.read(KEY, deadline=soon())
        with pytest.raises(kind):
            await folder.write(put(folder, "new", 2), deadline=soon())
        assert isinstance((await folder.read_many([KEY], deadline=soon()))[0], kind)
        assert path.read_bytes() == data


async def test_damaged_payload_is_mended_by_storing_it_again(folder: FolderMemory) -> None:
    pointer = await folder.put_payload(KEY, b"content", deadline=soon())
    (folder.path / pointer.path).write_bytes(b"c0ntent")
    with pytest.raises(CorruptRecord):
        await folder.get_payload(KEY, pointer, deadline=soon())

    await folder.put_payload(KEY, b"content", deadline=soon())

    assert await folder.get_payload(KEY, pointer, deadline=soon()) == b"content"


async def test_folder_that_is_gone_is_an_outage_and_not_an_absence(folder: FolderMemory) -> None:
    """P1: as after an unmount."""
    pointer = await folder.put_payload(KEY, b"x", deadline=soon())
    folder.path.rename(folder.path.with_name("elsewhere"))

    for call in (
        folder.read(KEY, deadline=soon()),
        folder.get_payload(KEY, pointer, deadline=soon()),
        folder.renew_payload(KEY, pointer, deadline=soon()),
        folder.scan("t", "s", "", limit=1, cursor=None, deadline=soon()),
        folder.ping(deadline=soon()),
        folder.write(put(folder, 1, 1), deadline=soon()),
    ):
        with pytest.raises(TierUnavailable) as caught:
            await call
        assert not caught.value.sent
    assert isinstance((await folder.read_many([KEY], deadline=soon()))[0], TierUnavailable)


async def test_folder_of_a_newer_format_is_refused(folder: FolderMemory) -> None:
    (folder.path / MARK).write_bytes(b"2\n")

    with pytest.raises(ConfigurationError, match="upgrade"):
        await FolderMemory(folder.path).connect()


async def test_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(TierUnavailable):
        await FolderMemory(tmp_path / "file").connect()
    with pytest.raises(TierUnavailable):
        await FolderMemory(tmp_path / "file" / "below").connect()


async def test_pointer_cannot_lead_out_of_the_folder(folder: FolderMemory) -> None:
    pointer = await folder.put_payload(KEY, b"x", deadline=soon())

    for path in ("../secret", "/etc/passwd", head_path(KEY)):
        with pytest.raises(CorruptRecord, match="another key"):
            await folder.get_payload(KEY, replace(pointer, path=path), deadline=soon())


async def test_abandoned_stream_leaves_nothing(folder: FolderMemory) -> None:
    class OwnError(Exception):
        pass

    async def breaks() -> AsyncIterator[bytes]:
        yield b"x" * 100
        raise OwnError

    with pytest.raises(OwnError):
        await folder.put_payload(KEY, breaks(), deadline=soon())

    assert files_in(folder.path / "new") == []
    assert await folder.list_payloads(limit=10, cursor=None, deadline=soon()) == ([], None)
