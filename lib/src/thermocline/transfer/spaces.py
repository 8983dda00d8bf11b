"""Which keys are moved, and what they are called on the other side. Pure."""

from dataclasses import dataclass
from typing import Any

from thermocline.errors import InvalidArgument
from thermocline.model import DEFAULT_TENANT, Key


@dataclass(frozen=True, slots=True)
class Space:
    """The keys of one ``tenant``, or of one ``scope`` of it; None: all. ``to_tenant`` and ``to_scope`` are their new names, left out: the old ones.

    One to one, so that what was moved can go back. Plain strings (names of the default tenant's own 256 scopes) stay plain only in the default tenant.
    Raises `InvalidArgument` for a new name without the old one that it stands for, and `InvalidKey`.
    """

    tenant: str | None = None
    scope: str | None = None
    to_tenant: str | None = None
    to_scope: str | None = None

    def __post_init__(self) -> None:
        if self.scope is not None and self.tenant is None:
            object.__setattr__(self, "tenant", DEFAULT_TENANT)
        if self.to_tenant is not None and self.tenant is None:
            raise InvalidArgument("to_tenant renames one tenant: say which (tenant=)")
        if self.to_scope is not None and self.scope is None:
            raise InvalidArgument("to_scope renames one scope: say which (scope=)")
        for tenant, scope in ((self.tenant, self.scope), (self.to_tenant, self.to_scope)):
            Key(DEFAULT_TENANT if tenant is None else tenant, "x" if scope is None else scope, "x")

    def there(self, key: Key) -> Key:
        """What a key of the source is called in the target."""
        return Key(
            key.tenant if self.to_tenant is None else self.to_tenant,
            key.scope if self.to_scope is None else self.to_scope,
            key.name,
        )

    def back(self, key: Key) -> Key:
        """What a key of the target is called in the source."""
        return self.turned().there(key)

    def holds(self, key: Key) -> bool:
        """Whether a key of the source is one of these."""
        return self.tenant in (None, key.tenant) and self.scope in (None, key.scope)

    def turned(self) -> "Space":
        """The same from the target's side."""
        tenant, scope = self.target()
        renamed_tenant = self.tenant if self.to_tenant is not None else None
        renamed_scope = self.scope if self.to_scope is not None else None
        return Space(tenant, scope, renamed_tenant, renamed_scope)

    def target(self) -> tuple[str | None, str | None]:
        """The tenant and scope that the target's keys of it have."""
        tenant = self.tenant if self.to_tenant is None else self.to_tenant
        return tenant, self.scope if self.to_scope is None else self.to_scope

    def overlaps_itself(self) -> bool:
        """Whether a key's new name is in the source's selection too: then source and target must be different stores."""
        tenant, scope = self.target()
        return self.tenant in (None, tenant) and self.scope in (None, scope)


def space_of(given: Any) -> Space:
    """What a caller gave; None: everything. Raises `InvalidArgument`."""
    if given is None:
        return Space()
    if not isinstance(given, Space):
        raise InvalidArgument(f"space is a Space(tenant, scope, …), not {given!r:.80}")
    return given
