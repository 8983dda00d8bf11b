"""Entra access tokens: which count, and which do not, by a server that answers as Entra does."""

import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from thermocline.errors import ConfigurationError, RoleMissing, TierUnavailable, TokenRefused
from thermocline.identity.bearer import EntraTokens
from thermocline.testing import ManualClock
from thermocline.testing.entra import AUDIENCE, TENANT, EntraServer, Signer, claims_of
from thermocline.testing.entra.minting import part, unsigned

OTHER = "33333333-3333-4333-8333-333333333333"


@pytest.fixture
async def entra() -> AsyncIterator[EntraServer]:
    async with EntraServer() as server:
        yield server


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(wall_ms=int(time.time() * 1000))


@pytest.fixture
def tokens(entra: EntraServer, clock: ManualClock) -> EntraTokens:
    return EntraTokens(AUDIENCE, [TENANT, OTHER.upper()], authority=entra.url, clock=clock)


async def test_an_applications_token_says_whose_it_is_and_what_it_may(entra: EntraServer, tokens: EntraTokens) -> None:
    found = await tokens.check(entra.token(TENANT, roles=["Memory.Read", "Other"], client="an-app"))

    assert (found.tenant, found.client, found.delegated) == (TENANT, "an-app", False)
    assert found.roles == {"Memory.Read", "Other"}
    found.need("Memory.ReadWrite", "Memory.Read")
    with pytest.raises(RoleMissing, match=r"Memory\.Erase") as missing:
        found.need("Memory.Erase")
    assert missing.value.roles == ("Memory.Erase",)


async def test_for_a_user_the_applications_permissions_count_and_not_the_users_roles(
    entra: EntraServer, tokens: EntraTokens
) -> None:
    token = entra.token(TENANT, scopes=["Memory.Read", "openid"], roles=["Memory.Erase"])
    both = entra.signers[0].sign(
        claims_of(entra.url, TENANT, scopes=["Memory.Read"]) | {"roles": ["Memory.Erase"]}  # the user has that role
    )

    assert (await tokens.check(token)).roles == {"Memory.Read", "openid"}
    assert (await tokens.check(both)).roles == {"Memory.Read"}
    assert (await tokens.check(both)).delegated
    odd = entra.signers[0].sign(claims_of(entra.url, TENANT, scp=["Memory.Read"]) | {"roles": ["Memory.Erase"]})
    assert (await tokens.check(odd)).roles == frozenset()


async def test_issuers_of_both_versions_count(entra: EntraServer, tokens: EntraTokens) -> None:
    for version in ("1.0", "2.0"):
        assert (await tokens.check(entra.token(TENANT, version=version))).tenant == TENANT


async def test_of_an_application_named_by_its_id_both_names_count(entra: EntraServer, clock: ManualClock) -> None:
    application = "44444444-4444-4444-8444-444444444444"
    tokens = EntraTokens(f"api://{application}", [TENANT], authority=entra.url, clock=clock)

    for audience in (application, f"api://{application}"):
        assert (await tokens.check(entra.token(TENANT, audience=audience))).tenant == TENANT
    with pytest.raises(TokenRefused, match="audience"):
        await tokens.check(entra.token(TENANT))


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"audience": "api://another"}, "audience"),
        ({"aud": [AUDIENCE]}, "audience"),
        ({"aud": None}, "audience"),
        ({"iss": "https://sts.windows.net/" + OTHER + "/"}, "issuer"),
        ({"iss": f"https://login.microsoftonline.com/{TENANT}/v2.0/"}, "issuer"),
        ({"iss": None}, "issuer"),
        ({"tid": "55555555-5555-4555-8555-555555555555"}, "does not serve"),
        ({"tid": None}, "does not serve"),
        ({"tid": [TENANT]}, "does not serve"),
        ({"tid": OTHER}, "issuer"),
        ({"lifetime": timedelta(minutes=-2)}, "expired"),
        ({"exp": None}, "expired"),
        ({"exp": "9999999999"}, "no time"),
        ({"exp": True}, "no time"),
        ({"exp": float("nan")}, "no time"),
        ({"nbf": 9_999_999_999}, "not count yet"),
        ({"exp": 10**400}, "no time"),
        ({"exp": float("inf")}, "no time"),
        ({"azp": None}, "no client"),
        ({"oid": None, "sub": None}, "no principal"),
    ],
    ids=lambda one: str(one)[:40],
)
async def test_what_a_token_must_say(entra: EntraServer, tokens: EntraTokens, claims: dict[str, Any], why: str) -> None:
    with pytest.raises(TokenRefused, match=why):
        await tokens.check(entra.token(TENANT, **claims))


