"""Whether the caller may do what a deployment does."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from infra.hooks.preflight.arm import Arm
from infra.hooks.preflight.findings import Finding
from infra.hooks.preflight.wants import Wants


def needed(wanted: Wants) -> dict[str, str]:
    """Action -> the role that has it and is least."""
    actions = {
        "Microsoft.Resources/deployments/write": "Contributor on the subscription",
        "Microsoft.Resources/subscriptions/resourceGroups/write": "Contributor on the subscription",
        "Microsoft.DocumentDB/databaseAccounts/write": "Contributor on the subscription",
        "Microsoft.DocumentDB/databaseAccounts/sqlRoleAssignments/write": "Contributor on the subscription",
        "Microsoft.Authorization/roleAssignments/write": "Role Based Access Control Administrator (or User Access Administrator, or Owner)",
    }
    if wanted.settings["locked"]:
        actions["Microsoft.Authorization/locks/write"] = (
            "User Access Administrator, or Owner, or a role of your own with it"
        )
    return actions


def may(permissions: Sequence[dict[str, Any]], action: str) -> bool:
    """By Azure's rule: one permission's ``actions`` has it and its ``notActions`` has not."""
    return any(
        _any(one.get("actions", []), action) and not _any(one.get("notActions", []), action) for one in permissions
    )


def rights(arm: Arm, wanted: Wants) -> Iterator[Finding]:
    """Raises `CannotLookError`. Conditions on role assignments are not seen here."""
    path = f"/subscriptions/{wanted.subscription}/providers/Microsoft.Authorization/permissions"
    permissions = arm.listed(path, "2022-04-01")
    for action, role in needed(wanted).items():
        if not may(permissions, action):
            yield Finding("stop", f"you may not do {action} in the subscription", f"ask for the role {role}")


def _any(patterns: Sequence[str], action: str) -> bool:
    return any(
        re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), action, re.IGNORECASE) is not None for pattern in patterns
    )
