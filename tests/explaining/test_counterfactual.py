"""Counterfactuals cross the cut-off when they are scored again, change what may change, and stay within the data's values."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from tests.explaining.runs import TASK
from tests.scoring.models import CONFIG, bundle_for, panel
from trmfin.errors import TaskError
from trmfin.explaining.case import Case, cases
from trmfin.explaining.counterfactual import Counterfactual, counterfactual, values_of
from trmfin.learn.bundle import Bundle
from trmfin.learn.policy import Policy
from trmfin.scoring.engine import score_rows
from trmfin.sequences.explained import Change
from trmfin.sequences.sequences import build
from trmfin.sequences.task import Field

Found = tuple[Bundle, list[tuple[Case, float, Counterfactual]]]


@pytest.fixture(scope="module")
def found() -> Found:
    data = panel(18)
    bundle = bundle_for(data, TASK, CONFIG, Policy(cutoff=0.4))
    sequences = build(data, TASK).aligned(bundle.fitted)
    rows = np.arange(len(sequences))
    scores = score_rows(bundle, sequences, rows).score
    return bundle, [(c, s, counterfactual(bundle, c)) for c, s in zip(cases(data, sequences, rows), scores, strict=True)]


def applied(case: Case, found: Counterfactual) -> Case:
    """The case as the counterfactual says it could have been."""
    sample, events = case.sample, case.events
    for change in found.changes:
        value = pl.lit(change.after)
        if change.event_id is None:
            sample = sample.with_columns(value.cast(sample.schema[change.column]).alias(change.column))
        else:
            here = pl.col("event_id") == change.event_id
            events = events.with_columns(
                pl.when(here).then(value.cast(events.schema[change.column])).otherwise(change.column).alias(change.column)
            )
    return replace(case, sample=sample, events=events)


def test_scored_again_with_the_changes_the_case_is_on_the_other_side(
    found: Found,
) -> None:
    bundle, each = found
    crossed = [item for item in each if item[2].changes]
    assert len(crossed) >= 6, "most of these cases can cross"
    for case, score, other in crossed:
        again = score_rows(bundle, build(applied(case, other).prepared(), TASK).aligned(bundle.fitted), np.arange(1)).score[0]
        assert abs(again - other.score) < 1e-4
        assert (again >= bundle.policy.cutoff) != (score >= bundle.policy.cutoff)
        assert other.size > 0


def test_only_what_may_change_changes_in_its_direction_to_values_that_data_had(
    found: Found,
) -> None:
    bundle, each = found
    allowed = {(change.column, change.of): change for change in TASK.changes}
    for case, _, other in each:
        for cell in other.changes:
            change = allowed[cell.column, "sample" if cell.event_id is None else "event"]
            table = case.sample if cell.event_id is None else case.events
            assert cell.after in values_of(bundle, change, table.schema[cell.column])
            assert cell.after != cell.before
            assert change.direction != "up" or cell.after > cell.before


def test_values_are_few_round_and_within_what_training_and_the_change_allow(found: Found) -> None:
    bundle = found[0]
    edges = np.array(bundle.fitted.edges["billed"], np.float64)
    billed = values_of(bundle, Change(column="billed"), pl.Int64())
    assert 2 <= len(billed) <= 16 and list(billed) == sorted(set(billed))
    least, most = (np.sign(edge) * np.expm1(abs(edge)) * 100 for edge in (edges.min(), edges.max()))
    assert np.floor(least) <= billed[0] and billed[-1] <= most
    assert len(billed) > 2 and all(float(f"{value:.3g}") == value for value in billed[1:-1]), "three digits"
    middle = float(billed[len(billed) // 2])
    assert values_of(bundle, Change(column="billed", least=middle), pl.Int64()) == tuple(value for value in billed if value >= middle)
    assert values_of(bundle, Change(column="billed", most=middle), pl.Int64()) == tuple(value for value in billed if value <= middle)


def test_of_a_short_range_of_whole_numbers_all_are_tried() -> None:
    data = panel(18)
    late = pl.int_range(pl.len()).mod(7) - 2
    data = replace(data, events=data.events.with_columns(late=late))
    change = Change(column="late", direction="down", least=0)
    task = replace(TASK, fields=(*TASK.fields, Field(name="late", column="late", transform="number")), changes=(change,))
    bundle = bundle_for(data, task, CONFIG, Policy(cutoff=0.4))
    assert values_of(bundle, change, pl.Int64()) == (0, 1, 2, 3, 4)
    assert values_of(bundle, Change(column="late"), pl.Int64()) == (-2, -1, 0, 1, 2, 3, 4)
    sequences = build(data, task).aligned(bundle.fitted)
    cells = [cell for case in cases(data, sequences, np.arange(18)) for cell in counterfactual(bundle, case).changes]
    assert cells and all(0 <= cell.after < cell.before for cell in cells), "downwards, and not below its bound"


@pytest.mark.parametrize(
    ("bounds", "said"), [({"least": "0"}, "expected a number or nothing"), ({"least": 2, "most": 1}, "least up to most")]
)
def test_bounds_that_cannot_be_are_refused(bounds: dict[str, float], said: str) -> None:
    with pytest.raises(TaskError, match=said):
        Change(column="billed", **bounds)  # type: ignore[arg-type]


def test_no_cell_of_an_answer_is_superfluous(found: Found) -> None:
    bundle, each = found
    for case, score, other in each:
        for left_out in range(len(other.changes)) if len(other.changes) > 1 else ():
            fewer = replace(other, changes=other.changes[:left_out] + other.changes[left_out + 1 :])
            again = score_rows(bundle, build(applied(case, fewer).prepared(), TASK).aligned(bundle.fitted), np.arange(1)).score[0]
            assert (again >= bundle.policy.cutoff) == (score >= bundle.policy.cutoff)


def test_none_within_these_bounds_is_an_answer() -> None:
    data = panel(3)
    bundle = bundle_for(data, TASK, CONFIG, Policy(cutoff=0.0))  # every score is flagged, whatever is changed
    sequences = build(data, TASK).aligned(bundle.fitted)
    (case, *_) = cases(data, sequences, np.arange(1))
    found = counterfactual(bundle, case)
    assert found.changes == () and found.to_json()["found"] is False


def test_a_column_that_no_field_reads_as_it_is_cannot_change() -> None:
    with pytest.raises(TaskError, match="event column 'client' may change, but no field of these reads it as it is"):
        replace(TASK, changes=(Change(column="client"),))
