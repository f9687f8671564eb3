"""The five unlike worlds go the rest of the way: Sequences, an untrained network, Scores, a run folder of Parquet, and back."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.scoring.models import bundle_for, saved
from tests.worlds import WORLDS, document_chain, grid, order_book
from trmfin.data.prepared import Prepared
from trmfin.scoring.engine import score_rows
from trmfin.scoring.folder import verify_run
from trmfin.scoring.runs import score_run
from trmfin.scoring.scores import Answers, Scores
from trmfin.scoring.shards import frames, scores_from_frames
from trmfin.sequences.sequences import build
from trmfin.sequences.task import Task

World = Callable[[], tuple[Prepared, Task]]


def scored(world: World) -> Scores:
    prepared, task = world()
    bundle = bundle_for(prepared, task)
    sequences = build(prepared, task).aligned(bundle.fitted)
    return score_rows(bundle, sequences, np.arange(len(sequences)), epsilon=0.2)


def check_equal(found: Scores, expected: Scores) -> None:
    for name in ("sample_ids", "as_of", "score", "step", "logits", "halts"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    assert set(found.outputs) == set(expected.outputs)
    for name, values in expected.outputs.items():
        np.testing.assert_array_equal(found.outputs[name], values, err_msg=name)
    for part in fields(Answers):
        np.testing.assert_array_equal(getattr(found.answers, part.name), getattr(expected.answers, part.name), err_msg=part.name)


@pytest.mark.parametrize("world", WORLDS)
def test_scores_come_back_equal_from_parquet(world: World, tmp_path: Path) -> None:
    prepared, task = world()
    bundle = bundle_for(prepared, task)
    scores, back = scored(world), {}
    for folder, table in frames(scores, task, bundle.policy).items():
        (tmp_path / folder).mkdir(parents=True)
        table.write_parquet(tmp_path / folder / "part.parquet")
        back[folder] = pl.read_parquet(tmp_path / folder / "part.parquet")
    check_equal(scores_from_frames(back, task, steps=4), scores)


@pytest.mark.parametrize("world", WORLDS)
def test_a_run_in_blocks_holds_what_the_whole_gives_at_once(world: World, tmp_path: Path) -> None:
    prepared, task = world()
    bundle, folder = saved(prepared, bundle_for(prepared, task), tmp_path)
    size = max(1, len(prepared.samples) // 3)
    score_run(bundle, folder, tmp_path / "run", shard_rows=size, threads=1)
    verify_run(tmp_path / "run")
    tables = frames(score_rows(bundle, build(prepared, task).aligned(bundle.fitted), np.arange(len(prepared.samples))), task, bundle.policy)
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"manifest.json"} | {name.partition("/")[0] for name in tables}
    for name, expected in tables.items():
        parts = sorted((tmp_path / "run" / name).glob("part-*.parquet"))
        found = pl.concat([pl.read_parquet(part) for part in parts])
        assert len(parts) >= 2 and found.schema == expected.schema
        for column in expected.columns:
            left, right = found[column], expected[column]
            if expected.schema[column] in (pl.List(pl.Float32), pl.Float32, pl.Float64):
                left, right = (s.explode(empty_as_null=False) if isinstance(s.dtype, pl.List) else s for s in (left, right))
                np.testing.assert_allclose(left.to_numpy(), right.to_numpy(), rtol=0, atol=1e-5)
            else:
                assert left.to_list() == right.to_list()


def test_each_horizon_of_a_book_has_its_probabilities() -> None:
    scores = scored(order_book)
    assert list(scores.outputs) == ["k10", "k20", "k50", "k100"]
    for table in scores.outputs.values():
        np.testing.assert_allclose(table.sum(1), 1, atol=1e-6)


def test_every_document_gets_an_answer_and_no_padding_does() -> None:
    prepared, task = document_chain()
    answers = scored(document_chain).answers
    sequences = build(prepared, task)
    expected = [str(event) for row in sequences.event_ids(np.arange(4)) for event in row if event is not None]
    for field in ("cell", "settles"):
        assert sorted(answers.event_id[answers.field == field].tolist()) == sorted(expected)
    chosen = set(answers.answer[answers.field == "settles"].tolist())
    assert chosen <= {*expected, None}  # None: the leading token, which stands for "nothing"
    assert set(answers.answer[answers.field == "cell"].tolist()) <= {"right", "wrong"}


def test_a_choice_never_falls_on_a_document_of_another_case() -> None:
    prepared, task = document_chain()
    scores, sequences = scored(document_chain), build(prepared, task)
    for sample in range(4):
        own = {*sequences.event_ids(np.array([sample]))[0].tolist()}
        assert set(scores.answers.answer[(scores.answers.sample == sample) & (scores.answers.field == "settles")]) <= own


def test_a_grid_is_filled_cell_by_cell_in_order() -> None:
    answers = scored(grid).answers
    assert answers.event_id.tolist() == [f"g{g}.{cell:02}" for g in range(2) for cell in range(16)]
    assert set(answers.answer.tolist()) <= set("1234")
    assert (answers.probability > 0).all() and (answers.probability <= 1).all()


def test_the_score_of_a_grid_is_the_chance_that_all_of_it_is_right() -> None:
    scores = scored(grid)
    last = scores.halts[np.arange(2), scores.step - 1].astype(np.float64)
    raw = np.log(last / (1 - last))
    slope = np.array([0.9, 1.0, 1.1, 1.2])[scores.step - 1]  # of the models' calibration
    np.testing.assert_allclose(scores.score, 1 / (1 + np.exp(-(raw * slope - 0.5))), atol=1e-5)
