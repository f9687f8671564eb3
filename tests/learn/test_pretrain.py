"""Pre-training learns from histories and never looks at a target."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from tests.learn.tiny import MODEL, TASK, TRAINING, world
from trmfin.learn.fit import start
from trmfin.learn.pretrain import Cut, Foretell, bin_of, cut_short, foretelling_loss, pretrain
from trmfin.learn.slots import HIDE, draw
from trmfin.model.network import Network
from trmfin.sequences.batch import Batch

SETTINGS = replace(TRAINING, pretrain_epochs=4.0)


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
    return batch, cut_short(batch, Network(w.sequences.task, w.fitted, MODEL), draw(seed, HIDE, 0))


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


def test_where_there_are_two_histories_one_is_cut_and_the_other_stays() -> None:
    task = replace(TASK, histories=(*TASK.histories, replace(TASK.histories[0], name="again", length=2)))
    w = world(task=task)
    batch = w.sequences.batch(w.train)
    short = cut_short(batch, Network(task, w.fitted, MODEL), draw(0, HIDE, 0))
    gone = batch.mask & ~short.batch.mask
    of_first, of_second = (gone & (batch.tag == tag) for tag in (1, 2))
    assert of_first.any() and of_second.any() and not (of_first.any(1) & of_second.any(1)).any()


def test_a_number_belongs_to_the_bin_its_edges_say() -> None:
    w = world()
    network = Network(w.sequences.task, w.fitted, MODEL)
    edges = np.array(w.fitted.edges["late"], np.float32)
    values = np.array([edges[0] - 1, edges[0], edges[1], (edges[1] + edges[2]) / 2, edges[-1] + 1], np.float32)
    numbers = torch.full((len(values), len(w.sequences.task.numbers)), torch.nan)
    numbers[:, 0] = torch.from_numpy(values)
    assert bin_of(network, numbers)[:, 0].tolist() == [0, 0, 1, 1, len(edges) - 2]


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


def test_foretelling_gets_better() -> None:
    w = world()
    network = start(w.sequences, w.train, w.fitted, MODEL, SETTINGS).network
    foretell, batch = Foretell(network), w.sequences.batch(w.train)
    optimiser = torch.optim.Adam([*network.parameters(), *foretell.parameters()], lr=0.02)
    losses = []
    for step in range(200):
        optimiser.zero_grad()
        loss = foretelling_loss(network, foretell, cut_short(batch, network, draw(0, HIDE, step)))
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-20:]) < 0.9 * np.mean(losses[:20])


def test_samples_without_events_have_nothing_to_foretell() -> None:
    w = world()
    network = Network(w.sequences.task, w.fitted, MODEL)
    batch = w.sequences.batch(np.array([0, 4]))
    assert not batch.mask[:, 1:].any()
    short = cut_short(batch, network, draw(0, HIDE, 0))
    assert float(foretelling_loss(network, Foretell(network), short).detach()) == 0


def test_members_begin_from_the_weights_and_with_fresh_heads() -> None:
    w = world()
    weights = pretrain(w.sequences, w.train, fitted=w.fitted, model=MODEL, settings=SETTINGS)
    network = start(w.sequences, w.train, w.fitted, MODEL, SETTINGS, weights).network.state_dict()
    assert not any(name.startswith(("heads.", "halt.")) for name in weights)
    assert all(np.array_equal(network[name].numpy(), value) for name, value in weights.items())
    assert not network["heads.bad.weight"].any()
