"""Rules, routes and what follows from a copy: all pure."""

import math
from dataclasses import FrozenInstanceError
from datetime import timedelta
from typing import Any

import pytest

from thermocline.errors import ConfigurationError, InvalidArgument
from thermocline.model import Authority, Envelope, Flags, Header, Key, MemoryTier
from thermocline.policy import HOT_CEILING, MemoryConfig, MemoryRules, Plan, Route, Routes, Serve, lifetime_ms, serve

HOT, WARM, COLD, PLUS = MemoryTier.HOT, MemoryTier.WARM, MemoryTier.COLD, MemoryTier.WARM_PLUS
KEY = Key("acme", "user/42", "profile:name")


def plan_of(rules: MemoryRules | None = None, *tiers: MemoryTier) -> Plan:
    return Routes(rules or MemoryRules(), tiers=tiers or (HOT, WARM, COLD)).default


# --- lifetimes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        (None, 0),
        (1, 1000),
        (0.07, 70),
        (1.1, 1100),
        (0.0001, 1),
        (1e-12, 1),
        (timedelta(seconds=2), 2000),
        (timedelta(microseconds=1), 1),
        (timedelta(microseconds=1001), 2),
        (timedelta(days=365_250), 365_250 * 86_400_000),
    ],
)
def test_lifetimes_are_whole_milliseconds_rounded_up(value: Any, ms: int) -> None:
    assert lifetime_ms(value) == ms


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0, "longer than zero"),
        (-1, "longer than zero"),
        (timedelta(0), "call delete"),
        (timedelta(seconds=-5), "longer than zero"),
        (-1e-12, "longer than zero"),
        (math.nan, "finite"),
        (math.inf, "give None"),
        (-math.inf, "finite"),
        (1e300, "thousand years"),
        pytest.param(10**5000, "thousand years", id="an integer beyond any float"),
        pytest.param(-(10**5000), "longer than zero", id="the same below zero"),
        (timedelta.max, "thousand years"),
        (timedelta(days=365_250, microseconds=1), "thousand years"),
        ("60", "not str"),
        (True, "not bool"),
    ],
)
def test_impossible_lifetimes_are_refused_with_a_way_out(value: Any, told: str) -> None:
    with pytest.raises(InvalidArgument, match=told):
        lifetime_ms(value)


def test_the_known_lifetimes_keep_their_values() -> None:
    assert (MemoryConfig.SESSION_TTL, MemoryConfig.USER_PROFILE_TTL, MemoryConfig.SEARCH_HISTORY_TTL) == (
        300,
        86400,
        2592000,
    )
    assert MemoryConfig.CATALOG_SNAPSHOT_TTL is None


# --- rules -------------------------------------------------------------------------------------------------------


def test_rules_keep_the_names_order_and_defaults_that_users_know() -> None:
    rules = MemoryRules()
    assert rules == MemoryRules(True, True, True, 300, None, False)
    assert (rules.cold_threshold_bytes, rules.hot_max_bytes, rules.max_value_bytes) == (None, 1_000_000, 2**29)
    with pytest.raises(FrozenInstanceError):
        rules.write_cold = True  # type: ignore[misc]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"hot_ttl_seconds": 0}, "hot_ttl_seconds must be longer than zero"),
        ({"warm_ttl_seconds": math.nan}, "warm_ttl_seconds must be finite"),
        ({"hot_ttl_seconds": "5m"}, "hot_ttl_seconds is a timedelta"),
        ({"read_fallback": "yes"}, "read_fallback is True or False"),
        ({"stale_while_down": 1}, "stale_while_down is True or False"),
        ({"cold_threshold_bytes": -1}, "cold_threshold_bytes is a whole number"),
        ({"hot_max_bytes": 1.5}, "hot_max_bytes is a whole number"),
        ({"max_value_bytes": 0}, "at least 1"),
        ({"max_value_bytes": True}, "max_value_bytes is a whole number"),
        ({"write_through": False, "write_cold": True}, "write_cold=True does not go with"),
        ({"write_through": False, "write_around": True}, "write_around=True does not go with"),
        ({"write_through": False, "refuse_without_hot": True}, "refuse_without_hot=True does not go with"),
    ],
)
def test_rules_that_cannot_work_are_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        MemoryRules(**given)


