"""What an account and a container must be like, and what to do where they are not. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from thermocline.errors import ConfigurationError

PATHS: Final = ("/tenant", "/scope")
DEFAULT_TTL: Final = -1  # time to live is on, and items without a ttl stay
STRONG_ENOUGH: Final = ("Strong", "BoundedStaleness", "Session")

INDEXING: Final[dict[str, Any]] = {
    "indexingMode": "consistent",
    "automatic": True,
    "includedPaths": [{"path": "/*"}],
    "excludedPaths": [{"path": "/r/*"}, {"path": "/w/*"}, {"path": "/b/?"}, {"path": '/"_etag"/?'}],
}
"""Of a container that `WarmMemory` creates: the record is not indexed (each indexed term of a write costs request units), the name is."""


def check_account(consistency: str, multi_write: bool) -> None:
    """Raises `ConfigurationError` for an account whose versions could not be trusted."""
    if multi_write:
        raise ConfigurationError(
            "the Cosmos DB account takes writes in several regions: two of them could give out the same version. "
            "Turn enableMultipleWriteLocations off (az cosmosdb update --enable-multiple-write-locations false)"
        )
    if consistency not in STRONG_ENOUGH:
        raise ConfigurationError(
            f"the consistency of the Cosmos DB account (or in client_kwargs) is {consistency or 'not known'}: a client would not read its own writes. "
            "Set it to Session or stronger (az cosmosdb update --default-consistency-level Session)"
        )


def check_container(properties: Mapping[str, Any], database: str, container: str) -> None:
    """Raises `ConfigurationError` for a container in which nothing would be found, or nothing would expire."""
    where = f"the container {database}/{container}"
    key = properties.get("partitionKey") or {}
    paths = tuple(key.get("paths") or ())
    if paths != PATHS or key.get("kind") != "MultiHash":
        raise ConfigurationError(
            f"{where} is partitioned by {', '.join(paths) or 'nothing'} ({key.get('kind', 'no kind')}), and must be by {', '.join(PATHS)} "
            "(MultiHash, version 2). A partition key cannot be changed: deploy a new container, and read the old one by a route with "
            "legacy=LegacySource(warm=LegacyDocuments(...)), "
            "which takes its documents over as they are written; docs/moving-from-holiday-peak-lib.md has the steps"
        )
    ttl = properties.get("defaultTtl")
    if ttl != DEFAULT_TTL:
        effect = "the items' own ttl is ignored" if ttl is None else f"items without a ttl vanish after {ttl} s"
        raise ConfigurationError(
            f"{where} has a defaultTtl of {'none' if ttl is None else ttl}, so {effect}. Set it to -1 "
            f"(az cosmosdb sql container update --ttl -1, or defaultTtl: -1 in Bicep)"
        )
