"""The first month of the budget. Azure takes this month or a later one for a new budget, and none but its own for one that is there."""

import datetime as dt
from typing import Final

from infra.hooks.preflight.arm import Arm, CannotLookError
from infra.hooks.preflight.wants import Wants

_BUDGET: Final = "2026-06-01"


def budget_start(arm: Arm | None, wanted: Wants, today: dt.date) -> str | None:
    """What AZURE_BUDGET_START has to be, as ``yyyy-MM-01``; None: no budget is wanted.

    A pinned month that has passed would be refused for a new budget (*dev* to *team* months later), and a new one for an old budget (an
    environment made anew, as in a pipeline). Without ``arm``, or where it does not tell, what is pinned stays.
    """
    amount = wanted.variables.get("AZURE_MONTHLY_BUDGET", "")
    if (int(amount) if amount else wanted.settings["monthlyBudget"]) == 0:
        return None
    pinned = wanted.variables.get("AZURE_BUDGET_START", "")
    month = today.replace(day=1).isoformat()
    if arm is None:
        return pinned or month
    group = f"/subscriptions/{wanted.subscription}/resourceGroups/{wanted.names.group}"
    try:
        found = arm.get(f"{group}/providers/Microsoft.Consumption/budgets/{wanted.names.budget}", _BUDGET)
        if found is not None:
            return str(found["properties"]["timePeriod"]["startDate"])[:10]
    except (CannotLookError, KeyError, TypeError):
        return pinned or month
    return max(pinned, month)
