"""What the azd environment asks for, and what is out of range in it. Pure."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from infra.hooks.preflight.findings import Finding
from infra.hooks.preflight.naming import Names, names

PROFILES: Final[dict[str, dict[str, Any]]] = json.loads(
    (Path(__file__).parents[2] / "profiles.json").read_text(encoding="utf-8")
)
_GUID: Final = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


@dataclass(frozen=True)
class Wants:
    """``settings``: the profile's lines of profiles.json; {} if there is no such profile."""

    subscription: str
    environment: str
    location: str
    second_location: str
    profile: str
    settings: Mapping[str, Any]
    free_tier: bool
    embeddings: bool
    variables: Mapping[str, str]

    @property
    def names(self) -> Names:
        return names(self.subscription, self.environment, self.location)

    @property
    def regions(self) -> list[str]:
        """Cosmos DB's, the one of writes first."""
        return [self.location, self.second_location] if self.settings["cosmos"]["secondRegion"] else [self.location]


def wants(variables: Mapping[str, str]) -> Wants:
    """Of the variables that azd gives its hooks."""
    profile = variables.get("AZURE_THERMOCLINE_PROFILE", "") or "dev"
    return Wants(
        subscription=variables.get("AZURE_SUBSCRIPTION_ID", "").lower(),
        environment=variables.get("AZURE_ENV_NAME", ""),
        location=variables.get("AZURE_LOCATION", ""),
        second_location=variables.get("AZURE_SECOND_LOCATION", ""),
        profile=profile,
        settings=PROFILES.get(profile, {}),
        free_tier=variables.get("AZURE_COSMOS_FREE_TIER", "").lower() == "true",
        embeddings=variables.get("AZURE_EMBEDDINGS", "").lower() == "true",
        variables=variables,
    )


def out_of_range(wanted: Wants) -> list[Finding]:
    """What no deployment could be made of. Nothing in Azure is asked for it."""
    found: list[Finding] = []

    def stop(what: str, do: str) -> None:
        found.append(Finding("stop", what, do))

    if not wanted.settings:
        stop(
            f"there is no profile {wanted.profile!r}",
            f"azd env set AZURE_THERMOCLINE_PROFILE to one of {', '.join(PROFILES)}",
        )
    name = wanted.environment
    if not 2 <= len(name) <= 12 or re.fullmatch("[a-z](-?[a-z0-9])*", name) is None:
        stop(
            f"the environment's name {name!r} cannot be part of the resources' names",
            "make an environment (azd env new) with 2 to 12 small letters, digits and single hyphens, a letter first",
        )
    if _GUID.fullmatch(wanted.subscription) is None:
        stop(
            "AZURE_SUBSCRIPTION_ID is no subscription's id",
            "azd env set AZURE_SUBSCRIPTION_ID to the id that az account show tells",
        )
    if re.fullmatch("[a-z0-9]+", wanted.location) is None:
        stop(
            f"AZURE_LOCATION {wanted.location!r} is no region's name",
            "azd env set AZURE_LOCATION to one such as swedencentral (az account list-locations)",
        )
    if wanted.settings:
        found += _second_region(wanted)
        found += _notices(wanted)
    found += _numbers(wanted.variables)
    return found


def _second_region(wanted: Wants) -> list[Finding]:
    if not wanted.settings["cosmos"]["secondRegion"]:
        if wanted.second_location:
            what = f"AZURE_SECOND_LOCATION is set, and the profile {wanted.profile} has one region: it is not used"
            return [Finding("mind", what)]
        return []
    if re.fullmatch("[a-z0-9]+", wanted.second_location) is None or wanted.second_location == wanted.location:
        return [
            Finding(
                "stop",
                f"the profile {wanted.profile} keeps a second copy of Cosmos DB, and AZURE_SECOND_LOCATION is {wanted.second_location!r}",
                "azd env set AZURE_SECOND_LOCATION to another region than AZURE_LOCATION; it cannot be changed by a later deployment",
            )
        ]
    return []


def _notices(wanted: Wants) -> list[Finding]:
    emails = [email.strip() for email in wanted.variables.get("AZURE_ALERT_EMAILS", "").split(",") if email.strip()]
    wrong = [email for email in emails if re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s.]+", email) is None]
    if wrong:
        return [Finding("stop", f"AZURE_ALERT_EMAILS: {', '.join(wrong)} is no e-mail address", "correct it")]
    if not emails and wanted.settings["alerts"]:
        return [
            Finding(
                "stop",
                f"the profile {wanted.profile} has alerts and a budget, and AZURE_ALERT_EMAILS names nobody to tell",
                "azd env set AZURE_ALERT_EMAILS to addresses separated by commas",
            )
        ]
    return []


def _numbers(variables: Mapping[str, str]) -> list[Finding]:
    found: list[Finding] = []
    budget = variables.get("AZURE_MONTHLY_BUDGET", "")
    if budget and not (budget.isascii() and budget.isdigit() and int(budget) <= 1_000_000):
        found.append(
            Finding(
                "stop",
                f"AZURE_MONTHLY_BUDGET {budget!r} is no whole number from 0 to 1000000",
                "correct it, or unset it for the profile's own",
            )
        )
    start = variables.get("AZURE_BUDGET_START", "")
    if start and re.fullmatch(r"20\d\d-(0[1-9]|1[0-2])-01", start) is None:
        found.append(
            Finding("stop", f"AZURE_BUDGET_START {start!r} is not the first day of a month", "write it as yyyy-MM-01")
        )
    found += [
        Finding("stop", f"{variable} is {variables[variable]!r}", "azd env set it to true or false")
        for variable in ("AZURE_COSMOS_FREE_TIER", "AZURE_EMBEDDINGS")
        if variables.get(variable, "").lower() not in ("", "true", "false")
    ]
    if variables.get("AZURE_PRINCIPAL_TYPE", "") not in ("", "User", "ServicePrincipal", "Group"):
        found.append(
            Finding(
                "stop",
                f"AZURE_PRINCIPAL_TYPE is {variables['AZURE_PRINCIPAL_TYPE']!r}",
                "azd env set it to User, ServicePrincipal or Group",
            )
        )
    return found + _api(variables)


def _api(variables: Mapping[str, str]) -> list[Finding]:
    found: list[Finding] = []
    tenants = [one.strip() for one in variables.get("AZURE_API_TENANTS", "").split(",") if one.strip()]
    wrong = [one for one in tenants if _GUID.fullmatch(one) is None]
    if wrong:
        found.append(
            Finding(
                "stop",
                f"AZURE_API_TENANTS: {', '.join(wrong)} is no tenant's id",
                "write ids (GUIDs), separated by commas",
            )
        )
    if not variables.get("AZURE_API_AUDIENCE", ""):
        found.append(
            Finding(
                "mind",
                "AZURE_API_AUDIENCE is not set: memory-api and agent-sample will answer no call until it is",
                "docs/azure.md says how to register the application that callers ask tokens for",
            )
        )
    try:
        subjects = json.loads(variables.get("AZURE_GITHUB_SUBJECTS", "") or "[]")
        usable = isinstance(subjects, list) and all(isinstance(one, str) and one for one in subjects)
    except ValueError:
        usable = False
    if not usable:
        found.append(
            Finding(
                "stop",
                "AZURE_GITHUB_SUBJECTS is no JSON list of texts",
                """azd env set AZURE_GITHUB_SUBJECTS '["repo:owner/name:environment:production"]'""",
            )
        )
    return found
