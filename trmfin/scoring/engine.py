"""From sequences to scores: supervision steps over batches that stay in cache; samples that are settled leave the batch.

A score is a function of the sample and the bundle: batch size, order and threads change it by rounding only (≤ 1e-5).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trmfin.errors import ConfigError
from trmfin.learn.bundle import Bundle
from trmfin.learn.losses import log_stablemax
from trmfin.model.config import ModelConfig
from trmfin.model.core import State
from trmfin.model.ensemble import Ensemble
from trmfin.model.network import Answer
from trmfin.model.refine import answers
from trmfin.scoring.scores import Effort, Scores, output_targets, token_targets
from trmfin.scoring.table import Places, Table, has_log_odds, token_answers
from trmfin.sequences.sequences import Batch, Sequences
from trmfin.sequences.task import Target

CACHE_NUMBERS = 2**16  # of x per batch: 256 KiB in float32, so that x, y, z and a block's inner values share a 2 MiB cache
LEAST_BATCH, LARGEST_BATCH = 8, 1024
NEAR_TIE = 2e-5  # log-odds; the size of a batch moves a step's gain by a tenth of it, see `_margin_alone`


def score_rows(
    bundle: Bundle,
    sequences: Sequences,
    rows: NDArray[np.int64],
    steps: int | None = None,
    batch_size: int | None = None,
    epsilon: float | None = None,
    threads: int | None = None,
    tell: Callable[[int], None] = lambda rows_done: None,
) -> Scores:
    """Score samples `rows` of sequences that are aligned to `bundle.fitted`.

    steps: supervision steps at most; None = all that were trained. batch_size: None = what stays in cache.
    epsilon: when a sample is settled, None = the policy's `halt_epsilon`; 0 = every sample has all steps. Under the
    halt rule no_further_gain a sample halts once a step moves its calibrated log-odds by less than epsilon; under
    `exact`, once the halt head's logit is above 0. threads: None = as found. tell: called with the rows done so far.
    The network's mode, random numbers and thread settings are left as found.
    Raises ConfigError where steps or batch_size cannot be, BundleError where the network answers no finite number.
    """
    task, config = bundle.network.task, bundle.network.config
    size = cached_batch(config, task.length) if batch_size is None else batch_size
    if size < 1:
        raise ConfigError(f"batch size: found {size}; it must be at least 1")
    budget = allowed_steps(config, steps)
    job = _Job(bundle=bundle, sequences=sequences, epsilon=bundle.policy.halt_epsilon if epsilon is None else epsilon)
    table = Table.empty(task, len(rows), budget)
    with undisturbed(bundle.network, threads):
        for first in range(0, len(rows), size):
            places = np.arange(first, min(first + size, len(rows)))
            _refine(job, sequences.batch(rows[places]), places, table)
            tell(int(places[-1]) + 1)
    return table.scores(sequences.sample_ids[rows], sequences.as_of[rows])


def allowed_steps(config: ModelConfig, steps: int | None) -> int:
    """The number of supervision steps to run at most.

    Raises ConfigError beyond what was trained: a network run past its trained depth degrades fast.
    """
    trained = config.supervision_steps
    if steps is not None and not 1 <= steps <= trained:
        raise ConfigError(f"steps: found {steps}; the model was trained for {trained} supervision steps, choose 1 to {trained}")
    return trained if steps is None else steps


def cached_batch(config: ModelConfig, length: int) -> int:
    """Samples per batch such that a batch's values stay in cache: a power of two."""
    fitting = max(CACHE_NUMBERS // (length * config.width), 1)
    return int(min(max(2 ** int(np.log2(fitting)), LEAST_BATCH), LARGEST_BATCH))


def threads_found() -> int:
    """The number of threads torch uses where nobody says otherwise."""
    return torch.get_num_threads()


@dataclass(frozen=True, kw_only=True)
class _Job:
    bundle: Bundle
    sequences: Sequences
    epsilon: float


def _refine(job: _Job, batch: Batch, places: Places, table: Table) -> None:
    """Run supervision steps until every sample of the batch is settled; the settled leave it after each step."""
    network, steps = job.bundle.network, table.raw.shape[1]
    x, setting = network.encode(batch), network.setting(batch)
    state = network.core.start(x)
    table.effort += Effort(calls_in_full=steps, sample_steps_in_full=len(places) * steps)
    for step in range(steps):
        state = network.core(x, state, setting)
        answer = network.read(state, setting)
        table.effort += Effort(calls=1, sample_steps=len(places))
        table.raw[places, step], table.halt[places, step] = log_odds(network, answer), answer.halt.numpy()
        table.log_odds[places, step] = _calibrated(job, table.raw[places, : step + 1])[:, -1]
        stop = np.ones(len(places), bool) if step + 1 == steps else _settled(job, batch, places, step + 1, table)
        if not stop.any():
            continue
        _keep(job, batch, places, answer, stop, step + 1, table)
        if stop.all():
            return
        go = torch.from_numpy(~stop)
        batch, places, x, state = _taken(batch, ~stop), places[~stop], x[go], State(state.y[go], state.z[go])
        setting = network.setting(batch)


def _keep(job: _Job, batch: Batch, places: Places, answer: Answer, stop: NDArray[np.bool_], step: int, table: Table) -> None:
    """Write down what the settled samples answer."""
    settled, chosen = places[stop], torch.from_numpy(stop)
    table.step[settled] = step
    for target in output_targets(table.task):
        table.outputs[target.name][settled] = _output(target, answer.logits[target.name][chosen])
    if targets := token_targets(table.task):
        done = _taken(batch, stop)
        events = job.sequences.event_ids(done.rows)
        for target in targets:
            chance, best = _likeliest(target, answer.logits[target.name][chosen])
            table.answers.append(token_answers(target, best, chance, done.mask, events, settled, step))


def _settled(job: _Job, batch: Batch, places: Places, steps: int, table: Table) -> NDArray[np.bool_]:
    """Which samples of the batch halt after so many steps, (B,)."""
    if job.epsilon == 0:
        return np.zeros(len(places), bool)
    margin = _margin(job, table.log_odds[places, :steps], table.halt[places, steps - 1])
    near = np.abs(margin) < NEAR_TIE
    if near.any():
        margin[near] = _margin_alone(job, _taken(batch, near), steps)
        table.effort += Effort(calls=int(near.sum()) * steps, sample_steps=int(near.sum()) * steps)
    return margin > 0


def _margin(job: _Job, log_odds: NDArray[np.float64], halt: NDArray[np.float64]) -> NDArray[np.float64]:
    """(B,) above 0 where a sample is settled; -inf where nothing can be said yet. log_odds: (B, steps so far); halt: (B,) logit."""
    task = job.bundle.network.task
    if task.halt == "exact":
        return halt.astype(np.float64)
    if log_odds.shape[1] < 2 or not has_log_odds(task):
        return np.full(len(halt), -np.inf)
    return job.epsilon - np.abs(log_odds[:, -1] - log_odds[:, -2])


def _margin_alone(job: _Job, batch: Batch, steps: int) -> NDArray[np.float64]:
    """`_margin` of near ties after so many steps, each sample run once more as a batch of its own.

    The size of a batch moves log-odds in the last digits, so a tie could halt in one batch and not in another, and the
    score would jump by a whole step's gain. Alone, a sample gets the same digits whatever batch it came from.
    """
    network, margins = job.bundle.network, np.empty(len(batch.rows))
    for place in range(len(batch.rows)):
        one = _taken(batch, np.arange(len(batch.rows)) == place)
        raw = np.empty((1, steps))
        for step, answer in enumerate(islice(answers(network, one), steps)):
            raw[:, step] = log_odds(network, answer)
        margins[place] = _margin(job, _calibrated(job, raw), answer.halt.numpy())[0]
    return margins


def log_odds(network: Ensemble, answer: Answer) -> NDArray[np.float64]:
    """Log-odds of what the primary target asks, (B,): yes, the last class, the top rank, or that every token is right."""
    task = network.task
    target = task.target(task.primary)
    if not has_log_odds(task):
        return np.full(len(answer.halt), np.nan)
    if target.head in ("tokens", "choice"):
        return answer.halt.double().numpy()
    logits = answer.logits[target.name].double()
    return (logits[:, -1] - logits[:, :-1].logsumexp(1) if target.head == "classes" else logits[:, -1]).numpy()


def _calibrated(job: _Job, raw: NDArray[np.float64]) -> NDArray[np.float64]:
    return job.bundle.calibration.apply(raw) if has_log_odds(job.bundle.network.task) else raw


def _output(target: Target, logits: Tensor) -> NDArray[np.float32]:
    """(B, K), as `output_names` calls the columns."""
    if target.head == "quantiles":
        return logits.float().numpy()
    return (logits.softmax(1) if target.head == "classes" else logits.sigmoid()).float().numpy()


def _likeliest(target: Target, logits: Tensor) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Probability and index of each token's likeliest answer, both (B, L). logits: (B, L, K) or, for a choice, (B, L, L)."""
    chance = log_stablemax(logits).exp() if target.head == "tokens" else logits.softmax(-1)  # as they were trained
    probability, best = chance.max(-1)
    return probability.float().numpy(), best.numpy()


def _taken(batch: Batch, keep: NDArray[np.bool_]) -> Batch:
    """Some samples of a batch; targets are left behind."""
    return replace(
        batch,
        numbers=batch.numbers[keep],
        codes=batch.codes[keep],
        tag=batch.tag[keep],
        mask=batch.mask[keep],
        rows=batch.rows[keep],
        relation=None if batch.relation is None else batch.relation[keep],
        targets={},
    )


@contextmanager
def undisturbed(network: nn.Module, threads: int | None) -> Iterator[None]:
    """Evaluation mode, no gradients and `threads` threads inside; everything as found afterwards."""
    training = [module for module in network.modules() if module.training]
    found = torch.get_num_threads()
    try:
        for module in training:
            module.training = False
        torch.set_num_threads(threads or found)
        with torch.random.fork_rng(devices=[]), torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(found)
        for module in training:
            module.training = True
