"""Pre-training learns from histories and never looks at a target."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from tests.learn.tiny import MODEL, TRAINING, world
from trmfin.learn.fit import start
from trmfin.learn.pretrain import Guess, bin_of, guessing_loss, hide_cells, pretrain
from trmfin.learn.slots import HIDE, draw
from trmfin.model.network import Network

SETTINGS = replace(TRAINING, pretrain_epochs=4.0)


def test_targets_are_not_looked_at() -> None:
    w = world()
    blind = replace(w.sequences, targets=replace(w.sequences.targets, values={"bad": np.full(len(w.sequences), np.nan, np.float32)}))
    seen, unseen = (pretrain(s, w.train, fitted=w.fitted, model=MODEL, settings=SETTINGS) for s in (w.sequences, blind))
    assert seen.keys() == unseen.keys()
    assert all(np.array_equal(seen[name], unseen[name]) for name in seen)


def test_only_present_cells_of_real_tokens_are_hidden() -> None:
    w = world()
    network = Network(w.sequences.task, w.fitted, MODEL)
    batch = w.sequences.batch(w.train)
    hidden = hide_cells(batch, network, draw(0, HIDE, 0))
    assert hidden.numbers.any() and hidden.codes.any()
    assert not hidden.numbers[np.isnan(batch.numbers)].any()
    assert not hidden.numbers[~batch.mask].any() and not hidden.codes[~batch.mask].any()
    assert np.isnan(hidden.batch.numbers[hidden.numbers]).all() and (hidden.batch.codes[hidden.codes] == 0).all()
    untouched = ~hidden.numbers
    assert np.array_equal(hidden.batch.numbers[untouched], batch.numbers[untouched], equal_nan=True)


def test_a_number_belongs_to_the_bin_its_edges_say() -> None:
    w = world()
    network = Network(w.sequences.task, w.fitted, MODEL)
    edges = np.array(w.fitted.edges["late"], np.float32)
    values = np.array([edges[0] - 1, edges[0], edges[1], (edges[1] + edges[2]) / 2, edges[-1] + 1], np.float32)
    numbers = torch.full((1, len(values), len(w.sequences.task.numbers)), torch.nan)
    numbers[0, :, 0] = torch.from_numpy(values)
    assert bin_of(network, numbers)[0, :, 0].tolist() == [0, 0, 1, 1, len(edges) - 2]


def test_it_ends_after_about_so_long() -> None:
    w = world()
    steps: list[int] = []
    long = replace(SETTINGS, pretrain_epochs=1e6)
    weights = pretrain(
        w.sequences,
        w.train,
        fitted=w.fitted,
        model=MODEL,
        settings=long,
        max_seconds=0.2,
        tell=lambda progress: steps.append(progress.step),
    )
    assert 1 <= len(steps) < 1000 and all(np.isfinite(value).all() for value in weights.values())


def test_guessing_gets_better() -> None:
    w = world()
    network = start(w.sequences, w.train, w.fitted, MODEL, SETTINGS).network
    guess, batch = Guess(network), w.sequences.batch(w.train)
    optimiser = torch.optim.Adam([*network.parameters(), *guess.parameters()], lr=0.02)
    losses = []
    for step in range(200):
        optimiser.zero_grad()
        loss = guessing_loss(network, guess, batch, hide_cells(batch, network, draw(0, HIDE, step)))
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-20:]) < 0.9 * np.mean(losses[:20])


def test_members_begin_from_the_weights_and_with_fresh_heads() -> None:
    w = world()
    weights = pretrain(w.sequences, w.train, fitted=w.fitted, model=MODEL, settings=SETTINGS)
    network = start(w.sequences, w.train, w.fitted, MODEL, SETTINGS, weights).network.state_dict()
    assert not any(name.startswith(("heads.", "halt.")) for name in weights)
    assert all(np.array_equal(network[name].numpy(), value) for name, value in weights.items())
    assert not network["heads.bad.weight"].any()
