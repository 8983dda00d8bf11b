"""The error door of the Blob SDK: what Blob Storage says in its own way. The rest is `thermocline.azure_storage.door`."""

from collections.abc import Mapping
from typing import ClassVar, Final

from azure.core.exceptions import HttpResponseError

from thermocline.azure_storage.door import ANSWERED, Door
from thermocline.azure_storage.door import KINDS as OF_STORAGE
from thermocline.errors import ThermoclineError, TierUnavailable

TIER: Final = "cold"
ROLE: Final = "Storage Blob Data Contributor"
KINDS: Final[Mapping[str, str]] = {**OF_STORAGE, "PartialBatchErrorException": ANSWERED}

_CONDITION: Final = frozenset(
    {(409, "BlobAlreadyExists"), (412, "ConditionNotMet"), (412, "TargetConditionNotMet"), (412, "ResourceModified")}
)


class ContainerMissing(TierUnavailable):
    """The account answered and has no such container."""


class BlobDoor(Door):
    tier = TIER
    service = "Blob Storage"
    place = "container"
    role = ROLE
    kinds = KINDS
    too_large: ClassVar[frozenset[str]] = frozenset(
        {"RequestBodyTooLarge", "MetadataTooLarge", "BlockListTooLong", "RequestUrlFailedToParse"}
    )

    def own(self, status: int, code: str) -> ThermoclineError | None:
        said = f"HTTP {status} {code}"
        if status == 404 and code.startswith("Container"):
            text = f"cold: the container is missing ({said}): create it, or mend its name"
            return ContainerMissing(text, tier=TIER, sent=False)
        if code == "BlobArchived":
            text = f"cold: the blob is in the archive tier: rehydrate it first ({said})"
            return TierUnavailable(text, tier=TIER, sent=False)
        return None


DOOR: Final = BlobDoor()
by_answer, code_of, translate = DOOR.by_answer, DOOR.code_of, DOOR.translate


def refused(error: HttpResponseError) -> bool:
    """Whether it says that the request's condition (ETag, not there yet) does not hold."""
    return unmet(error.status_code or 0, code_of(error))


def absent(error: HttpResponseError) -> bool:
    """Whether it says that the container answered and there is no such blob. A HEAD's answer has no body, but the code in a header."""
    return missing(error.status_code or 0, code_of(error))


def unmet(status: int, code: str) -> bool:
    """`refused`, by status and code."""
    return (status, code) in _CONDITION or (status == 412 and not code)


def missing(status: int, code: str) -> bool:
    """`absent`, by status and code."""
    return status == 404 and code in ("BlobNotFound", "ResourceNotFound")
