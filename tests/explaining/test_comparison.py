"""Comparison groups: who is in them, what identifies them, and what stands in for a token that a row does not have."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from tests.explaining.models import panel_world
from tests.scoring.models import PANEL, World
from trmfin.errors import BundleError, ConfigError
from trmfin.explaining.comparison import comparison, completed
from trmfin.learn.reference import Judged, reference


@pytest.fixture(scope="module")
def world() -> World:
    return panel_world(30)


def test_a_groups_rows_are_what_the_network_sees_of_them(world: World) -> None:
    group = comparison(PANEL, world.bundle.reference, "all_applicants", "rows")
    batch = world.sequences.batch(world.rows)
    np.testing.assert_array_equal(group.rows.numbers, batch.numbers)
    np.testing.assert_array_equal(group.rows.codes, batch.codes)
    np.testing.assert_array_equal(group.rows.mask, batch.mask)
    assert group.sample_ids == tuple(world.sequences.sample_ids)


def test_the_hash_is_of_name_form_rows_and_cells(world: World) -> None:
    table = world.bundle.reference
    first = comparison(PANEL, table, "all_applicants")
    assert first.sha256 == comparison(PANEL, table, "all_applicants").sha256
    others = [
        comparison(PANEL, table, "all_applicants", "rows"),
        comparison(PANEL, table, "all_applicants", "average", 5),
        comparison(PANEL, table.with_columns(group=pl.lit("portfolio")), "portfolio"),
        comparison(PANEL, table.with_columns(numbers=table["numbers"].reverse()), "all_applicants"),
    ]
    assert len({first.sha256, *(other.sha256 for other in others)}) == 5


@pytest.mark.parametrize(
    ("name", "form", "count", "said"),
    [
        ("nobody", "rows", None, "no group 'nobody'; it has all_applicants"),
        ("all_applicants", "sum", None, "form 'sum' is unknown; choose average or rows"),
        ("all_applicants", "rows", 31, "31 rows of group 'all_applicants' asked for; choose 1 to 30"),
        ("all_applicants", "rows", 0, "choose 1 to 30"),
    ],
)
def test_what_there_is_not_is_refused(world: World, name: str, form: str, count: int | None, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        comparison(PANEL, world.bundle.reference, name, form, count)  # type: ignore[arg-type]


def test_cells_of_another_task_are_refused(world: World) -> None:
    cut = world.bundle.reference.with_columns(numbers=pl.col("numbers").arr.to_list().list.head(3))
    with pytest.raises(BundleError, match="its reference has 90 numbers for 30 rows"):
        comparison(PANEL, cut, "all_applicants")


def test_a_missing_event_is_filled_with_the_rows_oldest_and_a_row_without_events_stays_absent(world: World) -> None:
    rows = comparison(PANEL, world.bundle.reference, "all_applicants", "rows").rows
    full = completed(PANEL, rows)
    assert full.mask.all()
    two, none = int(np.flatnonzero(rows.mask.sum(1) == 3)[0]), int(np.flatnonzero(rows.mask.sum(1) == 1)[0])
    np.testing.assert_array_equal(full.numbers[two, 1:3], np.repeat(rows.numbers[two, 3:4], 2, 0))
    np.testing.assert_array_equal(full.numbers[two, 3:], rows.numbers[two, 3:])
    assert np.isnan(full.numbers[none, 1:]).all() and (full.codes[none, 1:] == 0).all()
    np.testing.assert_array_equal(full.numbers[:, 0], rows.numbers[:, 0])


def test_the_groups_are_who_they_say(world: World) -> None:
    """Clients own one sample each here; half of the rows are judged, the higher the row the higher its score."""
    judged = Judged(rows=world.rows[::2], score=world.rows[::2] / 40)
    table = reference(world.sequences, world.rows, judged, cutoff=0.5)
    groups = {str(name): part["sample_id"].to_list() for (name,), part in table.group_by("group", maintain_order=True)}
    assert groups["all_applicants"] == [f"s{row}" for row in range(30)]
    assert groups["near_cutoff_approved"] == [f"s{row}" for row in range(18, -1, -2)], "next to the cut-off first, and below it"
    assert groups["portfolio"] == [f"s{row}" for row in range(0, 20, 2)]


def test_a_group_of_nobody_is_left_out(world: World) -> None:
    flagged = Judged(rows=world.rows, score=np.ones(len(world.rows)))
    assert set(reference(world.sequences, world.rows, flagged, cutoff=0.5)["group"]) == {"all_applicants"}