async def test_times_have_a_minute_of_leeway_and_no_more(
    entra: EntraServer, tokens: EntraTokens, clock: ManualClock
) -> None:
    token = entra.token(TENANT, lifetime=timedelta(seconds=100), now=clock.wall_ms() / 1000 + 50)

    assert (await tokens.check(token)).tenant == TENANT  # begins in 50 seconds
    clock.advance(timedelta(seconds=205).total_seconds())
    assert (await tokens.check(token)).tenant == TENANT  # ended 55 seconds ago
    clock.advance(timedelta(seconds=10).total_seconds())
    with pytest.raises(TokenRefused, match="expired"):
        await tokens.check(token)


async def test_the_algorithm_is_not_the_tokens_word(entra: EntraServer, tokens: EntraTokens) -> None:
    signer = entra.signers[0]
    claims = claims_of(entra.url, TENANT, roles=["Memory.Erase"])
    nothing = unsigned(claims, {"typ": "JWT", "alg": "none", "kid": signer.name}) + "."
    body = unsigned(claims, {"typ": "JWT", "alg": "HS256", "kid": signer.name})
    public = json.dumps(signer.public()).encode()
    by_the_public_key = f"{body}.{part(hmac.digest(public, body.encode(), hashlib.sha256))}"
    lying = unsigned(claims, {"typ": "JWT", "alg": "RS256", "kid": signer.name})
    swapped = f"{lying}.{by_the_public_key.rpartition('.')[2]}"
    await tokens.check(signer.sign(claims))  # the keys are there

    for token in (nothing, by_the_public_key, swapped, f"{lying}.", f"{lying}.AAAA"):
        with pytest.raises(TokenRefused):
            await tokens.check(token)


async def test_a_strangers_key_under_a_known_name_is_none(entra: EntraServer, tokens: EntraTokens) -> None:
    stranger = Signer(name=entra.signers[0].name)

    with pytest.raises(TokenRefused, match="signature"):
        await tokens.check(stranger.sign(claims_of(entra.url, TENANT)))


async def test_keys_in_the_token_itself_are_not_looked_at(entra: EntraServer, tokens: EntraTokens) -> None:
    stranger = Signer()
    claims = claims_of(entra.url, TENANT)

    for head in (
        {"jwk": stranger.public()},
        {"jku": f"{entra.url}/keys"},
        {"crit": ["exp"]},
        {"kid": None},
        {"kid": 1},
    ):
        with pytest.raises(TokenRefused):
            await tokens.check(stranger.sign(claims, **head))


@pytest.mark.parametrize("token", ["", "a", "a.b.c", "..", "ü.ü.ü", "x" * 20_000, "eyJhbGciOiJub25lIn0.e30."])
async def test_what_is_no_token(tokens: EntraTokens, token: str) -> None:
    with pytest.raises(TokenRefused):
        await tokens.check(token)


async def test_a_new_key_is_asked_for_at_once_and_then_once_a_minute(
    entra: EntraServer, tokens: EntraTokens, clock: ManualClock
) -> None:
    old = entra.token(TENANT)
    await tokens.check(old)
    clock.advance(timedelta(seconds=61).total_seconds())
    entra.rotate(keep=True)

    await tokens.check(entra.token(TENANT))
    assert entra.asked["keys"] == 2
    for _ in range(20):
        with pytest.raises(TokenRefused, match="does not have"):
            await tokens.check(Signer().sign(claims_of(entra.url, TENANT)))
    assert entra.asked["keys"] == 2
    await tokens.check(old)
    assert entra.asked["keys"] == 2


async def test_a_key_that_was_taken_back_ceases_to_count_within_the_hour(
    entra: EntraServer, tokens: EntraTokens, clock: ManualClock
) -> None:
    token = entra.token(TENANT, lifetime=timedelta(hours=8))
    await tokens.check(token)
    entra.rotate()
    clock.advance(timedelta(hours=1, seconds=1).total_seconds())

    with pytest.raises(TokenRefused, match="does not have"):
        await tokens.check(token)


async def test_each_tenant_has_its_own_keys_and_callers_who_come_together_ask_once(
    entra: EntraServer, tokens: EntraTokens
) -> None:
    import asyncio

    await asyncio.gather(*(tokens.check(entra.token(TENANT)) for _ in range(10)))

    assert entra.asked == {"configuration": 1, "keys": 1}
    await tokens.check(entra.token(OTHER))
    assert entra.asked == {"configuration": 2, "keys": 2}


async def test_without_the_keys_nobody_is_let_in_and_nobody_is_refused(
    entra: EntraServer, tokens: EntraTokens, clock: ManualClock
) -> None:
    entra.down = True
    with pytest.raises(TierUnavailable, match="cannot be asked"):
        await tokens.check(entra.token(TENANT))
    dropped = entra.asked["dropped"]
    for _ in range(5):
        with pytest.raises(TierUnavailable, match="cannot be asked"):
            await tokens.check(entra.token(TENANT))
    assert entra.asked["dropped"] == dropped > 0, "one failed fetch stands for those just after it"
    entra.down = False
    clock.advance(timedelta(seconds=6).total_seconds())

    assert (await tokens.check(entra.token(TENANT))).tenant == TENANT