# --- the authority and the plan --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tiers", "authority", "uses_hot"),
    [
        ((HOT, WARM, COLD), Authority.WARM, True),
        ((HOT, COLD), Authority.COLD, True),
        ((WARM, COLD), Authority.WARM, False),
        ((COLD,), Authority.COLD, False),
        ((HOT,), Authority.HOT, False),
        ((HOT, PLUS), Authority.HOT, False),
        ((PLUS,), Authority.WARM_PLUS, False),
    ],
)
def test_the_authority_is_the_first_of_warm_cold_hot(
    tiers: tuple[MemoryTier, ...], authority: Authority, uses_hot: bool
) -> None:
    plan = plan_of(None, *tiers)
    assert (plan.authority, plan.uses_hot) == (authority, uses_hot)
    assert plan.tier.name == authority.name


def test_without_write_through_hot_has_the_word_and_the_records_its_lifetime() -> None:
    plan = plan_of(MemoryRules(write_through=False, hot_ttl_seconds=7200))
    assert plan.authority is Authority.HOT
    assert not plan.uses_hot
    assert plan.default_lifetime_ms == 7_200_000
    assert plan.expires_ms(1000) == 7_201_000
    assert plan.cold_above is None


def test_copies_in_hot_live_an_hour_at_most() -> None:
    ceiling = HOT_CEILING // timedelta(milliseconds=1)
    assert plan_of(MemoryRules(hot_ttl_seconds=None)).hot_lifetime_ms == ceiling
    assert plan_of(MemoryRules(hot_ttl_seconds=86400)).hot_lifetime_ms == ceiling
    assert plan_of(MemoryRules(hot_ttl_seconds=timedelta(seconds=90))).hot_lifetime_ms == 90_000


def test_a_copy_in_hot_never_outlives_its_record() -> None:
    plan = plan_of()

    def ends(expires_ms: int) -> int:
        return plan.hot_for_ms(Envelope(KEY, Header(expires_ms=expires_ms)), 1_000_000)

    assert ends(0) == 300_000
    assert ends(1_000_500) == 500
    assert ends(9_000_000) == 300_000
    assert ends(999_999) == 0


def test_the_default_lifetime_of_records_is_the_durable_tiers() -> None:
    plan = plan_of(MemoryRules(warm_ttl_seconds=60))
    assert plan.expires_ms(5000) == 65_000
    assert plan.expires_ms(5000, timedelta(seconds=1)) == 6000
    assert plan_of().expires_ms(5000) == 0


def test_payloads_go_to_cold_by_size_or_by_rule() -> None:
    assert plan_of().cold_above == 131072
    assert plan_of(MemoryRules(write_cold=True)).cold_above == 0
    assert plan_of(None, HOT, WARM).cold_above is None
    assert plan_of(None, COLD).cold_above == 2**20, "one blob of the authority's own: one request"
    assert plan_of(None, HOT, COLD).cold_above == 1_000_000 - 16_384, "of larger ones hot holds the pointer"
    assert plan_of(MemoryRules(hot_max_bytes=0), HOT, COLD).cold_above == 131072
    assert plan_of(MemoryRules(hot_max_bytes=2**24), HOT, COLD).cold_above == 2**20
    assert plan_of(MemoryRules(cold_threshold_bytes=10), HOT, COLD).cold_above == 10
    assert plan_of(MemoryRules(write_cold=True), COLD).cold_above == 0


@pytest.mark.parametrize(
    ("route", "tiers", "told"),
    [
        (Route("a", rules=MemoryRules(write_cold=True)), (WARM,), "needs a cold tier"),
        (Route("a", rules=MemoryRules(write_cold=True), authority=Authority.HOT), (HOT, COLD), "durable authority"),
        (Route("a", rules=MemoryRules(write_through=False)), (WARM,), "needs a hot tier"),
        (Route("a", rules=MemoryRules(write_through=False), authority=Authority.WARM), (HOT, WARM), "cannot be WARM"),
        (Route("a", authority=Authority.COLD), (HOT, WARM), "COLD is not configured; there are: hot, warm"),
        (Route("a"), (), "at least one of hot, warm and cold"),
    ],
)
def test_routes_that_the_tiers_cannot_keep_are_refused(route: Route, tiers: tuple[MemoryTier, ...], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        Routes(MemoryRules(), [route], tiers=tiers)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"prefix": None}, "prefix is a string"),
        ({"prefix": "a", "tenant": ""}, "tenant must be one that a key can have"),
        ({"prefix": "a", "tenant": 5}, "tenant is a string"),
        ({"prefix": "a", "scope_prefix": "x" * 1001}, "no scope begins with it"),
        ({"prefix": "a", "authority": Authority.NONE}, "leave it out"),
    ],
)
def test_routes_that_match_nothing_are_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        Route(**given)


# --- which route -------------------------------------------------------------------------------------------------


