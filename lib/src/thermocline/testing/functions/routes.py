"""Route templates of HTTP functions, in the official host's language: ``items/{id:int}``, ``{name?}``, ``{*rest}``."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from thermocline.testing.functions.errors import BadApp

_PARAMETER: Final = re.compile(r"\{(\*{0,2})(\w+)((?::\w+)*)(\?)?\}")
_CONSTRAINTS: Final[Mapping[str, Callable[[str], bool]]] = {
    "int": lambda text: re.fullmatch(r"-?\d{1,10}", text) is not None,
    "long": lambda text: re.fullmatch(r"-?\d{1,19}", text) is not None,
    "alpha": lambda text: re.fullmatch("[A-Za-z]+", text) is not None,
    "bool": lambda text: text.lower() in ("true", "false"),
    "guid": lambda text: re.fullmatch(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", text) is not None,
}
RESERVED: Final = ("admin", "runtime")
"""First segments that the host keeps for itself."""


@dataclass(frozen=True)
class Segment:
    """One part of a template between slashes: literal text, or a parameter."""

    text: str
    parameter: bool = False
    rest: bool = False
    optional: bool = False
    constraints: tuple[str, ...] = ()

    @property
    def rank(self) -> int:
        """Which of two templates is tried first: literals, then parameters with a constraint, parameters, all the rest."""
        return 3 if self.rest else 0 if not self.parameter else 1 if self.constraints else 2


@dataclass(frozen=True)
class Route:
    """A template that paths are held against."""

    template: str
    segments: tuple[Segment, ...]

    @property
    def rank(self) -> tuple[int, ...]:
        """Sorts routes in the order in which they are tried."""
        return (*(segment.rank for segment in self.segments), 9)

    def match(self, path: str) -> dict[str, str] | None:
        """The parameters of a path (decoded, without its first slash), or None if it is another's."""
        given = path.split("/") if path else []
        found: dict[str, str] = {}
        for place, segment in enumerate(self.segments):
            if segment.rest:
                found[segment.text] = "/".join(given[place:])
                return found
            if place >= len(given):
                if segment.optional:
                    continue
                return None
            part = given[place]
            if not segment.parameter:
                if part.lower() != segment.text.lower():
                    return None
            elif not part or not all(_CONSTRAINTS[name](part) for name in segment.constraints):
                return None
            else:
                found[segment.text] = part
        return found if len(given) <= len(self.segments) else None


def read_route(function: str, prefix: str, template: str) -> Route:
    """A function's route under the app's prefix. Raises BadApp for a template that the host would refuse."""
    whole = "/".join(part for part in (prefix, template.strip("/")) if part)
    parts = [part for part in whole.split("/") if part]
    segments = tuple(_segment(function, template, part) for part in parts)
    if segments and not segments[0].parameter and segments[0].text.lower() in RESERVED:
        raise BadApp(f"{function}: the route {whole} begins with {segments[0].text}, which the host keeps for itself")
    if any(segment.rest for segment in segments[:-1]):
        raise BadApp(f"{function}: in the route {template} only the last part can take all the rest")
    return Route(whole, segments)


def _segment(function: str, template: str, part: str) -> Segment:
    found = _PARAMETER.fullmatch(part)
    if found is None:
        if "{" in part or "}" in part:
            raise BadApp(
                f"{function}: this host cannot read {part} in the route {template}; write a parameter as {{name}}, alone"
            )
        return Segment(part)
    constraints = tuple(name for name in found[3].split(":") if name)
    for name in constraints:
        if name not in _CONSTRAINTS:
            raise BadApp(
                f"{function}: this host does not know the constraint {name} in the route {template}; it knows {', '.join(_CONSTRAINTS)}"
            )
    return Segment(found[2], True, bool(found[1]), found[4] is not None, constraints)
