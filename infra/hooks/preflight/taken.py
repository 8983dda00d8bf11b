"""Whether the names that must be unique in the world are free, or ours already."""

from collections.abc import Iterator
from typing import Final

from infra.hooks.preflight.arm import Arm
from infra.hooks.preflight.findings import Finding
from infra.hooks.preflight.wants import Wants

_STORAGE: Final = "2025-08-01"
_COSMOS: Final = "2025-10-15"
_WEB: Final = "2025-03-01"
_VAULT: Final = "2025-05-01"
_ANOTHER: Final = "make an azd environment of another name (azd env new): the name is part of it"


def taken_names(arm: Arm, wanted: Wants) -> Iterator[Finding]:
    """Raises `CannotLookError`. Redis' names are not asked for: Azure has no such question for Managed Redis."""
    named = wanted.names
    subscription = f"/subscriptions/{wanted.subscription}"
    group = f"{subscription}/resourceGroups/{named.group}/providers"
    storage = {name: f"{group}/Microsoft.Storage/storageAccounts/{name}" for name in (named.cold, *named.hosts)}
    for name, ours in storage.items():
        yield from _asked(
            arm, ours, _STORAGE, f"{subscription}/providers/Microsoft.Storage/checkNameAvailability", name
        )
    for name in named.sites:
        ours = f"{group}/Microsoft.Web/sites/{name}"
        yield from _asked(arm, ours, _WEB, f"{subscription}/providers/Microsoft.Web/checknameavailability", name)
    cosmos = f"{group}/Microsoft.DocumentDB/databaseAccounts/{named.cosmos}"
    if arm.get(cosmos, _COSMOS) is None and arm.exists(
        f"/providers/Microsoft.DocumentDB/databaseAccountNames/{named.cosmos}", _COSMOS
    ):
        yield _taken(named.cosmos, "another Cosmos DB account has it")
    yield from _vault(arm, wanted, group)


def _vault(arm: Arm, wanted: Wants, group: str) -> Iterator[Finding]:
    name, location = wanted.names.vault, wanted.location
    subscription = f"/subscriptions/{wanted.subscription}"
    if arm.get(f"{group}/Microsoft.KeyVault/vaults/{name}", _VAULT) is not None:
        return
    deleted = arm.get(f"{subscription}/providers/Microsoft.KeyVault/locations/{location}/deletedVaults/{name}", _VAULT)
    if deleted is not None:
        purge = (
            "it is protected against purging; "
            if deleted["properties"].get("purgeProtectionEnabled")
            else f"or az keyvault purge --name {name}; "
        )
        yield Finding(
            "stop",
            f"the vault {name} was deleted and can still be brought back, so its name is not free",
            f"az keyvault recover --name {name}, {purge}or wait until {deleted['properties'].get('scheduledPurgeDate', 'it is purged')}",
        )
        return
    yield from _asked(
        arm,
        f"{group}/Microsoft.KeyVault/vaults/{name}",
        _VAULT,
        f"{subscription}/providers/Microsoft.KeyVault/checkNameAvailability",
        name,
    )


def _asked(arm: Arm, ours: str, version: str, question: str, name: str) -> Iterator[Finding]:
    if arm.get(ours, version) is not None:
        return
    kind = "/".join(ours.split("/providers/")[-1].split("/")[:2])
    answer = arm.post(question, version, {"name": name, "type": kind}) or {}
    if answer.get("nameAvailable") is False:
        yield _taken(name, str(answer.get("message") or answer.get("reason") or "somebody else has it"))


def _taken(name: str, why: str) -> Finding:
    return Finding("stop", f"the name {name} is not free: {why}", _ANOTHER)
