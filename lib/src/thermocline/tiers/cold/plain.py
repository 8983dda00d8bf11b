"""Plain names for a client, as blobs of those names: text as it is, bytes as they are, anything else as an envelope."""

from typing import Any, Final

from thermocline.clock import Clock, Deadline
from thermocline.codec import MAGIC, Codec
from thermocline.errors import InvalidArgument
from thermocline.model import Key
from thermocline.protocols import PlainCopy
from thermocline.tiers.cold.service import BlobService

OWN_NAMES: Final = "tc1/"  # the cascade's blobs; the direct methods leave them alone
_NAME_LENGTH: Final = 1024
_codec = Codec()


class PlainBlobs:
    """Plays `PlainNames`."""

    _service: BlobService
    _clock: Clock

    async def plain_get(self, name: str, *, deadline: Deadline) -> PlainCopy | None:
        """One GET. What a value that was written with a lifetime holds is judged by this machine's clock, corrected by the service's."""
        blob = await self._service.get(named(name), deadline)
        if blob is None:
            return None
        data = blob.data
        if data.startswith(MAGIC):
            envelope = _codec.unpack(data, _key(name))
            if not envelope.live(self._clock.wall_ms() + self._service.skew_ms):
                return None
            return PlainCopy(_codec.decode(envelope), envelope.header.expires_ms)
        try:
            return PlainCopy(data.decode())
        except UnicodeDecodeError:
            return PlainCopy(data)

    async def plain_set(self, name: str, value: Any, *, lasting_ms: int, deadline: Deadline) -> None:
        """One PUT. Blob Storage has no lifetimes: a value with one is kept in an envelope, and a dead blob stays until it is written anew or deleted."""
        blob = named(name)
        plain = _plain(value) if not lasting_ms else None
        if plain is None:
            now = self._clock.wall_ms() + self._service.skew_ms
            expires = now + lasting_ms if lasting_ms else 0
            plain = (
                _codec.pack(_codec.encode(_key(name), value, now_ms=now, expires_ms=expires)),
                "application/octet-stream",
            )
        data, content_type = plain
        await self._service.put(blob, data, overwrite=True, content_type=content_type, deadline=deadline)

    async def plain_delete(self, name: str, *, deadline: Deadline) -> bool:
        return await self._service.delete(named(name), deadline=deadline)

    async def plain_list(self, prefix: str, *, deadline: Deadline) -> list[str]:
        """A listing request for each 5,000."""
        start, names = (named(prefix) if prefix else prefix), []
        token: str | None = None
        while True:
            entries, token = await self._service.page(start, limit=5000, token=token, deadline=deadline)
            names += [entry.name for entry in entries]
            if token is None:
                return names


def _plain(value: Any) -> tuple[bytes, str] | None:
    """The bytes of a value that need no envelope to come back as they are, and their content type."""
    if type(value) is str:
        try:
            data = value.encode()
        except UnicodeEncodeError:
            return None  # the codec says what is wrong with it
        return None if data.startswith(MAGIC) else (data, "text/plain; charset=utf-8")
    if type(value) is bytes and not value.startswith(MAGIC):
        try:
            value.decode()
        except UnicodeDecodeError:
            return value, "application/octet-stream"
    return None


def _key(name: str) -> Key:
    """The key that an enveloped value is made for."""
    return Key("cold", "plain", name)


def named(blob_name: Any) -> str:
    """The name of a blob that is not the cascade's. Raises `InvalidArgument`."""
    if not isinstance(blob_name, str) or not 0 < len(blob_name) <= _NAME_LENGTH:
        raise InvalidArgument(f"a blob's name is text of 1 to {_NAME_LENGTH} characters")
    try:
        blob_name.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument("a blob's name holds a lone surrogate, which UTF-8 cannot hold") from error
    # The service takes a backslash for a slash, and what is between here and there resolves the dots: that would be another name than this.
    segments = blob_name.replace("\\", "/").split("/")
    if "." in segments or ".." in segments:
        raise InvalidArgument("a blob's name has no segment that is '.' or '..'")
    if "/".join(segments).lstrip("/").startswith(OWN_NAMES):
        raise InvalidArgument(f"names that begin with {OWN_NAMES!r} are the cascade's own: use a client for them")
    return blob_name
