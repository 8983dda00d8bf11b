"""Which file may import what. import-linter holds the layers (pyproject.toml); it knows only the first part of an external name."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import thermocline

LIBRARY = Path(thermocline.__file__).parent

# External package -> the rooms that may import it. A room is a module, or a package with all below it.
ROOMS: dict[str, tuple[str, ...]] = {
    "redis": ("tiers.hot",),
    "hiredis": ("tiers.hot.lane",),
    "azure.cosmos": ("tiers.warm",),
    "azure.storage": ("tiers.cold",),
    "azure.data": ("tiers.table",),
    "obstore": ("tiers.cold.fast",),
    "azure.identity": ("identity",),
    "azure.keyvault": ("identity",),
    "azure.monitor": ("telemetry",),
    "azure.core": ("tiers.warm", "azure_storage", "tiers.cold", "tiers.table", "identity"),
    "aiohttp": ("tiers.warm", "azure_storage", "identity", "resilience.connections"),
    "redis_entraid": ("identity",),
    "jwt": ("identity.bearer",),
    "opentelemetry": ("telemetry",),
    "fastapi": ("agents",),
    "starlette": ("agents",),
    "sqlite3": ("tiers.local",),
    "typer": ("cli",),
    "rich": ("cli",),
    "msgspec": ("codec", "tiers", "client", "transfer"),
    "backports": ("codec",),
    "compression": ("codec",),
    "pydantic_settings": ("settings", "functions.settings"),
    "pydantic": ("codec", "settings", "functions.settings"),
}
ONE_FILE = ("redis", "azure.cosmos", "azure.storage", "azure.data", "obstore")  # an SDK is imported in its one file
NOWHERE = ("pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve")  # reading them runs code


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(LIBRARY).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path: Path) -> Iterator[str]:
    """Every name that a file imports, also inside functions and below TYPE_CHECKING, as ``package.module.name``."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def under(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def sources() -> list[Path]:
    """The library's files but those of `thermocline.testing`, which may use any SDK to judge it."""
    return [path for path in sorted(LIBRARY.rglob("*.py")) if not under(module_name(path), "testing")]


@pytest.mark.parametrize("package", sorted(ROOMS))
def test_external_package_is_imported_in_its_room_only(package: str) -> None:
    importers = {module_name(path) for path in sources() if any(under(name, package) for name in imports_of(path))}

    assert {name for name in importers if not any(under(name, room) for room in ROOMS[package])} == set()
    if package in ONE_FILE:
        assert len(importers) <= 1, f"{package} is imported in {sorted(importers)}"


@pytest.mark.parametrize("package", NOWHERE)
def test_what_runs_code_when_read_is_imported_nowhere(package: str) -> None:
    everywhere = sorted(LIBRARY.rglob("*.py"))

    assert [path for path in everywhere if any(under(name, package) for name in imports_of(path))] == []


def test_every_external_package_has_a_room() -> None:
    """A new dependency gets its line in `ROOMS`, and in docs/adrs/0004-dependencies.md."""
    import sys

    known = {*ROOMS, "thermocline", "typing_extensions"}
    strangers = defaultdict(set)
    for path in sources():
        for name in imports_of(path):
            if name.split(".")[0] not in sys.stdlib_module_names and not any(under(name, package) for package in known):
                strangers[name].add(module_name(path))

    assert dict(strangers) == {}
