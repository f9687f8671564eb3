"""Adaptation: a finished bundle learns a few confirmed cases of something new, and rehearses what it knew before.

Bins, vocabularies, calibration, comparison groups and the reference profile stay the bundle's. A share of what is learnt from are the
cases, over and over. The rest are labelled rows of the time that the bundle was trained on, whose answer is what each member itself said of
them (dark experience replay, Buzzega et al. 2020, arXiv:2004.07211), so that the old is not forgotten. Then each member looks at what it
says of them now, and rehearses those known to be no more that it has come to take for cases: few cases alone do not say where their kind
ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trmfin.data.files import read_raw
from trmfin.errors import ConfigError, DataError, TaskError
from trmfin.learn.bundle import Bundle
from trmfin.learn.calibrate import probability
from trmfin.learn.checkpoint import Weights
from trmfin.learn.fit import Progress, Trained, fit, thinned
from trmfin.learn.members import assembled, of_weights, primary_logits
from trmfin.learn.recipe import Recipe
from trmfin.learn.settings import SEEDS_APART, TrainSettings
from trmfin.learn.training import data_window, moment
from trmfin.learn.workers import run_jobs
from trmfin.model.config import ModelConfig
from trmfin.sequences.fitted import Fitted
from trmfin.sequences.sequences import Sequences

Rows = NDArray[np.int64]
A_CASE, ALL_CASES = 0.004, 0.1  # share of what is learnt from: more teaches faster, and forgets more (docs/log.md)
REHEARSED = 8_000  # rows of before, at most, drawn anew by each member
MISTAKEN, MORE_OFTEN = 1 / 12, 4  # as a share of them, those known to be no whose scores rose most; how often the second round has these
JUDGED = 512  # rows that the end of an adaptation is looked at on
IDLE = ("pretrain_epochs", "least_negatives")  # of a training's settings, what adapting does not look at
ADAPTING: dict[str, Any] = {  # over the training that the bundle had
    "steps": 150,  # of each round
    "batch_size": 64,
    "learning_rate": 1e-3,
    "weight_decay": 0.0,
    "warmup_steps": 15,
    "average_decay": 0.8,
    "validations": 1,
    "label_smoothing": 0.0,  # answers are probabilities already
    "curriculum": (),
}


def adapting_recipe(bundle: Bundle, seed: int, config: Path | None = None) -> Recipe:
    """The bundle's shape, and its training made short; config: a file that says otherwise, as `Recipe.from_toml` reads it.

    Raises ConfigError as that does, and where the file changes the shape, or what no adaptation looks at.
    """
    training = {name: value for name, value in bundle.card["training"].items() if name not in ("epochs", "seed")}
    base = Recipe(model=bundle.network.config, training=TrainSettings.from_json(training | ADAPTING | {"seed": seed}))
    if config is None:
        return base
    recipe = Recipe.from_toml(config, seed, base)
    if recipe.model != base.model:
        raise ConfigError(f"--config {config}: changes the network's shape, which adapting leaves as it is; leave [model] out")
    if idle := [name for name in IDLE if getattr(recipe.training, name) != getattr(base.training, name)]:
        raise ConfigError(f"--config {config}: {' and '.join(idle)} would do nothing: adapting does not pre-train nor thin anew")
    return recipe


def read_cases(path: Path) -> pl.DataFrame:
    """The table of a CSV or Parquet file. Raises DataError where it cannot be read, a row of it included."""
    raw = read_raw(path)
    if raw.ragged.height:
        raise DataError(
            f"{path}: {raw.ragged.height} rows have not as many fields as the header (first: line {raw.ragged['line'][0]}); mend them"
        )
    return raw.frame


def case_rows(sequences: Sequences, cases: pl.DataFrame) -> Rows:
    """Rows of the confirmed cases. cases: `sample_id`, one line a case.

    Raises TaskError where the primary target is no yes or no, DataError where there is no such column or no case, where a case
    is told twice, is none of the samples, or is known to be the opposite.
    """
    task = sequences.task
    if task.target(task.primary).head != "binary":
        raise TaskError(f"task {task.name!r}: confirmed cases are of a target with two answers, {task.primary!r} has others")
    if "sample_id" not in cases.columns or cases.is_empty():
        raise DataError(
            f"cases: {cases.height} rows of {', '.join(cases.columns) or 'nothing'}; expected a column sample_id and a line a case"
        )
    ids = cases["sample_id"].cast(pl.String)
    if ids.null_count() or ids.n_unique() < len(ids):
        twice = ids.filter(ids.is_duplicated()).first()
        raise DataError(f"cases: sample_id {twice!r} is told more than once, or is empty; expected each case once")
    place = {name: row for row, name in enumerate(sequences.sample_ids.tolist())}
    if unknown := [name for name in ids if name not in place]:
        raise DataError(
            f"cases: {len(unknown)} of {len(ids)} are no prepared samples (first: {unknown[0]!r}); prepare the file that they are in"
        )
    rows = np.array([place[name] for name in ids], np.int64)
    answers = sequences.targets.values[task.primary][rows]
    if opposite := int((answers == 0).sum()):
        raise DataError(
            f"cases: {opposite} are known to be no {task.primary} (first: {ids[int(np.flatnonzero(answers == 0)[0])]!r}); "
            "leave them out, or correct the prepared target"
        )
    return rows


def rehearsable(bundle: Bundle, sequences: Sequences) -> Rows:
    """Labelled rows of the time that the bundle was trained on, by the `data` of its card, which adapting does not change.

    A later row is not for rehearsal: it may be of the new kind, and what the bundle says of it is not what was learnt from its label.
    Raises DataError where there is none.
    """
    window, as_of = bundle.card["data"], sequences.as_of
    labelled = np.flatnonzero(sequences.known)
    inside = (as_of[labelled] >= moment(window["first_as_of"])) & (as_of[labelled] <= moment(window["last_as_of"]))
    if not inside.any():
        found = data_window(sequences, labelled) if len(labelled) else {}
        between = f", as of {found['first_as_of'][:10]} to {found['last_as_of'][:10]}" if found else ""
        raise DataError(
            f"samples: {len(labelled):,} have a known answer{between}, none as of {window['first_as_of'][:10]} to "
            f"{window['last_as_of'][:10]}, when the bundle was trained on; give prepared data that also hold that time, to be rehearsed"
        )
    return labelled[inside]


def adapt(
    bundle: Bundle,
    sequences: Sequences,
    cases: Rows,
    replay: Rows,
    recipe: Recipe,
    *,
    workers: int = 1,
    tell: Callable[[int, Progress], None] = lambda member, progress: None,
) -> Bundle:
    """The bundle with weights that have seen the cases. It is not saved; its sha256 is "" until it is.

    sequences: not yet aligned. cases: rows whose answer is yes, whether their target is known or not. replay: rows to rehearse,
    of which each member draws REHEARSED at most among the labelled ones that are no case. recipe: as `adapting_recipe` gives it.
    workers: see `run_jobs`. Raises DataError where there is nothing to rehearse.
    """
    began = time.monotonic()
    known = with_answers(sequences, cases).aligned(bundle.fitted)
    old = np.setdiff1d(replay[sequences.known[replay]], cases)
    if not len(old):
        raise DataError("adaptation: no labelled sample beside the cases; give prepared data whose targets of before are known")
    jobs = [
        partial(
            _relearnt,
            known,
            cases,
            old,
            weights={name: value.numpy() for name, value in member.state_dict().items()},
            fitted=bundle.fitted,
            model=replace(recipe.model, members=1),
            settings=recipe.training.of_member(index),
        )
        for index, member in enumerate(bundle.network.networks)
    ]
    members = run_jobs(jobs, min(workers, len(jobs)), tell)
    told = {
        "before": bundle.card.get("adapted"),
        "bundle": bundle.sha256,
        "cases": len(cases),
        "data": data_window(sequences, cases),
        "rehearsed": min(len(thinned(known, old, recipe.training)), REHEARSED),
        "training": recipe.training.to_json(),
        "seconds": time.monotonic() - began,
        "words": "calibration, bins, comparison groups and every metric of this card are those of the bundle that was adapted",
    }
    card = {name: said for name, said in bundle.card.items() if name != "averages"} | {"adapted": told}  # said of other weights
    return replace(bundle, network=assembled(members, bundle.task, bundle.fitted, recipe.model), card=card, sha256="")


def with_answers(sequences: Sequences, rows: Rows, answers: float | NDArray[np.float64] = 1.0) -> Sequences:
    """The same samples, the primary target of these rows known to be yes, or yes with a probability."""
    targets, primary = sequences.targets, sequences.task.primary
    values, known_at = targets.values[primary].copy(), targets.known_at[primary].copy()
    values[rows] = answers
    known_at[rows] = np.minimum(known_at[rows], sequences.as_of[rows])
    return replace(
        sequences,
        targets=replace(targets, values={**targets.values, primary: values}, known_at={**targets.known_at, primary: known_at}),
    )


def _relearnt(
    sequences: Sequences,
    cases: Rows,
    old: Rows,
    *,
    weights: Weights,
    fitted: Fitted,
    model: ModelConfig,
    settings: TrainSettings,
    tell: Callable[[Progress], None],
) -> Trained:
    """One member after both rounds. sequences: aligned, the cases' answers known; weights: of the member as it was."""
    rehearsed = np.sort(np.random.default_rng(settings.seed).permutation(thinned(sequences, old, settings))[:REHEARSED])
    known_no = sequences.targets.values[sequences.task.primary][rehearsed] == 0
    share = min(A_CASE * len(cases), ALL_CASES)
    before = _said(sequences, rehearsed, weights, fitted, model, settings)
    own = with_answers(sequences, rehearsed, before)

    def round_of(number: int, begins: Weights, mistaken: Rows) -> Trained:
        lessons = np.concatenate((rehearsed, np.repeat(mistaken, MORE_OFTEN - 1)))
        wanted = round(share / (1 - share) * len(lessons))
        pool = np.concatenate((lessons, np.resize(cases, max(wanted, len(cases)))))
        drawn = replace(settings, seed=settings.seed + number * SEEDS_APART // 2)
        return fit(
            own,
            pool,
            np.random.default_rng(drawn.seed).permutation(pool)[:JUDGED],
            fitted=fitted,
            model=model,
            settings=drawn,
            initial=begins,
            tell=lambda now: tell(replace(now, step=number * now.total + now.step, total=2 * now.total)),
        )

    first = round_of(0, weights, rehearsed[:0])
    rise = np.where(known_no, _said(sequences, rehearsed, first.weights, fitted, model, settings) - before, -np.inf)
    most = np.argsort(-rise, kind="stable")[: min(round(len(rehearsed) * MISTAKEN), int(known_no.sum()))]
    return round_of(1, first.weights, rehearsed[most])


def _said(
    sequences: Sequences, rows: Rows, weights: Weights, fitted: Fitted, model: ModelConfig, settings: TrainSettings
) -> NDArray[np.float64]:
    """(n,) probability that a member's last step gives these rows, among samples thinned as in training."""
    network = of_weights(weights, sequences.task, fitted, model)
    return probability(primary_logits(network, sequences, rows)[:, -1] + settings.offset)
