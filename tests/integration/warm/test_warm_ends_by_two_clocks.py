"""A record that has ended by the server's clock and not by ours: the write waits between its tries instead of asking as fast as it can."""

from tests.integration.warm.items import now_ms

from thermocline.protocols import Effect
from thermocline.testing.conformance.samples import new_key, put, soon, touch
from thermocline.testing.cosmos.control import CosmosControl
from thermocline.tiers.warm import WarmMemory


async def test_touch_of_a_record_that_has_just_ended_for_the_server(warm: WarmMemory, control: CosmosControl) -> None:
    key = new_key()
    version = (await warm.write(put(key, "v", expires_ms=now_ms() + 900), deadline=soon())).version
    control.advance(0.95)  # less than what is corrected
    control.reset("counters")
    written = await warm.write(touch(key, now_ms() + 60_000, known=version), deadline=soon())
    assert written.effect is Effect.NOTHING
    assert control.stats().requests < 40
