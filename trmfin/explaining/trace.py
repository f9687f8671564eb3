"""How an answer came about, step by step, and what of it may say that the answer is wrong.

Each signal is a doubt: higher = less sure. Whether one tells wrong from right is for data to say (`tests/benchmarks/doubt.py`), task by
task; none is called an uncertainty here.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from trmfin.learn.bundle import Bundle
from trmfin.learn.calibrate import probability
from trmfin.model.core import State
from trmfin.model.refine import Thinking, begin, stirred
from trmfin.scoring.engine import cached_batch, log_odds, score_rows, undisturbed
from trmfin.scoring.scores import Scores
from trmfin.sequences.sequences import Sequences

Float = NDArray[np.float64]
RUNS = 8
NOISE = Thinking(rollouts=RUNS, noise=0.1)
RESTARTS = Thinking(rollouts=RUNS, random_start=True)


def from_scores(scores: Scores) -> dict[str, Float]:
    """Signals that a run's table already holds, each (N,)."""
    last = scores.step - 1
    rows = np.arange(len(scores))
    final, before = scores.logits[rows, last], scores.logits[rows, np.maximum(last - 1, 0)]
    return {
        "max probability": 1 - probability(np.abs(final)),
        "steps disagree": np.nanstd(scores.logits.astype(np.float64), axis=1),
        "late drift": np.abs(final - before).astype(np.float64),
        "halt head": 1 - scores.halts[rows, last].astype(np.float64),
    }


def of_runs(bundle: Bundle, sequences: Sequences, rows: NDArray[np.int64], thinking: Thinking) -> Float:
    """(N,) standard deviation over rollouts of the last step's log-odds: of noise on the state, or of where the recursion begins."""
    return _spread(bundle, sequences, rows, thinking, dropout=0.0)


def of_dropout(bundle: Bundle, sequences: Sequences, rows: NDArray[np.int64], share: float = 0.1, seed: int = 0) -> Float:
    """(N,) the same over RUNS passes that each drop a share of the embedded question's channels (Gal & Ghahramani 2016)."""
    return _spread(bundle, sequences, rows, Thinking(seed=seed), dropout=share)


def of_networks(bundles: list[Bundle], sequences: Sequences, rows: NDArray[np.int64]) -> Float:
    """(networks, N) last log-odds of networks that were trained from other seeds. sequences: not yet aligned."""
    each = [score_rows(bundle, sequences.aligned(bundle.fitted), rows).logits[:, -1] for bundle in bundles]
    return np.asarray(each, np.float64)


def _spread(bundle: Bundle, sequences: Sequences, rows: NDArray[np.int64], thinking: Thinking, dropout: float) -> Float:
    network, out = bundle.network, np.empty(len(rows))
    size = cached_batch(network.config, network.task.length)
    runs = thinking.rollouts if thinking.rollouts > 1 else RUNS
    with undisturbed(network, None):
        for first in range(0, len(rows), size):
            batch = sequences.batch(rows[first : first + size])
            question, setting = network.encode(batch), network.setting(batch)
            found = np.empty((runs, len(batch.rows)))
            for run in range(runs):
                x = question * _kept(question.shape[1:], dropout, thinking.seed, run) if dropout else question
                state = State(*begin(network.core.start(x), thinking, run))
                for step in range(network.config.supervision_steps):
                    state = network.core(x, State(*stirred(state, thinking, run, step)), setting)
                raw = log_odds(network, network.read(state, setting))
                found[run] = bundle.calibration.apply(np.repeat(raw[:, None], network.config.supervision_steps, 1))[:, -1]
            out[first : first + size] = found.std(0)
    return out


def _kept(shape: torch.Size, dropout: float, seed: int, run: int) -> torch.Tensor:
    """Which channels stay, the same for every sample, scaled so that their mean does."""
    random = torch.Generator().manual_seed(int(np.random.SeedSequence((seed, run)).generate_state(1)[0]))
    return (torch.rand(shape, generator=random) >= dropout).float() / (1 - dropout)
