"""What a builder of memories is given wrongly, or twice: refused where it is given, by the argument's name."""

from typing import Any, Final

import pytest
from redis.credentials import UsernamePasswordCredentialProvider

from thermocline import FolderMemory, HotMemory, MemoryBuilder, MemoryClient, ProcessMemory
from thermocline.errors import ConfigurationError


class Odd:
    """Of no kind that anything takes."""

    def __repr__(self) -> str:
        return "<odd>"


ODD = Odd()
LOGIN: Final = UsernamePasswordCredentialProvider("user", "password")


@pytest.mark.parametrize(
    ("method", "wrong", "name"),
    [
        ("with_rules", {"rules": ODD}, "rules"),
        ("with_rules", {"hot_ttl": 3}, "hot_ttl"),
        ("with_rules", {"hot_ttl_seconds": "3"}, "hot_ttl_seconds"),
        ("with_route", {"route": ODD}, "route"),
        ("with_lifetimes", {"lifetimes": ODD}, "lifetimes"),
        ("with_lifetimes", {"rule": []}, "rule"),
        ("with_lifetimes", {"rules": "x"}, "rules"),
        ("with_near", {"near": ODD}, "near"),
        ("with_near", {"stale_at_most": "1"}, "stale_at_most"),
        ("with_resilience", {"resilience": ODD}, "resilience"),
        ("with_resilience", {"hedging": None}, "hedging"),
        ("with_resilience", {"warm": 3}, "warm"),
        ("with_options", {"clok": None}, "clok"),
        ("with_credential", {"credential": ODD}, "credential"),
        ("with_hot", {"url": "localhost"}, "Redis URL"),
        ("with_hot", {"host": 3}, "host"),
        ("with_hot", {"host": "h", "port": "x"}, "port"),
        ("with_hot", {"host": "h", "password": 3}, "password"),
        ("with_hot", {"host": "h", "ssl": "no"}, "ssl"),
        ("with_hot", {"host": "h", "sign_in": 3}, "sign_in"),
        ("with_hot", {"url": "redis://h", "host": "h"}, r"a url.* or host, not both: leave one"),
        ("with_hot", {"url": "redis://h", "port": 0, "ssl": False}, r"a url.* or port and ssl, not both"),
        ("with_hot", {"url": "redis://:p@h", "sign_in": LOGIN}, r"url .*sign_in.* give one"),
        ("with_hot", {"host": "h", "password": "", "sign_in": LOGIN}, "sign_in or password, not both"),
        ("with_hot", {"tier": ProcessMemory(), "url": "redis://h"}, "a tier or url, not both"),
        ("with_hot", {"tier": None, "host": "h"}, "a tier or host, not both"),
        ("with_hot", {"tier": ProcessMemory}, r"tier .*ProcessMemory is a class"),
        ("with_warm", {"tier": None, "key": ""}, "a tier or key, not both"),
        ("with_warm", {"tier": ProcessMemory, "cosmos_endpoint": "u"}, "a tier or cosmos_endpoint, not both"),
        ("with_cold", {"tier": FolderMemory("cold"), "blob_account_url": "u"}, "a tier or blob_account_url, not both"),
        ("with_warm", {"cosmos_endpoint": 3}, "account_uri"),
        ("with_cold", {"blob_account_url": 3}, "blob_account_url"),
        ("with_warm_plus", {"account_url": "no url"}, "account_url"),
    ],
)
def test_a_builder_refuses_at_once_what_is_wrong(method: str, wrong: dict[str, Any], name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        getattr(MemoryBuilder(), method)(**wrong)


@pytest.mark.parametrize("tier", ["hot", "warm", "cold", "warm_plus"])
def test_a_builder_and_a_client_say_at_once_which_tier_is_none(tier: str) -> None:
    wrongs: list[Any] = [ODD, [], 0, False, Odd]
    for wrong in wrongs:
        with pytest.raises(ConfigurationError, match=rf"\b{tier}\b"):
            getattr(MemoryBuilder(), f"with_{tier}")(wrong)
        with pytest.raises(ConfigurationError, match=rf"\b{tier}\b"):
            MemoryClient(**{"hot": ProcessMemory(), tier: wrong})


def test_a_tier_that_is_none_stays_none() -> None:
    builder = MemoryBuilder().with_hot(ProcessMemory()).with_warm(None).with_cold(None).with_warm_plus(None)
    assert [*builder.tiers()] == ["hot"]
    assert [*builder.with_hot(None).tiers()] == []


async def test_the_url_that_a_tier_is_given_later_is_looked_at_too() -> None:
    tier = HotMemory("redis://localhost", credential_provider=LOGIN)
    for wrong in ("no url", "redis://:p@h", "redis://h?password=p"):
        with pytest.raises(ConfigurationError, match=r"\burl\b"):
            tier.url = wrong
    assert tier.url == "redis://localhost"
