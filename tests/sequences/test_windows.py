"""As-of windows: which events a sample may see."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trmfin.errors import TaskError
from trmfin.sequences.windows import NO_KEY, Members, Window, as_of_windows, event_places, key_codes, through_links


def windows(key: list[int], known_at: list[int], ids: list[str], asked: list[tuple[int, int]], length: int) -> Window:
    members = Members(row=np.arange(len(key)), key=np.array(key, np.int64), known_at=np.array(known_at, np.int64))
    sample_key, as_of = (np.array([pair[i] for pair in asked], np.int64) for i in (0, 1))
    return as_of_windows(members, pl.DataFrame({"event_id": pl.Series(ids, dtype=pl.String)}), key=sample_key, as_of=as_of, length=length)


def seen(window: Window) -> list[list[int]]:
    return [window.order[a:b].tolist() for a, b in zip(window.start, window.stop, strict=True)]


def test_a_window_holds_the_last_events_of_its_key_oldest_first() -> None:
    assert seen(windows([0, 0, 1, 0], [30, 10, 15, 20], ["a", "b", "c", "d"], [(0, 99), (1, 99)], length=2)) == [[3, 0], [2]]


def test_an_event_known_at_the_very_instant_of_as_of_is_not_seen() -> None:
    assert seen(windows([0, 0], [10, 11], ["a", "b"], [(0, 10), (0, 11), (0, 12)], length=5)) == [[], [0], [0, 1]]


def test_events_of_one_instant_stand_in_the_order_of_their_ids() -> None:
    assert seen(windows([0, 0, 0], [5, 5, 5], ["c", "a", "b"], [(0, 6)], length=2)) == [[2, 0]]


def test_a_sequence_number_orders_before_the_id_and_a_missing_one_comes_first() -> None:
    ties = pl.DataFrame({"sequence": [2, 1, None], "event_id": ["a", "b", "c"]})
    members = Members(row=np.arange(3), key=np.zeros(3, np.int64), known_at=np.zeros(3, np.int64))
    window = as_of_windows(members, ties, key=np.zeros(1, np.int64), as_of=np.ones(1, np.int64), length=3)
    assert seen(window) == [[2, 1, 0]]


def test_a_missing_key_matches_nothing_not_even_another_missing_key() -> None:
    assert seen(windows([NO_KEY, 0], [1, 1], ["a", "b"], [(NO_KEY, 9), (0, 9), (7, 9)], length=3)) == [[], [1], []]


def test_without_events_every_window_is_empty() -> None:
    window = windows([], [], [], [(0, 9), (NO_KEY, 9)], length=2)
    assert event_places([window], np.array([1, 0]), absent=0).tolist() == [[0, 0], [0, 0]]


def test_windows_are_padded_on_the_left_of_each_history() -> None:
    long, short = (windows([0, 0, 0], [1, 2, 3], ["a", "b", "c"], [(0, as_of)], length=2) for as_of in (9, 2))
    assert event_places([short, long], np.array([0]), absent=3).tolist() == [[3, 0, 1, 2]]


@settings(max_examples=60)
@given(
    events=st.lists(st.tuples(st.integers(-1, 2), st.integers(0, 4)), max_size=12),
    asked=st.lists(st.tuples(st.integers(-1, 3), st.integers(-1, 6)), min_size=1, max_size=5),
    length=st.integers(1, 4),
    unit=st.sampled_from((1, 10**13, 10**18)),  # with the last, times of few keys no longer fit into 64 bits
)
def test_windows_equal_those_found_one_sample_at_a_time(
    events: list[tuple[int, int]], asked: list[tuple[int, int]], length: int, unit: int
) -> None:
    events, asked = ([(key, time * unit) for key, time in rows] for rows in (events, asked))
    ids = [f"e{17 * i % 13:02}" for i in range(len(events))]
    expected = []
    for key, as_of in asked:
        mine = [i for i, (k, t) in enumerate(events) if k == key != NO_KEY and t < as_of]
        expected.append(sorted(mine, key=lambda i: (events[i][1], ids[i]))[-length:])
    assert seen(windows([k for k, _ in events], [t for _, t in events], ids, asked, length)) == expected


def test_keys_of_several_columns_agree_only_when_all_parts_do() -> None:
    events = pl.DataFrame({"a": ["x", "x", None], "b": ["1", "2", "1"]})
    event_key, sample_key = key_codes(events, pl.DataFrame({"a": ["x", "y", None], "b": ["2", "1", "1"]}), ("a", "b"))
    assert event_key[1] == sample_key[0] and sample_key[1] not in event_key
    assert event_key[0] != event_key[1] and event_key[2] == sample_key[2] == NO_KEY
    again, _ = key_codes(events, events, ("a", "b", "a"))
    assert again[0] != again[1] and again[2] == NO_KEY, "a column that is named twice drops no other"


@pytest.mark.parametrize(
    ("samples", "words"), [({"b": ["x"]}, "samples: no key column 'a'"), ({"a": [1]}, "samples, key column a: Int64, but String in events")]
)
def test_a_key_column_that_is_missing_or_of_another_type_is_named(samples: dict[str, list[object]], words: str) -> None:
    with pytest.raises(TaskError, match=words):
        key_codes(pl.DataFrame({"a": ["x"]}), pl.DataFrame(samples), ("a",))


def test_through_a_link_an_event_joins_the_other_events_key_once_all_is_known() -> None:
    direct = Members(row=np.arange(3), key=np.array([0, 1, NO_KEY]), known_at=np.array([1, 5, 2]))
    twice = through_links(direct, np.array([0, 1, 2]), np.array([1, 0, 0]), np.array([3, 9, 4]))
    assert sorted(zip(twice.row.tolist(), twice.key.tolist(), twice.known_at.tolist(), strict=True)) == [
        (0, 0, 1),
        (0, 1, 5),  # linked at 3, but its partner is known only at 5
        (1, 0, 5),
        (1, 1, 5),
        (2, 0, 4),  # has no key of its own
    ]
