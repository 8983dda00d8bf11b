"""The tables of each module's README are those of its Bicep."""

from pathlib import Path

import pytest
from tests.infra.bicep_source import BICEP, BicepSyntax, Entry, read, rows_of, statements, tables

FOLDERS = sorted(path.parent for path in BICEP.glob("*/main.bicep"))

EXAMPLE = """
targetScope = 'resourceGroup' // where
metadata description = 'What it\\'s for.'

/* param gone string */
@description('How it is: a | b.')
@minLength(1)
param mode 'a' | 'b' = 'a'

@description('''Long one.''')
param shape { *: string } = {
  one: 'x${length('}')}' // a brace in a string
}

@batchSize(1)
resource made 'Microsoft.A/b@2025-01-01' = [for i in range(0, 2): {
  name: 'x' // param not string
}]

resource there 'Microsoft.A/b@2025-01-01' existing = { name: 'y' }

@description('Where.')
output place string = made[0].id
"""


def test_there_are_modules_to_read() -> None:
    assert len(FOLDERS) >= 9


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.name))
def test_readmes_have_the_tables_of_their_bicep(folder: Path) -> None:
    source = read((folder / "main.bicep").read_text(encoding="utf-8"))
    readme = (folder / "README.md").read_text(encoding="utf-8")
    write = f"run: python -m tests.infra.bicep_source bicep/{folder.name}"

    assert rows_of(readme, "Parameters") == [entry.row() for entry in source.parameters], write
    assert rows_of(readme, "Outputs") == [entry.row() for entry in source.outputs], write


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.name))
def test_every_parameter_and_output_is_described(folder: Path) -> None:
    source = read((folder / "main.bicep").read_text(encoding="utf-8"))

    assert [entry.name for entry in source.parameters + source.outputs if not entry.description.endswith(".")] == []
    assert source.parameters
    assert source.outputs
    assert {"name", "description"} <= set(source.metadata)


def test_the_reader_follows_the_language() -> None:
    source = read(EXAMPLE)

    assert source.metadata == {"description": "What it's for."}
    assert source.parameters == [
        Entry("mode", "'a' | 'b'", "'a'", "How it is: a | b."),
        Entry("shape", "{ *: string }", "{ one: 'x${length('}')}' }", "Long one."),
    ]
    assert source.outputs == [Entry("place", "string", None, "Where.")]
    assert [(one.symbol, one.version, one.existing) for one in source.resources] == [
        ("made", "2025-01-01", False),
        ("there", "2025-01-01", True),
    ]
    assert source.resources[0].text.startswith("@batchSize(1) resource made")


def test_a_table_escapes_what_would_end_its_cell() -> None:
    row = rows_of(tables(read(EXAMPLE)), "Parameters")[0]

    assert row == "| `mode` | 'a' \\| 'b' | `'a'` | How it is: a \\| b. |"


@pytest.mark.parametrize("text", ["param a string = 'x", "var a = {", "var a = 'x${b'"])
def test_what_the_reader_cannot_follow_is_an_error(text: str) -> None:
    with pytest.raises(BicepSyntax):
        list(statements(text))


def test_a_readme_that_lags_behind_is_seen() -> None:
    before = read(EXAMPLE)
    after = read(EXAMPLE.replace("param mode 'a' | 'b' = 'a'", "param mode 'a' | 'b' = 'b'"))

    assert rows_of(tables(before), "Parameters") != [entry.row() for entry in after.parameters]
