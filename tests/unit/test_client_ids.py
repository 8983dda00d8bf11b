"""The ids of writes: a write takes effect once by its id, so no two writes may have the same one."""

import os
import random
import secrets

from thermocline.client.ids import POOL, Ids

DIGITS = set("0123456789abcdefghijklmnopqrstuv")


def test_no_two_are_alike_and_they_are_ordered_by_time() -> None:
    ids = Ids(secrets.SystemRandom())
    earlier, later = ids.write_ids(1_800_000_000_000, 2 * POOL), ids.write_ids(1_800_000_000_001, 1)
    assert len(set(earlier)) == 2 * POOL
    assert {len(one) for one in earlier} == {27}
    assert set("".join(earlier)) == DIGITS
    assert max(earlier) < later[0]
    alone = [ids.write_id(1_800_000_000_002) for _ in range(POOL)]
    assert len(set(alone)) == POOL
    assert later[0] < min(alone)
    assert max(alone) < ids.write_id(1_800_000_000_003)
    assert {len(one) for one in alone} == {27}
    tokens = {ids.token() for _ in range(2000)}
    assert len(tokens) == 2000
    assert {len(token) for token in tokens} == {20}


def test_a_seed_makes_the_same_again() -> None:
    one, other = Ids(random.Random(7)), Ids(random.Random(7))
    assert [one.token(), one.write_id(5), *one.write_ids(5, 3)] == [
        other.token(),
        other.write_id(5),
        *other.write_ids(5, 3),
    ]


def test_a_forked_process_does_not_draw_what_its_parent_draws() -> None:
    ids = Ids(secrets.SystemRandom())
    ids.write_id(1)  # the pool is filled
    here, there = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(there, ids.write_id(1).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(there)
    with os.fdopen(here) as told:
        assert told.read() != ids.write_id(1)
