"""All lifetimes of a client, and the moments that follow from them. Pure."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, TypeVar

from thermocline.configured import many
from thermocline.errors import ConfigurationError
from thermocline.lifetimes.lifetime import PRESETS, Lifetime, slid
from thermocline.lifetimes.rules import Ceiling, LifetimeRule
from thermocline.model import Header, Key

Part = TypeVar("Part")


class Lifetimes:
    """All lifetimes of a client: rules, ceilings, and the presets that rules name. ``presets`` are added to `PRESETS`, or replace those of the same name.

    Raises `ConfigurationError`, naming both, for two rules of the same records with different lifetimes, and for a rule that gives longer than a ceiling
    of all its records allows.
    """

    __slots__ = ("_ceilings", "_rules", "ceilings", "given", "presets", "rules", "slides")

    def __init__(
        self,
        rules: Sequence[LifetimeRule] = (),
        *,
        ceilings: Sequence[Ceiling] = (),
        presets: Mapping[str, Lifetime] | None = None,
    ) -> None:
        self.presets: Final = _presets(presets)
        self.rules: Final = many(rules, "Lifetimes: rules", LifetimeRule)
        self.ceilings: Final = many(ceilings, "Lifetimes: ceilings", Ceiling)
        named = [(rule, self._named(rule)) for rule in self.rules]
        _refuse_contradictions(named, self.ceilings)
        self._rules: Final = sorted(named, key=lambda one: one[0].rank(), reverse=True)  # stable: the first given first
        self._ceilings: Final = sorted(self.ceilings, key=lambda one: one.at_most_ms)
        self.given: Final = len(self.rules) + len(self.ceilings) > 0
        self.slides: Final = any(lifetime.sliding for _, lifetime in named)

    def __repr__(self) -> str:
        return f"<Lifetimes {len(self.rules)} rules, {len(self.ceilings)} ceilings>"

    def of(self, key: Key, tags: Mapping[str, str] | None = None) -> Lifetime:
        """The lifetime that the most specific rule gives ``key`` with these tags; one that is all as routed where none does."""
        for rule, lifetime in self._rules:
            if rule.holds(key, tags):
                return lifetime
        return _ROUTED

    def ceiling_ms(self, key: Key, tags: Mapping[str, str] | None = None) -> int | None:
        """The lowest ceiling of ``key`` with these tags, in ms; None: there is none."""
        for ceiling in self._ceilings:  # the lowest first
            if ceiling.holds(key, tags):
                return ceiling.at_most_ms
        return None

    def lowest_ms(self, key: Key) -> int | None:
        """The lowest ceiling that ``key`` could have with any tags, in ms; None: it cannot have one."""
        for ceiling in self._ceilings:
            if ceiling.may_hold(key):
                return ceiling.at_most_ms
        return None

    def _named(self, rule: LifetimeRule) -> Lifetime:
        if isinstance(rule.lifetime, Lifetime):
            return rule.lifetime
        found = self.presets.get(rule.lifetime)
        if found is None:
            raise ConfigurationError(
                f"{rule.told()} names the lifetime {rule.lifetime!r}, and the presets are: {', '.join(sorted(self.presets))}"
            )
        return found

    # --- moments, in ms since 1970; 0 is never -----------------------------------------------------------------------------

    def ends_ms(
        self,
        key: Key,
        tags: Mapping[str, str] | None,
        now_ms: int,
        *,
        routed_ms: int,
        in_hot: bool,
        draw: Callable[[], float],
    ) -> int:
        """When a record ends whose value is written now without a ``ttl=``. ``routed_ms``: the route's lifetime, 0 for
        ever; ``in_hot``: hot is the authority."""
        lifetime = self.of(key, tags)
        span = lifetime.ttl_ms
        if span is None and in_hot:
            span = lifetime.hot_ms
        if span is None:
            span = routed_ms
        ends = now_ms + lifetime.shortened(span, draw) if span else 0
        return self.capped_ms(ends, key, tags, now_ms)

    def capped_ms(self, ends_ms: int, key: Key, tags: Mapping[str, str] | None, written_ms: int) -> int:
        """The earlier of an end and the ceiling of a value that was written at ``written_ms``."""
        ceiling = self.ceiling_ms(key, tags)
        return ends_ms if ceiling is None else _earlier(ends_ms, written_ms + ceiling)

    def touched_ms(self, ends_ms: int, key: Key, tags: Mapping[str, str] | None, header: Header) -> int:
        """The end that a touch may give the record with this ``header`` where ``ends_ms`` was asked for: nothing is lengthened beyond its creation and the
        ceiling. What it has it keeps, unless that goes beyond its last write and the ceiling, as of a record older than the ceiling itself."""
        ceiling = self.ceiling_ms(key, tags)
        if ceiling is None:
            return ends_ms
        standing = _earlier(header.expires_ms, header.modified_ms + ceiling)
        return _earlier(ends_ms, max(header.created_ms + ceiling, standing))

    def renews(self, key: Key, tags: Mapping[str, str] | None, header: Header) -> bool:
        """Whether the record slides: its rule says so, and its time is the rule's."""
        lifetime = self.of(key, tags)
        return lifetime.sliding and slid(header, lifetime)

    def renewed_ms(
        self, key: Key, tags: Mapping[str, str] | None, header: Header, now_ms: int, draw: Callable[[], float]
    ) -> int:
        """The new end of a live record that was read now, if it is sliding and due: more than half of its time has passed. 0: leave it."""
        lifetime = self.of(key, tags)
        if not lifetime.sliding or not slid(header, lifetime):
            return 0
        if 2 * (now_ms - header.modified_ms) <= header.expires_ms - header.modified_ms:
            return 0
        ends = self.touched_ms(now_ms + lifetime.shortened(lifetime.ttl_ms or 0, draw), key, tags, header)
        return ends if ends > header.expires_ms else 0

    def hot_for_ms(
        self,
        key: Key,
        tags: Mapping[str, str] | None,
        header: Header,
        now_ms: int,
        *,
        routed_ms: int,
        draw: Callable[[], float],
    ) -> int:
        """How long hot may keep a copy: the rule's ``hot`` (``routed_ms`` without one) less its jitter, at most HOT_CEILING, and until the record ends or has
        reached its ceiling; 0: not at all."""
        lifetime = self.of(key, tags)
        lasting = lifetime.shortened(lifetime.hot_ms if lifetime.hot_ms is not None else routed_ms, draw)
        ends = self.capped_ms(header.expires_ms, key, tags, header.modified_ms)
        return min(lasting, max(0, ends - now_ms)) if ends else lasting


