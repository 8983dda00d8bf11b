"""What the infrastructure would build, kept in the repository: `make snapshots` writes it, `make infra-check` looks whether it is up to date.

    python .ci/infra.py write            infra/snapshots/PROFILE.json, and the tables of docs/security.md
    python .ci/infra.py check            the Bicep has neither errors nor warnings, the snapshots are those that two evaluations give

Needs bicepcheck, which lies beside the repository; BICEPCHECK=path names another place. Without it `check` says that it was left out.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TOOL = Path(os.environ.get("BICEPCHECK") or ROOT.parent / "shared" / "tools" / "bicepcheck")
PROFILES = ("dev", "team", "private", "regulated")
PAGE = ROOT / "docs" / "security.md"
EVERYTHING = (
    "--set",
    "embeddings=true",
    "--set",
    "freeTier=true",
    "--set",
    'githubSubjects=["repo:owner/name:environment:team"]',
)
DEVELOPER = "44444444-4444-4444-4444-444444444444"  # a stand-in, so that the developer's roles are in the snapshots of dev and team


def snapshot_path(profile: str) -> Path:
    return ROOT / "infra" / "snapshots" / f"{profile}.json"


def evaluate(profile: str, *options: str) -> str:
    """The snapshot's text: sorted, indented, and the same on every machine. ``options``: further ones of bicepcheck eval."""
    return _evaluated(f"infra/{profile}.bicepparam", "--set", f"principalId={DEVELOPER}", *options)


def as_azd_would(profile: str) -> str:
    """The same deployment from the file that azd reads, with the variables of its environment."""
    variables = {
        "AZURE_ENV_NAME": "memory",
        "AZURE_LOCATION": "swedencentral",
        "AZURE_THERMOCLINE_PROFILE": profile,
        "AZURE_BUDGET_START": "2026-11-01",
        "AZURE_ALERT_EMAILS": "memory-operators@example.com",
        "AZURE_SECOND_LOCATION": "germanywestcentral" if profile == "regulated" else "",
        "AZURE_PRINCIPAL_ID": DEVELOPER,
    }
    given = [part for name, value in variables.items() for part in ("--env", f"{name}={value}")]
    return _evaluated("infra/main.bicep", "--params", "infra/main.parameters.json", *given)


