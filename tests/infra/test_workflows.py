"""The GitHub workflows: pinned, least rights, no secret, nothing from a pull request's text in a shell; each rule is shown to bite."""

import copy
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # comes with schemathesis

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE)) | {".venv/.dev"}
Body = dict[Any, Any]  # YAML reads the word `on` as True

WRITES = {  # what a job may do beyond reading: workflow, job, right
    ("deploy.yml", "what-if", "id-token"),
    ("deploy.yml", "deploy", "id-token"),
    ("release.yml", "attest", "id-token"),
    ("release.yml", "attest", "attestations"),
    ("release.yml", "publish", "id-token"),
    ("release.yml", "release", "contents"),
}


def read(path: Path) -> Body:
    found: Body = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def steps(workflow: Body) -> Iterator[Body]:
    for job in workflow["jobs"].values():
        yield from job["steps"]


def unpinned(workflow: Body) -> list[str]:
    uses = [step["uses"] for step in steps(workflow) if "uses" in step]
    return [one for one in uses if not re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", one)]


def rights(workflow: Body) -> set[tuple[str, str]]:
    """(job, right) of every right to write; a workflow or job that says nothing has them all."""
    if "permissions" not in workflow:
        return {("*", "everything")}
    found = {("*", name) for name, right in workflow["permissions"].items() if right != "read"}
    for name, job in workflow["jobs"].items():
        found |= {(name, right) for right, what in job.get("permissions", {}).items() if what != "read"}
    return found


def loose_checkouts(workflow: Body) -> list[Body]:
    checkouts = [step for step in steps(workflow) if step.get("uses", "").startswith("actions/checkout@")]
    return [one for one in checkouts if one.get("with", {}).get("persist-credentials") is not False]


def expressions_in_shells(workflow: Body) -> list[str]:
    return [step["run"] for step in steps(workflow) if "${{" in step.get("run", "")]


def secretive(text: str) -> list[str]:
    """Whatever reaches for GitHub's secrets in any spelling, or looks like one that was pasted."""
    pasted = r"gh[pousr]_\w{20,}|github_pat_\w+|pypi-\w{20,}|AccountKey=|SharedAccessSignature|[?&]sig=|-----BEGIN|eyJ[\w-]{20,}\."
    return re.findall(rf"\bsecrets\b|{pasted}", text)


def timeless(workflow: Body) -> list[str]:
    return [name for name, job in workflow["jobs"].items() if "timeout-minutes" not in job]


def made(workflow: Body) -> set[str]:
    """What the shells call `make` for, and `.ci/run`."""
    text = "\n".join(step.get("run", "") for step in steps(workflow))
    return {word for line in re.findall(r"\bmake ([a-z./ -]+)", text) for word in line.split()}


def test_there_are_workflows() -> None:
    assert {path.name for path in WORKFLOWS} == {"checks.yml", "infra.yml", "deploy.yml", "release.yml"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_keeps_the_rules(path: Path) -> None:
    workflow = read(path)
    assert unpinned(workflow) == []
    assert {(path.name, *one) for one in rights(workflow)} <= WRITES
    assert loose_checkouts(workflow) == []
    assert expressions_in_shells(workflow) == []
    assert timeless(workflow) == []
    assert made(workflow) - TARGETS == set()


def test_every_right_that_is_granted_is_used() -> None:
    assert {(path.name, *one) for path in WORKFLOWS for one in rights(read(path))} == WRITES


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_no_secret_and_no_dangerous_trigger(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert secretive(text) == []
    assert not {"pull_request_target", "workflow_run", "issue_comment"} & set(read(path)[True])


@pytest.mark.parametrize(
    "line",
    [
        "${{ secrets.AZURE_CREDENTIALS }}",
        "${{ secrets['X'] }}",
        "${{ toJSON(secrets) }}",
        "secrets: inherit",
        "GH_TOKEN: ghp_" + "a" * 36,
        "DefaultEndpointsProtocol=https;AccountKey=abc",
    ],
)
def test_a_secret_is_seen(line: str) -> None:
    assert secretive(f"env:\n  {line}\n") != []


def test_every_digest_bears_one_version_everywhere() -> None:
    named = {line for path in WORKFLOWS for line in re.findall(r"uses: (\S+ # v\S+)", path.read_text(encoding="utf-8"))}
    uses = {step["uses"] for path in WORKFLOWS for step in steps(read(path)) if "uses" in step}
    assert {line.split(" ")[0] for line in named} == uses, "a digest without its version beside it"
    assert len(named) == len(uses)
    assert len({one.split("@")[0] for one in uses}) == len(uses), "an action in two versions"


def test_what_a_fork_sends_signs_in_nowhere() -> None:
    what_if = read(ROOT / ".github" / "workflows" / "deploy.yml")["jobs"]["what-if"]
    assert "head.repo.full_name == github.repository" in what_if["if"]
    assert what_if["environment"] == "what-if"


def test_who_signs_in_does_so_in_an_environment() -> None:
    for path in WORKFLOWS:
        for name, job in read(path)["jobs"].items():
            if "id-token" in job.get("permissions", {}) and (path.name, name) != ("release.yml", "attest"):
                assert "environment" in job, f"{path.name} {name}"


def unguarded(release: Body) -> list[str]:
    """Jobs that let something out of the house and do not look, right before, whether the tag is still where it was built."""
    found = []
    for name, job in release["jobs"].items():
        runs = [step.get("run", "") for step in job["steps"]]
        out = next((at for at, run in enumerate(runs) if re.search(r"uv publish|gh release create", run)), None)
        if out is not None and not ("commits/tags/$GITHUB_REF_NAME" in runs[out - 1] and "exit 1" in runs[out - 1]):
            found.append(name)
    return found


def test_a_moved_tag_and_a_commit_beside_main_release_nothing() -> None:
    release = read(ROOT / ".github" / "workflows" / "release.yml")
    assert unguarded(release) == []
    build = "".join(step.get("run", "") for step in release["jobs"]["build"]["steps"])
    assert build.index("compare/main...$GITHUB_SHA") < build.index("make dist")
    for job in ("publish", "release"):
        broken = copy.deepcopy(release)
        broken["jobs"][job]["steps"] = [
            step for step in broken["jobs"][job]["steps"] if "commits/tags" not in step.get("run", "")
        ]
        assert unguarded(broken) == [job]


def test_what_if_asks_for_no_right_to_write_and_reads_what_the_profiles_do() -> None:
    job = read(ROOT / ".github" / "workflows" / "deploy.yml")["jobs"]["what-if"]
    step = next(one for one in job["steps"] if one.get("name") == "what-if")
    assert "--validation-level ProviderNoRbac" in step["run"]
    read_there = {
        name
        for path in (ROOT / "infra").glob("*.bicepparam")
        for name in re.findall(r"readEnvironmentVariable\('(\w+)'", path.read_text(encoding="utf-8"))
    }
    assert set(step["env"]) == read_there | {"PROFILE"}


def test_the_choices_are_the_profiles() -> None:
    inputs = read(ROOT / ".github" / "workflows" / "deploy.yml")[True]["workflow_dispatch"]["inputs"]
    assert inputs["environment"]["options"] == ["dev", "team", "private", "regulated"]
    assert all((ROOT / "infra" / f"{name}.bicepparam").is_file() for name in inputs["environment"]["options"])


def test_a_release_is_published_by_the_makefiles_uv() -> None:
    version = re.search(r"^UV_VERSION := (\S+)$", MAKEFILE, re.MULTILINE)
    assert version is not None
    pinned = (ROOT / ".ci" / "publish-requirements.txt").read_text(encoding="utf-8")
    assert re.search(rf"^uv=={re.escape(version[1])} --hash=sha256:[0-9a-f]{{64}}$", pinned, re.MULTILINE)


def test_azd_is_at_least_what_azure_yaml_requires() -> None:
    required = re.search(r'azd: ">= ([0-9.]+)"', (ROOT / "azure.yaml").read_text(encoding="utf-8"))
    used = next(
        step["with"]["version"]
        for step in steps(read(ROOT / ".github" / "workflows" / "deploy.yml"))
        if "setup-azd" in step.get("uses", "")
    )
    assert required is not None
    assert tuple(map(int, used.split("."))) >= tuple(map(int, required[1].split(".")))


def test_what_the_deployment_sets_is_what_the_parameters_read() -> None:
    job = read(ROOT / ".github" / "workflows" / "deploy.yml")["jobs"]["deploy"]
    step = next(one for one in job["steps"] if one.get("name") == "the azd environment")
    parameters = set(
        re.findall(r"\$\{(AZURE_\w+)", (ROOT / "infra" / "main.parameters.json").read_text(encoding="utf-8"))
    )
    assert set(step["env"]) <= parameters
    assert all(f" {name}" in step["run"] for name in step["env"])


def _a_tag(of: Body) -> None:
    next(step for step in steps(of) if "uses" in step)["uses"] = "actions/checkout@v5"


def _all_rights(of: Body) -> None:
    del of["permissions"]


def _a_right_more(of: Body) -> None:
    next(iter(of["jobs"].values()))["permissions"] = {"packages": "write"}


def _kept_credentials(of: Body) -> None:
    next(step for step in steps(of) if "checkout" in step.get("uses", "")).pop("with")


def _a_title_in_a_shell(of: Body) -> None:
    next(iter(of["jobs"].values()))["steps"].append({"run": "echo ${{ github.event.pull_request.title }}"})


def _no_such_target(of: Body) -> None:
    next(iter(of["jobs"].values()))["steps"].append({"run": "make everything"})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_a_tag, unpinned),
        (_all_rights, lambda of: {("checks.yml", *one) for one in rights(of)} - WRITES),
        (_a_right_more, lambda of: {("checks.yml", *one) for one in rights(of)} - WRITES),
        (_kept_credentials, loose_checkouts),
        (_a_title_in_a_shell, expressions_in_shells),
        (_no_such_target, lambda of: made(of) - TARGETS),
    ],
)
def test_a_broken_workflow_is_told(change: Callable[[Body], None], told: Callable[[Body], Any]) -> None:
    workflow = copy.deepcopy(read(ROOT / ".github" / "workflows" / "checks.yml"))
    assert not told(workflow)
    change(workflow)
    assert told(workflow)
