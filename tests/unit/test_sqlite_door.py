"""The door from sqlite3's errors to ours: every exception class and every result code has its place in it."""

import re
import sqlite3

import pytest

from thermocline.errors import ThermoclineError, TierUnavailable
from thermocline.tiers.local.sqlite_errors import CLASSES, EXTENDED, KINDS, map_error

# Constants of sqlite3 that are no result codes: what an authorizer is asked about and answers, limits, options of a connection.
AUTHORIZER = re.compile(
    r"CREATE_\w+|DROP_\w+|ALTER_TABLE|ANALYZE|ATTACH|DELETE|DENY|DETACH|FUNCTION|IGNORE|INSERT|PRAGMA|READ|RECURSIVE|REINDEX|SAVEPOINT|SELECT"
    r"|TRANSACTION|UPDATE|LIMIT_\w+|DBCONFIG_\w+"
)
NO_ERRORS = {"OK", "ROW", "DONE"}
PRIMARY_LIMIT = 256  # an extended code holds its primary one in its low eight bits


def result_codes() -> dict[str, int]:
    names = {
        name.removeprefix("SQLITE_"): getattr(sqlite3, name) for name in dir(sqlite3) if name.startswith("SQLITE_")
    }
    return {name: code for name, code in names.items() if not AUTHORIZER.fullmatch(name)}


def test_every_exception_class_of_the_module_is_mapped() -> None:
    classes = {value for value in vars(sqlite3).values() if isinstance(value, type) and issubclass(value, Exception)}
    assert classes == set(CLASSES)


def test_every_primary_result_code_is_mapped() -> None:
    primary = {name for name, code in result_codes().items() if code < PRIMARY_LIMIT} - NO_ERRORS
    assert len(primary) >= 26
    assert primary <= set(KINDS)


def test_every_extended_result_code_leads_to_a_primary_one() -> None:
    codes = result_codes()
    extended = {name for name, code in codes.items() if code >= PRIMARY_LIMIT}
    assert len(extended) > 50
    for name in extended:
        primary = name.partition("_")[0]
        assert primary in KINDS or primary in NO_ERRORS, name
        assert codes[name] % PRIMARY_LIMIT == codes[primary], name
    assert set(EXTENDED) <= extended


@pytest.mark.parametrize("code", sorted(result_codes()))
def test_every_code_becomes_an_error_that_names_the_file(code: str) -> None:
    error = sqlite3.OperationalError("told")
    error.sqlite_errorname = f"SQLITE_{code}"
    mapped = map_error(error, "the/file.db", sent=True)
    assert isinstance(mapped, ThermoclineError)
    assert "told" in str(mapped)
    assert code in str(mapped)
    assert "the/file.db" in str(mapped) or "1 GB" in str(mapped)
    assert not isinstance(mapped, TierUnavailable) or (mapped.tier, mapped.sent) == ("warm", True)


@pytest.mark.parametrize("kind", sorted(CLASSES, key=str))
def test_every_class_without_a_code_becomes_one_of_our_errors(kind: type[sqlite3.Error]) -> None:
    assert isinstance(map_error(kind("told"), "the/file.db"), CLASSES[kind][0])
