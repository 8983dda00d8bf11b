"""Every argument of what users make and configure, given wrongly: an error of our own tree that names the argument, where it is given."""

import asyncio
import inspect
import math
from collections.abc import Callable, Iterator
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import pytest
from redis.credentials import UsernamePasswordCredentialProvider

import thermocline
from thermocline import (
    Budget,
    Caller,
    Ceiling,
    Codec,
    ColdMemory,
    EntraTokens,
    FolderMemory,
    Hedging,
    HotMemory,
    Key,
    LegacyDocuments,
    LegacySource,
    Lifetime,
    LifetimeRule,
    Lifetimes,
    Limits,
    MemoryApi,
    MemoryClient,
    MemoryRules,
    NearCache,
    ProcessMemory,
    Resilience,
    Route,
    ServiceRetention,
    SqliteMemory,
    TableMemory,
    WarmMemory,
    build_service_app,
    connect,
)
from thermocline.errors import ConfigurationError, InvalidArgument, ThermoclineError


class Odd:
    """Of no kind that anything takes."""

    def __repr__(self) -> str:
        return "<odd>"


Wrong = tuple[Any, ...]
ODD = Odd()
KINDS: Final[Wrong] = (ODD, [ODD], {"a": ODD}, True, math.nan)
FROM_ZERO: Final[Wrong] = (ODD, "2", b"2", [], True, -1, math.nan, math.inf, timedelta(-1), 1e300)
DURATION: Final[Wrong] = (*FROM_ZERO, 0, timedelta())
WHOLE: Final[Wrong] = (ODD, "2", b"2", [], True, -1, 2.5, math.nan, math.inf, timedelta(1))
COUNT: Final[Wrong] = (*WHOLE, 0)
SHARE: Final[Wrong] = (ODD, "0.5", b"0", [], True, -0.1, 1.1, math.nan, math.inf, timedelta(1))
PART: Final[Wrong] = (ODD, "fast", 3, 0, [], True)
SWITCH: Final[Wrong] = (ODD, "no", 1, 0, None, [])
TEXT: Final[Wrong] = (ODD, 3, 0, [], True, b"x")
NAME: Final[Wrong] = (*TEXT, "")
FUNCTION: Final[Wrong] = (ODD, "f", 3, 0, [])
MANY: Final[Wrong] = (ODD, "x", 3, 0, True, [ODD])
URL: Final[Wrong] = (*NAME, "no url")


class Subject(NamedTuple):
    """``good``: arguments with which it can be made; ``wrong``: for each of its arguments what it must refuse. ``any``: arguments that take anything, or are
    held against one another elsewhere."""

    make: Callable[..., object]
    good: dict[str, Any]
    wrong: dict[str, Wrong]
    any: tuple[str, ...] = ()


def each(wrong: Wrong, *names: str) -> dict[str, Wrong]:
    return dict.fromkeys(names, wrong)


def made_and_run(settings: Any = None, credential: Any = None) -> None:
    asyncio.run(_connected(settings, credential))


async def _connected(settings: Any, credential: Any) -> None:
    await (await connect(settings, credential=credential)).close()


COSMOS: dict[str, Any] = {
    "account_uri": "https://a.documents.azure.com",
    "database": "d",
    "container": "c",
    "key": "A" * 86 + "==",
}
OF_COSMOS = (
    each(URL, "account_uri")
    | each(NAME, "database", "container")
    | each(COUNT, "connection_limit", "max_item_bytes")
    | each((ODD, "x", 3, 0, []), "client_kwargs")
    | each((*DURATION, 119), "grace")
    | each(PART, "clock")
    | each(MANY, "preferred_regions")
    | each(SWITCH, "create")
    | {"credential": (3, 0, [], True), "key": (ODD, 3, "", "no base64")}
)
STORAGE = (
    each(COUNT, "connection_pool_size")
    | each(DURATION, "connection_timeout", "read_timeout")
    | each(SWITCH, "create")
    | each(PART, "clock")
    | {"credential": (ODD, 3, 0, [], True)}
)
TENANT = "11111111-1111-1111-1111-111111111111"

