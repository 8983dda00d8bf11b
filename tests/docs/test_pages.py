"""What the pages say is run: their Python blocks, one namespace a page, and their links."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

import thermocline

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^```python([^\n]*)\n(.*?)^```", re.S | re.M)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    code: str
    runs: bool


def _blocks(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for found in _BLOCK.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        yield Block(page, line, found.group(2), "no-run" not in found.group(1))


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


WITH_CODE = [page for page in PAGES if any(True for _ in _blocks(page))]


@pytest.mark.parametrize("page", WITH_CODE, ids=_name)
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All blocks of a page, one after the other, in one namespace and an empty home; a block may use what an earlier one defined."""
    monkeypatch.setenv("THERMOCLINE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    module = ModuleType("page")
    ran = 0
    for block in _blocks(page):
        code = compile("\n" * block.line + block.code, str(block.page), "exec")
        if block.runs:
            exec(code, module.__dict__)
            ran += 1
    assert ran, f"{_name(page)} has Python blocks, and none of them runs"


@pytest.mark.parametrize("page", [*PAGES, *sorted((ROOT / "docs" / "adrs").glob("*.md"))], ids=_name)
def test_links_lead_somewhere(page: Path) -> None:
    missing = []
    for target in _LINK.findall(page.read_text()):
        if re.match(r"[a-z]+:", target) or target.startswith("#"):
            continue
        path = (page.parent / target.split("#")[0]).resolve()
        if not path.exists():
            missing.append(target)
    assert not missing, f"{_name(page)} links to what is not there: {missing}"


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert {name for name in pages if f"({name})" not in index} == set()


def test_every_public_name_is_on_a_page() -> None:
    text = "\n".join(page.read_text() for page in PAGES)
    unnamed = [name for name in thermocline.__all__ if name != "__version__" and not re.search(rf"\b{name}\b", text)]
    assert unnamed == []


@pytest.mark.parametrize("name", thermocline.__all__)
def test_public_names_exist(name: str) -> None:
    assert getattr(thermocline, name) is not None
