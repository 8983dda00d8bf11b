"""``python -m thermocline.cost docs/cost.md``: write the tables of the page anew, between its marks."""

import re
import sys
from pathlib import Path
from typing import Final

from thermocline.cost.bill import bill
from thermocline.cost.prices import list_prices
from thermocline.cost.profiles import PROFILES, profile
from thermocline.cost.workload import Plan, Workload, planned

BEGIN: Final = "<!-- Made by `python -m thermocline.cost docs/cost.md`; edits here are lost. -->"
END: Final = "<!-- End of what is made. -->"
EXAMPLE: Final = Plan(get=10e6, set=2e6, delete=1e5, records=1e6, cold=0.02)


def tables() -> str:
    """Each profile idle and with the example's work, by service; and the prices."""
    prices = list_prices()
    made = []
    for title, workload in (("Nothing is done", Workload()), ("The example's month", planned(EXAMPLE))):
        bills = [bill(profile(name), workload, prices) for name in PROFILES]
        services = list(dict.fromkeys(line.service for line in bills[0].lines))
        rows = [
            (service, *(f"{sum(line.cost for line in one.lines if line.service == service):,.2f}" for one in bills))
            for service in services
        ]
        rows.append(("**in all**", *(f"**{one.total:,.2f}**" for one in bills)))
        made.append(_table((f"{title}, {prices.currency} a month", *PROFILES), rows))
    priced: list[tuple[str, ...]] = [
        (f"`{name}`", f"{price.amount:g}", price.per, price.source, "an estimate" if price.estimate else "")
        for name, price in prices.prices.items()
    ]
    made.append(f"Prices of {prices.region}, {prices.currency}, {prices.as_of}:")
    made.append(_table(("price", prices.currency, "per", "check it on", ""), priced))
    return "\n\n".join(made)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def written(page: str) -> str:
    """The page with its tables made anew."""
    return re.sub(
        f"({re.escape(BEGIN)}\n).*?({re.escape(END)})", lambda m: f"{m[1]}\n{tables()}\n\n{m[2]}", page, flags=re.S
    )


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        path.write_text(written(path.read_text(encoding="utf-8")), encoding="utf-8")
