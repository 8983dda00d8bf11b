"""What a hot tier's leases must do beyond the table: tell who holds them, and be renewed. A part of `EntriesConformance`."""

from thermocline.clock import Clock
from thermocline.protocols import Announce, Busy, Entries, Leased, Look, Publish, Renew, Settle
from thermocline.testing.conformance.base import TierConformance, once
from thermocline.testing.conformance.samples import new_key, new_word, record, soon

SHORT_MS = 80  # of leases that shall run out in a test
LASTING_MS = 60_000  # of those that shall not


class LeasesConformance(TierConformance):
    """Of a tier with `Entries`."""

    async def test_busy_tells_a_reader_from_a_writer(self, tier: Entries) -> None:
        leased, announced = new_key("leased"), new_key("announced")
        await tier.operate(Look(leased, "R1", LASTING_MS), deadline=soon())
        await tier.operate(Announce(announced, "W1", LASTING_MS), deadline=soon())

        reader = await tier.operate(Look(leased, "R2", LASTING_MS), deadline=soon())
        writer = await tier.operate(Look(announced, "R2", LASTING_MS), deadline=soon())
        both = await tier.operate_many(
            [Look(leased, "R3", LASTING_MS), Look(announced, "R3", LASTING_MS)], deadline=soon()
        )

        assert reader == Busy(0, leased=True, holder="R1")
        assert writer == Busy(0)
        assert both == [reader, writer]

    async def test_renewed_lease_outlasts_its_first_deadline(self, tier: Entries, clock: Clock) -> None:
        key, timer = new_key(), new_key("timer")
        given = record(key, "filled", 5)
        await tier.operate(Look(key, "R1", SHORT_MS), deadline=soon())
        assert await tier.operate(Renew(key, "R1", LASTING_MS), deadline=soon()) == Leased(0)
        await tier.operate(
            Look(timer, "R2", SHORT_MS), deadline=soon()
        )  # it began later: where it is over, so would be the other

        async def over() -> bool:
            return isinstance(await tier.operate(Look(timer, new_word(), SHORT_MS), deadline=soon()), Leased)

        await once(over, clock=clock, after_ms=SHORT_MS + 1)
        found = await tier.operate(Look(key, "R3", LASTING_MS), deadline=soon())
        await tier.operate(Settle(key, "R1", 5, given), deadline=soon())

        assert isinstance(found, Busy)
        assert found.leased
        assert await tier.peek(key, deadline=soon()) == given

    async def test_renewal_is_the_holders_alone_and_revives_nothing(self, tier: Entries, clock: Clock) -> None:
        held, lost, revoked, nothing = (new_key(name) for name in ("held", "lost", "revoked", "nothing"))
        await tier.operate(Look(held, "R1", LASTING_MS), deadline=soon())
        await tier.operate(Look(lost, "R1", SHORT_MS), deadline=soon())
        await tier.operate(Look(revoked, "R1", LASTING_MS), deadline=soon())
        await tier.operate(Publish(revoked, "W1", 7, None), deadline=soon())

        timer = new_key("timer")
        await tier.operate(
            Look(timer, "R1", SHORT_MS), deadline=soon()
        )  # it began last: where it is over, so is the one that is lost

        async def over() -> bool:
            return isinstance(await tier.operate(Look(timer, new_word(), LASTING_MS), deadline=soon()), Leased)

        await once(over, clock=clock, after_ms=SHORT_MS + 1)
        refused = [Renew(held, "R2", LASTING_MS), Renew(lost, "R1", LASTING_MS), Renew(revoked, "R1", LASTING_MS)]
        answers = [await tier.operate(one, deadline=soon()) for one in (*refused, Renew(nothing, "R1", LASTING_MS))]

        assert answers == [None] * 4
        assert await tier.operate(Look(held, "R3", LASTING_MS), deadline=soon()) == Busy(0, leased=True, holder="R1")
        assert await tier.operate(Look(lost, "R3", LASTING_MS), deadline=soon()) == Leased(0)
        assert await tier.operate(Look(revoked, "R3", LASTING_MS), deadline=soon()) == Leased(7)
        assert await tier.operate(Look(nothing, "R3", LASTING_MS), deadline=soon()) == Leased(0)
