"""The error door of the Tables SDK: what Table Storage says in its own way. The rest is `thermocline.azure_storage.door`."""

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from azure.core.exceptions import AzureError, HttpResponseError

from thermocline.azure_storage.door import ANSWERED, Door
from thermocline.azure_storage.door import KINDS as OF_STORAGE
from thermocline.errors import ThermoclineError, TierUnavailable

TIER: Final = "warm_plus"
KINDS: Final[Mapping[str, str]] = {**OF_STORAGE, "RequestTooLargeError": ANSWERED, "TableTransactionError": ANSWERED}

_NO_ENTITY: Final = frozenset({"ResourceNotFound", "EntityNotFound"})
_REFUSED: Final = frozenset({"EntityAlreadyExists", "UpdateConditionNotSatisfied", "ConditionNotMet"}) | _NO_ENTITY


class TableMissing(TierUnavailable):
    """The account answered and has no such table."""


class TableDoor(Door):
    tier = TIER
    service = "Table Storage"
    place = "table"
    role = "Storage Table Data Contributor"
    kinds = KINDS
    too_large: ClassVar[frozenset[str]] = frozenset(
        {"RequestBodyTooLarge", "EntityTooLarge", "PropertyValueTooLarge", "ContentLengthExceeded", "TooManyProperties"}
    )

    def own(self, status: int, code: str) -> ThermoclineError | None:
        if status == 404 and code == "TableNotFound":
            text = f"warm_plus: the table is missing (HTTP {status} {code}): create it, or mend its name"
            return TableMissing(text, tier=TIER, sent=False)
        return None

    def code_of(self, error: HttpResponseError) -> str:
        """As of any service; and an insert's, whose error is raised before the SDK has looked for the code."""
        code = super().code_of(error)
        if code:
            return code
        try:
            told: Any = json.loads(error.response.text())  # type: ignore[union-attr] # what has no response is caught
            return str(told["odata.error"]["code"])
        except (AttributeError, ValueError, KeyError, TypeError, AzureError):
            return ""


DOOR: Final = TableDoor()
code_of, translate = DOOR.code_of, DOOR.translate


def refused(error: HttpResponseError) -> bool:
    """Whether it says that the request's condition (ETag, not there yet) does not hold. An entity that is gone has no ETag."""
    code = code_of(error)
    return code in _REFUSED if code else error.status_code == 412


def absent(error: HttpResponseError) -> bool:
    """Whether it says that the table answered and there is no such entity."""
    return error.status_code == 404 and code_of(error) in _NO_ENTITY