def test_the_longest_matching_prefix_wins_and_the_first_of_equals() -> None:
    def rules(seconds: int) -> MemoryRules:
        return MemoryRules(hot_ttl_seconds=seconds)

    routes = Routes(
        rules(1),
        [
            Route("a", rules=rules(2)),
            Route("a:b", rules=rules(3)),
            Route("a:b", rules=rules(3)),  # said twice
            Route("a:b", rules=rules(4), scope_prefix="never/"),
            Route("a:c", rules=rules(5), tenant="acme"),
            Route("a:c", rules=rules(6)),
            Route("a:d", rules=rules(7), scope_prefix="session/"),
            Route("", rules=rules(8), tenant="acme"),
        ],
        tiers=(HOT, WARM),
    )

    def found(tenant: str, scope: str, name: str) -> int:
        return routes.route(Key(tenant, scope, name)).hot_lifetime_ms // 1000

    assert found("x", "s", "z") == 1
    assert found("x", "s", "a") == 2
    assert found("x", "s", "A") == 1
    assert found("x", "s", "a:bc") == 3
    assert found("x", "s", "a:c") == 6
    assert found("acme", "s", "a:c") == 5
    assert found("acme", "s", "a:b") == 3
    assert found("x", "session/1", "a:d") == 7
    assert found("x", "user/1", "a:d") == 2
    assert found("acme", "s", "z") == 8
    assert len(routes.plans()) == 9


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Route("a"), Route("a", authority=Authority.COLD)),
        (Route("a", hot=False), Route("a")),
        (Route("a", tenant="t"), Route("a", tenant="t", rules=MemoryRules(hot_ttl_seconds=7))),
        (Route("", scope_prefix=""), Route("", hot=False)),
    ],
)
def test_two_routes_of_the_same_keys_contradict_each_other(one: Route, other: Route) -> None:
    with pytest.raises(ConfigurationError, match="contradict each other"):
        Routes(MemoryRules(), [one, Route("b"), other], tiers=(HOT, WARM, COLD))


def test_a_route_can_bypass_hot_or_choose_its_authority() -> None:
    routes = Routes(
        MemoryRules(), [Route("big:", hot=False), Route("doc:", authority=Authority.COLD)], tiers=(HOT, WARM, COLD)
    )
    assert not routes.route(Key.of("big:1")).uses_hot
    assert routes.route(Key.of("doc:1")).authority is Authority.COLD
    assert routes.route(Key.of("else")).authority is Authority.WARM


# --- what a copy is good for ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "floor", "verdict"),
    [
        (Header(authority=Authority.WARM, version=5), 5, Serve.VALUE),
        (Header(authority=Authority.WARM, version=5), 6, Serve.BELOW_FLOOR),
        (Header(authority=Authority.WARM, version=5, expires_ms=1001), 0, Serve.VALUE),
        (Header(authority=Authority.WARM, version=5, expires_ms=1000), 0, Serve.GONE),
        (Header(authority=Authority.WARM, version=5, flags=Flags.TOMBSTONE), 0, Serve.GONE),
        (Header(authority=Authority.WARM, version=5, flags=Flags.POINTER), 0, Serve.VALUE),
        (Header(authority=Authority.WARM, version=5, flags=Flags.TOMBSTONE), 6, Serve.BELOW_FLOOR),
        (Header(authority=Authority.WARM, version=5, expires_ms=1), 6, Serve.BELOW_FLOOR),
        (Header(authority=Authority.COLD, version=5), 0, Serve.CONFLICT),
        (Header(authority=Authority.NONE, version=5), 9, Serve.CONFLICT),
    ],
)
def test_a_copy_is_judged_by_authority_floor_and_life(header: Header, floor: int, verdict: Serve) -> None:
    assert serve(Envelope(KEY, header), now_ms=1000, floor=floor, plan=plan_of()) is verdict


def test_the_plans_that_a_key_can_have() -> None:
    """The default's is none of them where a route takes every key."""
    tiers = [MemoryTier.WARM, MemoryTier.COLD]
    some = Routes(MemoryRules(), [Route("a:", authority=Authority.COLD)], tiers=tiers)
    assert [plan.authority for plan in some.reached()] == [Authority.WARM, Authority.COLD]
    every = Routes(MemoryRules(), [Route("", authority=Authority.COLD)], tiers=tiers)
    assert [plan.authority for plan in every.reached()] == [Authority.COLD]
    for limited in (
        Route("", authority=Authority.COLD, tenant="t"),
        Route("", authority=Authority.COLD, scope_prefix="s"),
    ):
        assert len(Routes(MemoryRules(), [limited], tiers=tiers).reached()) == 2
