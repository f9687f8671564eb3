"""A case is a sample with all that its score depends on, and nothing that was not known."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from tests.scoring.models import CONFIG, bundle_for
from tests.worlds import card_and_shop, document_chain, monthly_panel, order_book
from trmfin.data.prepared import Prepared
from trmfin.errors import DataError
from trmfin.explaining.case import Case, build_copies, cases
from trmfin.scoring.engine import score_rows
from trmfin.sequences.sequences import build
from trmfin.sequences.task import Field

WORLDS = (monthly_panel, card_and_shop, order_book, document_chain)


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.__name__)
def test_a_case_scores_alone_as_it_does_among_all_and_so_do_copies(world) -> None:  # type: ignore[no-untyped-def]
    prepared, task = world()
    bundle = bundle_for(prepared, task, CONFIG)
    sequences = build(prepared, task).aligned(bundle.fitted)
    rows = np.arange(len(sequences))
    among_all = score_rows(bundle, sequences, rows)
    for row, case in zip(rows, cases(prepared, sequences, rows), strict=True):
        again = Case.from_json(json.loads(json.dumps(case.to_json())))
        for table in ("sample", "events", "links"):
            ours, theirs = getattr(again, table), getattr(case, table)
            assert (ours is None and theirs is None) or ours.equals(theirs), table
        for built, count in ((build(again.prepared(), task), 1), (build_copies(again.copies(3), task), 3)):
            alone = score_rows(bundle, built.aligned(bundle.fitted), np.arange(count))
            np.testing.assert_allclose(alone.logits, np.repeat(among_all.logits[row : row + 1], count, 0), atol=1e-4)


def test_copies_keep_what_fields_read_of_a_key() -> None:
    """A key that is a feature too: of text, as a category, and as a number."""
    prepared, task = monthly_panel()
    number = prepared.samples.select("client_id", place=pl.col("client_id").rank("dense").cast(pl.Int64)).unique()
    keyed = [table.join(number, on="client_id", maintain_order="left") for table in (prepared.events, prepared.samples)]
    prepared = Prepared(events=keyed[0], samples=keyed[1])
    own = (
        Field(name="who", column="client_id", transform="category"),
        Field(name="place", column="place", transform="number"),
        Field(name="whose", column="client_id", transform="category", of="sample"),
    )
    task = replace(task, fields=(*task.fields, *own), histories=tuple(replace(h, keys=("client_id", "place")) for h in task.histories))
    bundle = bundle_for(prepared, task, CONFIG)
    sequences = build(prepared, task).aligned(bundle.fitted)
    (case, *_) = cases(prepared, sequences, np.arange(1))
    alone, copied = (
        score_rows(bundle, built.aligned(bundle.fitted), np.arange(1)).logits
        for built in (build(case.prepared(), task), build_copies(case.copies(2), task))
    )
    np.testing.assert_allclose(copied, alone, atol=1e-5)


def test_what_was_not_known_and_answers_and_protected_columns_are_left_out() -> None:
    prepared, task = card_and_shop()
    sequences = build(prepared, task)
    for case in cases(prepared, sequences, np.arange(len(sequences))):
        as_of = case.sample["as_of"][0]
        assert (case.events["known_at"] < as_of).all()
        for column in (name for name in case.events.columns if name.endswith("_known_at")):
            late = case.events.filter(pl.col(column).is_not_null())
            assert (late[column] < as_of).all()
            told = column.removesuffix("_known_at")
            assert case.events.filter(pl.col(column).is_null())[told].is_null().all()
        assert not [name for name in case.sample.columns if name.startswith("target_")]
    panel, other = monthly_panel()
    assert "sex" in panel.samples.columns
    (case, *_) = cases(panel, build(panel, other), np.arange(1))
    assert "sex" not in case.sample.columns


def test_a_later_fact_changes_no_case() -> None:
    prepared, task = card_and_shop()
    rows = np.arange(len(prepared.samples))
    before = [case.to_json() for case in cases(prepared, build(prepared, task), rows)]
    end = prepared.samples["as_of"].max()
    later = prepared.events.head(1).with_columns(
        event_id=pl.lit("later"), event_time=pl.lit(end + timedelta(days=1)), known_at=pl.lit(end + timedelta(days=1))
    )
    more = Prepared(events=pl.concat([prepared.events, later.cast(dict(prepared.events.schema))]), samples=prepared.samples)
    assert [case.to_json() for case in cases(more, build(more, task), rows)] == before


@pytest.mark.parametrize("change", ["types", "sample", "events"])
def test_data_that_cannot_be_read_are_refused(change: str) -> None:
    prepared, task = monthly_panel()
    (case, *_) = cases(prepared, build(prepared, task), np.arange(1))
    data = case.to_json()
    data[change] = {"events": {"billed": "no such type"}} if change == "types" else "nonsense"
    with pytest.raises(DataError, match="case: its data cannot be read"):
        Case.from_json(data)
