"""The only importer of obstore: blobs over a client written in Rust, which reads and creates them for a quarter to a half of the SDK's CPU (ADR 0023).

It carries what the SDK is slow at and where its conditions are the same: reads of whole blobs and of ranges, and the creation of a payload under
``If-None-Match: *``. Everything else (writes under an ETag, renewals, listings, blocks) stays with the SDK, as do the credentials: what the SDK was
given signs here too. obstore's own retries are off; a call ends by its deadline, and a call that is cancelled drops its connection.

Two things it cannot do: it shows no headers of an answer (so no ``Retry-After``, and no ``Date``: clocks are compared by the SDK's requests), and it
takes no header per request (so these requests carry no correlation id).
"""

import asyncio
import math
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import obstore
from obstore.store import AzureStore

from thermocline.azure_storage.door import CAUGHT
from thermocline.clock import Deadline
from thermocline.cost.units import READS, WRITES
from thermocline.errors import ConfigurationError, ThermoclineError, Throttled, TierTimeout, TierUnavailable
from thermocline.resilience import Signing
from thermocline.telemetry import REQUESTS, THROTTLED, Stats
from thermocline.tiers.cold.blobs import BLOCK, Account, Fetched
from thermocline.tiers.cold.door import TIER, by_answer, missing, translate, unmet

SCOPE: Final = "https://storage.azure.com/.default"
LONGEST: Final = timedelta(
    hours=1
)  # of a request, for obstore's own clock (its default is 30 s); the call's deadline is shorter

_STATUS: Final = re.compile(r"status code: (\d{3})")
_CODE: Final = re.compile(r"<Code>(\w+)</Code>")
_KIND: Final = re.compile(r"kind: (Connect|Timeout)\b")
_EMPTY: Final = (416, "InvalidRange")
_REFUSED: Final = (401, 403)
_READING, _WRITING = "read a blob", "write a blob"
_BILLED: Final = {_READING: READS, _WRITING: WRITES}

T = TypeVar("T")


