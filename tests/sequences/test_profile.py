"""Profiles count what the network sees, in bins made for training, and add up."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.worlds import TIME, WORLDS, at, monthly_panel
from trmfin.data.prepared import Prepared
from trmfin.errors import BundleError, DataError, TaskError
from trmfin.sequences import profile as module
from trmfin.sequences.fitted import Fitted
from trmfin.sequences.profile import Cells, Profile, counted, finest, profile
from trmfin.sequences.sequences import Sequences, build
from trmfin.sequences.task import Field, History, Target, Task

SHOP = Task(
    name="shop",
    histories=(History(name="visits", keys=("who",), length=2),),
    fields=(
        Field(name="price", column="price", transform="number", of="sample"),
        Field(name="town", column="town", transform="category", of="sample"),
        Field(name="age", column="age", transform="number"),
    ),
    targets=(Target(name="bad", head="binary", meaning="whether it is bad"),),
    primary="bad",
    group="who",
)


def shop(prices: list[float | None], towns: list[str | None], ages: list[float | None] | None = None) -> Sequences:
    """One sample a price; visit i is the past of sample i alone."""
    count, visits = len(prices), ages or []
    samples = pl.DataFrame(
        {"sample_id": [str(i) for i in range(count)], "as_of": [at(5)] * count, "who": [f"w{i}" for i in range(count)]}
        | {"price": pl.Series(prices, dtype=pl.Float64), "town": pl.Series(towns, dtype=pl.String)}
    )
    text, places = dict.fromkeys(("event_id", "who", "event_type"), pl.String()), range(len(visits))
    events = pl.DataFrame(
        {
            "event_id": [str(i) for i in places],
            "event_time": [at(1)] * len(visits),
            "known_at": [at(1)] * len(visits),
            "event_type": ["visit"] * len(visits),
            "who": [f"w{i}" for i in places],
            "age": visits,
        },
        schema_overrides=text | {"event_time": TIME, "known_at": TIME, "age": pl.Float64()},
    )
    return build(Prepared(events=events, samples=samples.cast({"as_of": TIME})), SHOP)


def aligned(make: Callable[[], tuple[Prepared, Task]], bins: int = 24) -> Sequences:
    prepared, task = make()
    sequences = build(prepared, task)
    return sequences.aligned(Fitted.fit(sequences, np.arange(len(sequences)), bins))


def everything(sequences: Sequences) -> np.ndarray:
    return np.arange(len(sequences))


def cells(found: Profile, field: str, at_: str) -> Cells:
    return next(one for one in found.cells if (one.field, one.at) == (field, at_))


def test_a_number_falls_below_the_first_edge_from_an_edge_up_to_the_next_or_above_all() -> None:
    fitted = replace(Fitted.fit(shop([0.0, 10.0], ["a", "b"]), np.arange(2), 1), edges={"price": (0.0, 10.0), "age": (0.0,)})
    sequences = shop([-1.0, 0.0, 5.0, 10.0, 11.0, None], ["a", "b", "c", None, "a", "a"], [3.0, None, 0.0, -2.0]).aligned(fitted)
    found = counted(sequences, np.arange(6), finest(SHOP, fitted))
    assert cells(found, "price", "sample").counts == (1, 2, 1, 1) and cells(found, "price", "sample").missing == 1
    assert cells(found, "town", "sample").counts == (3, 1, 0, 1) and cells(found, "town", "sample").missing == 1  # a, b, others, unknown
    assert cells(found, "age", "visits").counts == (1, 1, 1) and cells(found, "age", "visits").missing == 1  # padding is no cell
    assert found.samples == 6 and cells(found, "age", "visits").total == 4


def test_counts_of_events_are_those_of_the_windows_worked_out_with_polars() -> None:
    prepared, task = monthly_panel()
    sequences = aligned(monthly_panel)
    found = profile(sequences, everything(sequences))
    past = (
        prepared.samples.select("sample_id", "as_of", "client_id")
        .join(prepared.events, on="client_id")
        .filter(pl.col("known_at") < pl.col("as_of"))
    )
    window = past.sort("known_at").group_by("sample_id").tail(3)
    status = cells(found, "status", "statements")
    expected = dict(window["status"].cast(pl.String).value_counts().iter_rows())
    assert dict(zip(status.words, status.counts, strict=False)) == expected and status.counts[-2:] == (0, 0) and status.missing == 0
    billed = cells(found, "billed", "statements")
    values = np.log1p(window["billed"].to_numpy() / 100).astype(np.float32)
    edges = np.concatenate(([-np.inf], np.float32(billed.edges), [np.inf]))
    assert billed.counts == tuple(int(((values >= low) & (values < high)).sum()) for low, high in zip(edges, edges[1:], strict=False))
    first = len(prepared.samples)  # the oldest of a window has no previous
    assert cells(found, "paid_share", "statements").missing == first and status.total == billed.total == len(window)
    assert (cells(found, "education", "sample").counts[0], cells(found, "education", "sample").missing) == (10, 10)


def test_bins_hold_about_a_tenth_each_and_values_beyond_training_have_their_own() -> None:
    prices = np.exp(np.random.default_rng(0).normal(size=2000)).tolist()
    training = shop(prices, ["a"] * 2000)
    training = training.aligned(Fitted.fit(training, np.arange(2000), 48))
    found = cells(profile(training, np.arange(2000)), "price", "sample")
    assert len(found.counts) == 12 and found.counts[0] == found.counts[-1] == 0
    assert min(found.counts[1:-1]) > 150 and max(found.counts[1:-1]) < 250 and sum(found.counts) == 2000
    assert set(found.edges[:-1]) <= set(training.fitted.edges["price"])  # type: ignore[union-attr]
    later = shop([min(prices) / 2, max(prices), max(prices) * 2], ["a"] * 3).aligned(training.fitted)  # type: ignore[arg-type]
    again = cells(counted(later, np.arange(3), profile(training, np.arange(2000))), "price", "sample")
    assert (again.counts[0], again.counts[-2], again.counts[-1]) == (1, 1, 1)


def test_a_constant_number_that_changes_and_one_that_was_never_there_are_seen() -> None:
    training = shop([5.0] * 4, ["a"] * 4)
    training = training.aligned(Fitted.fit(training, np.arange(4), 24))
    found = profile(training, np.arange(4))
    assert cells(found, "price", "sample").counts == (0, 4, 0) and cells(found, "age", "visits").total == 0
    later = counted(shop([4.0, 5.0, 6.0], ["a"] * 3, [1.0]).aligned(training.fitted), np.arange(3), found)  # type: ignore[arg-type]
    assert cells(later, "price", "sample").counts == (1, 1, 1) and sum(cells(later, "age", "visits").counts) == 1


def test_the_most_frequent_words_have_a_bin_each_and_the_others_share_one() -> None:
    towns = [f"t{n:02}" for n in range(30) for _ in range(1 + n)]
    training = shop([1.0] * len(towns), towns)
    training = training.aligned(Fitted.fit(training, everything(training), 4))
    found = profile(training, everything(training))
    town = cells(found, "town", "sample")
    assert town.words == tuple(f"t{n:02}" for n in range(6, 30)) and town.counts == (*range(7, 31), sum(range(1, 7)), 0)
    later = shop([1.0] * 4, ["t00", "t29", "elsewhere", None]).aligned(training.fitted)  # type: ignore[arg-type]
    town = cells(counted(later, np.arange(4), found), "town", "sample")
    assert (town.counts[-3:], town.missing) == ((1, 1, 1), 1)


@pytest.mark.parametrize("world", WORLDS)
def test_every_cell_of_every_token_is_counted_once(world: Callable[[], tuple[Prepared, Task]]) -> None:
    sequences = aligned(world)
    found = profile(sequences, everything(sequences))
    batch = sequences.batch(everything(sequences))
    for one in found.cells:
        tag = 0 if one.at == "sample" else 1 + [history.name for history in sequences.task.histories].index(one.at)
        assert one.total == (batch.mask & (batch.tag == tag)).sum(), one.field
    assert counted(sequences, everything(sequences), found) == found


@given(data=st.data(), world=st.sampled_from(WORLDS))
def test_parts_add_up_to_the_whole(data: st.DataObject, world: Callable[[], tuple[Prepared, Task]]) -> None:
    sequences = aligned(world)
    rows = everything(sequences)
    whole = profile(sequences, rows)
    part = np.array(data.draw(st.lists(st.integers(0, 2), min_size=len(rows), max_size=len(rows))))
    parts = [counted(sequences, rows[part == n], whole) for n in range(3)]
    assert sum(parts, whole.emptied) == whole
    assert Profile.from_json(json.loads(json.dumps(whole.to_json()))) == whole


def test_what_is_gathered_at_once_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sequences = aligned(monthly_panel)
    whole = profile(sequences, everything(sequences))
    monkeypatch.setattr(module, "TOKENS", 9)
    assert profile(sequences, everything(sequences)) == whole


def test_profiles_of_other_bins_do_not_add_up_and_codes_must_be_aligned() -> None:
    one, other = (profile(found, everything(found)) for found in (aligned(monthly_panel), aligned(monthly_panel, bins=3)))
    with pytest.raises(DataError, match="other fields or bins"):
        one + other
    sequences = build(*monthly_panel())
    with pytest.raises(TaskError, match="not aligned"):
        profile(sequences, everything(sequences))


@pytest.mark.parametrize(
    "change",
    [
        {"counts": [1, 2]},
        {"edges": [2.0, 1.0]},
        {"transform": "cube"},
        {"weight": 1},
        {"counts": None},
    ],
)
def test_what_is_no_profile_is_one_clear_error(change: dict[str, Any]) -> None:
    sequences = aligned(monthly_panel)
    data = json.loads(json.dumps(profile(sequences, everything(sequences)).to_json()))
    data["fields"][1] |= change
    with pytest.raises(BundleError, match="profile") as caught:
        Profile.from_json(data)
    assert len(str(caught.value)) < 300
    with pytest.raises(BundleError, match="cannot be read"):
        Profile.from_json({"samples": 3})
