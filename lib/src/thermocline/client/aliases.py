"""The verbs of `MemoryClient` under the names that users of earlier code know, and the tiers and rules as attributes."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

from thermocline.client.direct import TierName
from thermocline.client.lifetime import Lifetime
from thermocline.client.reading import each_key
from thermocline.client.result import NOT_GIVEN, Batch, NotGiven, WriteResult
from thermocline.client.together import together
from thermocline.client.updating import UpdateVerbs
from thermocline.clock import Deadline
from thermocline.errors import InvalidArgument, ThermoclineError, TierTimeout
from thermocline.model import Key, MemoryTier
from thermocline.policy import MemoryRules
from thermocline.protocols import Tier

Result = TypeVar("Result")

_AT_ONCE: Final = 16  # calls to one tier


class AliasVerbs(UpdateVerbs):
    """`mget`, `mset`; ``hot``, ``warm``, ``cold``, ``rules``."""

    @property
    def hot(self) -> Tier | None:
        """The hot tier, None if there is none."""
        return self._parts.tiers.get(MemoryTier.HOT)

    @property
    def warm(self) -> Tier | None:
        """The warm tier, None if there is none."""
        return self._parts.tiers.get(MemoryTier.WARM)

    @property
    def cold(self) -> Tier | None:
        """The cold tier, None if there is none."""
        return self._parts.tiers.get(MemoryTier.COLD)

    @property
    def rules(self) -> MemoryRules:
        """The default rules."""
        return self._engine.routes.default.rules

    async def mget(
        self, keys: Iterable[Key | str], *, tier: TierName | None = None, timeout: Lifetime = None
    ) -> Batch[Any]:
        """`get_many`; with ``tier`` what that tier alone has of each key, by a request a key."""
        if tier is None:
            return await self.get_many(keys, timeout=timeout)
        batch: Batch[Any] = Batch()
        given = each_key(keys, batch.errors)
        deadline = await self._begin(timeout)
        missing = object()

        async def one(key: Key) -> Any:
            return await self.get(key, default=missing, tier=tier, timeout=_left(deadline))

        self._direct.check(tier)
        for name, value in (await _each(given, batch, one)).items():
            if value is missing:
                batch.missing.append(name)
            else:
                batch[name] = value
        return batch

    async def mset(
        self,
        items: Mapping[Any, Any],
        *,
        tier: TierName | None = None,
        ttl: Lifetime | NotGiven = NOT_GIVEN,
        timeout: Lifetime = None,
    ) -> Batch[WriteResult]:
        """`set_many`; with ``tier`` into that tier alone, each key as `set` does it."""
        if tier is None:
            return await self.set_many(items, ttl=ttl, timeout=timeout)
        given: Any = items
        if not isinstance(given, Mapping):
            raise InvalidArgument(f"mset takes a mapping of keys to values, not {type(items).__name__}")
        batch: Batch[WriteResult] = Batch()
        names = each_key(items, batch.errors)
        values = {key: items[name] for name, key in names.items()}  # of two names of one key the last
        deadline = await self._begin(timeout)

        async def one(key: Key) -> WriteResult:
            return await self.set(key, values[key], ttl=ttl, tier=tier, timeout=_left(deadline))

        self._direct.check(tier)
        batch.update(await _each(names, batch, one))
        return batch


async def _each(
    names: Mapping[Any, Key], batch: Batch[Any], work: Callable[[Key], Awaitable[Result]]
) -> dict[Any, Result]:
    """What ``work`` answers for each key, few at a time and each once, by names in their order; an error is the key's own (P8)."""
    answers: dict[Key, Result | ThermoclineError] = {}

    async def one(key: Key) -> None:
        try:
            answers[key] = await work(key)
        except ThermoclineError as error:
            answers[key] = error

    await together(list(dict.fromkeys(names.values())), one, at_once=_AT_ONCE)
    found: dict[Any, Result] = {}
    for name, key in names.items():
        answer = answers[key]
        if isinstance(answer, ThermoclineError):
            batch.errors[name] = answer
        else:
            found[name] = answer
    return found


def _left(deadline: Deadline) -> float:
    """Seconds of it, for one key. Raises `TierTimeout` where none are."""
    left = deadline.remaining()
    if left <= 0:
        raise TierTimeout(
            "the batch's deadline came before this key's turn; nothing was sent", tier="client", sent=False
        )
    return left