class Refusal(Exception):
    """An answer of the service that is no success."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(f"HTTP {status} {code}".rstrip())
        self.status, self.code = status, code


class FastBlobs:
    """One container. ``stats`` gives where requests are counted."""

    def __init__(
        self, account: Account, url: str, credential: Any, signing: Signing | None, stats: Callable[[], Stats]
    ) -> None:
        """``url``: the container's, perhaps with a SAS. ``credential``: the SDK's own idea of it (a policy that holds the account key, a token credential,
        an `AzureSasCredential`, or None). ``signing``: a SAS that changes."""
        place, _, self._sas = url.partition("?")
        self._endpoint, self._container = place.rsplit("/", 1)
        self._account, self._credential, self._stats = account, credential, stats
        self._signing = signing
        self._room = asyncio.Semaphore(account.pool_size)
        self._store: AzureStore | None = None
        self._signed_with: str | None = None
        self._no_token: Exception | None = None  # why the credential gave none, the last time it was asked

    # --- requests ----------------------------------------------------------------------------------------------------

    async def get(self, name: str, deadline: Deadline) -> Fetched | None:
        """The whole blob, by one request, and not copied; None: the container has none of that name."""
        try:
            return (await self._asked(name, {}, deadline))[0]
        except Refusal as refusal:
            if missing(refusal.status, refusal.code):
                return None
            raise self._failed(refusal, _READING) from None

    async def content(self, name: str, size: int, deadline: Deadline) -> bytes | None:
        """The blob's bytes, by one request for the first ``size`` of them: obstore answers that in one step, and a whole blob in two."""
        if size == 0:
            blob = await self.get(name, deadline)
            return None if blob is None else bytes(blob.data)

        async def send(store: AzureStore) -> bytes:
            return bytes(await obstore.get_range_async(store, name, start=0, end=size))

        try:
            data = await self._call(send, deadline, _READING)
        except Refusal as refusal:
            if missing(refusal.status, refusal.code):
                return None
            if refusal.status == _EMPTY[0]:
                return b""
            raise self._failed(refusal, _READING) from None
        self._stats().operated(TIER, READS, len(data))
        return data

    async def chunks(self, name: str, wait: Callable[[], Deadline]) -> AsyncGenerator[bytes, None]:
        """As `BlobService.chunks`: one request a chunk, under the ETag of the first."""
        offset, etag = 0, None
        while True:
            options: dict[str, Any] = {"range": (offset, offset + BLOCK)}
            if etag is not None:
                options["if_match"] = etag
            try:
                blob, whole = await self._asked(name, options, wait())
            except Refusal as refusal:
                if offset == 0 and missing(refusal.status, refusal.code):
                    raise LookupError(name) from None
                if (refusal.status, refusal.code) == _EMPTY or (refusal.status == _EMPTY[0] and not refusal.code):
                    return  # no bytes at all
                raise self._failed(refusal, _READING) from None
            etag = blob.etag
            offset += len(blob.data)
            if blob.data:
                yield bytes(blob.data)
            if offset >= whole or not blob.data:
                return

    async def create(self, name: str, data: bytes, metadata: Mapping[str, str], deadline: Deadline) -> str | None:
        """One atomic request, where nothing is; the ETag. None: something is there."""
        attributes = {"Content-Type": "application/octet-stream", **metadata}

        async def send(store: AzureStore) -> str:
            put = await obstore.put_async(store, name, data, mode="create", use_multipart=False, attributes=attributes)
            return str(put["e_tag"])

        try:
            etag = await self._call(send, deadline, _WRITING)
        except Refusal as refusal:
            if unmet(refusal.status, refusal.code):
                return None
            raise self._failed(refusal, _WRITING) from None
        self._stats().operated(TIER, WRITES, len(data))
        return etag

    async def _asked(self, name: str, options: dict[str, Any], deadline: Deadline) -> tuple[Fetched, int]:
        """What was asked for, and the size of the whole blob. Raises `Refusal`."""

        async def send(store: AzureStore) -> tuple[Fetched, int]:
            answer: Any = await obstore.get_async(store, name, options=options)  # type: ignore[arg-type]
            data = await answer.bytes_async()
            meta = answer.meta
            return Fetched(memoryview(data), str(meta["e_tag"])), int(meta["size"])

        found = await self._call(send, deadline, _READING)
        self._stats().operated(TIER, READS, len(found[0].data))
        return found

    # --- the door ----------------------------------------------------------------------------------------------------

    async def _call(self, send: Callable[[AzureStore], Awaitable[T]], deadline: Deadline, doing: str) -> T:
        """One request within the deadline; a second where the first was refused and there is a newer SAS. Raises `Refusal`, and our errors."""
        remaining = deadline.remaining()
        if remaining <= 0:
            raise TierTimeout(f"cold: no time left to {doing}", tier=TIER, sent=False)
        limit = asyncio.timeout(None if math.isinf(remaining) else remaining)
        try:
            async with limit, self._room:
                store, seen = await self._signed()
                try:
                    return await self._once(send, store, doing)
                except Refusal as refusal:
                    signing = self._signing
                    if signing is None or refusal.status not in _REFUSED or not await signing.renew(seen):
                        raise
                return await self._once(send, (await self._signed())[0], doing)
        except TimeoutError as error:
            if limit.expired():
                raise TierTimeout(f"cold: no answer in time to {doing}", tier=TIER) from error
            raise

    async def _once(self, send: Callable[[AzureStore], Awaitable[T]], store: AzureStore, doing: str) -> T:
        self._stats().count(REQUESTS, TIER)
        try:
            return await send(store)
        except (obstore.exceptions.BaseError, OSError, ValueError) as error:
            # Not chained: its text holds the whole URL, and with it a SAS.
            meant = self._meant(str(error), doing)
            if isinstance(meant, Refusal):
                self._stats().operated(TIER, _BILLED[doing])
            raise meant from None

    def _meant(self, text: str, doing: str) -> Exception:
        """What obstore says, which it says in words: the answer's status and the service's code, or how it came to have none."""
        status, code = _STATUS.search(text), _CODE.search(text)
        if status is not None:
            return Refusal(int(status[1]), "" if code is None else code[1])
        if self._no_token is not None:
            return translate(self._no_token, doing) if isinstance(self._no_token, CAUGHT) else self._no_token
        kind = _KIND.search(text)
        if kind is not None and kind[1] == "Timeout":
            return TierTimeout(f"cold: no answer in time to {doing}", tier=TIER)
        if kind is not None:
            return TierUnavailable(f"cold: {doing} failed: cannot connect to {self._endpoint}", tier=TIER, sent=False)
        return TierUnavailable(f"cold: {doing} failed: the connection to {self._endpoint} broke", tier=TIER)

    def _failed(self, refusal: Refusal, doing: str) -> ThermoclineError:
        failure = by_answer(refusal.status, refusal.code, doing, "see the service's error codes")
        if isinstance(failure, Throttled):
            self._stats().count(THROTTLED, TIER)
        return failure

    # --- signing in --------------------------------------------------------------------------------------------------

    async def _signed(self) -> tuple[AzureStore, int]:
        """The store, made anew where its SAS is another by now, and that SAS's generation."""
        sas, seen = self._sas, 0
        if self._signing is not None:
            sas, seen = await self._signing.token()
        elif isinstance(signature := getattr(self._credential, "signature", None), str):
            sas = signature
        if self._store is None or sas != self._signed_with:
            self._store, self._signed_with = self._made(sas.removeprefix("?")), sas
        return self._store, seen

    def _made(self, sas: str) -> AzureStore:
        account, credential = self._account, self._credential
        # What is said here is not taken from the environment, which may hold another program's account (AZURE_STORAGE_…).
        config: dict[str, Any] = {
            "endpoint": self._endpoint,
            "container_name": self._container,
            "use_emulator": False,
            "use_fabric_endpoint": False,
        }
        provider: Any = None
        if hasattr(credential, "get_token"):
            provider = self._token
            config["account_name"] = _account_of(self._endpoint)
        elif (key := getattr(credential, "account_key", None)) is not None:
            config |= {"account_name": credential.account_name, "account_key": key, "credential_type": "access_key"}
        elif sas:
            config |= {"account_name": _account_of(self._endpoint), "sas_key": sas, "credential_type": "sas_token"}
        else:
            config |= {"account_name": _account_of(self._endpoint), "skip_signature": True}
        try:
            return AzureStore(
                config=config,  # type: ignore[arg-type]
                credential_provider=provider,
                retry_config={"max_retries": 0, "retry_timeout": timedelta(0)},
                client_options={
                    "allow_http": self._endpoint.startswith("http://"),
                    "connect_timeout": timedelta(seconds=account.connection_timeout),
                    "read_timeout": timedelta(seconds=account.read_timeout),
                    "timeout": LONGEST,
                    "pool_max_idle_per_host": str(account.pool_size),
                },
            )
        except (obstore.exceptions.BaseError, ValueError) as error:
            said = str(error).split("\n", 1)[0].split("?", 1)[0]
            raise ConfigurationError(
                f"cold: obstore cannot use this account, container or credential: {said}"
            ) from None

    async def _token(self) -> dict[str, Any]:
        """A token, which obstore keeps until it ends."""
        try:
            token = await self._credential.get_token(SCOPE)
        except Exception as error:
            self._no_token = error
            raise
        self._no_token = None
        return {"token": token.token, "expires_at": datetime.fromtimestamp(token.expires_on, UTC)}


def _account_of(endpoint: str) -> str:
    """The account's name: the path's, as an emulator has it, or the host's first part."""
    place = endpoint.split("://", 1)[-1]
    host, _, path = place.partition("/")
    return path or host.split(".", 1)[0]
