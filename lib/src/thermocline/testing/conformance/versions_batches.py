"""Batches: answers in the order of the questions, each for itself (P8)."""

from thermocline.clock import Clock, Deadline
from thermocline.errors import InvalidArgument, TierTimeout
from thermocline.model import Envelope, Key
from thermocline.protocols import Effect, Versions, Written
from thermocline.testing.conformance.base import late_answers
from thermocline.testing.conformance.samples import delete, new_id, new_key, new_word, put, soon, touch, value_of
from thermocline.testing.conformance.versions_base import VersionsBase, effect_of

MANY = 130  # more than one transactional batch of Cosmos DB, and than one page of most services


class VersionBatches(VersionsBase):
    async def test_read_many_answers_in_order(self, tier: Versions) -> None:
        word = new_word()
        keys = [Key(f"t{word}", f"scope{number % 3}", f"n{number}") for number in range(24)]
        for number, key in enumerate(keys):
            if number % 4:
                await self.took(tier, put(key, key.name))
        await self.took(tier, delete(keys[5]))

        answers = await tier.read_many(keys, deadline=soon())

        assert len(answers) == len(keys)
        for number, (key, answer) in enumerate(zip(keys, answers, strict=True)):
            if number % 4 == 0:
                assert answer is None
                continue
            assert isinstance(answer, Envelope)
            assert answer.key == key
            assert answer.tombstone if number == 5 else value_of(answer) == key.name

    async def test_read_many_of_nothing_and_of_one_key_twice(self, tier: Versions) -> None:
        key = new_key()
        await self.took(tier, put(key, "v"))

        answers = await tier.read_many([key, key], deadline=soon())

        assert [value_of(answer) if isinstance(answer, Envelope) else answer for answer in answers] == ["v", "v"]
        assert await tier.read_many([], deadline=soon()) == []

    async def test_read_many_keeps_equal_names_apart(self, tier: Versions) -> None:
        """P9: the same name in two tenants and two scopes."""
        word = new_word()
        keys = [Key(f"{tenant}{word}", scope, "name") for tenant in "ab" for scope in "xy"]
        for key in keys:
            await self.took(tier, put(key, str(key)))

        answers = await tier.read_many(list(reversed(keys)), deadline=soon())

        assert [value_of(a) if isinstance(a, Envelope) else a for a in answers] == [str(k) for k in reversed(keys)]

    async def test_read_many_of_many(self, tier: Versions) -> None:
        keys = [new_key(f"n{number}") for number in range(10)] + [
            Key(f"t{new_word()}", "s", f"n{n}") for n in range(MANY)
        ]
        written = keys[::7]
        await tier.write_many([put(key, key.name) for key in written], deadline=soon())

        answers = await tier.read_many(keys, deadline=soon())

        assert [a is not None for a in answers] == [key in written for key in keys]

    async def test_write_many_answers_in_order(self, tier: Versions, clock: Clock) -> None:
        there, other, absent = new_key("there"), new_key("other"), new_key("absent")
        version = await self.took(tier, put(there, "old"))
        await self.took(tier, put(other, "old"))
        writes = [
            put(there, "new", if_version=version),
            put(other, "new", if_version=version + 1_000_000),
            delete(absent),
            put(new_key(), "v", if_absent=True),
            touch(absent, clock.wall_ms() + 60_000),
        ]

        answers = await tier.write_many(writes, deadline=soon())

        assert list(map(effect_of, answers)) == [
            Effect.TOOK, Effect.REFUSED, Effect.NOTHING, Effect.TOOK, Effect.NOTHING,
        ]  # fmt: skip
        assert [await self.value(tier, key) for key in (there, other)] == ["new", "old"]
        assert await tier.write_many([], deadline=soon()) == []

    async def test_one_impossible_write_does_not_lose_the_others(self, tier: Versions) -> None:
        good = [new_key(f"n{number}") for number in range(4)]
        writes = [put(key, key.name) for key in good]
        writes.insert(2, put(new_key(), if_version=1, if_absent=True))

        answers = await tier.write_many(writes, deadline=soon())

        assert isinstance(answers[2], InvalidArgument)
        assert [effect_of(answer) for answer in answers[:2] + answers[3:]] == [Effect.TOOK] * 4
        assert [await self.value(tier, key) for key in good] == [key.name for key in good]

    async def test_write_many_of_many(self, tier: Versions) -> None:
        word = new_word()
        keys = [Key(f"t{word}", "s", f"n{number}") for number in range(MANY)]

        answers = await tier.write_many([put(key, key.name) for key in keys], deadline=soon())

        assert [effect_of(answer) for answer in answers] == [Effect.TOOK] * MANY
        read = await tier.read_many(keys, deadline=soon())
        assert [value_of(a) if isinstance(a, Envelope) else a for a in read] == [key.name for key in keys]
        assert [a.version for a in read if isinstance(a, Envelope)] == [
            answer.version for answer in answers if isinstance(answer, Written)
        ]

    async def test_writes_of_one_key_in_a_batch_each_take_effect(self, tier: Versions) -> None:
        key = new_key()

        answers = await tier.write_many([put(key, number) for number in range(5)], deadline=soon())

        versions = [answer.version for answer in answers if isinstance(answer, Written)]
        assert len(set(versions)) == 5
        envelope = await self.read(tier, key)
        assert envelope.version == max(versions)
        assert value_of(envelope) == versions.index(max(versions))

    async def test_batch_twice_takes_effect_once(self, tier: Versions) -> None:
        writes = [put(new_key(), new_id()) for _ in range(5)]

        first = await tier.write_many(writes, deadline=soon())
        second = await tier.write_many(writes, deadline=soon())

        assert [effect_of(answer) for answer in first] == [Effect.TOOK] * 5
        assert [a.version for a in second if isinstance(a, Written)] == [
            a.version for a in first if isinstance(a, Written)
        ]

    async def test_batch_past_its_deadline_is_a_timeout(self, tier: Versions, clock: Clock) -> None:
        keys = [new_key(), new_key()]
        late = Deadline.after(-1, clock)

        assert await late_answers(tier.read_many(keys, deadline=late), 2) == [TierTimeout] * 2
        writes = [put(key) for key in keys]
        assert await late_answers(tier.write_many(writes, deadline=late), 2) == [TierTimeout] * 2
        assert await tier.read_many(keys, deadline=soon()) == [None, None]
