"""From prepared data to a bundle: what sees which rows, and what the card says."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch

from tests.learn.tiny import MODEL, TASK, TRAINING, answering, asking, few_draws, notes
from trmfin.data.prepared import Prepared
from trmfin.errors import ConfigError, DataError, RunError
from trmfin.learn.bundle import Bundle
from trmfin.learn.calibrate import Calibration, cross_fitted, fit_calibration, probability
from trmfin.learn.halting import cheapest_epsilon, steps_used
from trmfin.learn.holdout import holdouts
from trmfin.learn.members import TrainedEnsemble, fit_members, primary_logits
from trmfin.learn.metrics import auc, log_loss
from trmfin.learn.recipe import Recipe
from trmfin.learn.reference import reference
from trmfin.learn.training import Learnt, Start, begin, bundle_of, held_out_metrics, learn
from trmfin.sequences.sequences import Sequences, build
from trmfin.sequences.task import Target, Task

RECIPE = Recipe(model=replace(MODEL, members=2), training=replace(TRAINING, epochs=3))


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    with few_draws():
        yield


@cache
def data() -> Sequences:
    return build(notes(120), TASK)


@cache
def learnt() -> Learnt:
    return learn(data(), np.arange(120), RECIPE)


def bundle(found: Learnt, sequences: Sequences) -> Bundle:
    return bundle_of(found, sequences, np.arange(len(sequences)), RECIPE, {"pipeline": "notes"})


def test_calibration_is_fitted_on_held_out_rows_only(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[np.ndarray, np.ndarray]] = []
    monkeypatch.setattr("trmfin.learn.training.fit_calibration", lambda logits, y: seen.append((logits, y)) or fit_calibration(logits, y))
    found = learn(data(), np.arange(120), RECIPE)
    splits = holdouts(data(), np.arange(120), 2, 0)
    held_out = np.sort(np.concatenate([split.test for split in splits]))
    ((logits, y),) = seen
    assert found.ensemble.held_out.tolist() == held_out.tolist() and 0 < len(held_out) < 40
    assert np.array_equal(logits, found.ensemble.logits) and np.array_equal(y, data().targets.values["bad"][held_out])


def test_calibration_looks_at_all_held_out_rows_though_training_sees_few_negatives() -> None:
    """Of a fifth of the negatives, three quarters of the answers would be yes; of all, less than half are."""
    sequences = build(notes(480), TASK)
    rows, y = np.arange(480), sequences.targets.values["bad"]
    found = learn(sequences, rows, Recipe(model=RECIPE.model, training=replace(TRAINING, epochs=3, negative_share=0.2)))
    splits = holdouts(sequences, rows, 2, 0)
    held_out = np.sort(np.concatenate([split.test for split in splits]))
    assert found.ensemble.held_out.tolist() == held_out.tolist()
    said = probability(found.log_odds(found.ensemble.logits))[:, -1]
    assert said.mean() == pytest.approx(y[held_out].mean(), abs=0.01) and y.mean() < 0.5
    everywhere = primary_logits(found.ensemble.network, sequences.aligned(found.fitted), rows)
    assert probability(found.log_odds(everywhere))[:, -1].mean() == pytest.approx(y.mean(), abs=0.06)


def test_calibration_keeps_the_ranking_and_does_not_worsen_the_log_loss_of_what_it_was_fitted_on() -> None:
    found = learnt()
    raw, y = found.ensemble.logits, data().targets.values["bad"][found.ensemble.held_out].astype(float)
    calibrated = found.log_odds(raw)
    assert (np.argsort(raw[:, -1]) == np.argsort(calibrated[:, -1])).all()
    assert log_loss(y, probability(calibrated[:, -1])) <= log_loss(y, probability(raw[:, -1])) + 0.02


def test_no_row_but_those_given_is_learnt_from() -> None:
    rows = np.arange(0, 120, 2)
    one = learn(data(), rows, RECIPE)
    prepared = notes(120)
    odd = pl.int_range(120) % 2 == 1
    other = prepared.samples.with_columns(
        target_bad=pl.when(odd).then(1 - pl.col("target_bad")).otherwise(pl.col("target_bad")),
        limit=pl.when(odd).then(pl.col("limit") * 7).otherwise(pl.col("limit")),
    )
    again = learn(build(replace(prepared, samples=other), TASK), rows, RECIPE)
    assert one.fitted == again.fitted and one.calibration == again.calibration
    for name, value in one.ensemble.network.state_dict().items():
        assert torch.equal(value.nan_to_num(), again.ensemble.network.state_dict()[name].nan_to_num()), name


def test_learning_beats_a_guess_on_rows_it_never_saw() -> None:
    found = learn(data(), np.arange(90), replace(RECIPE, training=replace(TRAINING, epochs=10)))
    bound = bundle(found, data())
    from trmfin.scoring.engine import score_rows

    scores = score_rows(bound, data().aligned(found.fitted), np.arange(90, 120))
    assert auc(data().targets.values["bad"][90:], scores.score) > 0.8


def test_a_bundle_says_where_it_comes_from_and_how_good_it_is(tmp_path: Path) -> None:
    card = bundle(learnt(), data()).card
    assert (card["pipeline"], card["task"], card["purpose"]) == ("notes", "notes", "probability that the client turns bad")
    assert card["data"] == {"samples": 120, "first_as_of": "2024-01-31T00:00:00.000000Z", "last_as_of": "2024-01-31T00:00:00.000000Z"}
    assert card["model"]["parameters"] == learnt().ensemble.network.parameters_count and len(card["members"]) == 2
    held = card["held_out"]
    y = data().targets.values["bad"][learnt().ensemble.held_out]
    assert held["samples"] == len(y)
    judged = cross_fitted(learnt().calibration.kind, learnt().ensemble.logits, y)[:, -1]
    assert held["auc"]["value"] == auc(y, judged) and held["auc"]["low"] <= held["auc"]["value"]
    told, log_odds = card["early_halting"], learnt().log_odds(learnt().ensemble.logits)
    assert told["halt_epsilon"] == cheapest_epsilon(log_odds, y) and told["tolerance"] == 0.001
    assert told["steps_saved"] == 1 - steps_used(log_odds, told["halt_epsilon"]).mean() / 2
    assert card["splits"] == {"held_out": "dealt", "parts": 8, "unit": "household", "seed": 0}
    assert card["model"]["flops"] == 2 * learnt().ensemble.network.networks[0].flops(MODEL.supervision_steps) > 0
    assert card["challengers"].startswith("none was trained") and "python -m trmfin.evaluate" in card["challengers"]
    assert card["protected"]["columns"] == [] and "held" in card["selection"] and "Valid" in card["limits"]


def test_samples_of_many_times_are_held_out_once_each() -> None:
    sequences = build(notes(30, months=6), TASK)
    found = learn(sequences, np.arange(180), RECIPE)
    card = bundle(found, sequences).card
    assert card["held_out"]["samples"] == 48 and card["data"]["last_as_of"].startswith("2024-06-29")


def test_a_card_says_where_all_members_held_out_the_latest_samples() -> None:
    sequences = build(notes(14, months=6), TASK)
    found = learn(sequences, np.arange(84), replace(RECIPE, training=replace(TRAINING, epochs=1)))
    assert bundle(found, sequences).card["splits"] == {"held_out": "latest", "parts": 1, "unit": None, "seed": None}


def test_reference_rows_are_spread_over_training_rows_as_the_network_sees_them() -> None:
    sequences = data().aligned(learnt().fitted)
    found = reference(sequences, np.arange(120), None, 0.5)
    assert len(found) == 100 and found["sample_id"][0] == "c0@0" and found["sample_id"][-1] == "c119@0"
    batch = sequences.batch([119])
    assert np.array_equal(found["numbers"].to_numpy()[-1].reshape(4, 2), batch.numbers[0], equal_nan=True)
    assert np.array_equal(found["codes"].to_numpy()[-1].reshape(4, 1), batch.codes[0])
    assert np.array_equal(found["mask"].to_numpy()[-1], batch.mask[0])


PRETRAINED = replace(RECIPE, training=replace(RECIPE.training, pretrain_epochs=1.0))
NONE = [np.arange(0)] * 2  # nothing is held out


def same(one: Start, other: Start) -> bool:
    return len(one.weights) == len(other.weights) and all(
        a.keys() == b.keys() and all(np.array_equal(value, b[name], equal_nan=True) for name, value in a.items())
        for a, b in zip(one.weights, other.weights, strict=True)
    )


def test_pre_training_sees_histories_and_no_target() -> None:
    before = torch.get_rng_state()
    one = begin(data(), np.arange(120), PRETRAINED, NONE)
    blank = begin(build(notes(120, labelled=False), TASK), np.arange(120), PRETRAINED, NONE)
    assert one.fitted == blank.fitted and len(one.weights) == RECIPE.model.members and same(one, blank)
    assert torch.equal(before, torch.get_rng_state()) and not any(name.startswith(("heads.", "halt.")) for name in one.weights[0])
    started = learn(data(), np.arange(120), PRETRAINED, start=one)
    assert not torch.equal(started.ensemble.network.networks[0].places, learnt().ensemble.network.networks[0].places)


def test_each_member_is_pre_trained_with_a_seed_of_its_own_the_same_side_by_side() -> None:
    in_turn, side_by_side = (begin(data(), np.arange(120), PRETRAINED, NONE, workers=workers) for workers in (1, 2))
    assert same(in_turn, side_by_side)
    assert not np.array_equal(in_turn.weights[0]["places"], in_turn.weights[1]["places"])


def test_a_timeless_task_has_no_next_event_and_is_not_pre_trained() -> None:
    assert begin(build(notes(120), replace(TASK, timeless=True)), np.arange(120), PRETRAINED, NONE).weights == ()


def test_pre_training_is_told_timed_and_not_repeated_on_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, str, int]] = []
    first = begin(
        data(),
        np.arange(120),
        PRETRAINED,
        NONE,
        folder=tmp_path,
        tell=lambda member, progress: told.append((member, progress.phase, progress.step)),
    )
    assert told == [(member, "pre-training", step) for member in (0, 1) for step in range(1, 9)]
    monkeypatch.setattr("trmfin.learn.pretrain._pretrained", lambda *arguments, **options: pytest.fail("pre-trained twice"))
    assert same(first, begin(data(), np.arange(120), PRETRAINED, NONE, folder=tmp_path))
    with pytest.raises(RunError, match="made from other data or settings"):
        begin(data(), np.arange(110), PRETRAINED, NONE, folder=tmp_path)
    kept = tmp_path / "pretrained-1.safetensors"
    damaged = bytearray(kept.read_bytes())
    damaged[-1] ^= 1
    kept.write_bytes(damaged)
    with pytest.raises(RunError, match="not a readable checkpoint"):
        begin(data(), np.arange(120), PRETRAINED, NONE, folder=tmp_path)


def test_the_time_of_pre_training_is_taken_from_the_members(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float] = []
    ensemble, clock = learnt().ensemble, iter([100.0, 107.0])

    def fitting(*arguments: object, max_seconds: float, **options: object) -> TrainedEnsemble:
        given.append(max_seconds)
        return ensemble

    monkeypatch.setattr("trmfin.learn.training.fit_members", fitting)
    monkeypatch.setattr("trmfin.learn.training.time", SimpleNamespace(monotonic=lambda: next(clock)))
    learn(data(), np.arange(120), RECIPE, max_seconds=10.0)
    assert given == [3.0]


def test_no_label_at_all_is_a_clear_error() -> None:
    with pytest.raises(DataError, match="no sample has a known target 'bad'; prepare a file with labels"):
        learn(build(notes(labelled=False), TASK), np.arange(64), RECIPE)


def test_too_few_of_a_class_to_calibrate_are_told_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trmfin.learn.training.fit_members", lambda *arguments, **options: pytest.fail("trained in vain"))
    prepared = notes(64)
    rare = prepared.samples.with_columns(target_bad=(pl.int_range(64) == 5).cast(pl.Float64))
    sequences = build(replace(prepared, samples=rare), TASK)
    said = "of 16 held-out samples [01] are of the rarer class of 'bad'; calibration needs at least 2 of each, so give more labelled"
    with pytest.raises(DataError, match=f"{said} samples of that class, or hold out more of them: members = 8 under .model. of --config$"):
        learn(sequences, np.arange(64), RECIPE)
    with pytest.raises(DataError, match="of 64 held-out samples 1 are .* samples of that class$"):
        learn(sequences, np.arange(64), replace(RECIPE, model=replace(MODEL, members=8)))


def test_more_members_are_not_advised_where_all_hold_out_the_same() -> None:
    prepared = notes(14, months=6)
    never = replace(prepared, samples=prepared.samples.with_columns(target_bad=(pl.int_range(84) == 5).cast(pl.Float64)))
    with pytest.raises(DataError, match="0 are of the rarer class .* samples of that class among the latest, which all members hold out$"):
        learn(build(never, TASK), np.arange(84), RECIPE)


def test_a_setting_that_would_do_nothing_is_refused_before_anything_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trmfin.learn.training.begin", lambda *arguments, **options: pytest.fail("pre-trained in vain"))
    prepared, task = other(notes(64), Target(name="days", head="quantiles", meaning="x", levels=(0.5,)), lambda bad: 9.0 * bad)
    with pytest.raises(ConfigError, match="positive_weight is 3, but the primary target 'days' is of the kind quantiles"):
        learn(build(prepared, task), np.arange(64), replace(RECIPE, training=replace(TRAINING, positive_weight=3.0)))


def other(prepared: Prepared, target: Target, answer: Callable[[float], object]) -> tuple[Prepared, Task]:
    return answering(prepared, target.name, [answer(bad) for bad in prepared.samples["target_bad"]]), asking(target)


@pytest.mark.parametrize(
    ("target", "answer"),
    [
        (Target(name="grade", head="classes", meaning="x", classes=("a", "b", "c")), lambda bad: "c" if bad else "a"),
        (Target(name="grade", head="ordinal", meaning="x", classes=("a", "b")), lambda bad: "b" if bad else "a"),
        (Target(name="days", head="quantiles", meaning="x", levels=(0.5,)), lambda bad: 9.0 * bad),
    ],
)
def test_heads_without_a_yes_or_no_are_bundled_uncalibrated(target: Target, answer: Callable[[float], object], tmp_path: Path) -> None:
    prepared, task = other(notes(64), target, answer)
    sequences = build(prepared, task)
    found = learn(sequences, np.arange(64), RECIPE)
    assert found.calibration == Calibration(kind="identity", parameters=((), ()))
    bound = bundle(found, sequences)
    assert bound.card["held_out"] == bound.card["early_halting"] == {} and held_out_metrics(found, sequences) == {}
    bound.save(tmp_path)
    assert Bundle.load(tmp_path).calibration == found.calibration


@pytest.mark.parametrize("codes", [True, False])
def test_a_task_without_numbers_or_without_codes_is_trained_saved_and_loaded(codes: bool, tmp_path: Path) -> None:
    task = replace(TASK, fields=tuple(f for f in TASK.fields if f.is_code == codes))
    sequences = build(notes(64), task)
    found = learn(sequences, np.arange(64), replace(RECIPE, training=replace(RECIPE.training, epochs=1)))
    bound = bundle(found, sequences)
    bound.save(tmp_path)
    assert set(bound.reference.columns) == {"group", "sample_id", "mask", "codes" if codes else "numbers"}
    assert Bundle.load(tmp_path).reference.equals(bound.reference)


def test_members_are_told_of_by_their_number() -> None:
    told: set[int] = set()
    splits = holdouts(data(), np.arange(120), 2, 0)
    fitted = learnt().fitted
    result = fit_members(
        data().aligned(fitted),
        splits,
        fitted=fitted,
        model=RECIPE.model,
        settings=replace(TRAINING, epochs=1),
        tell=lambda member, progress: told.add(member),
    )
    assert told == {0, 1} and isinstance(result, TrainedEnsemble)