SUBJECTS = {
    "Limits": Subject(
        Limits,
        {},
        each(COUNT, "at_once", "failures", "slow_calls", "probes")
        | each(WHOLE, "waiting")
        | each(DURATION, "window", "open_for", "open_at_most")
        | each((*SHARE, 0), "slow_after"),
    ),
    "Hedging": Subject(Hedging, {}, {"share": (*SHARE, 0), "quantile": (*SHARE, 0, 1), "samples": (*COUNT, 257)}),
    "Resilience": Subject(
        Resilience,
        {},
        {"retry_ratio": SHARE, "retry_burst": COUNT} | each(PART, "hedge", "hot", "warm", "cold"),
    ),
    "NearCache": Subject(
        NearCache, {}, each(COUNT, "max_entries", "max_bytes") | {"stale_at_most": (*DURATION, 0.019, 60.1)}
    ),
    "Budget": Subject(Budget, {}, each(DURATION, "call", "connect", "hot", "warm", "cold") | {"clock": PART}),
    "Codec": Subject(
        Codec,
        {},
        {"compression": (*PART, "lz4"), "threshold": WHOLE, "level": (*COUNT, 23), "raw_limit": COUNT}
        | {"dictionaries": (*TEXT, "newest")},
    ),
    "MemoryRules": Subject(
        MemoryRules,
        {},
        each(
            SWITCH,
            *("read_fallback", "promote_on_read", "write_through", "write_cold", "write_around"),
            *("stale_while_down", "refuse_without_hot"),
        )
        | each(DURATION, "hot_ttl_seconds", "warm_ttl_seconds")
        | each(WHOLE, "cold_threshold_bytes", "hot_max_bytes")
        | each(COUNT, "max_value_bytes", "promote_after"),
    ),
    "Route": Subject(
        Route,
        {"prefix": "a"},
        each(TEXT, "prefix", "scope_prefix")
        | each(NAME, "tenant")
        | each(SWITCH, "hot")
        | each((*PART, None), "rules")
        | each(PART, "authority", "legacy"),
    ),
    "LegacySource": Subject(
        LegacySource,
        {"hot": HotMemory("redis://localhost")},
        each(PART, "hot", "warm", "cold") | {"name": (*FUNCTION, None)},
    ),
    "Lifetime": Subject(
        Lifetime,
        {},
        each(DURATION, "ttl", "hot", "demote_after", "demote_idle")
        | {"sliding": (*SWITCH, True), "jitter": (*SHARE, 0.6), "demote_above": WHOLE},
    ),
    "LifetimeRule": Subject(
        LifetimeRule,
        {"prefix": "a", "lifetime": "session"},
        each(TEXT, "prefix", "scope_prefix")
        | {"tenant": NAME, "lifetime": (ODD, 3, [], None), "tag": (ODD, "a", ["a", "b"], ("a",))},
    ),
    "Ceiling": Subject(
        Ceiling,
        {"prefix": "a", "at_most": 60},
        each(TEXT, "prefix", "scope_prefix")
        | {"tenant": NAME, "at_most": (*DURATION, None), "tag": (ODD, "a", ["a", "b"], ("a",))},
    ),
    "Lifetimes": Subject(
        Lifetimes, {}, each(MANY, "rules", "ceilings") | {"presets": (ODD, "x", 3, [1], {"a": 1}, {1: Lifetime()})}
    ),
    "ServiceRetention": Subject(
        ServiceRetention, {}, each(FROM_ZERO, "cosmos_backup", "blob_soft_delete", "redis_persistence")
    ),
    "Key": Subject(Key, {"tenant": "a", "scope": "b", "name": "c"}, each((*NAME, None), "tenant", "scope", "name")),
    "Caller": Subject(Caller, {"tenant": "a", "scope": "b"}, {"tenant": (*NAME, None), "scope": NAME}),
    "MemoryApi": Subject(
        MemoryApi,
        {"tokens": None, "missing": "why"},
        each((*DURATION, 0.09, timedelta(days=2)), "watch", "lease")
        | {"longest_write": (*DURATION, 0.9), "missing": TEXT, "tokens": (ODD, "x", 3, 0, [])},
    ),
    "EntraTokens": Subject(
        EntraTokens,
        {"audience": "api://x", "tenants": [TENANT]},
        {"audience": NAME, "tenants": (ODD, "x", b"x", 3, 0, True, [], ["x"], [3]), "authority": (*NAME, "http://h")}
        | {"leeway": FROM_ZERO, "clock": PART},
    ),
    "HotMemory": Subject(
        HotMemory,
        {"url": "redis://localhost"},
        each(COUNT, "max_connections", "max_calls")
        | each((*WHOLE, None), "max_value_bytes")
        | each(DURATION, "socket_timeout", "socket_connect_timeout")
        | each((ODD, "no", 1, 0, []), "cluster", "retry_on_timeout")
        | {
            "ceiling": (*DURATION, None, timedelta(microseconds=999)),
            "rest": (*FROM_ZERO, None),
            "clock": (*PART, None),
        }
        | {"health_check_interval": FROM_ZERO, "credential_provider": (*PART, UsernamePasswordCredentialProvider)}
        | {"url": (*URL, None, "http://h", "redis://h:99999", "redis://h?db=x", "redis://h?no_option=1")},
    ),
    "ProcessMemory": Subject(
        ProcessMemory,
        {},
        {"max_bytes": WHOLE, "ceiling": DURATION, "rest": FROM_ZERO, "data_version": FUNCTION, "clock": PART},
    ),
    "SqliteMemory": Subject(
        SqliteMemory,
        {"path": "warm.sqlite3"},
        {"path": (*NAME, None, "\0", ":memory:"), "max_bytes": (*COUNT, 2**16 - 1), "grace": FROM_ZERO}
        | {"clock": PART, "executor": PART, "power_safe": SWITCH},
    ),
    "FolderMemory": Subject(
        FolderMemory,
        {"path": "cold"},
        {"path": (*NAME, None, "\0"), "grace": FROM_ZERO, "clock": PART, "executor": PART, "fsync": SWITCH},
    ),
    "ColdMemory": Subject(
        ColdMemory,
        {"account_url": "https://a.blob.core.windows.net", "container_name": "c"},
        STORAGE
        | {"account_url": URL, "container_name": NAME, "connection_string": NAME, "executor": PART}
        | {"transfer": (*PART, "ftp")},
    ),
    "TableMemory": Subject(
        TableMemory,
        {"account_url": "https://a.table.core.windows.net", "credential": "k"},
        STORAGE | {"account_url": URL, "table": (*NAME, "1", "a-b")},
    ),
    "WarmMemory": Subject(WarmMemory, COSMOS, OF_COSMOS),
    "LegacyDocuments": Subject(LegacyDocuments, COSMOS, OF_COSMOS),
    "MemoryClient": Subject(
        MemoryClient,
        {"hot": ProcessMemory()},
        each(PART, "hot", "warm", "cold", "warm_plus", "rules", "lifetimes", "codec", "budget", "clock", "executor")
        | each(PART, "tokens", "retention", "resilience", "near")
        | {"routes": MANY, "closes": (ODD, "x", 3, 0, True), "save_reads": (*DURATION, 0.9, timedelta(days=2))},
    ),
    "connect": Subject(made_and_run, {}, {"settings": PART, "credential": PART}),
    "build_service_app": Subject(
        build_service_app,
        {"service_name": "s", "memory_api": MemoryApi(None, missing="why")},
        each(PART, "memory_api", "hot_memory", "warm_memory", "cold_memory", "memory_settings", "memory_client")
        | each(FUNCTION, "memory_builder", "lifespan", "caller")
        | each(DURATION, "request_timeout", "ready_timeout")
        | {"service_name": NAME, "agent_class": PART, "max_body_bytes": COUNT, "ready_reasons": SWITCH}
        | {"trust_body": (ODD, "no", 1, None, [])},
        any=("slm_config", "llm_config", "agent_setup", "mcp_setup", "agent_options"),  # of an agent: below
    ),
}