def _evaluated(file: str, *options: str) -> str:
    done = subprocess.run(
        [sys.executable, str(TOOL), "eval", file, *options], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(f"{file} {' '.join(options)}: {done.stderr or done.stdout}")
    return json.dumps(json.loads(done.stdout), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


# --- the tables of docs/security.md -----------------------------------------------------------------------------------


def contract() -> dict[str, Any]:
    return json.loads((ROOT / "infra" / "contract.json").read_text(encoding="utf-8"))


def holder(reference: object, snapshot: dict[str, Any]) -> str:
    """Whose object id it is: the app of an identity, the developer, Event Grid's topic."""
    if reference == DEVELOPER:
        return "developer"
    path = (
        str(reference["$ref"]).rsplit(".", 2 if ".identity." in str(reference["$ref"]) else 1)[0]
        if isinstance(reference, dict)
        else ""
    )
    path = path.removesuffix(".properties").removesuffix(".identity")
    found = next((one for one in snapshot["resources"] if one["path"] == path), None)
    if found is None:
        return str(reference)
    if found["type"].startswith("Microsoft.EventGrid/"):
        return "events"
    match = re.fullmatch(r"id-(.+)-[a-z0-9]+-[a-z0-9]{8}", found["name"])
    return match[1] if match else found["name"]


def role_of(definition: str) -> str:
    """The contract's word for a role definition's id."""
    last = definition.rsplit("/", 1)[-1]
    return next((word for word, role in contract()["roles"].items() if role["id"] == last), last)


def place_of(scope: str) -> str:
    """What a scope is, in the contract's words, with the names of one deployment taken out."""
    parts = scope.split("/")
    if "/containers/" in scope and "/stcold" in scope:
        return f"cold/{parts[-1]}"
    if "/containers/" in scope:
        return "host/undelivered"
    if "/queues/" in scope:
        return "host/queue"
    if "/colls/" in scope:
        return f"cosmos/{parts[-1]}"
    if "/stcold" in scope:
        return "table/memory"
    kinds = {
        "Microsoft.Storage": "host",
        "Microsoft.KeyVault": "vault",
        "Microsoft.Insights": "insights",
        "Microsoft.CognitiveServices": "openai",
    }
    provider = scope.split("/providers/")[-1].split("/")[0]
    return kinds.get(provider, scope)


def own_place(who: str, scope: str) -> str:
    """`place_of`, but for another app's host: whoever writes there can run what he likes as that app."""
    place = place_of(scope)
    app = "memory-worker" if who == "events" else who
    mine = f"/storageaccounts/st{app.replace('-', '')}" in scope.lower()
    return place if mine or not place.startswith("host") else f"{place} of another app"


def grants(snapshot: dict[str, Any]) -> set[tuple[str, str, str]]:
    """(who, where, which role) of every assignment of a snapshot."""
    found = set()
    for one in snapshot["resources"]:
        if one["existing"] or one["condition"] is False:
            continue
        properties = one["body"].get("properties", {})
        kind = one["type"]
        if kind == "Microsoft.Authorization/roleAssignments":
            who = holder(properties["principalId"], snapshot)
            found.add((who, own_place(who, one["scope"]), role_of(properties["roleDefinitionId"])))
        elif kind == "Microsoft.DocumentDB/databaseAccounts/sqlRoleAssignments":
            found.add(
                (
                    holder(properties["principalId"], snapshot),
                    place_of(properties["scope"]),
                    role_of(properties["roleDefinitionId"]),
                )
            )
        elif kind == "Microsoft.Cache/redisEnterprise/databases/accessPolicyAssignments":
            found.add(
                (holder(properties["user"]["objectId"], snapshot), "redis", role_of(properties["accessPolicyName"]))
            )
    return found


def why(who: str, where: str, role: str) -> str:
    agreed = contract()
    lines = {**{app: one["access"] for app, one in agreed["apps"].items()}}
    lines |= {word: agreed[word]["access"] for word in ("developer", "encryption", "events")}
    return next((line["for"] for line in lines.get(who, []) if (line["on"], line["role"]) == (where, role)), "")


def access_table(snapshots: dict[str, dict[str, Any]]) -> str:
    """Who may do what, as the four snapshots have it."""
    of = {profile: grants(snapshot) for profile, snapshot in snapshots.items()}
    agreed = contract()
    order = [*agreed["apps"], "developer", "encryption", "events"]
    rows = ["| who | on what | role | what for | profiles |", "|---|---|---|---|---|"]
    for who, where, role in sorted(
        set().union(*of.values()), key=lambda one: (order.index(one[0]) if one[0] in order else 99, one)
    ):
        profiles = [profile for profile in PROFILES if (who, where, role) in of.get(profile, set())]
        told = "all" if len(profiles) == len(PROFILES) else ", ".join(profiles)
        rows.append(
            f"| {who} | {where} | {agreed['roles'].get(role, {}).get('name', role)} | {why(who, where, role)} | {told} |"
        )
    return "\n".join(rows) + "\n"


def with_table(page: str, table: str) -> str:
    """The page with the table between its marks."""
    head, tail = "<!-- written by make snapshots: who may do what -->\n", "<!-- end -->"
    before, _, rest = page.partition(head)
    _, _, after = rest.partition(tail)
    return f"{before}{head}{table}{tail}{after}"


# --- the commands -----------------------------------------------------------------------------------------------------


def write() -> None:
    if not TOOL.exists():
        sys.exit(
            f"There is no bicepcheck at {os.path.relpath(TOOL, ROOT)}, so nothing was written. BICEPCHECK=path names it; CONTRIBUTING.md says what it is."
        )
    texts = {profile: evaluate(profile) for profile in PROFILES}
    for profile, text in texts.items():
        snapshot_path(profile).parent.mkdir(exist_ok=True)
        snapshot_path(profile).write_text(text, encoding="utf-8")
    table = access_table({profile: json.loads(text) for profile, text in texts.items()})
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8"), table), encoding="utf-8")


def check() -> None:
    if not TOOL.exists():
        print(
            f"make infra-check was left out: there is no bicepcheck at {os.path.relpath(TOOL, ROOT)} (BICEPCHECK=path)"
        )
        return
    command = [sys.executable, str(TOOL), "check", "--warnings-as-errors", "--no-info", "bicep", "infra"]
    if subprocess.run(command, cwd=ROOT, check=False).returncode != 0:
        sys.exit("The Bicep has errors or warnings (above).")
    for profile in PROFILES:
        first, second = evaluate(profile), evaluate(profile)
        if first != second:
            sys.exit(f"{profile}: two evaluations differ; something in it comes from the clock or from chance")
        if not snapshot_path(profile).exists() or snapshot_path(profile).read_text(encoding="utf-8") != first:
            sys.exit(f"infra/snapshots/{profile}.json is out of date: make snapshots, and look at what changes")
        if as_azd_would(profile) != first:
            sys.exit(f"infra/main.parameters.json and infra/{profile}.bicepparam do not build the same")
        evaluate(profile, *EVERYTHING)
        if DEVELOPER in evaluate(profile, "--set", "principalType=ServicePrincipal"):
            sys.exit(f"{profile}: a pipeline that deploys gets roles on the data")
        if "Microsoft.Consumption/budgets" in str(json.loads(evaluate(profile, "--set", "budgetStart="))["resources"]):
            sys.exit(f"{profile}: a budget without its first month is built")
    print(f"The Bicep is clean, and the snapshots of {', '.join(PROFILES)} are up to date.")


if __name__ == "__main__":
    commands = {"write": write, "check": check}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    commands[sys.argv[1]]()
