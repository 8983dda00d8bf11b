"""Before azd builds anything: whether it can be built, would work and would lose nothing. Standard library only.

Exit code 1 stops azd. What Azure does not let us see is said, and does not stop it.
"""

import datetime as dt
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036 - azd takes whatever Python is there
    sys.exit("The hooks need Python 3.11 or later; azd takes the python3 that is first on PATH.")

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # azd starts it by its path

from infra.hooks.preflight.arm import ENDPOINT, Arm, CannotLookError, token
from infra.hooks.preflight.budget import budget_start
from infra.hooks.preflight.findings import Finding, stops
from infra.hooks.preflight.region import cosmos_regions, flex_plan, region_exists, registered, room, storage_kinds
from infra.hooks.preflight.rights import rights
from infra.hooks.preflight.switch import stranded, switched
from infra.hooks.preflight.taken import taken_names
from infra.hooks.preflight.wants import Wants, out_of_range, wants

Check = Callable[[Arm, Wants], Iterator[Finding]]
CHECKS: dict[str, Check] = {
    "your rights": rights,
    "the region": region_exists,
    "the resource providers and their regions": registered,
    "Functions' Flex Consumption plan": flex_plan,
    "kinds of storage": storage_kinds,
    "Cosmos DB's regions": cosmos_regions,
    "quotas": room,
    "what is there already": switched,
    "names": taken_names,
}


def look(variables: Mapping[str, str]) -> list[Finding]:
    """Everything that can be found. What is out of range stops the rest: no question to Azure would make sense."""
    wanted = wants(variables)
    found = out_of_range(wanted)
    if stops(found):
        return found
    found += stranded(wanted)
    try:
        arm = Arm(token(), variables.get("AZURE_RESOURCE_MANAGER_ENDPOINT", "") or ENDPOINT)
    except CannotLookError as error:
        return [
            *found,
            Finding("unseen", f"nothing could be asked of Azure: {error}", "sign in (azd auth login), and look again"),
        ]
    for what, check in CHECKS.items():
        seen = len(found)
        try:
            found += [finding for finding in check(arm, wanted) if finding not in found]
        except CannotLookError as error:
            found.append(Finding("unseen", f"{what}: {error}"))
        except (KeyError, TypeError, AttributeError) as error:
            found.append(
                Finding("unseen", f"{what}: Azure's answer is not understood ({type(error).__name__}: {error})")
            )
        if len(found) == seen:
            found.append(Finding("fine", what))
    return found


def pin_budget_start(variables: Mapping[str, str]) -> str | None:
    """The budget's first month goes into the azd environment, because it cannot change. Returns what could not be done."""
    try:
        arm = Arm(token(), variables.get("AZURE_RESOURCE_MANAGER_ENDPOINT", "") or ENDPOINT)
    except CannotLookError:
        arm = None  # said before; what is pinned stays
    start = budget_start(arm, wants(variables), dt.datetime.now(dt.UTC).date())
    if start is None or start == variables.get("AZURE_BUDGET_START"):
        return None
    program = shutil.which("azd")
    if program is None:
        return f"azd is not on PATH: azd env set AZURE_BUDGET_START {start}"
    command = [program, "env", "set", "AZURE_BUDGET_START", start, "--environment", variables.get("AZURE_ENV_NAME", "")]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)  # noqa: S603
    return None if done.returncode == 0 else f"run it yourself: azd env set AZURE_BUDGET_START {start}"


def main(variables: Mapping[str, str]) -> int:
    found = look(variables)
    for finding in found:
        print(finding)
    wrong = stops(found)
    if wrong:
        print(f"\nNothing was built: {len(wrong)} thing{'s' * (len(wrong) != 1)} to mend first (STOP above).")
        return 1
    missing = pin_budget_start(variables)
    if missing is not None:
        print(Finding("stop", "the budget's first month is not pinned in the azd environment", missing))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
