"""What a snapshot builds, for checks of it: resources by type, and ways to break one so that a check can be shown to bite."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
SNAPSHOTS: Final = sorted((ROOT / "infra/snapshots").glob("*.json"))

Resource = dict[str, Any]
Built = list[Resource]
Break = Callable[[Built], None]


def read(path: Path) -> Built:
    resources: Built = json.loads(path.read_text(encoding="utf-8"))["resources"]
    return resources


def built_by(profile: str) -> Built:
    return read(ROOT / "infra" / "snapshots" / f"{profile}.json")


def snapshot(profile: str) -> dict[str, Any]:
    """The whole snapshot, with its outputs."""
    found: dict[str, Any] = json.loads((ROOT / "infra" / "snapshots" / f"{profile}.json").read_text(encoding="utf-8"))
    return found


def contract() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "infra" / "contract.json").read_text(encoding="utf-8"))
    return found


def of(built: Built, kind: str) -> Built:
    """The resources of a type that are built, and not only referred to."""
    return [one for one in built if one["type"].lower() == kind.lower() and not one.get("existing")]


def one_of(built: Built, kind: str) -> Resource:
    (found,) = of(built, kind)
    return found


def tag(resource: Resource, name: str) -> str | None:
    found = resource["body"].get("tags", {}).get(name)
    return found if isinstance(found, str) else None


def change(kind: str, place: str, value: Any, which: int = 0) -> Break:
    """Sets what is at ``place`` (parts with a dot between, numbers for lists) of a resource's body; None takes it away."""

    def act(built: Built) -> None:
        at: Any = of(built, kind)[which]["body"]
        *way, last = [int(part) if part.lstrip("-").isdigit() else part for part in place.split(".")]
        for part in way:
            at = at[part]
        if value is None:
            del at[last]
        else:
            at[last] = value

    return act


def without(kind: str, which: int = 0) -> Break:
    """Takes a resource away."""

    def act(built: Built) -> None:
        built.remove(of(built, kind)[which])

    return act
