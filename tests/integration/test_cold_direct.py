"""`ColdMemory` as users of blobs by name know it, and what `connect` refuses, on Azurite."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.storage.blob import ContainerSasPermissions, PublicAccess, generate_container_sas
from azure.storage.blob.aio import ContainerClient

from thermocline.clock import Deadline
from thermocline.errors import (
    AccessDenied,
    ClientClosed,
    ConfigurationError,
    InvalidArgument,
    NotFound,
    TierTimeout,
    TierUnavailable,
)
from thermocline.keys import head_path
from thermocline.model import MemoryTier
from thermocline.protocols import Payloads, Versions
from thermocline.testing import ManualClock
from thermocline.testing.conformance.samples import new_key, put, soon
from thermocline.testing.proxy import ChaosProxy
from thermocline.testing.rig import Azurite
from thermocline.testing.rig.ports import free_port
from thermocline.tiers.cold import ColdMemory

Names = Callable[[str], str]


@pytest.fixture
async def cold(azurite: Azurite, unique_name: Names) -> AsyncIterator[ColdMemory]:
    async with ColdMemory(azurite.blob_url, unique_name("c"), credential=azurite.key, create=True) as tier:
        yield tier


def test_plays_its_parts() -> None:
    tier = ColdMemory("https://account.blob.core.windows.net", "container")

    assert isinstance(tier, Payloads)
    assert isinstance(tier, Versions)
    assert tier.tier is MemoryTier.COLD


@pytest.mark.parametrize("text", ["", "grün\r\n\0", "x" * 3_000_000], ids=["empty", "unicode", "large"])
async def test_text_comes_back_as_it_went_in(cold: ColdMemory, text: str) -> None:
    await cold.upload_text("folder/file.txt", "before")
    await cold.upload_text("folder/file.txt", text)

    assert await cold.download_text("folder/file.txt") == text
    assert await cold.download_bytes("folder/file.txt") == text.encode()


async def test_bytes_and_deletion(cold: ColdMemory) -> None:
    await cold.upload_bytes("ü %2F #?.bin", b"\xff\x00")

    assert await cold.download_bytes("ü %2F #?.bin") == b"\xff\x00"
    with pytest.raises(InvalidArgument, match="download_bytes"):
        await cold.download_text("ü %2F #?.bin")
    assert await cold.delete_blob("ü %2F #?.bin") is True
    assert await cold.delete_blob("ü %2F #?.bin") is False


async def test_missing_blob_is_said_so(cold: ColdMemory) -> None:
    with pytest.raises(NotFound, match="no blob 'nothing'") as caught:
        await cold.download_text("nothing")

    assert isinstance(caught.value, LookupError)


@pytest.mark.parametrize("name", ["", "tc1/h/a/b/c", "x" * 1025, None, 5, "lone \ud800", "a/./b", ".."])
async def test_names_that_are_refused(cold: ColdMemory, name: Any) -> None:
    with pytest.raises(InvalidArgument):
        await cold.upload_text(name, "text")
    with pytest.raises(InvalidArgument):
        await cold.download_text(name)


@pytest.mark.parametrize(
    "spelt", [r"tc1\{}", "/tc1/{}", "./tc1/{}", "x/../tc1/{}", r"x\..\tc1\{}", "//tc1/{}", "../{c}/tc1/{}"]
)
async def test_no_other_spelling_leads_to_the_records_of_the_cascade(
    cold: ColdMemory, azurite: Azurite, spelt: str
) -> None:
    """The service takes a backslash for a slash, and the way there resolves dots, which a SAS (or an Entra token) lets through."""
    container = cold._account.container
    key = new_key()
    await cold.write(put(key, "a record"), deadline=soon())
    name = spelt.format(head_path(key).removeprefix("tc1/"), c=container)
    permission = ContainerSasPermissions(read=True, write=True, create=True, list=True, delete=True)
    sas = generate_container_sas(
        azurite.account, container, azurite.key, permission=permission, expiry=datetime.now(UTC) + timedelta(hours=1)
    )
    async with ColdMemory(azurite.blob_url, container, credential=sas) as attacker:
        for tier in (cold, attacker):
            with pytest.raises(InvalidArgument):
                await tier.download_bytes(name)
            with pytest.raises(InvalidArgument):
                await tier.upload_bytes(name, b"forged")
            with pytest.raises(InvalidArgument):
                await tier.delete_blob(name)
    assert await cold.read(key, deadline=soon()) is not None


async def test_values_that_are_refused(cold: ColdMemory) -> None:
    wrong: Any = b"bytes"
    with pytest.raises(InvalidArgument, match="upload_bytes"):
        await cold.upload_text("name", wrong)
    wrong = "text"
    with pytest.raises(InvalidArgument, match="bytes"):
        await cold.upload_bytes("name", wrong)
    with pytest.raises(InvalidArgument, match="surrogate"):
        await cold.upload_text("name", "lone \ud800")
    wrong = 5
    with pytest.raises(InvalidArgument, match="timedelta"):
        await cold.upload_text("name", "text", timeout=wrong)
    for url, container in ((5, "c"), (None, "c"), ("https://a.blob.core.windows.net", 5)):
        given: Any = url, container
        with pytest.raises(ConfigurationError):
            ColdMemory(*given)


# --- connecting ------------------------------------------------------------------------------------------------------


async def test_missing_container_is_refused_and_named(azurite: Azurite, unique_name: Names) -> None:
    name = unique_name("c")
    with pytest.raises(ConfigurationError, match=f"no container '{name}'.*create=True"):
        await ColdMemory(azurite.blob_url, name, credential=azurite.key).connect()


async def test_public_container_is_refused(azurite: Azurite, unique_name: Names) -> None:
    name = unique_name("c")
    async with ContainerClient.from_connection_string(azurite.connection_string, name) as client:
        await client.create_container(public_access=PublicAccess.BLOB)

    with pytest.raises(ConfigurationError, match=r"open to the public \(blob\)"):
        await ColdMemory(azurite.blob_url, name, credential=azurite.key).connect()


async def test_wrong_key_is_refused(cold: ColdMemory, azurite: Azurite) -> None:
    wrong = base64.b64encode(b"wrong" * 8).decode()
    with pytest.raises(AccessDenied, match=r"key.*Storage Blob Data Contributor"):
        await ColdMemory(azurite.blob_url, cold._account.container, credential=wrong).connect()


async def test_no_credential_is_refused(cold: ColdMemory, azurite: Azurite) -> None:
    with pytest.raises((AccessDenied, ConfigurationError)):
        await ColdMemory(azurite.blob_url, cold._account.container).connect()


async def test_sas_of_the_container_is_enough(cold: ColdMemory, azurite: Azurite) -> None:
    container = cold._account.container
    sas = generate_container_sas(
        azurite.account,
        container,
        azurite.key,
        permission=ContainerSasPermissions(read=True, write=True, create=True, list=True, delete=True),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    async with ColdMemory(azurite.blob_url, container, credential=sas) as tier:
        await tier.upload_text("by-sas", "text")

    assert await cold.download_text("by-sas") == "text"


class SynchronousCredential:
    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        return AccessToken("token", 0)


def test_synchronous_credential_is_refused() -> None:
    """It would block the event loop for as long as it asks for its token."""
    with pytest.raises(ConfigurationError, match=r"azure\.identity\.aio"):
        ColdMemory("https://a.blob.core.windows.net", "c", credential=SynchronousCredential())


class RefusingCredential:
    def __init__(self) -> None:
        self.closed = False

    async def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        raise AccessDenied("no identity here", tier="cold", sent=False)

    async def close(self) -> None:
        self.closed = True


async def test_error_of_the_credential_is_passed_on_and_the_credential_left_open() -> None:
    credential = RefusingCredential()
    with pytest.raises(AccessDenied, match="no identity here"):
        await ColdMemory("https://a.blob.core.windows.net", "c", credential=credential).connect()

    assert not credential.closed


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        (("account", "c"), {}, "https://"),
        (("https://a", ""), {}, "container"),
        (("https://a", "c"), {"connection_pool_size": 0}, "connection_pool_size"),
        (("https://a", "c"), {"read_timeout": -1}, "read_timeout"),
    ],
)
def test_arguments_that_cannot_work(arguments: tuple[str, str], options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        ColdMemory(*arguments, **options)


async def test_connection_string_that_cannot_work() -> None:
    with pytest.raises(ConfigurationError, match="cannot be used"):
        await ColdMemory.from_connection_string("nonsense", "c").connect()


async def test_unreachable_account() -> None:
    tier = ColdMemory(f"http://127.0.0.1:{free_port()}/account", "c", credential="a2V5")

    with pytest.raises(TierUnavailable) as caught:
        await tier.connect()

    assert not caught.value.sent
    with pytest.raises(ClientClosed):
        await tier.download_text("name")


# --- life ------------------------------------------------------------------------------------------------------------


async def test_before_connecting_and_in_another_loop_it_says_so(azurite: Azurite, cold: ColdMemory) -> None:
    with pytest.raises(ClientClosed, match="connect"):
        await ColdMemory(azurite.blob_url, "c", credential=azurite.key).upload_text("name", "text")

    def elsewhere() -> None:
        asyncio.run(cold.download_text("name"))

    with pytest.raises(ClientClosed, match="another event loop"):
        await asyncio.to_thread(elsewhere)


async def test_closed_and_connected_again(cold: ColdMemory) -> None:
    await cold.upload_text("name", "text")
    await cold.close()
    await cold.connect()

    assert await cold.download_text("name") == "text"


async def test_silent_service_ends_in_a_timeout_and_the_tier_goes_on(azurite: Azurite, unique_name: Names) -> None:
    async with (
        ChaosProxy(azurite.blob_url) as proxy,
        ColdMemory(proxy.url, unique_name("c"), credential=azurite.key, create=True) as tier,
    ):
        await tier.upload_text("name", "text")
        proxy.blackhole(answers=True)
        with pytest.raises(TierTimeout):
            await tier.download_text("name", timeout=timedelta(milliseconds=100))
        with pytest.raises(TierTimeout):
            await tier.ping(deadline=Deadline.after(0.1))
        proxy.restore()

        assert await tier.download_text("name") == "text"


async def test_cancelled_calls_leave_no_reply_to_others(cold: ColdMemory) -> None:
    """P10: each answer reaches its own caller, whatever was cancelled on the same connections before."""
    await asyncio.gather(*(cold.upload_text(f"n{number}", f"text {number}") for number in range(8)))
    for turns in range(0, 40, 3):
        tasks = [asyncio.create_task(cold.download_text(f"n{number}")) for number in range(8)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        for number, answer in enumerate(answers):
            assert isinstance(answer, asyncio.CancelledError) or answer == f"text {number}"
        assert all(answers[number] == f"text {number}" for number in range(1, 8, 2))


async def test_clock_that_is_wrong_is_corrected_by_the_service(azurite: Azurite, unique_name: Names) -> None:
    clock = ManualClock(wall_ms=1_000_000_000_000)
    async with ColdMemory(azurite.blob_url, unique_name("c"), credential=azurite.key, create=True, clock=clock) as tier:
        corrected = tier._service.now_ms()

    assert abs(corrected - datetime.now(UTC).timestamp() * 1000) < 60_000


async def test_requests_are_counted(cold: ColdMemory) -> None:
    before = cold.stats.get("requests", "cold")
    await cold.upload_text("name", "text")
    await cold.download_text("name")

    assert cold.stats.get("requests", "cold") - before == 2
