"""Reads the outside of a Bicep module: metadata, parameters, outputs, resources. The official compiler is not needed for it.

`python -m tests.infra.bicep_source bicep/FOLDER ...` writes the two tables of the folders' README.md anew.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
BICEP: Final = ROOT / "bicep"
NONE: Final = "–"
_OPENING: Final = "([{"
_CLOSING: Final = ")]}"


@dataclass(frozen=True)
class Entry:
    """One parameter or output; ``default`` is the expression as it is written, and None for none."""

    name: str
    type: str
    default: str | None
    description: str

    def row(self) -> str:
        default = NONE if self.default is None else _code(self.default)
        return f"| `{self.name}` | {_cell(self.type)} | {default} | {_cell(self.description)} |"


@dataclass(frozen=True)
class Resource:
    """One resource; ``text`` is its whole declaration on one line, decorators before it."""

    symbol: str
    type: str
    version: str
    existing: bool
    text: str


@dataclass
class Source:
    """What a Bicep file declares at its top."""

    metadata: dict[str, str] = field(default_factory=dict)
    parameters: list[Entry] = field(default_factory=list)
    outputs: list[Entry] = field(default_factory=list)
    resources: list[Resource] = field(default_factory=list)
    modules: list[tuple[str, str]] = field(default_factory=list)
    scope: str = "resourceGroup"


class BicepSyntax(ValueError):
    """A file that this reader cannot follow."""


def read(text: str) -> Source:
    source = Source()
    decorators: list[str] = []
    for statement in statements(text):
        if statement.startswith("@"):
            decorators.append(statement)
            continue
        _declare(source, statement, decorators)
        decorators = []
    return source


def statements(text: str) -> Iterator[str]:
    """The statements and decorators, without comments, each on one line."""
    parts: list[str] = []
    depth, place = 0, 0
    while place < len(text):
        char = text[place]
        if text.startswith("//", place):
            place = _find(text, "\n", place)
        elif text.startswith("/*", place):
            place = _find(text, "*/", place) + 2
        elif char == "'":
            end = string_end(text, place)
            parts.append(text[place:end])
            place = end
        else:
            depth += (char in _OPENING) - (char in _CLOSING)
            if char == "\n" and depth == 0:
                yield from _whole(parts)
                parts = []
            else:
                parts.append(" " if char == "\n" else char)
            place += 1
    if depth != 0:
        raise BicepSyntax("a bracket is never closed")
    yield from _whole(parts)


def string_end(text: str, start: int) -> int:
    """The place behind the string that begins at ``start``; interpolations may hold strings themselves."""
    if text.startswith("'''", start):
        return _find(text, "'''", start + 3) + 3
    place = start + 1
    while place < len(text):
        if text[place] == "'":
            return place + 1
        if text[place] == "\\":
            place += 2
        elif text.startswith("${", place):
            place = _interpolation_end(text, place + 2)
        else:
            place += 1
    raise BicepSyntax("a string is never closed")


def _interpolation_end(text: str, place: int) -> int:
    depth = 1
    while place < len(text):
        if text[place] == "'":
            place = string_end(text, place)
            continue
        depth += (text[place] == "{") - (text[place] == "}")
        place += 1
        if depth == 0:
            return place
    raise BicepSyntax("an interpolation is never closed")


def _find(text: str, what: str, start: int) -> int:
    place = text.find(what, start)
    return len(text) if place < 0 else place


def _whole(parts: list[str]) -> Iterator[str]:
    statement = re.sub(r"\s+", " ", "".join(parts)).strip()
    if statement:
        yield statement


def unquoted(literal: str) -> str:
    if literal.startswith("'''"):
        return literal[3:-3].strip()
    return re.sub(r"\\(u\{[0-9a-fA-F]+\}|.)", lambda escape: _character(escape[1]), literal[1:-1])


def _character(escape: str) -> str:
    if escape.startswith("u{"):
        return chr(int(escape[2:-1], 16))
    return {"n": "\n", "r": "\r", "t": "\t"}.get(escape, escape)


def _description(decorators: list[str]) -> str:
    for decorator in decorators:
        if found := re.match(r"@(?:sys\.)?description\(\s*('.*')\s*\)$", decorator):
            return unquoted(found[1])
    return ""


def _declare(source: Source, statement: str, decorators: list[str]) -> None:
    description = _description(decorators)
    if found := re.match(r"metadata (\w+) = ('.*')$", statement):
        source.metadata[found[1]] = unquoted(found[2])
    elif found := re.match(r"targetScope = '(\w+)'", statement):
        source.scope = found[1]
    elif found := re.match(r"(param|output) (\w+) (.*)$", statement):
        kind, default = _split(found[3])
        if found[1] == "param":
            source.parameters.append(Entry(found[2], kind, default, description))
        else:
            source.outputs.append(Entry(found[2], kind, None, description))
    elif found := re.match(r"resource (\w+) '([^'@]+)@([^']+)'( existing)?", statement):
        text = " ".join([*decorators, statement])
        source.resources.append(Resource(found[1], found[2], found[3], found[4] is not None, text))
    elif found := re.match(r"module (\w+) '([^']+)'", statement):
        source.modules.append((found[1], found[2]))


def _split(text: str) -> tuple[str, str | None]:
    """The type and the default of ``TYPE = DEFAULT``."""
    depth, place = 0, 0
    while place < len(text):
        if text[place] == "'":
            place = string_end(text, place)
            continue
        depth += (text[place] in _OPENING) - (text[place] in _CLOSING)
        if text[place] == "=" and depth == 0:
            return text[:place].strip(), text[place + 1 :].strip()
        place += 1
    return text.strip(), None


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace("|", "\\|")).strip()


def _code(text: str) -> str:
    return f"`{_cell(text)}`"


def tables(source: Source) -> str:
    """The part of a README that follows from the Bicep."""
    parts = []
    for title, entries in (("Parameters", source.parameters), ("Outputs", source.outputs)):
        rows = [entry.row() for entry in entries]
        parts.append("\n".join([f"## {title}", "", "| name | type | default | what |", "|---|---|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def rows_of(readme: str, title: str) -> list[str]:
    """The rows of a section's table, as they are."""
    section = re.search(rf"^## {title}$(.*?)(?=^## |\Z)", readme, re.MULTILINE | re.DOTALL)
    return [] if section is None else [line for line in section[1].splitlines() if line.startswith("| `")]


def rewrite(folder: Path) -> bool:
    """Writes the tables of a folder's README; what stands before them stays. Returns whether anything changed."""
    source = read((folder / "main.bicep").read_text(encoding="utf-8"))
    readme = folder / "README.md"
    old = readme.read_text(encoding="utf-8") if readme.exists() else ""
    if old:
        before = re.split(r"^## Parameters$", old, maxsplit=1, flags=re.MULTILINE)[0].rstrip()
    else:
        before = f"# {folder.name}\n\n{source.metadata.get('description', '')}".rstrip()
    new = f"{before}\n\n{tables(source)}"
    if new != old:
        readme.write_text(new, encoding="utf-8")
    return new != old


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(name, "written" if rewrite(Path(name)) else "was up to date")
