"""Raw documents: what `WarmMemory.upsert` and `read` hold beside the cascade's records, in the same container and never meeting them. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from thermocline.errors import InvalidArgument
from thermocline.keys import COSMOS_PREFIX

EPOCH_SCOPE: Final = "~thermocline"  # of the reserved partition; no raw document may lie there
EPOCH_PARTITION: Final = ("", EPOCH_SCOPE)
EPOCH_ID: Final = "epoch"


def document_of(item: Mapping[str, Any]) -> dict[str, Any]:
    """The item with a partition: without ``tenant`` and ``scope`` it gets the tenant "", which no key has, and its ``pk`` (or id) as scope."""
    if not isinstance(item, Mapping):
        raise InvalidArgument(f"an item is a mapping, not {type(item).__name__}")
    item_id = item.get("id")
    _check_id(item_id)
    if ("tenant" in item) != ("scope" in item):
        raise InvalidArgument("an item has both tenant and scope, or neither (then its pk, or its id, is the scope)")
    document = dict(item)
    if "tenant" not in document:
        pk = item.get("pk")
        document["tenant"], document["scope"] = "", str(item_id if pk is None else pk)
    if not isinstance(document["tenant"], str) or not isinstance(document["scope"], str):
        raise InvalidArgument("an item's tenant and scope are strings")
    _check_partition((document["tenant"], document["scope"]))
    return document


def partition_of(partition_key: Any, item_id: str) -> tuple[str, str]:
    """``[tenant, scope]``, or what the item has as ``pk``; None: its id."""
    _check_id(item_id)
    if partition_key is None:
        found = ("", item_id)
    elif isinstance(partition_key, str | int | float):
        found = ("", str(partition_key))
    elif isinstance(partition_key, Sequence) and len(partition_key) == 2:
        found = (str(partition_key[0]), str(partition_key[1]))
    else:
        raise InvalidArgument("a partition key is a document's pk, or its [tenant, scope]")
    _check_partition(found)
    return found


def _check_id(item_id: object) -> None:
    if not isinstance(item_id, str) or not item_id:
        raise InvalidArgument("an item has an id: a string that is not empty")
    if item_id in (".", "..") or any(character in item_id for character in "/\\?#"):
        raise InvalidArgument("an item's id is not '.' or '..', and holds no '/', '\\\\', '?' or '#'")
    if item_id.startswith(COSMOS_PREFIX):
        raise InvalidArgument(f"ids that begin with {COSMOS_PREFIX!r} are the cascade's own")


def _check_partition(partition: tuple[str, str]) -> None:
    if partition == EPOCH_PARTITION:
        raise InvalidArgument(f"the partition {EPOCH_SCOPE!r} is the library's own")
