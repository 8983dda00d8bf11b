"""Prices as data: prices.json of this package, or a file in its form that replaces some of them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from thermocline.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Price:
    """``amount`` in the list's currency ``per`` what. ``source``: the page to check it on; ``estimate``: nothing at hand confirmed it."""

    amount: float
    per: str
    source: str
    estimate: bool = False


@dataclass(frozen=True, slots=True)
class Prices:
    """A list of prices, of which region, in which currency, and as of when."""

    region: str
    currency: str
    as_of: str
    prices: Mapping[str, Price]

    def __getitem__(self, name: str) -> Price:
        """Raises `ConfigurationError` for what the list does not have."""
        try:
            return self.prices[name]
        except KeyError:
            raise ConfigurationError(
                f'the prices have none of {name!r}: add {{"prices": {{"{name}": {{"price": …, "per": …, "source": …}}}}}} to a file and give it by --prices'
            ) from None

    def with_file(self, text: str, where: str) -> "Prices":
        """This list with what the JSON in ``text`` says otherwise. Raises `ConfigurationError` that names ``where`` and what is wrong."""
        given = _read(text, where)
        taken = {name: given[name] for name in ("region", "currency", "as_of") if name in given}
        if not all(isinstance(value, str) for value in taken.values()):
            raise ConfigurationError(f"{where}: region, currency and as_of are text")
        prices = _prices(given.get("prices", {}), where)
        if taken.get("currency", self.currency) != self.currency:
            missing = self.prices.keys() - prices.keys()
            if missing:
                raise ConfigurationError(
                    f"{where} is in {taken['currency']}, so it must have every price; it has none of {', '.join(sorted(missing))}"
                )
        strangers = (
            prices.keys()
            - self.prices.keys()
            - {name for name in prices if name.startswith(("redis.", "blob.", "cosmos.backup."))}
        )
        if strangers:
            raise ConfigurationError(f"{where} has prices that nothing is billed by: {', '.join(sorted(strangers))}")
        return Prices(
            taken.get("region", self.region),
            taken.get("currency", self.currency),
            taken.get("as_of", self.as_of),
            {**self.prices, **prices},
        )


@cache
def list_prices() -> Prices:
    """The prices of this package. They were written down with the release: look at ``as_of``."""
    given = _read(files(__package__).joinpath("prices.json").read_text(encoding="utf-8"), "prices.json")
    return Prices(given["region"], given["currency"], given["as_of"], _prices(given["prices"], "prices.json"))


def _read(text: str, where: str) -> dict[str, Any]:
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{where} is no JSON: {error}") from error
    if not isinstance(given, dict):
        raise ConfigurationError(f"{where} must be a JSON object with the name prices")
    return given


def _prices(given: Any, where: str) -> dict[str, Price]:
    if not isinstance(given, dict):
        raise ConfigurationError(f"{where}: prices must be a JSON object")
    found = {}
    for name, one in given.items():
        price = one.get("price") if isinstance(one, dict) else None
        if isinstance(price, bool) or not isinstance(price, int | float) or not 0 <= price < 1e9:
            raise ConfigurationError(f'{where}: {name} must be {{"price": a number from 0 on, "per": …, "source": …}}')
        found[name] = Price(
            float(price), str(one.get("per", "")), str(one.get("source", "")), one.get("estimate") is True
        )
    return found