async def test_a_request_that_is_cancelled_while_it_asks_for_the_keys_makes_no_good_token_bad(
    entra: EntraServer, tokens: EntraTokens
) -> None:
    import asyncio

    token, asked = entra.token(TENANT), asyncio.Event()

    class Held(dict[str, Any]):
        def get(self, what: str, default: Any = None) -> Any:
            asked.set()
            first.cancel()
            return default

    entra.answers = Held()
    first = asyncio.create_task(tokens.check(token))
    with pytest.raises(asyncio.CancelledError):
        await first
    assert asked.is_set()
    entra.answers = {}

    assert (await tokens.check(token)).tenant == TENANT


async def test_known_keys_outlast_an_outage_for_a_day(
    entra: EntraServer, tokens: EntraTokens, clock: ManualClock
) -> None:
    token = entra.token(TENANT, lifetime=timedelta(days=3))
    await tokens.check(token)
    entra.down = True
    clock.advance(timedelta(hours=23).total_seconds())

    assert (await tokens.check(token)).tenant == TENANT
    with pytest.raises(TierUnavailable):  # of another key nobody can tell
        await tokens.check(Signer().sign(claims_of(entra.url, TENANT)))
    clock.advance(timedelta(hours=2).total_seconds())
    with pytest.raises(TierUnavailable):
        await tokens.check(token)


@pytest.mark.parametrize(
    ("what", "answer"),
    [
        ("configuration", 500),
        ("configuration", {}),
        ("configuration", []),
        ("configuration", {"issuer": "https://evil.example/v2.0", "jwks_uri": "https://evil.example/keys"}),
        ("keys", 404),
        ("keys", {"keys": "none"}),
        ("keys", "text"),
    ],
    ids=str,
)
async def test_an_authority_that_answers_oddly_cannot_be_asked(
    entra: EntraServer, tokens: EntraTokens, what: str, answer: Any
) -> None:
    entra.answers[what] = answer

    with pytest.raises(TierUnavailable):
        await tokens.check(entra.token(TENANT))


async def test_keys_at_a_strangers_place_are_not_fetched(entra: EntraServer, tokens: EntraTokens) -> None:
    async with EntraServer() as stranger:
        entra.answers["configuration"] = {
            "issuer": f"{entra.url}/{TENANT}/v2.0",
            "jwks_uri": f"{stranger.url}/{TENANT}/discovery/v2.0/keys",
        }
        with pytest.raises(TierUnavailable):
            await tokens.check(stranger.signers[0].sign(claims_of(entra.url, TENANT)))
        assert not stranger.asked


async def test_keys_that_are_none_for_signatures_do_not_count(entra: EntraServer, tokens: EntraTokens) -> None:
    weak = Signer(bits=1024)
    secret = {"kty": "oct", "kid": "oct", "k": part(b"secret" * 8)}
    private = entra.signers[0].public() | {"kid": "private", "d": "AQAB"}
    for_encryption = entra.signers[0].public() | {"kid": "enc", "use": "enc"}
    entra.answers["keys"] = {"keys": [weak.public(), secret, private, for_encryption, 1, {}, {"kid": "x"}]}

    for name in (weak.name, "oct", "private", "enc", "x"):
        token = (weak if name == weak.name else entra.signers[0]).sign(claims_of(entra.url, TENANT), kid=name)
        with pytest.raises(TokenRefused, match="does not have"):
            await tokens.check(token)


@pytest.mark.parametrize(
    ("audience", "tenants", "authority", "why"),
    [
        ("", [TENANT], "https://login.microsoftonline.com", "audience"),
        (AUDIENCE, [], "https://login.microsoftonline.com", "no default"),
        (AUDIENCE, ["common"], "https://login.microsoftonline.com", "GUID"),
        (AUDIENCE, TENANT, "https://login.microsoftonline.com", "list"),
        (AUDIENCE, [TENANT], "http://login.microsoftonline.com", "https"),
        (AUDIENCE, [TENANT], "https://login.microsoftonline.com/common", "path"),
        (AUDIENCE, [TENANT], "ftp://127.0.0.1", "https"),
    ],
)
def test_settings_that_cannot_work(audience: str, tenants: Any, authority: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        EntraTokens(audience, tenants, authority=authority)


async def test_no_error_holds_the_token(entra: EntraServer, tokens: EntraTokens) -> None:
    token = entra.token(TENANT, audience="api://another")

    with pytest.raises(TokenRefused) as refused:
        await tokens.check(token)
    assert token.split(".")[1][:20] not in str(refused.value) + repr(tokens)