# Public, and made by the library alone (what it answers with, and its errors), abstract, or without arguments.
NOT_MADE: Final = frozenset(
    {"Agent", "Batch", "Corrupt", "Dictionaries", "DictionaryInfo", "Health", "Hit", "Listing", "MemoryConfig", "Miss"}
    | {"AgentBuilder", "MemoryBuilder", "MemorySettings", "MemoryTier", "Moved", "NotAsked", "Prefetched", "Receipt"}
    | {"Record", "ScopedMemory", "SweepReport", "TierHealth", "Training", "Unavailable", "Verdict", "WriteResult"}
)


def _cases() -> Iterator[Any]:
    for label, subject in SUBJECTS.items():
        for name, wrongs in subject.wrong.items():
            for wrong in wrongs:
                yield pytest.param(label, name, wrong, id=f"{label}-{name}-{wrong!r:.30}")


@pytest.mark.parametrize(("label", "name", "wrong"), [*_cases()])
def test_what_is_wrong_is_refused_by_its_name(label: str, name: str, wrong: Any) -> None:
    subject = SUBJECTS[label]
    with pytest.raises(ThermoclineError, match=rf"\b{name}\b"):
        subject.make(**{**subject.good, name: wrong})


@pytest.mark.parametrize("label", SUBJECTS)
def test_what_is_right_is_taken_and_no_argument_is_left_out(label: str) -> None:
    subject = SUBJECTS[label]
    if label != "connect":
        subject.make(**subject.good)
    takes = set(inspect.signature(getattr(thermocline, label)).parameters)
    assert takes - subject.wrong.keys() - set(subject.any) == set()


