"""What a team finds with so many looks a day: by hand, against a plain loop, under weights, and at the border."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trmfin.errors import DataError
from trmfin.learn.alerts import Queue, attainable
from trmfin.learn.metrics import UndefinedMetric

#         day 0: cards 0, 1, 2; day 1: cards 0, 1, 2, 3
Y = [1, 0, 0, 1, 1, 0, 1]
P = [0.9, 0.8, 0.1, 0.95, 0.7, 0.2, 0.3]
CARD = [0, 1, 2, 0, 1, 2, 3]
DAY = [5, 5, 5, 6, 6, 6, 6]
VALUE = [10.0, 1, 1, 20, 30, 1, 40]


def test_by_hand_a_card_that_was_found_is_not_shown_again() -> None:
    looked = Queue.of(Y, P, CARD, DAY, 1, VALUE).look()
    assert looked.precision == 1.0  # card 0 on the first day, card 1 on the second
    assert looked.recall == pytest.approx(2 / 3)
    assert looked.value_recall == pytest.approx((10 + 20 + 30) / 100)  # card 0's second fraud is stopped too
    assert looked.missed_a_day == pytest.approx(40 / 2)  # card 3's, over two days
    assert looked.days_to_find == pytest.approx((0 + 0 + 1) / 3)  # card 3 is never found: until the end of its day
    assert attainable(Y, CARD, DAY, 1) == 1.0
    assert attainable(Y, CARD, DAY, 2) == pytest.approx((1 / 2 + 2 / 2) / 2)


def test_a_fraud_that_is_missed_at_first_is_found_late() -> None:
    looked = Queue.of([1, 0, 1], [0.1, 0.9, 0.5], [0, 1, 0], [1, 1, 4], 1).look()
    assert (looked.precision, looked.recall, looked.days_to_find) == (0.5, 1.0, 3.0)
    assert looked.value_recall == 0.5
    assert Queue.of([1, 0, 0], [0.1, 0.9, 0.8], [0, 1, 1], [1, 1, 3], 1).look().days_to_find == 3.0  # never, until the last day is over


def plain(y: list[int], p: list[float], card: list[int], day: list[int], budget: int) -> float:
    """The Handbook's card precision, in plain words."""
    found: set[int] = set()
    precisions = []
    for date in sorted(set(day)):
        rows = [i for i in range(len(y)) if day[i] == date and card[i] not in found]
        cards = {c: (max(p[i] for i in rows if card[i] == c), max(y[i] for i in rows if card[i] == c)) for c in {card[i] for i in rows}}
        top = sorted(cards, key=lambda c: (-cards[c][0], c))[:budget]
        hits = {c for c in top if cards[c][1]}
        found |= hits
        precisions.append(len(hits) / budget)
    return float(np.mean(precisions))


TABLES = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 5), st.integers(0, 6), st.integers(0, 3)), min_size=1, max_size=40)


@settings(deadline=None)
@given(TABLES, st.integers(1, 4))
def test_precision_is_the_handbooks(table: list[tuple[int, int, int, int]], budget: int) -> None:
    y, tenths, card, day = (list(column) for column in zip(*table, strict=True))
    p = [value / 10 for value in tenths]
    if not any(y):
        with pytest.raises(UndefinedMetric, match="no group has a bad row"):
            Queue.of(y, p, card, day, budget).look()
        return
    looked = Queue.of(y, p, card, day, budget).look()
    assert looked.precision == pytest.approx(plain(y, p, card, day, budget))
    if all(len({c for c, d, bad in zip(card, day, y, strict=True) if d == date and bad}) <= budget for date in day):
        assert looked.precision <= attainable(y, card, day, budget) + 1e-12
    assert 0 <= looked.recall <= 1 and 0 <= looked.value_recall <= 1


@settings(deadline=None)
@given(TABLES, st.integers(1, 4))
def test_a_group_that_counts_twice_is_two_groups_that_look_alike(table: list[tuple[int, int, int, int]], budget: int) -> None:
    """But for the border, where weights may cut a pair: so with a budget of even size and all groups twice."""
    y, tenths, card, day = (np.array(column) for column in zip(*table, strict=True))
    if not y.any():
        return
    twice = Queue.of(y, tenths / 10, card, day, 2 * budget).look(np.full(int(card.max()) + 1, 2.0))
    once = Queue.of(y, tenths / 10, card, day, budget).look()
    assert twice.precision == pytest.approx(once.precision)
    assert (twice.recall, twice.value_recall) == pytest.approx((once.recall, once.value_recall))


def test_a_group_of_no_weight_is_as_if_it_were_not_there() -> None:
    without = [0, 3]
    rows = [i for i, card in enumerate(CARD) if card not in without]
    weight = np.array([0.0, 1, 1, 0])
    left = Queue.of(*([column[i] for i in rows] for column in (Y, P, CARD, DAY)), 1).look()
    assert Queue.of(Y, P, CARD, DAY, 1).look(weight) == left


@pytest.mark.parametrize(("y", "p", "budget"), [([1], [0.5, 0.4], 1), ([], [], 1), ([1], [0.5], 0)])
def test_what_cannot_be_is_one_clear_error(y: list[int], p: list[float], budget: int) -> None:
    with pytest.raises(DataError, match="alerts: shapes .* expected one axis"):
        Queue.of(y, p, [0] * len(y), [0] * len(y), budget)
