"""A contest: every model on the same folds, resumed part by part, and only ever with its own parts."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from tests.learn.tiny import MODEL, TASK, TRAINING, asking, challenger_features, notes
from trmfin import __version__
from trmfin.data.files import read_json
from trmfin.errors import ConfigError, DataError, RunError, TaskError
from trmfin.learn import contest as module
from trmfin.learn.contest import (
    Contest,
    Entry,
    bundle_predictions,
    drawn,
    entry_recipe,
    gru_like,
    hold,
    maker,
    makers,
    window_names,
)
from trmfin.learn.fit import planned_steps
from trmfin.learn.metrics import auc
from trmfin.learn.recipe import Recipe
from trmfin.learn.training import bundle_of, learn
from trmfin.model.config import PRESETS, ModelConfig, preset
from trmfin.model.network import Network
from trmfin.sequences.fitted import Fitted
from trmfin.sequences.sequences import build
from trmfin.sequences.splits import stratified_folds, walk_forward
from trmfin.sequences.task import Target

RECIPE = Recipe(model=replace(MODEL, members=2), training=replace(TRAINING, epochs=5))
MODELS = ("trm", "gru", "tiny", "logistic", "lightgbm", "windows")
COLUMNS = ["sample_id", "model", "seed", "fold", "labels", "draw", "step", "y", "p", "group", "seconds"]


@cache
def contest() -> Contest:
    data = notes(120)
    sequences = build(data, TASK)
    splits = stratified_folds(sequences.targets.values["bad"], 2, 42, as_of=sequences.as_of)
    return Contest(sequences=sequences, features=challenger_features(data), recipe=RECIPE, splits=splits, workers=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("parts")


@pytest.fixture(scope="module")
def held(folder: Path) -> pl.DataFrame:
    return hold(contest(), [Entry(model=name, seed=0, fold=fold) for fold in (0, 1) for name in MODELS], folder)


def test_every_model_answers_every_sample_once_out_of_fold(held: pl.DataFrame) -> None:
    assert held.columns == COLUMNS
    for name in MODELS:
        last = held.filter((pl.col("model") == name) & (pl.col("step") == pl.col("step").max().over("model")))
        assert sorted(last["sample_id"]) == sorted(contest().sequences.sample_ids)
        for fold, split in enumerate(contest().splits):
            assert last.filter(pl.col("fold") == fold)["sample_id"].to_list() == contest().sequences.sample_ids[split.test].tolist()


def test_predictions_carry_each_steps_probability_and_the_samples_own_answer(held: pl.DataFrame) -> None:
    assert {name: held.filter(pl.col("model") == name)["step"].max() for name in MODELS} == dict(
        zip(MODELS, (2, 1, PRESETS["tiny"].supervision_steps, 1, 1, 1), strict=True)
    )
    truth = dict(zip(contest().sequences.sample_ids, contest().y, strict=True))
    assert held["y"].to_list() == [truth[sample] for sample in held["sample_id"]] and held["p"].is_between(0, 1).all()


def test_predictions_carry_the_tasks_group_by_which_intervals_are_drawn(held: pl.DataFrame) -> None:
    """A household has two clients, in either fold, and the same number for every model."""
    household = notes(120).samples.select("sample_id", TASK.group)
    pairs = held.join(household, on="sample_id", how="left").select("group", TASK.group).unique()
    assert len(pairs) == pairs["group"].n_unique() == pairs[TASK.group].n_unique() == 60
    assert held.group_by("group").agg(pl.col("fold").n_unique())["fold"].max() == 2


@pytest.mark.parametrize("name", ["trm", "gru", "logistic", "lightgbm"])
def test_every_model_finds_what_is_easy(name: str, held: pl.DataFrame) -> None:
    last = held.filter((pl.col("model") == name) & (pl.col("step") == pl.col("step").max().over("model")))
    folds = last.partition_by("fold")  # calibrations of so few rows differ by fold
    assert np.mean([auc(part["y"], part["p"]) for part in folds]) > 0.7


def test_a_resumed_contest_keeps_what_is_finished(held: pl.DataFrame, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [Entry(model=name, seed=0, fold=0) for name in MODELS]
    (folder / "trm-seed0-fold0.parquet").rename(folder / "away")
    entered: list[Entry] = []
    enter = module._enter
    monkeypatch.setattr(module, "_enter", lambda contest, entry, tell: entered.append(entry) or enter(contest, entry, tell))
    again = hold(contest(), entries, folder)
    (folder / "away").unlink()
    assert entered == [Entry(model="trm", seed=0, fold=0)]
    before = held.filter(pl.col("fold") == 0)
    assert again.drop("seconds").equals(before.drop("seconds")) and len(again) == len(before)


def other_contests() -> dict[str, Contest]:
    plain = contest()
    data = notes(120)
    changed = replace(data, samples=data.samples.with_columns(pl.col("limit") + 1))
    return {
        "settings": replace(plain, recipe=replace(RECIPE, training=replace(RECIPE.training, epochs=7))),
        "shape": replace(plain, recipe=RECIPE.with_model(width=16)),
        "folds": replace(plain, splits=plain.splits[::-1]),
        "data": replace(plain, sequences=build(changed, TASK)),
        "features": replace(plain, features=plain.features.with_columns(pl.col("notes") + 1)),
    }


@pytest.mark.parametrize("what", ["settings", "shape", "folds", "data", "features"])
def test_parts_of_another_contest_are_never_taken(what: str, held: pl.DataFrame, folder: Path) -> None:
    with pytest.raises(RunError, match="holds models of other data, folds or settings"):
        hold(other_contests()[what], [Entry(model="logistic", seed=0, fold=0)], folder)
    assert hold(contest(), [Entry(model="logistic", seed=0, fold=0)], folder).height == 60


def test_a_damaged_part_is_one_clear_error(tmp_path: Path) -> None:
    entry = Entry(model="logistic", seed=0, fold=0)
    hold(contest(), [entry], tmp_path)
    path = tmp_path / f"{entry.file}.parquet"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(RunError, match="logistic-seed0-fold0.parquet: is not whole Parquet"):
        hold(contest(), [entry], tmp_path)


def test_a_maker_is_the_code_the_libraries_and_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "provenance", lambda: {"commit": "c" * 40, "dirty": True})
    found = maker.__wrapped__()
    assert (found["trmfin"], found["commit"], found["dirty"]) == (__version__, "c" * 40, True)
    assert found["libraries"]["torch"] == torch.__version__ and found["cores"] >= 1
    assert module._version("no-such-library") is None


def test_code_that_is_changed_while_models_are_trained_is_not_what_trains_them(monkeypatch: pytest.MonkeyPatch) -> None:
    before = maker()
    monkeypatch.setattr(module, "provenance", lambda: {"commit": "c" * 40, "dirty": True})
    assert maker() == before


def test_parts_keep_who_made_them_when_other_code_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, old = (Entry(model="logistic", seed=seed, fold=0) for seed in range(3))
    hold(contest(), [first, old], tmp_path)
    (tmp_path / f"{old.file}.json").unlink()  # as before makers were kept
    now = maker()
    monkeypatch.setattr(module, "maker", lambda: now | {"commit": "f" * 40})
    hold(contest(), [first, second, old], tmp_path)
    found = makers([first, second, old], tmp_path)
    assert found == [now | {"models": 1}, now | {"commit": "f" * 40, "models": 1}, {"models": 1}]
    assert read_json(tmp_path / "contest.json", RunError) == {"contest": contest().identity, "made_by": now}


def test_models_made_by_the_same_code_are_counted_together(held: pl.DataFrame, folder: Path) -> None:
    assert makers([Entry(model=name, seed=0, fold=0) for name in ("gru", "logistic")], folder) == [maker() | {"models": 2}]


HRM = replace(MODEL, width=24, nets=2, gradient="step", damping=0.05, members=3)


@pytest.mark.parametrize("model", [MODEL, HRM, preset("tiny"), preset("small"), preset("paper")])
def test_the_gru_has_as_many_parameters_as_the_recursive_network_within_5_percent(model: ModelConfig) -> None:
    sequences = contest().sequences
    fitted = Fitted.fit(sequences, np.arange(120), model.bins)
    before = torch.get_rng_state()
    peer = gru_like(sequences, model)
    assert torch.equal(before, torch.get_rng_state())
    assert (peer.core, peer.supervision_steps, peer.members) == ("gru", 1, model.members)
    with torch.random.fork_rng(devices=[]):
        mine, theirs = (Network(TASK, fitted, replace(config, members=1)).parameters_count for config in (model, peer))
    assert abs(theirs - mine) <= 0.05 * mine


def test_the_gru_has_as_many_optimiser_steps_as_the_recursive_network() -> None:
    mine, peer = (entry_recipe(contest(), Entry(model=name, seed=0, fold=0)) for name in ("trm", "gru"))
    assert planned_steps(60, peer.model, peer.training) == planned_steps(60, mine.model, mine.training)


def test_the_gru_is_not_told_what_only_a_recursion_can_do() -> None:
    told = replace(RECIPE, training=replace(RECIPE.training, curriculum=((0.0, 1, 1),), state_noise=0.1, random_start=True))
    training = entry_recipe(replace(contest(), recipe=told), Entry(model="gru", seed=0, fold=0)).training
    assert (training.curriculum, training.state_noise, training.random_start) == ((), 0.0, False)


def test_a_recipe_is_the_contests_but_for_what_an_entry_names() -> None:
    pretrained = replace(contest(), recipe=replace(RECIPE, training=replace(RECIPE.training, pretrain_epochs=2.0)))
    assert entry_recipe(pretrained, Entry(model="scratch", seed=0, fold=0)) == RECIPE
    assert entry_recipe(contest(), Entry(model="trm", seed=5, fold=0)).training.seed == 5
    assert entry_recipe(contest(), Entry(model="tiny", seed=0, fold=0)).model == PRESETS["tiny"]
    assert entry_recipe(contest(), Entry(model="trm", seed=0, fold=0, labels=1000)) == RECIPE


def test_a_draw_of_labels_is_the_same_for_every_model_and_keeps_the_classes_shares() -> None:
    rows = contest().splits[0].train
    chosen = drawn(contest(), rows, Entry(model="trm", seed=0, fold=0, labels=30, draw=1))
    assert np.array_equal(chosen, drawn(contest(), rows, Entry(model="logistic", seed=0, fold=0, labels=30, draw=1)))
    assert not np.array_equal(chosen, drawn(contest(), rows, Entry(model="trm", seed=0, fold=0, labels=30, draw=2)))
    assert len(set(chosen)) == 30 and set(chosen) <= set(rows)
    assert abs(contest().y[chosen].mean() - contest().y[rows].mean()) < 0.03


def test_more_labels_than_there_are_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="labels: 61 asked for, fold 1 has 60 labelled training rows"):
        hold(contest(), [Entry(model="trm", seed=0, fold=1, labels=61)], tmp_path)


def test_few_labels_start_from_all_histories_of_the_fold(tmp_path: Path) -> None:
    pretrained = replace(contest(), recipe=replace(RECIPE, training=replace(RECIPE.training, pretrain_epochs=1.0)))
    found = hold(pretrained, [Entry(model="trm", seed=0, fold=0, labels=40, draw=3)], tmp_path)
    assert found["labels"].unique().to_list() == [40] and found["draw"].unique().to_list() == [3] and len(found) == 120
    (start,) = pretrained.starts.values()
    assert start.fitted == Fitted.fit(contest().sequences, contest().splits[0].train, MODEL.bins) and len(start.weights) == 2


def test_folds_are_named_by_number_and_windows_by_their_days() -> None:
    assert window_names(contest()) == ["fold 1", "fold 2"]
    data = notes(20, months=4)
    sequences = build(data, TASK)
    day = 86_400_000_000
    splits = walk_forward(
        sequences.as_of,
        sequences.targets.known_at["bad"],
        starts=np.array([np.datetime64("2024-04-01", "us").astype(np.int64)]),
        test_span=90 * day,
    )
    timed = Contest(sequences=sequences, features=challenger_features(data), recipe=RECIPE, splits=splits, workers=1)
    assert window_names(timed) == ["2024-04-30 to 2024-04-30"]


def test_features_out_of_the_samples_order_are_refused() -> None:
    with pytest.raises(DataError, match="expected sample_id first, and the 120 samples in their order"):
        replace(contest(), features=contest().features.reverse())
    with pytest.raises(DataError, match="expected sample_id first"):
        replace(contest(), features=contest().features.select("late", "sample_id"))


def test_a_primary_target_that_is_no_yes_or_no_is_refused() -> None:
    task = asking(Target(name="bad", head="quantiles", meaning="x", levels=(0.5,)))
    with pytest.raises(TaskError, match="primary target 'bad' is of the kind quantiles; evaluate judges binary ones only"):
        replace(contest(), sequences=build(notes(120), task))


def test_a_bundle_is_judged_on_all_samples_with_a_known_target() -> None:
    learnt = learn(contest().sequences, np.arange(120), RECIPE)
    bundle = bundle_of(learnt, contest().sequences, np.arange(120), RECIPE, {})
    data = notes(30)
    blank = [pl.when(pl.int_range(30) > 4).then(pl.col(name)).alias(name) for name in ("target_bad", "target_bad_known_at")]
    found = bundle_predictions(bundle, replace(data, samples=data.samples.with_columns(blank)))
    assert found.columns == COLUMNS and found["sample_id"].n_unique() == 25 and len(found) == 50
    with pytest.raises(DataError, match="none has a known target 'bad'"):
        bundle_predictions(bundle, notes(30, labelled=False))
