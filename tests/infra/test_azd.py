"""What azd reads: parameters, services, hooks; and that a profile is said in one place."""

import ast
import json
import re
import sys
from typing import Final

from tests.infra.built import ROOT, built_by, of, tag

from thermocline.agents.service.memory_api import ERASE, READ, WRITE

PROFILES: Final = ("dev", "team", "private", "regulated")
APPS: Final = ("memory-worker", "memory-api", "agent-sample")


def test_azd_hands_in_every_parameter_and_the_page_names_its_variable() -> None:
    main = (ROOT / "infra" / "main.bicep").read_text(encoding="utf-8")
    handed = json.loads((ROOT / "infra" / "main.parameters.json").read_text(encoding="utf-8"))["parameters"]
    page = (ROOT / "docs" / "azure.md").read_text(encoding="utf-8")
    named = re.findall(r"\$\{(\w+)(?:=[^}]*)?\}", json.dumps(handed))

    assert set(re.findall(r"^param (\w+) ", main, re.MULTILINE)) == set(handed)
    assert [name for name in named if f"`{name}`" not in page] == []
    assert not [name for name in named if name.startswith("THERMOCLINE_")], (
        "MemorySettings refuses what it does not know in an .env"
    )


def test_azd_asks_the_operator_for_nothing_that_a_hook_finds_out() -> None:
    """In `azd up`, azd asks for every parameter without a value before the first hook runs; it knows the environment's name and region by itself."""
    main = (ROOT / "infra" / "main.bicep").read_text(encoding="utf-8")
    handed = json.loads((ROOT / "infra" / "main.parameters.json").read_text(encoding="utf-8"))["parameters"]
    without = set(re.findall(r"^param (\w+) [^=/\n]+(?://.*)?$", main, re.MULTILINE))

    assert "profile" in without
    assert {name for name in without if "=" not in handed[name]["value"]} == {"environmentName", "location"}


def test_the_apps_are_packed_whichever_command_deploys_them() -> None:
    """`azd deploy` runs no prepackage of the project, `azd package` no predeploy."""
    text = (ROOT / "azure.yaml").read_text(encoding="utf-8")
    hooks = dict(re.findall(r"^  (\w+):\n    run: (\S+)$", text, re.MULTILINE))

    assert hooks["prepackage"] == hooks["predeploy"] == "infra/hooks/prepackage.py"
    assert hooks.keys() == {"preprovision", "postprovision", "prepackage", "predeploy"}


def test_the_profiles_differ_in_profiles_json_alone() -> None:
    said = json.loads((ROOT / "infra" / "profiles.json").read_text(encoding="utf-8"))
    files = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "infra").glob("*.bicepparam")}

    assert files.keys() == said.keys() == set(PROFILES)
    assert {re.sub(r"param (profile|secondLocation) = .*\n", "", text) for text in files.values()} == {
        re.sub(r"param (profile|secondLocation) = .*\n", "", files["dev"])
    }
    shapes = {name: values.keys() for name, values in said.items()}
    assert len({tuple(sorted(keys)) for keys in shapes.values()}) == 1


def test_every_service_of_azd_has_its_app_and_its_site() -> None:
    text = (ROOT / "azure.yaml").read_text(encoding="utf-8")
    services = re.findall(r"^  ([a-z-]+):\n    project: apps/([a-z-]+)$", text, re.MULTILINE)

    assert sorted(services) == sorted((app, app) for app in APPS)
    assert all((ROOT / path).is_file() for path in re.findall(r"run: (\S+)", text))
    assert {tag(one, "azd-service-name") for one in of(built_by("dev"), "Microsoft.Web/sites")} == set(APPS)


def test_the_hooks_need_python_alone() -> None:
    """azd runs them before anything is installed, and installs what the nearest requirements.txt names: nothing."""
    hooks = ROOT / "infra" / "hooks"
    imported = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
        for path in [*hooks.glob("*.py"), *(hooks / "preflight").glob("*.py")]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    wanted = [
        line
        for line in (hooks / "requirements.txt").read_text(encoding="utf-8").splitlines()
        if line and line[0] != "#"
    ]

    assert {name.split(".")[0] for name in imported} - {*sys.stdlib_module_names, "infra"} == set()
    assert wanted == []


def test_the_page_registers_the_roles_that_the_api_asks_for() -> None:
    page = (ROOT / "docs" / "azure.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"^cat > roles.json <<'END'\n(.*?)^END$", page, re.MULTILINE | re.DOTALL)
    roles = json.loads(text)

    assert {role["value"] for role in roles} == {READ, WRITE, ERASE}
    assert len({role["id"] for role in roles}) == len(roles)
