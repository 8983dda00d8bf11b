"""Who may do what: each principal of each profile has the roles of the contract and no other, and the page says so."""

import importlib.util
import subprocess
import sys
from types import ModuleType
from typing import Any, Final

import pytest
from tests.infra.built import ROOT, Break, Built, change, contract, of, snapshot, without

PROFILES: Final = ("dev", "team", "private", "regulated")
APPS: Final = ("memory-worker", "memory-api", "agent-sample")


def generator() -> ModuleType:
    """`.ci/infra.py`, which has the words for who may do what."""
    spec = importlib.util.spec_from_file_location("infra_ci", ROOT / ".ci" / "infra.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_without_the_tool_nothing_is_written_and_that_is_said() -> None:
    before = (ROOT / "infra" / "snapshots" / "dev.json").read_bytes()
    done = subprocess.run(
        [sys.executable, str(ROOT / ".ci" / "infra.py"), "write"],
        env={"BICEPCHECK": str(ROOT / "there" / "is" / "none")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "no bicepcheck at there/is/none" in done.stderr
    assert (ROOT / "infra" / "snapshots" / "dev.json").read_bytes() == before


def agreed_grants(agreed: dict[str, Any], profile: str) -> set[tuple[str, str, str]]:
    """(who, where, role) as the contract has it for a profile."""
    found = {(app, line["on"], line["role"]) for app in APPS for line in agreed["apps"][app]["access"]}
    found |= {("events", line["on"], line["role"]) for line in agreed["events"]["access"]}
    if profile in ("dev", "team"):
        found |= {("developer", line["on"], line["role"]) for line in agreed["developer"]["access"]}
    if profile == "regulated":
        found |= {("encryption", line["on"], line["role"]) for line in agreed["encryption"]["access"]}
    return found


@pytest.mark.parametrize("profile", PROFILES)
def test_every_principal_has_the_roles_that_are_agreed_and_no_other(profile: str) -> None:
    assert generator().grants(snapshot(profile)) == agreed_grants(contract(), profile)


ROLES: Final = "Microsoft.Authorization/roleAssignments"
COSMOS_ROLES: Final = "Microsoft.DocumentDB/databaseAccounts/sqlRoleAssignments"


def whole_account(built: Built) -> None:
    role = of(built, COSMOS_ROLES)[0]["body"]["properties"]
    role["scope"] = role["scope"].split("/dbs/")[0]


def another_ones(built: Built) -> None:
    given = of(built, ROLES)
    given[0]["body"]["properties"]["principalId"] = {
        "$ref": "resources/identities/identities[2].properties.principalId"
    }


def on_another_host(built: Built) -> None:
    """The agent may write what the API runs."""
    accounts = {one["name"]: one["id"] for one in of(built, "Microsoft.Storage/storageAccounts")}
    mine, other = (next(accounts[name] for name in accounts if app in name) for app in ("agentsample", "memoryapi"))
    given = next(one for one in of(built, ROLES) if one["scope"] == mine)
    built.append({**given, "scope": other})


@pytest.mark.parametrize(
    "break_it",
    [
        change(ROLES, "properties.roleDefinitionId", "/x/b24988ac-6180-42a0-ab88-20f7382dd24c"),
        change(
            "Microsoft.Cache/redisEnterprise/databases/accessPolicyAssignments", "properties.user.objectId", "7" * 8
        ),
        whole_account,
        another_ones,
        on_another_host,
        without(COSMOS_ROLES),
        without(ROLES, -1),
    ],
)
def test_a_role_that_nobody_agreed_on_is_caught(break_it: Break) -> None:
    found = snapshot("dev")
    break_it(found["resources"])

    assert generator().grants(found) != agreed_grants(contract(), "dev")


# What a verb needs, for each word that the contract's reasons use; a role that can do more than its reasons is too much.
NEEDS: Final = {
    "cosmosDataContributor": ("settle", "sweep", "leases", "set aside", "verbs", "set", "letters", "client", "feed"),
    "blobDataContributor": ("write", "delete", "set", "client", "sets aside"),
    "vaultSecretsUser": ("secrets", "client"),
    "redisDefault": ("settle", "verbs", "client"),
    "blobDataOwner": ("package",),  # the Functions host asks for it by name: it takes leases and sets tags
    "queueDataContributor": ("poison",),
    "queueDataMessageSender": ("delivers",),
    "monitoringMetricsPublisher": ("telemetry",),
    "tableDataContributor": ("client",),
    "vaultCryptoServiceEncryptionUser": ("wrap",),
    "openAIUser": ("embeddings",),
}


def test_every_role_has_a_reason_that_needs_it() -> None:
    agreed = contract()
    lines = [line for app in APPS for line in agreed["apps"][app]["access"]]
    lines += [line for who in ("developer", "encryption", "events") for line in agreed[who]["access"]]
    lines += agreed["embeddings"]["agent-sample"]

    assert [line for line in lines if not any(word in line["for"] for word in NEEDS[line["role"]])] == []
    assert set(agreed["roles"]) - {line["role"] for line in lines} == {"cosmosDataReader"}


def test_the_page_on_security_has_the_table_of_the_snapshots() -> None:
    ci = generator()
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    table = ci.access_table({profile: snapshot(profile) for profile in PROFILES})

    assert ci.with_table(page, table) == page, "make snapshots writes the table anew"
    assert table.count("\n") > 25
