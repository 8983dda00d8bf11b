"""obstore as the transfer of `ColdMemory`: what the suites of both transfers do not ask. Cancellation, signing in, secrets, bills and memory."""

import asyncio
import hashlib
import random
import sys
import traceback
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import obstore.exceptions
import pytest
from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential
from azure.storage.blob import ContainerSasPermissions, generate_container_sas

from thermocline.clock import Deadline
from thermocline.errors import AccessDenied, ClientClosed, ConfigurationError, ThermoclineError, TierUnavailable
from thermocline.model import Key, Pointer
from thermocline.testing.proxy import ChaosProxy
from thermocline.testing.rig import Azurite
from thermocline.tiers.cold import ColdMemory
from thermocline.tiers.cold.blobs import Transfer

KEY = Key("t", "s", "Größe/1 %2F ~ .. ?#")
MB = 2**20


@pytest.fixture
async def proxy(azurite: Azurite, chaos_proxy: Callable[[str], Awaitable[ChaosProxy]]) -> ChaosProxy:
    return await chaos_proxy(azurite.blob_url)


@pytest.fixture
async def fast(azurite: Azurite, proxy: ChaosProxy, unique_name: Callable[[str], str]) -> AsyncIterator[ColdMemory]:
    """Through the proxy."""
    async with ColdMemory(proxy.url, unique_name("f"), credential=azurite.key, create=True, transfer="obstore") as tier:
        yield tier


@pytest.fixture
async def slow(azurite: Azurite, fast: ColdMemory) -> AsyncIterator[ColdMemory]:
    """The same container by the SDK, past the proxy."""
    async with ColdMemory(azurite.blob_url, fast._account.container, credential=azurite.key) as tier:
        yield tier


def soon(seconds: float = 30) -> Deadline:
    return Deadline.after(seconds)


@pytest.mark.parametrize("size", [0, 1, 1000, 4 * MB, 4 * MB + 1, 9 * MB])
async def test_what_one_transfer_stores_the_other_reads(fast: ColdMemory, slow: ColdMemory, size: int) -> None:
    data = random.Random(size).randbytes(size)
    by_fast = await fast.put_payload(KEY, data, deadline=soon())
    by_slow = await slow.put_payload(Key("t", "s", "other"), data, deadline=soon())

    assert await slow.get_payload(KEY, by_fast, deadline=soon()) == data
    assert await fast.get_payload(Key("t", "s", "other"), by_slow, deadline=soon()) == data
    chunks = [chunk async for chunk in fast.stream_payload(Key("t", "s", "other"), by_slow, deadline=soon())]
    assert b"".join(chunks) == data
    assert max(map(len, chunks), default=0) <= 4 * MB
    again = await slow.put_payload(KEY, data, deadline=soon())
    assert (again.path, again.size) == (by_fast.path, by_fast.size)
    assert (
        abs(again.written_ms - by_fast.written_ms) < 10_000
    )  # one is the service's date, one its clock before the request


async def test_cancelled_reads_drop_their_connections_and_hand_no_bytes_to_others(
    fast: ColdMemory, proxy: ChaosProxy
) -> None:
    stored: dict[Key, tuple[Pointer, bytes]] = {}
    for number in range(8):
        key, data = Key("t", "s", f"n{number}"), bytes([number]) * 300_000
        stored[key] = await fast.put_payload(key, data, deadline=soon()), data
    proxy.delay(answers=timedelta(milliseconds=2))
    dice = random.Random(7)

    async def read(key: Key) -> bytes | None:
        return await fast.get_payload(key, stored[key][0], deadline=soon())

    calls = {key: [asyncio.ensure_future(read(key)) for _ in range(6)] for key in stored}
    for calls_of in calls.values():
        for call in calls_of[:4]:
            asyncio.get_running_loop().call_later(dice.random() / 50, call.cancel)
    for key, calls_of in calls.items():
        answers = await asyncio.gather(*calls_of, return_exceptions=True)
        for answer in answers:
            assert isinstance(answer, asyncio.CancelledError) or answer == stored[key][1]
        assert answers[-1] == stored[key][1]


