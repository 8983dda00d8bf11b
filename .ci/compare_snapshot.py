"""Do the real Bicep compiler and the committed snapshots agree on what each profile builds?

    python .ci/compare_snapshot.py prepare       writes infra/real-PROFILE.bicepparam: the profile and the stand-in of the developer
    bicep snapshot infra/real-PROFILE.bicepparam --subscription-id ... --location ...     the real compiler's word, beside it
    python .ci/compare_snapshot.py compare       compares with infra/snapshots/PROFILE.json by the set of resources

What is compared is each resource's type and API version, and its name where both know it. Names that hang on what only Azure knows are stand-ins in the
committed snapshots and expressions in the compiler's: of those, as of role assignments, whose names are hashes, the number counts.
"""

import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
INFRA = ROOT / "infra"
PROFILES = ("dev", "team", "private", "regulated")
DEVELOPER = "44444444-4444-4444-4444-444444444444"  # as in infra.py
HASHED = re.compile(r"/(roleAssignments|sqlRoleAssignments|accessPolicyAssignments)$", re.IGNORECASE)

Resource = tuple[str, str, str]
"""Type, API version, name; lower case. The name is empty where it cannot be compared."""


class NoSnapshot(Exception):
    """The text is not what `bicep snapshot` or bicepcheck writes. The message says what is wrong."""


def _resource(kind: Any, version: Any, name: Any) -> Resource:
    if not isinstance(kind, str) or not isinstance(version, str):
        raise NoSnapshot(f"a resource has no type or API version: {kind!r}, {version!r}")
    known = isinstance(name, str) and "[" not in name and not HASHED.search(kind)
    return kind.lower(), version.lower(), str(name).lower() if known else ""


def committed(snapshot: Any) -> Counter[Resource]:
    """What a committed snapshot builds."""
    try:
        built = [one for one in snapshot["resources"] if not one["existing"] and one["condition"] is not False]
        return Counter(_resource(one["type"], one["apiVersion"], one["name"]) for one in built)
    except (KeyError, TypeError) as error:
        raise NoSnapshot(f"this is not what bicepcheck writes: {error!r}") from error


def compiled(snapshot: Any) -> Counter[Resource]:
    """What the real compiler predicts. Raises for its errors, and for a snapshot without any resource."""
    try:
        found = [_resource(one["type"], one["apiVersion"], one.get("name")) for one in snapshot["predictedResources"]]
        said = [str(one) for one in snapshot.get("diagnostics", [])]
    except (KeyError, TypeError, AttributeError) as error:
        raise NoSnapshot(f"this is not what `bicep snapshot` writes: {error!r}") from error
    errors = [one for one in said if "error" in one.lower()]
    if errors:
        raise NoSnapshot(f"the compiler could not predict everything: {'; '.join(errors)[:1000]}")
    if not found:
        raise NoSnapshot("the compiler predicts no resource at all")
    return Counter(found)


def differences(ours: Counter[Resource], theirs: Counter[Resource]) -> list[str]:
    """In words, what one has and the other has not; empty if they agree."""
    ours, theirs = ours.copy(), theirs.copy()
    for one in [one for one in (*ours, *theirs) if one[2]]:  # what both know by name
        both = min(ours[one], theirs[one])
        ours[one] -= both
        theirs[one] -= both
    left, right = _nameless(ours, theirs), _nameless(theirs, ours)
    lines = [f"only in infra/snapshots: {_told(one, n)}" for one, n in sorted((left - right).items())]
    return lines + [f"only by the compiler: {_told(one, n)}" for one, n in sorted((right - left).items())]


def _nameless(mine: Counter[Resource], other: Counter[Resource]) -> Counter[Resource]:
    """Without the names of a type of which the other side has some that it does not know."""
    unknown = {one[:2] for one, n in other.items() if n and not one[2]} | {
        one[:2] for one, n in mine.items() if n and not one[2]
    }
    found: Counter[Resource] = Counter()
    for one, n in mine.items():
        if n:
            found[(*one[:2], "") if one[:2] in unknown else one] += n
    return found


def _told(one: Resource, count: int) -> str:
    return f"{one[0]}@{one[1]} {one[2]}".rstrip() + (f" ({count} times)" if count > 1 else "")


def prepare() -> int:
    for profile in PROFILES:
        text = (INFRA / f"{profile}.bicepparam").read_text(encoding="utf-8")
        (INFRA / f"real-{profile}.bicepparam").write_text(
            f"{text}\nparam principalId = '{DEVELOPER}'\n", encoding="utf-8"
        )
    return 0


def compare() -> int:
    wrong = 0
    for profile in PROFILES:
        ours, theirs = INFRA / "snapshots" / f"{profile}.json", INFRA / f"real-{profile}.snapshot.json"
        try:
            found = differences(
                *(
                    read(json.loads(path.read_text(encoding="utf-8")))
                    for path, read in ((ours, committed), (theirs, compiled))
                )
            )
        except (OSError, ValueError, NoSnapshot) as error:
            found = [str(error)]
        for line in found:
            print(f"{profile}: {line}", file=sys.stderr)
        wrong += bool(found)
        if not found:
            print(f"{profile}: the compiler and infra/snapshots/{profile}.json agree")
    return 1 if wrong else 0


if __name__ == "__main__":
    commands = {"prepare": prepare, "compare": compare}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    sys.exit(commands[sys.argv[1]]())
