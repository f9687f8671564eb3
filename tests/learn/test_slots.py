"""Slots: who is trained when, for how many steps, and that nothing but the seed decides it."""

from collections import Counter

import numpy as np
import pytest
import torch

from trmfin.learn.slots import DEPTH, HIDE, ORDER, Slots, draw
from trmfin.model.core import State

POOL = np.array([3, 5, 8, 13, 21, 34, 55])


def slots(size: int = 3, steps: int = 4, seed: int = 0, random_depth: bool = False) -> Slots:
    made = Slots(seed=seed, pool=POOL, supervision_steps=steps, random_depth=random_depth)
    made.fill(size)
    return made


def finish(made: Slots, value: float = 0.0, halted: object = False) -> None:
    """A supervision step of every slot that ends in states full of `value`."""
    size = len(made.rows)
    state = State(torch.full((size, 2, 2), value), torch.full((size, 2, 2), -value))
    made.finish(state, torch.arange(size).float(), np.broadcast_to(np.asarray(halted), size))


def test_every_sample_is_handed_out_once_a_lap_and_laps_differ() -> None:
    made = Slots(seed=0, pool=POOL, supervision_steps=1, random_depth=False)
    handed = np.concatenate([made.next_rows(count) for count in (1, 4, 20, 3)])[:28].reshape(4, 7)
    assert all(sorted(lap) == sorted(POOL) for lap in handed.tolist()) and len({tuple(lap) for lap in handed.tolist()}) > 1


def test_a_batch_may_be_larger_than_the_pool() -> None:
    assert set(Counter(slots(21).rows.tolist()).values()) == {3}


def test_the_stream_does_not_depend_on_how_many_are_taken_at_once() -> None:
    one, other = (Slots(seed=4, pool=POOL, supervision_steps=1, random_depth=False) for _ in range(2))
    assert [int(one.next_rows(1)[0]) for _ in range(20)] == other.next_rows(20).tolist()


def test_a_slot_keeps_its_sample_for_all_supervision_steps() -> None:
    made = slots(size=3, steps=4)
    seen: list[list[int]] = [[], [], []]
    for _ in range(40):
        for slot, row in enumerate(made.rows.tolist()):
            seen[slot].append(row)
        finish(made)
    for path in seen:
        changes = np.flatnonzero(np.diff(path)) + 1
        kept = np.diff(changes)
        assert (kept % 4 == 0).all() and changes[0] <= 4  # a refill may draw the same sample again
    assert made.depths[4] >= 27 and sum(made.depths.values()) - made.depths[4] <= 3  # only the first ones are cut short


def test_ages_are_staggered_so_that_slots_do_not_finish_together() -> None:
    made = slots(size=200, steps=4)
    finished = []
    for _ in range(12):
        before = made.taken
        finish(made)
        finished.append(made.taken - before)
    assert min(finished) > 25 and max(finished) < 80 and sum(finished) == pytest.approx(600, abs=1)


def test_a_fresh_sample_starts_anew_and_the_others_go_on() -> None:
    made = slots(size=4, steps=3)
    start = State(torch.full((4, 2, 2), 7.0), torch.full((4, 2, 2), 8.0))
    assert made.begin(start) == start
    finish(made, value=1.0)
    fresh = torch.from_numpy(made.age == 0)
    assert 0 < fresh.sum() < 4
    went_on = made.begin(start)
    assert (went_on.y[fresh] == 7).all() and (went_on.z[fresh] == 8).all()
    assert (went_on.y[~fresh] == 1).all() and (went_on.z[~fresh] == -1).all()


def test_what_is_carried_has_no_gradient() -> None:
    made = slots(size=2)
    y = torch.ones(2, 2, 2, requires_grad=True)
    made.finish(State(y * 2, y * 3), (y * 2).sum((1, 2)), np.zeros(2, bool))
    assert not (made.y.requires_grad or made.z.requires_grad or made.loss.requires_grad)


def test_a_slot_that_halts_is_refilled_early() -> None:
    made = slots(size=3, steps=4)
    made.depth[:] = 4
    before = made.rows.copy()
    finish(made, halted=[True, False, False])
    assert made.age.tolist() == [0, 1, 1] and made.rows[1:].tolist() == before[1:].tolist()
    assert made.depths == {1: 1} and made.taken == 4


def test_random_depths_cover_one_to_all_steps() -> None:
    made = slots(size=60, steps=4, random_depth=True)
    for _ in range(40):
        finish(made)
    share = np.array([made.depths[depth] for depth in (1, 2, 3, 4)]) / sum(made.depths.values())
    assert set(made.depths) == {1, 2, 3, 4} and (abs(share - 0.25) < 0.06).all()


def test_draws_are_a_function_of_seed_purpose_and_step_alone() -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    first = {(seed, what, step): draw(seed, what, step).random() for seed in (0, 1) for what in (ORDER, DEPTH, HIDE) for step in (0, 1)}
    np.random.seed(2)
    again = {key: draw(*key).random() for key in reversed(first)}
    assert first == again and len(set(first.values())) == len(first)


@pytest.mark.parametrize("random_depth", [False, True])
def test_the_same_seed_gives_the_same_course_and_another_seed_another(random_depth: bool) -> None:
    def course(seed: int) -> list[list[int]]:
        made, rows = slots(seed=seed, random_depth=random_depth), []
        for _ in range(15):
            finish(made)
            rows.append(made.rows.tolist())
        return rows

    assert course(0) == course(0) != course(1)