async def test_a_call_that_is_cancelled_in_a_blackhole_lets_go_of_its_connection(
    fast: ColdMemory, proxy: ChaosProxy
) -> None:
    pointer = await fast.put_payload(KEY, b"content", deadline=soon())
    proxy.blackhole(answers=True)
    before = proxy.traffic.closed
    call = asyncio.ensure_future(fast.get_payload(KEY, pointer, deadline=soon()))
    await proxy.until(lambda traffic: traffic.lost_bytes > 0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await proxy.until(lambda traffic: traffic.closed > before)
    proxy.restore()

    assert await fast.get_payload(KEY, pointer, deadline=soon()) == b"content"


async def test_damage_is_seen(fast: ColdMemory, slow: ColdMemory) -> None:
    pointer = await fast.put_payload(KEY, b"content", deadline=soon())
    await slow._service.put(pointer.path, b"CONTENT", overwrite=True, deadline=soon())

    with pytest.raises(ThermoclineError, match="content that its name says"):
        await fast.get_payload(KEY, pointer, deadline=soon())
    with pytest.raises(ThermoclineError, match="content that its name says"):
        [chunk async for chunk in fast.stream_payload(KEY, pointer, deadline=soon())]


async def test_requests_are_counted_and_billed_as_with_the_sdk(
    azurite: Azurite, unique_name: Callable[[str], str]
) -> None:
    counted = []
    for transfer in ("sdk", "obstore"):
        tier = ColdMemory(
            azurite.blob_url,
            unique_name("bill"),
            credential=azurite.key,
            create=True,
            transfer="sdk" if transfer == "sdk" else "obstore",
        )
        async with tier:
            pointer = await tier.put_payload(KEY, b"x" * 5000, deadline=soon())
            await tier.put_payload(KEY, b"x" * 5000, deadline=soon())
            await tier.get_payload(KEY, pointer, deadline=soon())
            nothing = hashlib.sha256(b"").hexdigest()
            missing = Pointer(pointer.path.replace(pointer.sha256, nothing), nothing, 5, 0)
            assert await tier.get_payload(KEY, missing, deadline=soon()) is None
            operations = {key: done[0] for key, done in tier.stats.operations.items()}
            counted.append((tier.stats.get("requests", "cold"), sum(operations.values())))

    assert counted[0] == counted[1]


# --- signing in ------------------------------------------------------------------------------------------------------


def sas_of(azurite: Azurite, container: str) -> str:
    return generate_container_sas(
        azurite.account,
        container,
        account_key=azurite.key,
        permission=ContainerSasPermissions(read=True, write=True, create=True, list=True),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )


async def test_whatever_the_sdk_signs_with_signs_here(azurite: Azurite, fast: ColdMemory) -> None:
    container = fast._account.container
    sas = sas_of(azurite, container)
    string = f"BlobEndpoint={azurite.blob_url};SharedAccessSignature={sas}"
    tiers = [
        ColdMemory(f"{azurite.blob_url}?{sas}", container, transfer="obstore"),
        ColdMemory(azurite.blob_url, container, credential=AzureSasCredential(sas), transfer="obstore"),
        ColdMemory(
            azurite.blob_url,
            container,
            credential=AzureNamedKeyCredential(azurite.account, azurite.key),
            transfer="obstore",
        ),
        ColdMemory.from_connection_string(azurite.connection_string, container, transfer="obstore"),
        ColdMemory.from_connection_string(string, container, transfer="obstore"),
    ]
    for number, tier in enumerate(tiers):
        async with tier:
            pointer = await tier.put_payload(KEY, b"%d" % number, deadline=soon())
            assert await tier.get_payload(KEY, pointer, deadline=soon()) == b"%d" % number


async def test_credentials_of_the_environment_are_not_taken_instead(
    azurite: Azurite, fast: ColdMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ACCOUNT_NAME", "ACCOUNT_KEY", "SAS_KEY", "TOKEN", "CLIENT_ID", "ENDPOINT"):
        monkeypatch.setenv(f"AZURE_STORAGE_{name}", "bm9uc2Vuc2U=")
    monkeypatch.setenv("AZURE_STORAGE_USE_EMULATOR", "true")
    async with ColdMemory(
        azurite.blob_url, fast._account.container, credential=azurite.key, transfer="obstore"
    ) as tier:
        pointer = await tier.put_payload(KEY, b"mine", deadline=soon())
        assert await tier.get_payload(KEY, pointer, deadline=soon()) == b"mine"


async def test_no_error_shows_a_sas(azurite: Azurite, proxy: ChaosProxy, fast: ColdMemory) -> None:
    sas = sas_of(azurite, fast._account.container)
    said: list[str] = []
    async with ColdMemory(f"{proxy.url}?{sas}", fast._account.container, transfer="obstore") as tier:
        pointer = await tier.put_payload(KEY, b"content", deadline=soon())
        proxy.refuse()
        proxy.cut()
        with pytest.raises(TierUnavailable) as unreachable:
            await tier.get_payload(KEY, pointer, deadline=soon())
        said.append("".join(traceback.format_exception(unreachable.value)))
        proxy.restore()
    async with ColdMemory(
        proxy.url, fast._account.container, credential=AzureSasCredential(sas), transfer="obstore"
    ) as tier:
        credential = tier._account.credential
        credential.update(sas.replace("sig=", "sig=AAAA"))
        with pytest.raises(AccessDenied) as denied:
            await tier.get_payload(KEY, pointer, deadline=soon())
        said.append("".join(traceback.format_exception(denied.value)))

    assert len(said) == 2
    signature = sas.rsplit("sig=", 1)[1].split("&")[0]
    assert [text for text in said if "sig=" in text or signature in text] == []


# --- what can be wrong -------------------------------------------------------------------------------------------------


def test_another_transfer_is_refused() -> None:
    with pytest.raises(ConfigurationError, match='"sdk" or "obstore"'):
        ColdMemory("https://account.blob.core.windows.net", "memory", transfer="s3")  # type: ignore[arg-type]


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)

    with pytest.raises(ConfigurationError, match=r'pip install "thermocline\[obstore\]"'):
        ColdMemory("https://account.blob.core.windows.net", "memory", transfer="obstore")


async def test_closed_is_closed(fast: ColdMemory) -> None:
    pointer = await fast.put_payload(KEY, b"content", deadline=soon())
    await fast.close()

    with pytest.raises(ClientClosed):
        await fast.get_payload(KEY, pointer, deadline=soon())
    with pytest.raises(ClientClosed):
        await fast.put_payload(KEY, b"content", deadline=soon())


def test_every_exception_of_obstore_is_caught() -> None:
    """It fails when obstore grows an exception beside its tree."""
    found = [value for value in vars(obstore.exceptions).values() if isinstance(value, type)]

    assert [kind for kind in found if not issubclass(kind, obstore.exceptions.BaseError)] == []
    assert found != []


# --- memory --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transfer", ["sdk", "obstore"])
async def test_a_large_payload_is_not_copied_for_every_layer(
    azurite: Azurite, fast: ColdMemory, transfer: Transfer
) -> None:
    """obstore's own buffer is not Python's, so that it does not show here; it has the payload once more."""
    data = random.Random(1).randbytes(24 * MB)
    async with ColdMemory(azurite.blob_url, fast._account.container, credential=azurite.key, transfer=transfer) as tier:
        pointer = await tier.put_payload(KEY, data, deadline=soon())
        tracemalloc.start()
        try:
            read = await tier.get_payload(KEY, pointer, deadline=soon())
            _, reading = tracemalloc.get_traced_memory()
            del read
            tracemalloc.reset_peak()
            await tier.put_payload(Key("t", "s", "second"), data, deadline=soon())
            _, writing = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert reading < 2.3 * len(data)
    assert writing < 2 * len(data)


@pytest.mark.parametrize("transfer", ["sdk", "obstore"])
async def test_memory_is_given_back(azurite: Azurite, fast: ColdMemory, transfer: Transfer) -> None:
    """Of the whole process, as the system counts it."""

    def resident() -> int:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) // 1024

    data = random.Random(2).randbytes(8 * MB)
    async with ColdMemory(azurite.blob_url, fast._account.container, credential=azurite.key, transfer=transfer) as tier:
        pointer = await tier.put_payload(KEY, data, deadline=soon())
        for _ in range(5):
            await tier.get_payload(KEY, pointer, deadline=soon())
        before = resident()
        for _ in range(25):
            await tier.get_payload(KEY, pointer, deadline=soon())
        grown = resident() - before

    assert grown < 80  # MB, of 200 that were read
