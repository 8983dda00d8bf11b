"""`.ci/compare_snapshot.py`: the real compiler's word against the committed snapshots. What the compiler writes is imitated here; it was never at hand."""

import copy
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
Body = dict[str, Any]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("compare_snapshot", ROOT / ".ci" / "compare_snapshot.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ours(profile: str) -> Body:
    found: Body = json.loads((ROOT / "infra" / "snapshots" / f"{profile}.json").read_text(encoding="utf-8"))
    return found


def theirs(profile: str) -> Body:
    """What the compiler would write of the same: names that hang on Azure as expressions, and what exists left out."""
    found = []
    for one in ours(profile)["resources"]:
        if one["existing"] or one["condition"] is False:
            continue
        unknown = "$ref" in json.dumps(one["body"].get("properties", {})) and one["type"].endswith("Assignments")
        name = "[guid(reference('x').principalId)]" if unknown else one["name"]
        found.append(
            {"id": one["id"], "type": one["type"], "name": name, "apiVersion": one["apiVersion"], "properties": {}}
        )
    return {"predictedResources": found, "diagnostics": []}


@pytest.mark.parametrize("profile", ["dev", "team", "private", "regulated"])
def test_the_same_resources_agree(tool: ModuleType, profile: str) -> None:
    assert tool.differences(tool.committed(ours(profile)), tool.compiled(theirs(profile))) == []


def _without_one(of: Body) -> None:
    at = next(i for i, one in enumerate(of["predictedResources"]) if one["type"].endswith("/containers"))
    del of["predictedResources"][at]


def _another_name(of: Body) -> None:
    of["predictedResources"][0]["name"] += "x"


def _another_version(of: Body) -> None:
    of["predictedResources"][0]["apiVersion"] = "2001-01-01"


def _a_role_more(of: Body) -> None:
    of["predictedResources"].append(
        next(one for one in of["predictedResources"] if one["type"].endswith("/roleAssignments"))
    )


@pytest.mark.parametrize("change", [_without_one, _another_name, _another_version, _a_role_more])
def test_a_difference_is_told(tool: ModuleType, change: Callable[[Body], None]) -> None:
    of = theirs("team")
    change(of)
    assert tool.differences(tool.committed(ours("team")), tool.compiled(of)) != []


def test_names_that_only_azure_knows_are_counted(tool: ModuleType) -> None:
    of = theirs("dev")
    for one in of["predictedResources"]:
        if one["type"] == "Microsoft.Web/sites":
            one["name"] = "[reference('x').name]"
    assert tool.differences(tool.committed(ours("dev")), tool.compiled(of)) == []
    of["predictedResources"] = [one for one in of["predictedResources"] if one["type"] != "Microsoft.Web/sites"]
    assert len(tool.differences(tool.committed(ours("dev")), tool.compiled(of))) == 3


@pytest.mark.parametrize(
    "text",
    [
        {},
        [],
        {"predictedResources": []},
        {"predictedResources": [{"name": "x"}]},
        {"predictedResources": [{"type": "a", "apiVersion": None}]},
        {"predictedResources": [{"type": "a", "apiVersion": "b"}], "diagnostics": ["Error BCP999: no"]},
    ],
)
def test_what_is_no_snapshot_is_refused(tool: ModuleType, text: Any) -> None:
    with pytest.raises(tool.NoSnapshot):
        tool.compiled(copy.deepcopy(text))


def test_what_the_compiler_is_given_is_the_profile_with_the_developer(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for profile in tool.PROFILES:
        (tmp_path / f"{profile}.bicepparam").write_text((ROOT / "infra" / f"{profile}.bicepparam").read_text())
    monkeypatch.setattr(tool, "INFRA", tmp_path)
    assert tool.prepare() == 0
    for profile in tool.PROFILES:
        text = (tmp_path / f"real-{profile}.bicepparam").read_text()
        assert text.startswith("using 'main.bicep'")
        assert text.count("param principalId") == 1, "the profile sets it itself"
    assert tool.compare() == 1, "there are no snapshots yet"
    assert tool.DEVELOPER in (ROOT / ".ci" / "infra.py").read_text()
