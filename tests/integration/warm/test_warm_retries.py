"""What Cosmos DB did not carry out: tried again by one layer alone, or told in words that help."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from azure.cosmos.aio import ContainerProxy
from tests.integration.warm.items import item_of, took

from thermocline.errors import Throttled, TierUnavailable, TooLarge, UnknownOutcome
from thermocline.keys import cosmos_partition
from thermocline.testing.conformance.samples import new_key, put, soon, value_of
from thermocline.testing.cosmos.control import CosmosControl
from thermocline.tiers.warm import WarmMemory
from thermocline.tiers.warm.trouble import Trouble
from thermocline.tiers.warm.watching import watching


@pytest.mark.parametrize("fault", [0, 408, 429, 449, 500, 503])
async def test_the_sdk_itself_sends_nothing_twice(warm: WarmMemory, control: CosmosControl, fault: int) -> None:
    """One layer retries, and it is not the SDK: one call of it is one request."""
    service, key = warm._service, new_key()
    assert service is not None
    if fault:
        control.fail(fault, kinds=["data"], retry_after_ms=1)
    else:
        control.drop(kinds=["data"])
    change: list[dict[str, Any]] = [{"op": "set", "path": "/x", "value": 1}]
    calls: list[Callable[[], Awaitable[dict[str, Any]]]] = [
        lambda: service.patch("x", cosmos_partition(key), change, condition="FROM c WHERE c.v = 1"),
        lambda: service.create_item({"id": "x", "tenant": key.tenant, "scope": key.scope}),
    ]
    for call in calls:
        control.reset("counters")
        with watching() as sent, pytest.raises(Trouble):
            await call()
        assert sent.statuses == [fault or None]
        assert control.stats().requests == 1


# --- refusals without effect -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "substatus"), [(429, 3200), (449, 0), (410, 1002), (410, 1007), (404, 1002)])
async def test_what_the_service_did_not_carry_out_is_tried_again(
    warm: WarmMemory, control: CosmosControl, status: int, substatus: int
) -> None:
    key = new_key()
    version = await took(warm, put(key, "v"))
    control.fail(status, substatus, kinds=["writes"], count=3, retry_after_ms=5)

    assert await took(warm, put(key, "w", known=version)) == version + 1
    control.clear()
    control.fail(status, substatus, kinds=["reads"], count=3, retry_after_ms=5)
    assert value_of(await warm.read(key, deadline=soon())) == "w"


async def test_throttled_longer_than_the_deadline_is_said_at_once(
    warm: WarmMemory, control: CosmosControl, items: ContainerProxy
) -> None:
    key = new_key()
    version = await took(warm, put(key, "v"))
    rule = control.throttle(retry_after_ms=3_000_000)
    for call in (
        warm.write(put(key, "w", known=version), deadline=soon()),
        warm.read(key, deadline=soon()),
    ):
        with pytest.raises(Throttled) as caught:
            await call
        assert caught.value.retry_after == 3000
        assert caught.value.tier == "warm"
    assert [one["hits"] for one in control.faults() if one["number"] == rule] == [2]
    control.clear()

    assert (await item_of(items, key))["v"] == version


async def test_refusal_behind_a_lost_answer_is_still_in_doubt(
    warm: WarmMemory, control: CosmosControl, items: ContainerProxy
) -> None:
    """The second copy is certainly without effect, and says nothing about the first."""
    key = new_key()
    version = await took(warm, put(key, "v"))
    write = put(key, "w", known=version)
    control.drop(kinds=["patch"], count=1, after=True)
    control.throttle(kinds=["patch"], skip=1, retry_after_ms=3_000_000)
    with pytest.raises(UnknownOutcome, match="429"):
        await warm.write(write, deadline=soon())

    assert (await item_of(items, key))["w"][0] == write.id


@pytest.mark.parametrize(("status", "substatus", "words"), [
    (403, 5302, "Cosmos DB Built-in Data Contributor"),
    (403, 1014, "20 GB"),
    (401, 0, "key"),
    (413, 0, "2 MB"),
])  # fmt: skip
async def test_final_refusals_say_what_to_do_and_leave_nothing(
    warm: WarmMemory, control: CosmosControl, items: ContainerProxy, status: int, substatus: int, words: str
) -> None:
    key = new_key()
    version = await took(warm, put(key, "v"))
    control.fail(status, substatus)
    with pytest.raises((TierUnavailable, TooLarge), match=words):
        await warm.write(put(key, "w", known=version), deadline=soon())
    control.clear()

    assert (await item_of(items, key))["v"] == version


async def test_too_large_a_value_is_refused_before_anything_is_sent(warm: WarmMemory, control: CosmosControl) -> None:
    with pytest.raises(TooLarge, match="cold"):
        await warm.write(put(new_key(), {"text": "ü" * 1_000_000}), deadline=soon())

    assert control.stats().requests == 0


async def test_value_just_below_the_limit_is_stored(warm: WarmMemory) -> None:
    key, value = new_key(), {"text": "ü" * 900_000}
    await took(warm, put(key, value))

    assert value_of(await warm.read(key, deadline=soon())) == value