def test_no_public_class_is_left_out() -> None:
    public = {name for name in thermocline.__all__ if inspect.isclass(getattr(thermocline, name))}
    errors = {name for name in public if issubclass(getattr(thermocline, name), Exception)}
    assert public - errors - NOT_MADE == SUBJECTS.keys() - {"connect", "build_service_app"}


# --- seconds and timedeltas ------------------------------------------------------------------------------------------


def test_seconds_and_timedeltas_are_the_same() -> None:
    assert Limits(open_for=2, window=0.5, open_at_most=60) == Limits(
        open_for=timedelta(seconds=2), window=timedelta(milliseconds=500), open_at_most=timedelta(minutes=1)
    )
    assert Budget(connect=3).connect == timedelta(seconds=3)
    times = ("ceiling", "rest", "socket_timeout", "socket_connect_timeout", "health_check_interval")
    for span in (0.5, timedelta(milliseconds=500)):
        given: dict[str, Any] = dict.fromkeys(times, span)
        assert HotMemory("redis://h", **given).url == "redis://h"
    assert HotMemory("redis://h", health_check_interval=0, rest=0).url == "redis://h"
    assert ServiceRetention(cosmos_backup=60) == ServiceRetention(cosmos_backup=timedelta(minutes=1))
    assert SqliteMemory("warm.sqlite3", grace=60).grace == timedelta(minutes=1)
    assert FolderMemory("cold", grace=60).grace == timedelta(minutes=1)


def test_two_that_do_not_fit_are_both_named() -> None:
    with pytest.raises(ThermoclineError, match=r"open_for .* open_at_most"):
        Limits(open_for=31)


def test_what_is_given_is_told_but_never_a_secret() -> None:
    with pytest.raises(ConfigurationError, match=r"open_for is a timedelta or a number of seconds.*not 'soon'"):
        Limits(open_for="soon")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument) as told:
        Codec(threshold="x" * 10_000)  # type: ignore[arg-type]
    assert len(str(told.value)) < 300
    with pytest.raises(ConfigurationError) as told_of_key:
        WarmMemory("https://a.documents.azure.com", "d", "c", key="c2VjcmV0 no base64")
    assert "c2VjcmV0" not in str(told_of_key.value)
    for wrong in ({"url": "s3cret"}, {"url": "redis://:s3cret@h?db=x"}, {"credential_provider": "s3cret"}):
        with pytest.raises(ConfigurationError) as told_of_login:
            HotMemory(**{"url": "redis://h", **wrong})  # type: ignore[arg-type]
        assert "s3cret" not in str(told_of_login.value)


def test_a_mapping_is_as_good_as_a_dict() -> None:
    options = MappingProxyType({"consistency_level": "Session"})
    assert isinstance(WarmMemory(**COSMOS | {"client_kwargs": options}), WarmMemory)
