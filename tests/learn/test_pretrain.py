"""Pre-training learns from histories and never looks at a target."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.learn.tiny import MODEL, TASK, TRAINING, notes, world
from trmfin.learn.fit import start
from trmfin.learn.pretrain import Cut, Foretell, cut_short, foretelling_loss, foretells, place_of, pretrain
from trmfin.learn.slots import HIDE, draw
from trmfin.model.config import ModelConfig
from trmfin.model.network import Network
from trmfin.sequences.batch import Batch
from trmfin.sequences.sequences import build

SETTINGS = replace(TRAINING, pretrain_epochs=4.0)
BFLOAT16 = pytest.mark.skipif(not torch.cpu.get_capabilities().get("amx_bf16"), reason="this processor gains nothing from bfloat16")


def test_targets_are_not_looked_at() -> None:
    w = world()
    blind = replace(w.sequences, targets=replace(w.sequences.targets, values={"bad": np.full(len(w.sequences), np.nan, np.float32)}))
    seen, unseen = (pretrain(s, w.train, fitted=w.fitted, model=MODEL, settings=SETTINGS) for s in (w.sequences, blind))
    assert seen.keys() == unseen.keys()
    assert all(np.array_equal(seen[name], unseen[name]) for name in seen)


def cut(seed: int = 0) -> tuple[Batch, Cut]:
    """All training rows, whole and cut short."""
    w = world()
    batch = w.sequences.batch(w.train)
    return batch, cut_short(w.sequences, w.train, draw(seed, HIDE, 0))


def test_the_newest_events_are_gone_and_older_ones_and_the_sample_stay_as_they_were() -> None:
    batch, short = cut()
    gone = batch.mask & ~short.batch.mask
    events = batch.mask[:, 1:].sum(1)
    assert (gone.sum(1)[events > 0] >= 1).all() and not gone[:, 0].any() and not (short.batch.mask & ~batch.mask).any()
    assert (gone.sum(1)[events > 1] < events[events > 1]).all()  # something is left to foretell from
    assert all((np.diff(row[there].astype(int)) >= 0).all() for row, there in zip(gone, batch.mask, strict=True))  # gone from the end
    assert np.isnan(short.batch.numbers[gone]).all() and (short.batch.codes[gone] == 0).all()
    assert np.array_equal(short.batch.numbers[~gone], batch.numbers[~gone], equal_nan=True)
    assert np.array_equal(short.batch.codes[~gone], batch.codes[~gone])


def test_what_is_to_be_foretold_is_the_oldest_event_that_is_gone() -> None:
    batch, short = cut()
    gone = batch.mask & ~short.batch.mask
    late, limit = 0, 1  # number fields: of events, of the sample
    for row, numbers, codes in zip(range(len(gone)), short.numbers, short.codes, strict=True):
        assert np.isnan(numbers[limit])
        if gone[row].any():
            first = int(gone[row].argmax())
            assert numbers[late] == batch.numbers[row, first, late] and codes[0] == batch.codes[row, first, 0]
        else:
            assert np.isnan(numbers[late]) and codes[0] == 0


def test_every_length_of_cut_is_drawn() -> None:
    drawn = {int(n) for seed in range(3) for batch, short in [cut(seed)] for n in (batch.mask & ~short.batch.mask)[:, 1:].sum(1)}
    assert drawn == {0, 1, 2}  # of up to three events


def test_an_event_that_stands_in_two_histories_is_gone_from_both() -> None:
    task = replace(TASK, histories=(*TASK.histories, replace(TASK.histories[0], name="newest", length=1)))
    w = world(task=task)
    batch = w.sequences.batch(w.train)
    short = cut_short(w.sequences, w.train, draw(0, HIDE, 0))
    gone = batch.mask & ~short.batch.mask
    newest, twin = gone[:, -1], gone[:, -2]  # the newest event stands at the end of either history
    assert newest.any() and np.array_equal(newest, twin)


def test_a_number_has_its_place_among_the_edges() -> None:
    w = world()
    network = Network(w.sequences.task, w.fitted, MODEL)
    edges = np.array(w.fitted.edges["late"], np.float32)
    values = np.array([np.nan, edges[0] - 1, edges[0], edges[1], (edges[1] + edges[2]) / 2, edges[-1] + 1], np.float32)
    numbers = torch.full((len(values), len(w.sequences.task.numbers)), torch.nan)
    numbers[:, 0] = torch.from_numpy(values)
    assert place_of(network, numbers)[:, 0].tolist() == [0, 0, 1, 2, 2, len(edges)]


def test_both_values_of_a_flag_and_a_field_that_never_differs_have_places() -> None:
    w = world()
    for edges, values, places in (((0.0, 1.0), [0.0, 1.0], [1, 2]), ((3.0,), [3.0, 3.0], [0, 0])):
        fitted = replace(w.fitted, edges={name: edges for name in w.fitted.edges})
        numbers = torch.tensor(values)[:, None].expand(2, len(w.sequences.task.numbers))
        network = Network(w.sequences.task, fitted, MODEL)
        assert place_of(network, numbers)[:, 0].tolist() == places
        short = cut_short(w.sequences, w.train, draw(0, HIDE, 0))
        assert torch.isfinite(foretelling_loss(network, Foretell(network), short))


def test_it_ends_after_about_so_long() -> None:
    w = world()
    steps, totals = [], []
    long = replace(SETTINGS, pretrain_epochs=1e6)
    weights = pretrain(
        w.sequences,
        w.train,
        fitted=w.fitted,
        model=MODEL,
        settings=long,
        max_seconds=0.2,
        tell=lambda progress: (steps.append(progress.step), totals.append(progress.total)),
    )
    assert 1 <= len(steps) < 1000 and steps[-1] == totals[-1] and all(np.isfinite(value).all() for value in weights.values())


@BFLOAT16
def test_half_precision_changes_the_weights_and_always_alike() -> None:
    w = world()
    whole, half, again = (
        pretrain(w.sequences, w.train, fitted=w.fitted, model=MODEL, settings=replace(SETTINGS, half_precision=asked))
        for asked in (False, True, True)
    )
    assert all(np.array_equal(value, again[name]) and value.dtype == whole[name].dtype for name, value in half.items())
    assert not np.array_equal(half["places"], whole["places"]) and all(np.isfinite(value).all() for value in half.values())
    np.testing.assert_allclose(half["places"], whole["places"], atol=0.05)


def test_foretelling_gets_better() -> None:
    w = world()
    network = start(w.sequences, w.train, w.fitted, MODEL, SETTINGS).network
    foretell = Foretell(network)
    optimiser = torch.optim.Adam([*network.parameters(), *foretell.parameters()], lr=0.02)
    losses = []
    for step in range(200):
        optimiser.zero_grad()
        loss = foretelling_loss(network, foretell, cut_short(w.sequences, w.train, draw(0, HIDE, step)))
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-20:]) < 0.9 * np.mean(losses[:20])


def test_samples_without_events_have_nothing_to_foretell() -> None:
    w = world()
    network = Network(w.sequences.task, w.fitted, MODEL)
    batch = w.sequences.batch(np.array([0, 4]))
    assert not batch.mask[:, 1:].any()
    short = cut_short(w.sequences, np.array([0, 4]), draw(0, HIDE, 0))
    assert float(foretelling_loss(network, Foretell(network), short).detach()) == 0


def test_members_begin_from_the_weights_and_with_fresh_heads() -> None:
    w = world()
    weights = pretrain(w.sequences, w.train, fitted=w.fitted, model=MODEL, settings=SETTINGS)
    network = start(w.sequences, w.train, w.fitted, MODEL, SETTINGS, weights).network.state_dict()
    assert not any(name.startswith(("heads.", "halt.")) for name in weights)
    assert all(np.array_equal(network[name].numpy(), value) for name, value in weights.items())
    assert not network["heads.bad.weight"].any()


def test_there_is_nothing_to_foretell_without_order_histories_or_fields_of_events() -> None:
    own = tuple(f for f in TASK.fields if f.of == "sample")
    for task in (replace(TASK, timeless=True), replace(TASK, histories=()), replace(TASK, fields=own)):
        assert not foretells(build(notes(), task))
    assert foretells(build(notes(), TASK))


@pytest.mark.parametrize("left_out", [("late", "limit"), ("kind",)])
@pytest.mark.parametrize("core", [MODEL, replace(MODEL, core="gru", supervision_steps=1)])
def test_any_core_learns_from_numbers_or_codes_alone(core: ModelConfig, left_out: tuple[str, ...]) -> None:
    w = world(task=replace(TASK, fields=tuple(f for f in TASK.fields if f.name not in left_out)))
    losses: list[float] = []
    weights = pretrain(
        w.sequences, w.train, fitted=w.fitted, model=core, settings=SETTINGS, tell=lambda progress: losses.append(progress.loss)
    )
    assert losses[-1] < losses[0] and all(np.isfinite(value).all() for value in weights.values())


def test_weights_of_a_pre_training_that_ran_out_of_time_are_not_kept(tmp_path: Path) -> None:
    w = world()
    given = {"fitted": w.fitted, "model": MODEL, "kept": tmp_path / "kept"}
    pretrain(w.sequences, w.train, settings=replace(SETTINGS, pretrain_epochs=1e6), max_seconds=0.2, **given)
    assert not (tmp_path / "kept").exists()
    pretrain(w.sequences, w.train, settings=SETTINGS, **given)
    assert (tmp_path / "kept").exists()