_ROUTED: Final = Lifetime()


def _earlier(one_ms: int, other_ms: int) -> int:
    """Of two ends, where 0 is never."""
    return min(one_ms, other_ms) if one_ms and other_ms else max(one_ms, other_ms)


def _presets(given: Mapping[str, Lifetime] | None) -> Mapping[str, Lifetime]:
    added: Any = {} if given is None else given
    if not isinstance(added, Mapping):
        raise ConfigurationError(f"presets is a mapping of names to Lifetimes, not {type(added).__name__}")
    for name, lifetime in added.items():
        if not isinstance(name, str) or not isinstance(lifetime, Lifetime):
            raise ConfigurationError(f"presets: a preset is a name and a Lifetime, not {name!r:.80}: {lifetime!r:.80}")
    return MappingProxyType({**PRESETS, **added})


def _refuse_contradictions(rules: Sequence[tuple[LifetimeRule, Lifetime]], ceilings: Sequence[Ceiling]) -> None:
    seen: dict[Any, Lifetime] = {}
    for rule, lifetime in rules:
        other = seen.setdefault(rule.chosen(), lifetime)
        if other != lifetime:
            raise ConfigurationError(
                f"two rules of the same records contradict each other: {rule.told()} gives {other} and {lifetime}; drop one of them"
            )
        for ceiling in ceilings:
            longer = lifetime.ttl_ms is not None and not 0 < lifetime.ttl_ms <= ceiling.at_most_ms
            if longer and ceiling.covers(rule):
                asked = "for ever" if lifetime.ttl is None else lifetime.ttl
                raise ConfigurationError(
                    f"{rule.told()} gives a ttl of {asked}, and {ceiling.told()} allows {ceiling.at_most} at most; make one fit the other"
                )
