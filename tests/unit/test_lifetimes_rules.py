"""Which lifetime and which ceiling a record has, and the moments that follow: all pure."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermocline import AS_ROUTED, PRESETS, Ceiling, Lifetime, LifetimeRule, Lifetimes
from thermocline.errors import ConfigurationError
from thermocline.lifetimes import HOT_CEILING
from thermocline.model import Header, Key
from thermocline.policy import MemoryConfig

KEY = Key("acme", "user/42", "chat:log")
NOW = 1_800_000_000_000
DAY = timedelta(days=1)
DAY_MS = 86_400_000


def never() -> float:
    raise AssertionError("nothing is to be drawn by lot")


def ends(lifetimes: Lifetimes, key: Key = KEY, tags: Any = None, *, routed_ms: int = 0, in_hot: bool = False) -> int:
    """How long a record lives that is written now without a lifetime of its own; 0 for ever."""
    found = lifetimes.ends_ms(key, tags, NOW, routed_ms=routed_ms, in_hot=in_hot, draw=never)
    return found - NOW if found else 0


# --- one lifetime ----------------------------------------------------------------------------------------------------


def test_presets_are_those_that_users_know() -> None:
    assert PRESETS["session"].hot == timedelta(seconds=MemoryConfig.SESSION_TTL) == timedelta(minutes=5)
    assert PRESETS["session"].ttl is AS_ROUTED
    assert PRESETS["profile"].ttl == timedelta(seconds=MemoryConfig.USER_PROFILE_TTL) == DAY
    assert PRESETS["search_history"].ttl == timedelta(seconds=MemoryConfig.SEARCH_HISTORY_TTL) == 30 * DAY
    assert PRESETS["catalogue_snapshot"].ttl is MemoryConfig.CATALOG_SNAPSHOT_TTL is None
    with pytest.raises(TypeError):
        PRESETS["session"] = Lifetime(1)  # type: ignore[index]


def test_presets_are_changed_for_one_memory() -> None:
    lifetimes = Lifetimes(
        [LifetimeRule(prefix="p:", lifetime="profile"), LifetimeRule(prefix="q:", lifetime="quick")],
        presets={"profile": Lifetime(60), "quick": Lifetime(5)},
    )
    assert lifetimes.of(Key("t", "s", "p:1")).ttl == timedelta(minutes=1)
    assert lifetimes.of(Key("t", "s", "q:1")).ttl == timedelta(seconds=5)
    assert lifetimes.presets["search_history"] is PRESETS["search_history"]
    assert PRESETS["profile"].ttl == DAY


def test_numbers_are_seconds_and_become_timedeltas() -> None:
    lifetime = Lifetime(1.5, 60, demote_after=3600, demote_idle=DAY, demote_above=0)
    assert lifetime == Lifetime(
        timedelta(milliseconds=1500), timedelta(minutes=1), demote_after=3600, demote_idle=86400, demote_above=0
    )
    assert (lifetime.ttl_ms, lifetime.hot_ms) == (1500, 60_000)
    assert (Lifetime().ttl_ms, Lifetime(None).ttl_ms, Lifetime().hot_ms) == (None, 0, None)
    assert lifetime.demote_after == timedelta(hours=1)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"ttl": 0}, "longer than zero"),
        ({"ttl": "1 day"}, "timedelta"),
        ({"hot": HOT_CEILING + timedelta(milliseconds=1)}, r"hot=1:00:00.001000 is longer than HOT_CEILING"),
        ({"hot": DAY}, "HOT_CEILING"),
        ({"sliding": True}, "no ttl is given"),
        ({"sliding": True, "ttl": None}, "no ttl is given"),
        ({"sliding": 1, "ttl": 5}, "True or False"),
        ({"jitter": 0.51}, r"0 to 0\.5"),
        ({"jitter": -0.1}, "jitter"),
        ({"jitter": float("nan")}, "jitter"),
        ({"jitter": True}, "jitter"),
        ({"demote_after": -1}, "demote_after"),
        ({"demote_idle": float("inf")}, "demote_idle"),
        ({"demote_above": -1}, "demote_above"),
        ({"demote_above": 1.5}, "demote_above"),
    ],
)
def test_lifetimes_that_cannot_be_are_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        Lifetime(**fields)


# --- which one counts ------------------------------------------------------------------------------------------------


def test_the_most_specific_rule_counts() -> None:
    rules = [
        LifetimeRule(prefix="", lifetime=Lifetime(1)),
        LifetimeRule(scope_prefix="user/", lifetime=Lifetime(2)),
        LifetimeRule(prefix="chat:", lifetime=Lifetime(3)),
        LifetimeRule(prefix="chat:lo", lifetime=Lifetime(4)),
        LifetimeRule(tenant="acme", lifetime=Lifetime(5)),
        LifetimeRule(tenant="acme", prefix="chat:", lifetime=Lifetime(6)),
        LifetimeRule(tag=("class", "secret"), lifetime=Lifetime(7)),
        LifetimeRule(tag=("class", "secret"), tenant="acme", lifetime=Lifetime(8)),
    ]
    for most in range(len(rules)):
        tags = {"class": "secret", "more": "1"} if most >= 6 else {"class": "open"}
        for given_ in (rules[: most + 1], rules[most::-1]):
            assert Lifetimes(given_).of(KEY, tags).ttl == timedelta(seconds=most + 1)
    assert Lifetimes(rules).of(Key("other", "session/1", "note")).ttl == timedelta(seconds=1)
    assert Lifetimes(rules[1:]).of(Key("other", "session/1", "note")) == Lifetime()
    assert Lifetimes(rules).of(KEY, None).ttl == timedelta(seconds=6)


def test_among_equal_rules_the_first_given_counts() -> None:
    one, other = (LifetimeRule(tag=(name, "yes"), lifetime=Lifetime(ttl)) for name, ttl in (("a", 1), ("b", 2)))
    both = {"a": "yes", "b": "yes"}
    assert Lifetimes([one, other]).of(KEY, both).ttl == timedelta(seconds=1)
    assert Lifetimes([other, one]).of(KEY, both).ttl == timedelta(seconds=2)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: LifetimeRule(lifetime="session"), "needs a prefix, scope_prefix, tenant or tag"),
        (lambda: Ceiling(5), "needs a prefix, scope_prefix, tenant or tag"),
        (lambda: Ceiling(0, prefix=""), "longer than zero"),
        (lambda: Ceiling(None, prefix=""), "none"),  # type: ignore[arg-type]
        (lambda: LifetimeRule(prefix=1, lifetime="session"), "prefix is a string"),  # type: ignore[arg-type]
        (lambda: LifetimeRule(tenant="", lifetime="session"), "tenant must be one"),
        (lambda: Ceiling(5, scope_prefix="x" * 1001), "1000 bytes"),
        (lambda: LifetimeRule(tag="class", lifetime="session"), "pair of strings"),  # type: ignore[arg-type]
        (lambda: LifetimeRule(tag=("class", 1), lifetime="session"), "pair of strings"),  # type: ignore[arg-type]
        (lambda: LifetimeRule(prefix="a", lifetime=5), "a Lifetime or a preset's name"),  # type: ignore[arg-type]
        (lambda: Lifetimes([LifetimeRule(prefix="a", lifetime="sesion")]), "'sesion'.*catalogue_snapshot, profile"),
        (lambda: Lifetimes(LifetimeRule(prefix="a", lifetime="session")), "a list of LifetimeRules"),  # type: ignore[arg-type]
        (lambda: Lifetimes([Ceiling(5, prefix="")]), "a list of LifetimeRules, and one"),  # type: ignore[list-item]
        (lambda: Lifetimes(presets={"a": 5}), "a name and a Lifetime"),  # type: ignore[dict-item]
        (lambda: Lifetimes(presets=[]), "a mapping"),  # type: ignore[arg-type]
    ],
)
def test_rules_that_cannot_be_are_refused(make: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        make()


# --- contradictions --------------------------------------------------------------------------------------------------


def test_two_rules_of_the_same_records_contradict_each_other() -> None:
    one = LifetimeRule(prefix="chat:", tenant="acme", lifetime="profile")
    with pytest.raises(ConfigurationError, match="contradict each other") as told:
        Lifetimes([one, LifetimeRule(prefix="chat:", tenant="acme", lifetime="search_history")])
    assert "LifetimeRule(prefix='chat:', tenant='acme')" in str(told.value)
    assert "days=30" in str(told.value)
    assert "days=1)" in str(told.value)
    Lifetimes([one, LifetimeRule(prefix="chat:", tenant="acme", lifetime=Lifetime(DAY))])  # the same, said twice
    Lifetimes([one, LifetimeRule(prefix="chat:", lifetime="search_history")])


@pytest.mark.parametrize(
    ("rule", "ceiling"),
    [
        ({"prefix": "chat:log"}, {"prefix": "chat:"}),
        ({"prefix": "chat:"}, {"prefix": "chat:"}),
        ({"prefix": "chat:"}, {"prefix": ""}),
        ({"tenant": "acme", "prefix": "x"}, {"tenant": "acme"}),
        ({"scope_prefix": "user/4"}, {"scope_prefix": "user/"}),
        ({"tag": ("class", "pii"), "tenant": "acme"}, {"tag": ("class", "pii")}),
    ],
)
@pytest.mark.parametrize("ttl", [31 * DAY, None])
def test_rule_that_gives_longer_than_a_ceiling_of_all_its_records_is_refused(rule: Any, ceiling: Any, ttl: Any) -> None:
    limit = Ceiling(30 * DAY, **ceiling)
    with pytest.raises(ConfigurationError, match=r"LifetimeRule\(.*Ceiling\(.*30 days"):
        Lifetimes([LifetimeRule(**rule, lifetime=Lifetime(ttl))], ceilings=[limit])
    Lifetimes([LifetimeRule(**rule, lifetime=Lifetime(30 * DAY))], ceilings=[limit])
    assert ends(Lifetimes([LifetimeRule(**rule, lifetime="session")], ceilings=[limit])) in (0, 30 * DAY_MS)


@pytest.mark.parametrize(
    ("rule", "ceiling"),
    [
        ({"prefix": "chat:"}, {"prefix": "chat:log"}),
        ({"prefix": "chat:"}, {"tenant": "acme"}),
        ({"tenant": "acme"}, {"tenant": "umbrella"}),
        ({"prefix": "chat:"}, {"tag": ("class", "pii")}),
    ],
)
def test_ceiling_of_some_of_a_rules_records_shortens_those(rule: Any, ceiling: Any) -> None:
    lifetimes = Lifetimes([LifetimeRule(**rule, lifetime=Lifetime(60 * DAY))], ceilings=[Ceiling(30 * DAY, **ceiling)])
    meant = Ceiling(1, **ceiling).holds(KEY, {"class": "pii"})
    assert ends(lifetimes, tags={"class": "pii"}) == (30 if meant else 60) * DAY_MS


# --- ends ------------------------------------------------------------------------------------------------------------


def test_record_without_a_lifetime_has_the_rules_or_the_routes() -> None:
    lifetimes = Lifetimes(
        [
            LifetimeRule(prefix="chat:", lifetime=Lifetime(DAY)),
            LifetimeRule(prefix="for ever", lifetime=Lifetime(None)),
            LifetimeRule(prefix="session", lifetime="session"),
        ]
    )
    assert ends(lifetimes, routed_ms=5) == DAY_MS
    assert ends(lifetimes, Key("t", "s", "for ever"), routed_ms=5) == 0
    assert ends(lifetimes, Key("t", "s", "another"), routed_ms=5) == 5
    assert ends(lifetimes, Key("t", "s", "session"), routed_ms=5) == 5
    # where hot is the authority its copies are the records
    assert ends(lifetimes, Key("t", "s", "session"), routed_ms=5, in_hot=True) == 300_000
    assert ends(lifetimes, routed_ms=5, in_hot=True) == DAY_MS


def test_lowest_ceiling_counts() -> None:
    lifetimes = Lifetimes(
        ceilings=[Ceiling(3 * DAY, tenant="acme"), Ceiling(2 * DAY, prefix="chat:"), Ceiling(DAY, tag=("class", "pii"))]
    )
    assert lifetimes.ceiling_ms(KEY) == 2 * DAY_MS
    assert lifetimes.ceiling_ms(KEY, {"class": "pii"}) == DAY_MS == lifetimes.lowest_ms(KEY)
    assert lifetimes.ceiling_ms(Key("acme", "s", "n")) == 3 * DAY_MS
    assert lifetimes.ceiling_ms(Key("other", "s", "n")) is None
    assert Lifetimes().lowest_ms(KEY) is None
    assert ends(lifetimes) == 2 * DAY_MS
    assert lifetimes.capped_ms(NOW + 5, KEY, None, NOW) == NOW + 5
    assert lifetimes.capped_ms(0, KEY, None, NOW) == NOW + 2 * DAY_MS


def test_touch_does_not_go_beyond_creation_and_ceiling() -> None:
    lifetimes = Lifetimes(ceilings=[Ceiling(100, prefix="")])

    def touched(asked: int, **header: int) -> int:
        fields: dict[str, Any] = {name: NOW + value if value else 0 for name, value in header.items()}
        found = lifetimes.touched_ms(NOW + asked if asked else 0, KEY, None, Header(**fields))
        return found - NOW

    young = {"created_ms": -20_000, "modified_ms": -10_000, "expires_ms": 10_000}
    assert touched(50_000, **young) == 50_000
    assert touched(90_000, **young) == 80_000
    assert touched(0, **young) == 80_000
    assert touched(5_000, **young) == 5_000  # shortened
    # created long ago and written anew since: it keeps what that write gave, and gets no more
    rewritten = {"created_ms": -500_000, "modified_ms": -40_000, "expires_ms": 60_000}
    assert touched(90_000, **rewritten) == 60_000
    # older than the ceiling itself: at most the ceiling after its last write
    for standing in (0, 90_000):
        assert touched(0, created_ms=-500_000, modified_ms=-40_000, expires_ms=standing) == 60_000
    assert touched(0, created_ms=-500_000, modified_ms=-400_000, expires_ms=0) == -300_000  # it ends now


def test_copy_stays_in_hot_for_the_least_of_all() -> None:
    lifetimes = Lifetimes(
        [
            LifetimeRule(prefix="short", lifetime=Lifetime(hot=10)),
            LifetimeRule(prefix="long", lifetime=Lifetime(hot=3600)),
        ],
        ceilings=[Ceiling(100, tenant="acme")],
    )

    def stays(name: str, tenant: str = "t", **header: int) -> int:
        fields: dict[str, Any] = {field: NOW + value for field, value in header.items()}
        key, kept = Key(tenant, "s", name), Header(**fields)
        return lifetimes.hot_for_ms(key, None, kept, NOW, routed_ms=300_000, draw=never)

    assert stays("short", modified_ms=0) == 10_000
    assert stays("long", modified_ms=0) == 3_600_000
    assert stays("another", modified_ms=0) == 300_000
    assert stays("long", modified_ms=0, expires_ms=7) == 7
    assert stays("long", modified_ms=-50_000, expires_ms=-1) == 0
    assert stays("long", "acme", modified_ms=-50_000) == 50_000
    assert stays("long", "acme", modified_ms=-150_000) == 0


def test_sliding_record_is_due_after_half_of_its_time() -> None:
    lifetimes = Lifetimes([LifetimeRule(prefix="", lifetime=Lifetime(100, sliding=True))])

    def renewed(age: int, span: int = 100_000) -> int:
        header = Header(modified_ms=NOW - age, created_ms=NOW - age, expires_ms=NOW - age + span)
        found = lifetimes.renewed_ms(KEY, None, header, NOW, never)
        return found - NOW if found else 0

    assert renewed(50_000) == 0
    assert renewed(50_001) == 100_000
    assert renewed(99_999) == 100_000
    for own in (99_999, 100_001, 200_000):  # a lifetime of its own: it ends when its writer said
        assert renewed(own - 1, own) == 0
    header = Header(modified_ms=NOW - 90_000, created_ms=NOW - 90_000)
    assert lifetimes.renewed_ms(KEY, None, header, NOW, never) == 0  # without end
    assert not Lifetimes([LifetimeRule(prefix="", lifetime=Lifetime(100))]).slides
    assert lifetimes.slides


# --- for all that one may give -----------------------------------------------------------------------------------------

_PARTS = st.sampled_from(["", "a", "ab", "b"])
_CHOSEN = st.fixed_dictionaries(
    {},
    optional={
        "prefix": _PARTS,
        "scope_prefix": _PARTS,
        "tenant": st.sampled_from(["t", "u"]),
        "tag": st.tuples(st.sampled_from("xy"), st.sampled_from("12")),
    },
).filter(lambda chosen: len(chosen) > 0)
_KEYS = st.builds(
    Key, st.sampled_from(["t", "u"]), st.sampled_from(["a", "abc", "b"]), st.sampled_from(["a", "abc", "b"])
)
_TAGS = st.none() | st.dictionaries(st.sampled_from("xy"), st.sampled_from("12"))
_SPANS = st.integers(1, 10**9).map(lambda ms: timedelta(milliseconds=ms))
_DRAWS = st.floats(0, 1, exclude_max=True)


def _meant(chosen: dict[str, Any], key: Key, tags: dict[str, str] | None) -> bool:
    return (
        key.name.startswith(chosen.get("prefix", ""))
        and key.scope.startswith(chosen.get("scope_prefix", ""))
        and chosen.get("tenant", key.tenant) == key.tenant
        and ("tag" not in chosen or chosen["tag"] in (tags or {}).items())
    )


def _rank(chosen: dict[str, Any]) -> tuple[bool, bool, int, int]:
    return "tag" in chosen, "tenant" in chosen, len(chosen.get("prefix", "")), len(chosen.get("scope_prefix", ""))


@given(st.lists(_CHOSEN, max_size=6), _KEYS, _TAGS)
def test_rule_that_counts_is_the_first_of_the_most_specific(
    chosen: list[dict[str, Any]], key: Key, tags: dict[str, str] | None
) -> None:
    given_: list[tuple[dict[str, Any], Lifetime]] = []
    seen: set[Any] = set()
    for n, one in enumerate(chosen):
        same = (one.get("prefix", ""), one.get("scope_prefix", ""), one.get("tenant"), one.get("tag"))
        if same not in seen:
            seen.add(same)
            given_.append((one, Lifetime(n + 1)))
    lifetimes = Lifetimes([LifetimeRule(**one, lifetime=lifetime) for one, lifetime in given_])
    meant = [(one, lifetime) for one, lifetime in given_ if _meant(one, key, tags)]
    best = max(meant, key=lambda pair: _rank(pair[0]), default=(None, Lifetime()))
    assert lifetimes.of(key, tags) == best[1]


@given(
    st.lists(st.tuples(_CHOSEN, _SPANS), max_size=5), _KEYS, _TAGS, st.none() | _SPANS, st.integers(0, 10**9), _DRAWS
)
def test_nothing_outlives_its_lowest_ceiling(
    limits: list[tuple[dict[str, Any], timedelta]],
    key: Key,
    tags: dict[str, str] | None,
    asked: timedelta | None,
    later_ms: int,
    draw: float,
) -> None:
    """Whatever is asked for at the write, and of however many touches and copies later."""
    lifetimes = Lifetimes(ceilings=[Ceiling(at_most, **one) for one, at_most in limits])
    mine = [at_most // timedelta(milliseconds=1) for one, at_most in limits if _meant(one, key, tags)]
    span = asked // timedelta(milliseconds=1) if asked is not None else 0
    wanted = NOW + span if span else 0
    end = lifetimes.capped_ms(wanted, key, tags, NOW)
    assert lifetimes.ceiling_ms(key, tags) == min(mine, default=None)
    assert end == min([NOW + most for most in mine] + ([wanted] if wanted else []), default=0)
    at = NOW + later_ms
    asks = at + span if span else 0
    touched = lifetimes.touched_ms(asks, key, tags, Header(created_ms=NOW, modified_ms=NOW, expires_ms=end))
    again = lifetimes.touched_ms(0, key, tags, Header(created_ms=NOW, modified_ms=at, expires_ms=touched))
    for moment in (touched, again) if mine else ():
        assert 0 < moment <= NOW + min(mine)
    if not mine:
        assert (touched, again) == (asks, 0)
    stays = lifetimes.hot_for_ms(
        key, tags, Header(modified_ms=NOW, expires_ms=touched), at, routed_ms=10**12, draw=lambda: draw
    )
    if mine:
        assert stays <= max(0, NOW + min(mine) - at)


@given(_SPANS, st.floats(0, 0.5), _DRAWS, st.integers(1, 3_600_000))
def test_jitter_shortens_by_its_share_at_most(span: timedelta, jitter: float, draw: float, routed_ms: int) -> None:
    lifetimes = Lifetimes([LifetimeRule(prefix="", lifetime=Lifetime(span, jitter=jitter, sliding=True))])
    ms = span // timedelta(milliseconds=1)
    lives = lifetimes.ends_ms(KEY, None, NOW, routed_ms=0, in_hot=False, draw=lambda: draw) - NOW
    assert ms * (1 - jitter) <= lives + 1e-6
    assert lives <= ms
    header = Header(modified_ms=NOW, expires_ms=NOW + lives)
    assert lifetimes.renews(KEY, None, header)  # what the rule gave is known as the rule's
    stays = lifetimes.hot_for_ms(KEY, None, Header(modified_ms=NOW), NOW, routed_ms=routed_ms, draw=lambda: draw)
    assert routed_ms * (1 - jitter) - 1e-6 <= stays <= routed_ms
