"""Training one network: that it learns, repeats itself to the bit, stops when told, and does what its settings say."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from tests.learn.tiny import MODEL, TASK, TRAINING, World, answering, asking, notes, world
from tests.worlds import document_chain, grid, order_book
from trmfin.errors import DataError, RunError
from trmfin.learn.fit import Progress, Trained, fit, planned_steps, start, thinned
from trmfin.learn.losses import loss_per_sample
from trmfin.learn.members import primary_logits
from trmfin.learn.metrics import auc
from trmfin.learn.settings import TrainSettings
from trmfin.learn.supervise import hide, slot_step, validate
from trmfin.model.config import ModelConfig
from trmfin.model.heads import HALT_BIAS
from trmfin.model.network import Network
from trmfin.sequences.fitted import Fitted
from trmfin.sequences.sequences import build
from trmfin.sequences.task import Head, Target

SHORT = replace(TRAINING, epochs=2)
LONG = replace(TRAINING, epochs=12)


BFLOAT16 = pytest.mark.skipif(not torch.cpu.get_capabilities().get("amx_bf16"), reason="this processor gains nothing from bfloat16")


@cache
def easy() -> World:
    return world()


@cache
def larger() -> World:
    return world(notes(120))


def train(where: World | None = None, settings: TrainSettings = SHORT, model: ModelConfig = MODEL, **options: Any) -> Trained:
    where = where or easy()
    return fit(where.sequences, where.train, where.validation, fitted=where.fitted, model=model, settings=settings, **options)


def network(trained: Trained, where: World | None = None, model: ModelConfig = MODEL) -> Network:
    where = where or easy()
    with torch.random.fork_rng(devices=[]):
        made = Network(where.sequences.task, where.fitted, model)
    made.load_state_dict({name: torch.from_numpy(value) for name, value in trained.weights.items()})
    return made.eval()


def same(one: Trained, other: Trained) -> bool:
    return one.weights.keys() == other.weights.keys() and all(
        np.array_equal(value, other.weights[name], equal_nan=True) for name, value in one.weights.items()
    )


def untrained_loss(where: World) -> float:
    run = start(where.sequences, where.train, where.fitted, MODEL, SHORT)
    return validate(run, where.sequences, where.validation, 0.0, SHORT)


@pytest.mark.parametrize(
    ("settings", "model"),
    [
        (LONG, MODEL),
        (replace(LONG, optimiser="adam_atan2"), replace(MODEL, mixer="mlp")),
        (replace(LONG, refill=False, epochs=20), MODEL),
        (replace(LONG, epochs=20), replace(MODEL, core="gru", supervision_steps=1)),
    ],
)
def test_an_easy_problem_is_learnt(settings: TrainSettings, model: ModelConfig) -> None:
    where = larger()
    trained = train(where, settings, model)
    assert min(entry["validation_loss"] for entry in trained.history) < 0.9 * untrained_loss(where)
    assert trained.history[-1]["train_loss"] < untrained_loss(where)
    logits = primary_logits(network(trained, where, model), where.sequences, where.validation)
    y = where.sequences.targets.values["bad"][where.validation]
    assert auc(y, logits[:, -1]) > 0.8


def test_training_is_the_same_to_the_bit_for_a_seed_and_differs_between_seeds() -> None:
    assert same(train(), train()) and not same(train(), train(settings=replace(SHORT, seed=1)))


def test_training_leaves_the_global_random_numbers_as_found() -> None:
    torch.manual_seed(5)
    np.random.seed(5)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    train()
    assert torch.equal(before, torch.get_rng_state()) and np.array_equal(numpy_before, np.random.get_state()[1])


def test_training_does_not_depend_on_the_global_random_numbers() -> None:
    torch.manual_seed(1)
    first = train()
    torch.manual_seed(2)
    assert same(first, train())


def test_the_average_with_the_lowest_validation_loss_is_kept() -> None:
    wild = replace(TRAINING, epochs=12, learning_rate=0.3, average_decay=0.0, validations=12, schedule="constant", weight_decay=0.0)
    trained = train(settings=wild)
    losses = {entry["step"]: entry["validation_loss"] for entry in trained.history}
    assert trained.best_step == min(losses, key=lambda step: losses[step]) != max(losses)
    where, target = easy(), TASK.targets[0]
    logits = torch.from_numpy(primary_logits(network(trained), where.sequences, where.validation)[:, -1:])
    y = torch.from_numpy(where.sequences.targets.values["bad"][where.validation])
    assert loss_per_sample(target, logits, y).mean().item() == pytest.approx(losses[trained.best_step], rel=1e-5)


def test_a_run_has_the_planned_number_of_steps_and_looks_at_validation_as_often_as_asked() -> None:
    trained = train(settings=replace(SHORT, validations=3))
    assert trained.steps == planned_steps(48, MODEL, SHORT) == 12 and [entry["step"] for entry in trained.history] == [4, 8, 12]
    assert planned_steps(48, MODEL, replace(SHORT, refill=False)) == 6 and planned_steps(48, MODEL, replace(SHORT, random_depth=True)) == 9
    assert planned_steps(1, MODEL, replace(SHORT, epochs=0.01)) == 1


def test_the_halt_head_is_taught_with_and_without_slots() -> None:
    for refill in (True, False):
        learnt = network(train(settings=replace(SHORT, refill=refill, halt_gain=-1e9)))  # every step is worth taking
        assert learnt.halt.bias.item() < HALT_BIAS
        never = network(train(settings=replace(SHORT, refill=refill, halt_gain=1e9)))
        assert never.halt.bias.item() > HALT_BIAS


def test_a_fresh_network_answers_the_base_rate_of_its_training_rows() -> None:
    where = easy()
    run = start(where.sequences, where.train, where.fitted, MODEL, SHORT)
    rate = where.sequences.targets.values["bad"][where.train].mean()
    logits = primary_logits(run.network.eval(), where.sequences, where.validation)
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), (rate * 48 + 1) / 50, atol=1e-6)


def test_a_fresh_network_answers_the_mean_of_shares_and_the_shares_of_classes() -> None:
    data = notes()
    bad = data.samples["target_bad"]
    for target, answers, expected in (
        (Target(name="part", head="binary", meaning="x"), [0.5 if b else 0.1 for b in bad], None),
        (Target(name="kind", head="classes", meaning="x", classes=("a", "b", "c")), ["b" if b else "a" for b in bad], (0, 1)),
    ):
        where = world(answering(data, target.name, answers), asking(target))
        network = start(where.sequences, where.train, where.fitted, MODEL, SHORT).network
        bias = network.heads[target.name].bias.detach().double()
        positive = bad.gather(where.train).sum()
        if expected is None:
            mean = (0.5 * positive + 0.1 * (48 - positive) + 1) / 50
            assert bias.sigmoid().item() == pytest.approx(mean, rel=1e-5)
        else:
            assert bias.softmax(0).tolist() == pytest.approx([(49 - positive) / 51, (positive + 1) / 51, 1 / 51], rel=1e-5)


def test_every_slot_has_all_its_steps_where_answers_are_noisy() -> None:
    trained = train(settings=replace(SHORT, epochs=6))
    assert trained.depths[2] > 100 and trained.depths.get(1, 0) <= SHORT.batch_size


def test_training_stops_soon_after_its_time_is_up_and_keeps_what_it_has() -> None:
    told: list[Progress] = []
    trained = train(settings=replace(TRAINING, epochs=1e6, validations=2), max_seconds=0.5, tell=told.append)
    assert trained.seconds < 5 and 0 < trained.steps == told[-1].total < 6_000_000
    assert trained.history[-1]["step"] == trained.steps and trained.weights and told[-1].validation is not None


def test_progress_is_told_at_every_step() -> None:
    told: list[Progress] = []
    train(tell=told.append)
    assert [progress.step for progress in told] == list(range(1, 13)) and all(np.isfinite(progress.loss) for progress in told)
    assert [progress.step for progress in told if progress.validation is not None] == [3, 6, 9, 12]


@pytest.mark.parametrize(
    "changes",
    [
        {"positive_weight": 4.0},
        {"negative_share": 0.5},
        {"label_smoothing": 0.2},
        {"field_dropout": 0.5},
        {"cell_dropout": 0.5},
        {"random_depth": True},
        {"refill": False},
        pytest.param({"half_precision": True}, marks=BFLOAT16),
        pytest.param({"half_precision": True, "refill": False}, marks=BFLOAT16),
        {"halt_weight": 5.0},
        {"random_start": True},
        {"state_noise": 0.1},
        {"state_noise": 0.1, "refill": False},
        {"curriculum": ((0.0, 1, 1), (0.5, 2, 2))},
        {"optimiser": "adam_atan2"},
    ],
)
def test_a_setting_changes_the_weights_and_always_alike(changes: dict[str, Any]) -> None:
    settings = replace(SHORT, **changes)
    trained = train(settings=settings)
    assert same(trained, train(settings=settings)) and not same(trained, train())
    assert all(np.isfinite(value).all() for value in trained.weights.values())


def test_a_weight_on_positives_raises_scores() -> None:
    def mean(weight: float) -> float:
        trained = train(settings=replace(TRAINING, epochs=10, positive_weight=weight))
        return float(primary_logits(network(trained), easy().sequences, easy().validation)[:, -1].mean())

    assert mean(8.0) > mean(1.0) + 0.5


def test_thinned_negatives_leave_the_scale_of_the_answer_as_it_is() -> None:
    """So many negatives less would add 1.6 to every log-odds, were the loss not told."""
    where, settings = world(notes(400)), replace(LONG, epochs=20, negative_share=0.2)
    y = where.sequences.targets.values["bad"]
    kept = thinned(where.sequences, where.train, settings)
    assert set(where.train[y[where.train] == 1]) <= set(kept) and 0.1 < (y[kept] == 0).sum() / (y[where.train] == 0).sum() < 0.3
    both = np.concatenate((where.train, where.validation))
    said = 1 / (1 + np.exp(-primary_logits(network(train(where, settings), where), where.sequences, both)[:, -1]))
    assert said.mean() == pytest.approx(y[both].mean(), abs=0.08)


def test_hidden_fields_are_absent_in_all_tokens_and_hidden_cells_one_by_one() -> None:
    batch = easy().sequences.batch(easy().train)
    present, codes = ~np.isnan(batch.numbers), batch.codes > 0
    fields = hide(batch, easy().sequences.task, replace(SHORT, field_dropout=0.5), 3)
    lost = present & np.isnan(fields.numbers)
    assert (lost.any(1) == (lost | ~present).all(1) & present.any(1)).all() and 0.3 < lost.sum() / present.sum() < 0.7
    assert 0.3 < (codes & (fields.codes == 0)).sum() / codes.sum() < 0.7 and np.array_equal(fields.mask, batch.mask)
    cells = hide(batch, easy().sequences.task, replace(SHORT, cell_dropout=0.5), 3)
    tokens = codes.sum(1) > 1
    assert ((codes & (cells.codes == 0)).any(1) & (cells.codes > 0).any(1) & tokens).any()
    again, later = (hide(batch, easy().sequences.task, replace(SHORT, cell_dropout=0.5), step) for step in (3, 4))
    assert np.array_equal(again.codes, cells.codes) and not np.array_equal(later.codes, cells.codes)
    assert hide(batch, easy().sequences.task, SHORT, 3) is batch


def test_validation_is_judged_in_one_piece_or_in_many(monkeypatch: pytest.MonkeyPatch) -> None:
    where = easy()
    run = start(where.sequences, where.train, where.fitted, MODEL, SHORT)
    slot_step(run, where.sequences, SHORT)
    whole = validate(run, where.sequences, where.validation, 0.0, SHORT)
    monkeypatch.setattr("trmfin.learn.supervise.VALIDATION_BATCH", 5)
    assert validate(run, where.sequences, where.validation, 0.0, SHORT) == pytest.approx(whole, rel=1e-6)


def test_no_label_at_all_is_a_clear_error() -> None:
    where, blank = easy(), world(notes(labelled=False))
    with pytest.raises(DataError, match="training rows: 48 rows, none with a known target 'bad'"):
        train(blank)
    with pytest.raises(DataError, match="validation rows: 0 rows"):
        fit(where.sequences, where.train, where.validation[:0], fitted=where.fitted, model=MODEL, settings=SHORT)
    data, task = grid()
    unsolved = build(data, task)
    fitted = Fitted.fit(unsolved, np.arange(2), 4)
    with pytest.raises(DataError, match="training rows: 1 rows, none with a known target 'digit'"):
        fit(unsolved.aligned(fitted), np.array([1]), np.array([0]), fitted=fitted, model=MODEL, settings=SHORT)


def test_training_that_diverges_is_a_clear_error() -> None:
    with pytest.raises(RunError, match="diverged; lower learning_rate"):
        train(settings=replace(SHORT, learning_rate=1e30, warmup_steps=0))


OTHER_HEADS: list[tuple[Head, dict[str, Any], Callable[[float], Any]]] = [
    ("classes", {"classes": ("good", "bad")}, lambda bad: "bad" if bad else "good"),
    ("classes", {"classes": ("good", "bad")}, lambda bad: [0.1, 0.9] if bad else [0.9, 0.1]),
    ("ordinal", {"classes": ("good", "fair", "bad")}, lambda bad: "bad" if bad else "good"),
    ("quantiles", {"levels": (0.1, 0.5, 0.9)}, lambda bad: 3.0 if bad else -1.0),
]


@pytest.mark.parametrize("halt", ["no_further_gain", "exact"])
@pytest.mark.parametrize(("head", "shape", "answer"), OTHER_HEADS)
def test_every_head_can_be_the_primary_one(head: Head, shape: dict[str, Any], answer: Callable[[float], Any], halt: str) -> None:
    data = notes(120)
    answers = [answer(bad) if row % 10 else None for row, bad in enumerate(data.samples["target_bad"])]
    where = world(answering(data, "other", answers), asking(Target(name="other", head=head, meaning="x", **shape), halt))
    trained = train(where, replace(TRAINING, epochs=6))
    assert min(entry["validation_loss"] for entry in trained.history) < 0.95 * untrained_loss(where)


@pytest.mark.parametrize("make", [grid, document_chain, order_book])
def test_grids_documents_and_several_horizons_are_learnt(make: Callable) -> None:
    sequences = build(*make())
    rows = np.flatnonzero(sequences.targets.known_at[sequences.task.primary] < np.iinfo(np.int64).max)
    fitted = Fitted.fit(sequences, rows, 4)
    settings = replace(TRAINING, epochs=200 / len(rows), batch_size=8)
    trained = fit(sequences.aligned(fitted), rows, rows, fitted=fitted, model=MODEL, settings=settings)
    assert trained.history[-1]["validation_loss"] < 0.95 * trained.history[0]["validation_loss"]


def test_slots_that_know_their_answer_halt_early_where_answers_are_exact() -> None:
    sequences = build(*grid())
    fitted = Fitted.fit(sequences, np.arange(2), 4)
    settings = replace(TRAINING, epochs=400, batch_size=4, weight_decay=0.0)
    model, row = replace(MODEL, supervision_steps=4), np.array([0])
    early = 0
    for seed in range(3):  # one start in six does not learn its answer in so short a training
        of_seed = replace(settings, seed=seed)
        depths = fit(sequences.aligned(fitted), row, row, fitted=fitted, model=model, settings=of_seed).depths
        early += depths[1] > depths[4]
        assert 2 in depths  # exploration keeps some going
    assert early >= 2
    all_steps = fit(sequences.aligned(fitted), row, row, fitted=fitted, model=model, settings=replace(settings, halt_early=False))
    assert all_steps.depths[4] > 10 * sum(count for depth, count in all_steps.depths.items() if depth < 4)


def test_a_single_supervision_step_is_enough_for_exact_halting() -> None:
    sequences = build(*grid())
    fitted = Fitted.fit(sequences, np.arange(2), 4)
    model, row = replace(MODEL, core="gru", supervision_steps=1), np.array([0])
    trained = fit(sequences.aligned(fitted), row, row, fitted=fitted, model=model, settings=replace(SHORT, batch_size=4, epochs=20))
    assert set(trained.depths) == {1}


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++, which torch.compile needs on a processor")
@pytest.mark.filterwarnings("ignore")  # torch's compiler warns of its own parts
def test_a_compiled_network_learns_what_it_learns_uncompiled() -> None:
    settings = replace(SHORT, steps=4, validations=1)
    torch._dynamo.utils.counters.clear()  # type: ignore[attr-defined]
    compiled, plain = train(settings=settings, compiled=True), train(settings=settings)
    assert torch._dynamo.utils.counters["frames"]["ok"]  # type: ignore[attr-defined]
    for name, value in plain.weights.items():
        np.testing.assert_allclose(compiled.weights[name], value, atol=1e-4, err_msg=name)
    assert not same(compiled, train(settings=replace(settings, seed=1)))
