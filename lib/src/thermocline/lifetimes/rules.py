"""Which records a lifetime or a ceiling is for. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from thermocline.errors import ConfigurationError, InvalidKey
from thermocline.lifetimes.lifetime import Lifetime, configured_ms
from thermocline.model import PART_BYTES, Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Which records: all conditions that are given must hold, and one must be given. ``prefix`` "" is every name."""

    prefix: str | None = None
    scope_prefix: str | None = None
    tenant: str | None = None
    tag: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        what = f"a {type(self).__name__}"
        if self.prefix is None and self.scope_prefix is None and self.tenant is None and self.tag is None:
            raise ConfigurationError(f'{what} needs a prefix, scope_prefix, tenant or tag; prefix="" is every name')
        for name in ("prefix", "scope_prefix", "tenant"):
            given = getattr(self, name)
            if given is not None and not isinstance(given, str):
                raise ConfigurationError(f"{what}'s {name} is a string, not {type(given).__name__}")
        if self.tenant is not None:
            try:
                Key(self.tenant, "scope", "name")
            except InvalidKey as error:
                raise ConfigurationError(f"{what}'s tenant must be one that a key can have: {error}") from error
        if self.scope_prefix is not None and len(self.scope_prefix.encode(errors="replace")) > PART_BYTES:
            raise ConfigurationError(f"{what}'s scope_prefix has more than {PART_BYTES} bytes: no scope begins with it")
        tag: Any = self.tag
        if tag is not None and not (
            isinstance(tag, tuple) and len(tag) == 2 and all(isinstance(part, str) for part in tag)
        ):
            raise ConfigurationError(f"{what}'s tag is a pair of strings, (name, value), not {tag!r:.80}")

    def holds(self, key: Key, tags: Mapping[str, str] | None) -> bool:
        """Whether ``key``, with these tags, is meant."""
        return self.may_hold(key) and (
            self.tag is None or (isinstance(tags, Mapping) and tags.get(self.tag[0]) == self.tag[1])
        )

    def may_hold(self, key: Key) -> bool:
        """Whether it is meant with some tags."""
        return (
            (self.prefix is None or key.name.startswith(self.prefix))
            and (self.tenant is None or key.tenant == self.tenant)
            and (self.scope_prefix is None or key.scope.startswith(self.scope_prefix))
        )

    def rank(self) -> tuple[bool, bool, int, int]:
        """How specific: a tag before a tenant before a longer name prefix before a longer scope prefix."""
        return (
            self.tag is not None,
            self.tenant is not None,
            len(self.prefix) if self.prefix is not None else 0,
            len(self.scope_prefix) if self.scope_prefix is not None else 0,
        )

    def covers(self, other: "Chosen") -> bool:
        """Whether everything that ``other`` means is meant here too."""
        return (
            _begins(other.prefix, self.prefix)
            and _begins(other.scope_prefix, self.scope_prefix)
            and self.tenant in (None, other.tenant)
            and self.tag in (None, other.tag)
        )

    def chosen(self) -> tuple[str, str, str | None, tuple[str, str] | None]:
        return (self.prefix or "", self.scope_prefix or "", self.tenant, self.tag)

    def told(self) -> str:
        """In words, for a message."""
        given = {name: getattr(self, name) for name in ("prefix", "scope_prefix", "tenant", "tag")}
        return (
            f"{type(self).__name__}({', '.join(f'{name}={one!r}' for name, one in given.items() if one is not None)})"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LifetimeRule(Chosen):
    """The `Lifetime` of some records, or its preset's name. All conditions that are given must hold, and at least one must be given: ``prefix`` of the
    name (case-sensitive; "" is every name), ``scope_prefix``, ``tenant``, ``tag`` (name, value).

    Of the rules that hold for a record the most specific counts: one with a tag before one without, then one with a tenant, then the longer ``prefix``, then
    the longer ``scope_prefix``; among equals the first given.
    """

    lifetime: "Lifetime | str"

    def __post_init__(self) -> None:
        Chosen.__post_init__(self)
        if not isinstance(self.lifetime, Lifetime | str):
            raise ConfigurationError(
                f"a rule's lifetime is a Lifetime or a preset's name, not {type(self.lifetime).__name__}"
            )


@dataclass(frozen=True, slots=True)
class Ceiling(Chosen):
    """No record of these keeps its value for longer than ``at_most`` (a timedelta or seconds) after that was written, whatever ``ttl=`` says: a longer one is
    shortened, and the write's result tells. Which records: as of `LifetimeRule`. Of several the lowest counts.

    A ``touch``, and a sliding renewal, do not go beyond ``at_most`` after the record was *created*, which is no later than its value was written.
    """

    at_most: timedelta | float
    at_most_ms: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        Chosen.__post_init__(self)
        ms = configured_ms(self.at_most, "a ceiling's at_most")
        if not ms:
            raise ConfigurationError("a ceiling's at_most is a time; a ceiling of for ever is none")
        object.__setattr__(self, "at_most", timedelta(milliseconds=ms))
        object.__setattr__(self, "at_most_ms", ms)


def _begins(narrow: str | None, wide: str | None) -> bool:
    return not wide or (narrow is not None and narrow.startswith(wide))
