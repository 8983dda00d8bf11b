"""What every Bicep module keeps, read from its text: no compiler and no Azure is needed. Each rule is shown to bite."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from tests.infra.bicep_source import BICEP, ROOT, Resource, Source, read

from thermocline.keys import PAYLOAD_ROOT

FILES: Final = sorted([*BICEP.rglob("*.bicep"), *(ROOT / "infra").rglob("*.bicep")])
CONTRACT: Final[dict[str, Any]] = json.loads((ROOT / "infra" / "contract.json").read_text(encoding="utf-8"))
DIAGNOSTICS: Final = "Microsoft.Insights/diagnosticSettings"
LOCK: Final = "Microsoft.Authorization/locks"
PREVIEW_ALONE: Final = {DIAGNOSTICS}  # types of which there is no GA version
SERVICES: Final = {  # types that have diagnostic settings
    "Microsoft.Cache/redisEnterprise",
    "Microsoft.Cache/redisEnterprise/databases",
    "Microsoft.CognitiveServices/accounts",
    "Microsoft.DocumentDB/databaseAccounts",
    "Microsoft.EventGrid/systemTopics",
    "Microsoft.KeyVault/vaults",
    "Microsoft.Network/virtualNetworks",
    "Microsoft.Storage/storageAccounts",
    "Microsoft.Storage/storageAccounts/blobServices",
    "Microsoft.Storage/storageAccounts/queueServices",
    "Microsoft.Storage/storageAccounts/tableServices",
    "Microsoft.Web/sites",
}
HOLD_DATA: Final = {
    "Microsoft.Cache/redisEnterprise",
    "Microsoft.DocumentDB/databaseAccounts",
    "Microsoft.KeyVault/vaults",
    "Microsoft.Storage/storageAccounts",
}
ONE_AFTER_ANOTHER: Final = {  # Azure refuses two at a time
    "Microsoft.Cache/redisEnterprise/databases/accessPolicyAssignments",
    "Microsoft.DocumentDB/databaseAccounts/sqlRoleAssignments",
    "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials",
}
SECURE: Final = {  # type -> what its body says
    "Microsoft.Cache/redisEnterprise": ("minimumTlsVersion: '1.2'", "publicNetworkAccess: publicAccess ?"),
    "Microsoft.Cache/redisEnterprise/databases": (
        "accessKeysAuthentication: 'Disabled'",
        "clientProtocol: 'Encrypted'",
        "evictionPolicy: 'VolatileLRU'",
    ),
    "Microsoft.CognitiveServices/accounts": ("disableLocalAuth: true", "publicNetworkAccess: publicAccess ?"),
    "Microsoft.DocumentDB/databaseAccounts": (
        "disableLocalAuth: true",
        "disableKeyBasedMetadataWriteAccess: true",
        "minimalTlsVersion: 'Tls12'",
        "type: 'Continuous'",
        "enableMultipleWriteLocations: false",
        "enableAutomaticFailover: false",
        "defaultConsistencyLevel: 'Session'",
        "publicNetworkAccess: publicAccess ?",
    ),
    "Microsoft.KeyVault/vaults": (
        "enableRbacAuthorization: true",
        "enableSoftDelete: true",
        "enablePurgeProtection: purgeProtection ? true : null",
        "publicNetworkAccess: publicAccess ?",
        "defaultAction: publicAccess ? 'Allow' : 'Deny'",
    ),
    "Microsoft.Storage/storageAccounts": (
        "allowSharedKeyAccess: false",
        "allowBlobPublicAccess: false",
        "allowCrossTenantReplication: false",
        "defaultToOAuthAuthentication: true",
        "minimumTlsVersion: 'TLS1_2'",
        "supportsHttpsTrafficOnly: true",
        "isLocalUserEnabled: false",
        "publicNetworkAccess: publicAccess ?",
        "defaultAction: publicAccess ? 'Allow' : 'Deny'",
    ),
    "Microsoft.Storage/storageAccounts/blobServices": ("deleteRetentionPolicy: { enabled: true",),
    "Microsoft.Storage/storageAccounts/blobServices/containers": ("publicAccess: 'None'",),
}
_GUID: Final = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.IGNORECASE)
_CHANGING: Final = re.compile(r"\b(utcNow|newGuid|deployer)\s*\(")
_SECRET: Final = re.compile(
    r"\blist(?:Keys|AccountSas|ServiceSas|Secrets|ConnectionStrings|CallbackUrl|KeyValue)?\s*\(|\.list\w+\(|@secure\(\)|getSecret\("
    r"|AccountKey=|SharedAccessSignature|[?&]sig=|(?:password|secret|token)\s*:\s*'[^'$]+'",
    re.IGNORECASE,
)


Rule = Callable[[str, Source], list[str]]


def takes_no_module_from_a_registry(text: str, _: Source) -> list[str]:
    return re.findall(r"'(?:br|ts)[:/][^']*'|^\s*(?:extension|provider) .*$", text, re.MULTILINE)


def uses_no_preview(_: str, source: Source) -> list[str]:
    return [
        f"{one.type}@{one.version}"
        for one in source.resources
        if one.type not in PREVIEW_ALONE and not re.fullmatch(r"\d{4}-\d{2}-\d{2}", one.version)
    ]


def is_the_same_each_time(text: str, _: Source) -> list[str]:
    return [found[0] for found in _CHANGING.finditer(_code(text))]


def has_no_secret(text: str, _: Source) -> list[str]:
    return [found[0] for found in _SECRET.finditer(_code(text))]


def takes_roles_from_the_contract(text: str, _: Source) -> list[str]:
    return _GUID.findall(_code(text))


def sends_diagnostics(_: str, source: Source) -> list[str]:
    watched = _scopes(source, DIAGNOSTICS)
    return [one.symbol for one in _made(source) if one.type in SERVICES and one.symbol not in watched]


def can_lock_what_holds_data(_: str, source: Source) -> list[str]:
    kept = _scopes(source, LOCK)
    return [one.symbol for one in _made(source) if one.type in HOLD_DATA and one.symbol not in kept]


def writes_one_after_another(_: str, source: Source) -> list[str]:
    return [one.symbol for one in source.resources if one.type in ONE_AFTER_ANOTHER and "@batchSize(1)" not in one.text]


def is_secure_by_default(_: str, source: Source) -> list[str]:
    lacking = [
        f"{one.symbol}: {wanted}"
        for one in _made(source)
        for wanted in SECURE.get(one.type, ())
        if wanted not in one.text
    ]
    return lacking + [f"{one.symbol}: false" for one in _made(source) if "enablePurgeProtection: false" in one.text]


def deletes_no_payload(_: str, source: Source) -> list[str]:
    """Of the rules on blobs that are current, only moves to what is readable at once are allowed, and of payloads alone."""
    wrong = []
    for one in source.resources:
        if one.type != "Microsoft.Storage/storageAccounts/managementPolicies":
            continue
        for actions in re.findall(r"baseBlob: \{((?:[^{}]|\{[^{}]*\})*)\}", one.text):
            wrong += [
                action for action in re.findall(r"(\w+): \{", actions) if action not in ("tierToCool", "tierToCold")
            ]
        if f"'${{container}}/{PAYLOAD_ROOT}'" not in one.text:
            wrong.append("prefixMatch")
    return wrong


def names_roles_by_what_they_are(_: str, source: Source) -> list[str]:
    """By where, whose and which: an identity that was made anew gets an assignment of its own, as Azure lets no assignment change hands."""
    return [
        one.symbol
        for one in source.resources
        if one.type == "Microsoft.Authorization/roleAssignments"
        and not re.search(
            r" name: guid\(\w+\.id, (?:[\w.]+, )?(?:[\w.]+\.principalId|topic\.id), [\w.]+\.(?:id|roleDefinitionId)\)",
            one.text,
        )
    ]


RULES: Final[tuple[Rule, ...]] = (
    takes_no_module_from_a_registry,
    uses_no_preview,
    is_the_same_each_time,
    has_no_secret,
    takes_roles_from_the_contract,
    sends_diagnostics,
    can_lock_what_holds_data,
    writes_one_after_another,
    is_secure_by_default,
    deletes_no_payload,
    names_roles_by_what_they_are,
)


def _made(source: Source) -> Iterator[Resource]:
    return (one for one in source.resources if not one.existing)


def _scopes(source: Source, kind: str) -> set[str]:
    scopes = [re.search(r"\bscope: (\w+)", one.text) for one in source.resources if one.type == kind]
    return {found[1] for found in scopes if found}


def _code(text: str) -> str:
    """Without comments and descriptions: what is only said is not done."""
    text = re.sub(r"@description\((?:'''.*?'''|'(?:\\.|[^'\\])*')\)", "", text, flags=re.DOTALL)
    return re.sub(r"(?<!:)//.*", "", text)


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule.__name__))
def test_every_file_keeps_the_rule(rule: Rule) -> None:
    found = {}
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        if complaints := rule(text, read(text)):
            found[_name(path)] = complaints

    assert found == {}


def test_private_endpoints_are_made_one_after_another() -> None:
    """An account takes one connection at a time, and two of ours have two."""
    text = (ROOT / "infra" / "endpoints.bicep").read_text(encoding="utf-8")

    assert len(re.findall(r"^module \w+ '../bicep/private-endpoint/main.bicep' = \[$", text, re.MULTILINE)) == 1
    assert "@batchSize(1)\nmodule endpoints '../bicep/private-endpoint/main.bicep' = [" in text


def test_one_version_of_a_type_is_used_everywhere() -> None:
    versions: dict[str, set[str]] = {}
    for path in FILES:
        for one in read(path.read_text(encoding="utf-8")).resources:
            versions.setdefault(one.type, set()).add(one.version)

    assert len(versions) > 20
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


@pytest.mark.parametrize("folder", sorted(path.parent.name for path in BICEP.glob("*/main.bicep")))
def test_modules_are_for_a_resource_group_and_take_what_all_take(folder: str) -> None:
    source = read((BICEP / folder / "main.bicep").read_text(encoding="utf-8"))
    taken = {entry.name: entry for entry in source.parameters}

    assert source.scope == "resourceGroup"
    types = {one.type for one in source.resources}
    if DIAGNOSTICS in types and "Microsoft.OperationalInsights/workspaces" not in types:
        assert taken["workspaceId"].type == "string"
    assert (LOCK in types) == ("locked" in taken)
    assert all(taken[name].default == "false" for name in taken if name == "locked")
    assert all(taken[name].type == "object" for name in taken if name == "tags")


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_files_that_a_module_loads_are_there(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    loaded = re.findall(r"load\w+Content\('([^']+)'", text) + re.findall(
        r"^import .* from '([^']+)'", text, re.MULTILINE
    )
    used = [where for _, where in read(text).modules]

    assert [name for name in loaded + used if not (path.parent / name).is_file()] == []


def test_roles_that_modules_give_by_themselves_are_in_the_contract() -> None:
    named = {
        role
        for path in FILES
        for role in re.findall(r"\b(?:roleIds|roles|contract\.roles)\.(\w+)\.id\b", path.read_text(encoding="utf-8"))
    }

    assert {"queueDataMessageSender", "blobDataContributor"} <= named <= set(CONTRACT["roles"])


def test_the_events_of_the_vault_are_those_that_the_worker_knows() -> None:
    """A rotated secret, and the warnings before an end: of each, the type that Key Vault documents."""
    (subscription,) = [
        one
        for one in read((BICEP / "events" / "main.bicep").read_text(encoding="utf-8")).resources
        if one.type == "Microsoft.EventGrid/systemTopics/eventSubscriptions"
    ]

    assert re.findall(r"'Microsoft\.KeyVault\.(\w+)'", subscription.text) == [
        "SecretNewVersionCreated",
        "SecretNearExpiry",
        "SecretExpired",
        "KeyNearExpiry",
    ]
    assert subscription.text.count("type: 'SystemAssigned'") == 2  # delivery and dead letters


BROKEN: Final = [
    ("redis", uses_no_preview, "@2025-07-01", "@2026-06-01-preview"),
    ("redis", writes_one_after_another, "@batchSize(1)", ""),
    ("redis", is_secure_by_default, "accessKeysAuthentication: 'Disabled'", "accessKeysAuthentication: 'Enabled'"),
    ("redis", sends_diagnostics, "scope: database", "scope: cluster"),
    ("cosmos", is_secure_by_default, "disableLocalAuth: true", "disableLocalAuth: false"),
    ("cosmos", is_secure_by_default, "type: 'Continuous'", "type: 'Periodic'"),
    ("cosmos", can_lock_what_holds_data, "'Microsoft.Authorization/locks@", "'Microsoft.Authorization/other@"),
    ("cosmos", is_the_same_each_time, "param freeTier bool = false", "param freeTier string = newGuid()"),
    (
        "cosmos",
        takes_no_module_from_a_registry,
        "resource account ",
        "module x 'br/public:avm/a/b:1.0.0' = {}\nresource account ",
    ),
    ("storage", deletes_no_payload, "tierToCold:", "delete:"),
    ("storage", deletes_no_payload, "tierToCold:", "tierToArchive:"),
    ("storage", deletes_no_payload, "/tc1/p/", "/tc1/"),
    ("storage", is_secure_by_default, "allowSharedKeyAccess: false", "allowSharedKeyAccess: true"),
    ("storage", names_roles_by_what_they_are, "name: guid(account.id, ", "name: guid("),
    ("host-storage", names_roles_by_what_they_are, "assignment.principalId, assignment.role", "assignment.role"),
    ("events", names_roles_by_what_they_are, "topic.id, roleIds.blob", "roleIds.blob"),
    (
        "host-storage",
        has_no_secret,
        "output name string = account.name",
        "output name string = account.listKeys().keys[0].value",
    ),
    ("key-vault", is_secure_by_default, "purgeProtection ? true : null", "false"),
    (
        "events",
        takes_roles_from_the_contract,
        "roleIds.queueDataMessageSender.id",
        "'c6a89b2d-59bc-44d0-9896-0f6e12d7b80a'",
    ),
    ("identities", writes_one_after_another, "@batchSize(1)", ""),
    ("openai", is_secure_by_default, "disableLocalAuth: true", "disableLocalAuth: false"),
]


@pytest.mark.parametrize(("folder", "rule", "old", "new"), BROKEN)
def test_the_rules_bite(folder: str, rule: Rule, old: str, new: str) -> None:
    text = (BICEP / folder / "main.bicep").read_text(encoding="utf-8")
    broken = text.replace(old, new)

    assert broken != text
    assert rule(text, read(text)) == []
    assert rule(broken, read(broken)) != []


def test_what_is_only_said_is_not_taken_for_done() -> None:
    said = "// utcNow() is not used\n@description('Never newGuid() nor a password: \\'x\\'.')\nparam a string\n"

    assert is_the_same_each_time(said, read(said)) == []
    assert has_no_secret(said, read(said)) == []


def test_an_existing_resource_needs_no_diagnostics_of_its_own() -> None:
    source = read("resource a 'Microsoft.KeyVault/vaults@2025-05-01' existing = { name: 'a' }\n")
    made = Source(resources=[replace(source.resources[0], existing=False)])

    assert sends_diagnostics("", source) == []
    assert sends_diagnostics("", made) == ["a"]
