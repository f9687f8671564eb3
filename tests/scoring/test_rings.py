"""A ring holds what a window over all events finds, in whatever order they come and however often."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trmfin.errors import DataError
from trmfin.scoring.rings import SPARE, Rings, identity
from trmfin.sequences.task import History
from trmfin.sequences.windows import Members, as_of_windows

HISTORY = History(name="h", keys=("k",), length=3)
DTYPE = np.dtype([("id", "u8"), ("keys", "u4"), ("known_at", "i8"), ("tie event_id", "u8")])
WIDTH = HISTORY.length + SPARE
KEY = ("k",)


def event(name: str, when: int, keys: int = 0) -> np.void:
    tie = int.from_bytes(name.encode()[:8].ljust(8, b"\0"), "big")
    return np.array([(identity(name), keys, when, tie)], DTYPE)[0]


def filled(*events: tuple[str, int]) -> Rings:
    rings = Rings(history=HISTORY, dtype=DTYPE)
    for name, when in events:
        rings.put(KEY, event(name, when))
    return rings


def in_batch(known: dict[str, int], as_of: int) -> list[int]:
    """Identities in the window over all these events of one key."""
    names, times = list(known), np.array(list(known.values()), np.int64)
    members = Members(row=np.arange(len(names)), key=np.zeros(len(names), np.int64), known_at=times)
    ties = pl.DataFrame({"event_id": names}, schema={"event_id": pl.String})
    window = as_of_windows(members, ties, key=np.array([0]), as_of=np.array([as_of]), length=HISTORY.length)
    return [identity(names[row]) for row in window.order[window.start[0] : window.stop[0]]]


ARRIVALS = st.lists(st.tuples(st.integers(0, 30).map(str), st.integers(0, 12)), max_size=60)


@settings(deadline=None)
@given(ARRIVALS, st.integers(0, 13), st.randoms(use_true_random=False))
def test_a_ring_holds_what_a_window_over_all_events_finds(events: list[tuple[str, int]], as_of: int, random: object) -> None:
    """In any order of arrival, sent again in any other, while no more than the spare events are not before as_of."""
    known = dict(events)  # one time an event
    again = list(known.items())
    random.shuffle(again)  # type: ignore[attr-defined]
    rings = filled(*known.items(), *again)
    if len(known) <= WIDTH or sum(when >= as_of for when in known.values()) <= SPARE:
        assert rings.window(KEY, as_of)["id"].tolist() == in_batch(known, as_of)


@settings(deadline=None)
@given(ARRIVALS, st.integers(0, 13))
def test_a_ring_whose_events_are_given_other_times_finds_the_same_or_refuses(events: list[tuple[str, int]], as_of: int) -> None:
    rings, known = filled(*events), dict(events)
    ring, counts, lost, row = rings._at(0)
    assert (np.diff(ring["known_at"][: counts[row]]) >= 0).all()
    try:
        found = rings.window(KEY, as_of)["id"].tolist()
    except DataError:
        assert lost[row]
        return
    assert found == in_batch(known, as_of)


def test_no_window_is_refused_where_nothing_was_lost() -> None:
    events = [(str(when), when) for when in range(WIDTH)]
    assert [filled(*events).window(KEY, as_of)["known_at"].tolist() for as_of in (0, 1, 2)] == [[], [0], [0, 1]]
    rings = filled(*events, ("more", WIDTH))
    with pytest.raises(DataError, match="as 8 are kept beyond a window, 2 of the 3 before it are left"):
        rings.window(KEY, 3)
    assert rings.window(KEY, 4)["known_at"].tolist() == [1, 2, 3]


def test_an_event_that_moves_to_a_later_time_does_not_stand_among_earlier_ones() -> None:
    rings = filled(("a", 1), ("b", 2), ("c", 3), ("a", 5), ("c", 0))
    assert rings.window(KEY, 9)["known_at"].tolist() == [0, 2, 5]
    assert rings.window(KEY, 5)["id"].tolist() == [identity("c"), identity("b")]


@pytest.mark.parametrize("name", ["{}", "all begin alike {}"])
def test_a_lost_event_that_comes_again_among_ties_displaces_none(name: str) -> None:
    events = [(name.format(place), 7) for place in range(100, 100 + WIDTH + 2)]
    rings = filled(*events)
    held = rings._at(0)[0].copy()
    for again in (events[0], events[1], *events):
        rings.put(KEY, event(*again))
    np.testing.assert_array_equal(rings._at(0)[0], held)
    rings.put(KEY, event("later", 8))
    assert rings.window(KEY, 9)["id"].tolist() == [*held["id"][-2:].tolist(), identity("later")]


def test_what_is_remembered_of_a_tie_that_was_cut_goes_with_the_tie() -> None:
    rings = filled(*((f"all begin alike {place}", 7) for place in range(WIDTH + 2)))
    assert {place: len(ids) for place, ids in rings.gone.items()} == {0: 2}
    for place in range(WIDTH):
        rings.put(KEY, event(str(place), 8))
    assert rings.gone == {}


def test_an_event_that_is_held_with_other_keys_is_known_to_be() -> None:
    rings = filled(("a", 1))
    assert rings.changed(KEY, event("a", 1, keys=1)) and not rings.changed(KEY, event("a", 2))
    assert not rings.changed(KEY, event("b", 1, keys=1)) and not rings.changed(("other",), event("a", 1, keys=1))
