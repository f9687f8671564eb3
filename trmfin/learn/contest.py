"""A contest: every model trained and tested on the same folds. Gives predictions, from which all numbers are computed."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from trmfin import __version__
from trmfin.data.files import make_folder, read_json, read_parquet, write_json, write_parquet
from trmfin.data.prepared import Prepared
from trmfin.errors import ConfigError, DataError, RunError, TaskError
from trmfin.learn.baselines import CHALLENGERS, challenger
from trmfin.learn.bundle import Bundle, provenance
from trmfin.learn.calibrate import probability
from trmfin.learn.checkpoint import content
from trmfin.learn.fit import Progress, mean_depth
from trmfin.learn.holdout import holdouts
from trmfin.learn.members import primary_logits
from trmfin.learn.recipe import Recipe
from trmfin.learn.training import Start, Tell, begin, learn
from trmfin.learn.trees import trees, window_features
from trmfin.model.config import PRESETS, ModelConfig
from trmfin.model.network import Network
from trmfin.sequences.fitted import Fitted
from trmfin.sequences.protocol import Protocol
from trmfin.sequences.sequences import Sequences, build
from trmfin.sequences.splits import Split, check_answers, check_delay, rows_tested
from trmfin.sequences.task import Task

NETWORKS = ("trm", "scratch", "tiny", "gru")  # scratch: the recipe without pre-training
TREES, WINDOWS = "lightgbm", "windows"  # on the pipeline's features, and on the network's own windows, flattened
GRU_WIDTHS = range(4, 2049)
JOB = "contest.json"  # in the folder of parts: what they belong to, and who began it
LIBRARIES = ("lightgbm", "numpy", "polars", "scikit-learn", "torch")  # whose code predictions come from, beside ours


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One model on one fold with one seed; with `labels`, trained on that many labelled rows of the fold, drawn by `draw`."""

    model: str
    seed: int
    fold: int
    labels: int = 0  # 0 = all
    draw: int = 0

    @property
    def file(self) -> str:
        return f"{self.model}-seed{self.seed}-fold{self.fold}" + (f"-labels{self.labels}-draw{self.draw}" if self.labels else "")


@dataclass(frozen=True, kw_only=True)
class Contest:
    """What all entries share."""

    sequences: Sequences  # not aligned
    features: pl.DataFrame  # challenger_features, in the samples' order
    recipe: Recipe
    splits: tuple[Split, ...]
    workers: int

    starts: dict[tuple[int, Recipe], Start] = field(default_factory=dict, init=False)  # of a fold's histories, made once

    def __post_init__(self) -> None:
        check_binary(self.sequences.task)
        if self.features.columns[:1] != ["sample_id"] or self.features["sample_id"].to_list() != self.sequences.sample_ids.tolist():
            raise DataError(
                f"challenger features: {self.features.height} rows of {', '.join(self.features.columns[:3])} …; "
                f"expected sample_id first, and the {len(self.sequences)} samples in their order"
            )

    def start(self, fold: int, recipe: Recipe, tell: Tell) -> Start | None:
        """What the fold's histories teach without their targets, the same for any number of labels.

        None where samples have many times: what a member may foretell then depends on what it holds out; and where edges depend
        on labels.
        """
        train, key = self.splits[fold].train, (fold, recipe)
        if np.unique(self.sequences.as_of[train]).size > 1 or recipe.model.splits:
            return None
        if key not in self.starts:
            nothing = [train[:0]] * recipe.model.members
            self.starts[key] = begin(self.sequences, train, recipe, nothing, workers=self.workers, tell=tell)
        return self.starts[key]

    @property
    def y(self) -> NDArray[np.float64]:
        """(N,) 0 or 1, NaN = unknown."""
        return self.sequences.targets.values[self.sequences.task.primary].astype(np.float64)

    @property
    def identity(self) -> str:
        """Hash of all that predictions depend on beside their entry: data, features, folds and recipe."""
        recipe = [self.recipe.model.to_json(), self.recipe.training.to_json()]
        digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode())
        digest.update(content(self.sequences).encode())
        digest.update(self.features.write_csv().encode())
        for split in self.splits:
            digest.update(split.train.tobytes() + b"|" + split.test.tobytes())
        return digest.hexdigest()


def check_binary(task: Task) -> None:
    """Raises TaskError unless the primary target is a yes or no, which the report's metrics are made for."""
    if (target := task.target(task.primary)).head != "binary":
        raise TaskError(
            f"task {task.name!r}: primary target {target.name!r} is of the kind {target.head}; evaluate judges binary ones only"
        )


def window_names(contest: Contest) -> list[str]:
    """What each fold's test part is called: its number, or the months it spans."""
    as_of = contest.sequences.as_of.astype("datetime64[us]")
    if np.unique(as_of).size == 1:
        return [f"fold {number}" for number in range(1, len(contest.splits) + 1)]
    return [f"{as_of[s.test].min().astype('datetime64[D]')} to {as_of[s.test].max().astype('datetime64[D]')}" for s in contest.splits]


def bundle_predictions(bundle: Bundle, prepared: Prepared, protocol: Protocol | None = None) -> pl.DataFrame:
    """A bundle's predictions, in the layout of `hold`: for all samples with a known target, or window by window for those tested.

    protocol: one that walks forward. Raises DataError where there is nothing to judge, and as `rows_tested` and the checks of splits do.
    """
    check_binary(bundle.task)
    sequences = build(prepared, bundle.task).aligned(bundle.fitted)
    if not sequences.known.any():
        raise DataError(f"samples: none has a known target {bundle.task.primary!r}; a bundle can only be judged on known targets")
    if protocol is not None:
        check_delay(sequences, protocol)
    tests, parts = (np.flatnonzero(sequences.known),) if protocol is None else rows_tested(sequences, protocol), []
    check_answers(sequences, tests)
    for fold, rows in enumerate(tests):
        p = probability(bundle.calibration.apply(primary_logits(bundle.network, sequences, rows)))
        parts.append(_frame(sequences, Entry(model="trm", seed=0, fold=fold), rows, p, 0.0))
    return pl.concat(parts)


def hold(
    contest: Contest,
    entries: list[Entry],
    folder: Path,
    tell: Callable[[Entry, int, Progress], None] = lambda entry, member, progress: None,
) -> pl.DataFrame:
    """Predictions of all entries: sample_id, model, seed, fold, labels, draw, step, y, p, and seconds of training.

    folder: each entry's predictions are kept there as soon as they are made, with their `maker` in a JSON file beside them,
    and taken from there where they are. Raises RunError where they were made of other data, folds or settings.
    """
    make_folder(folder)
    _claim(contest, folder)
    parts = []
    for entry in entries:
        path = folder / f"{entry.file}.parquet"
        if not path.exists():
            made = _enter(contest, entry, partial(tell, entry))
            write_json(maker(), path.with_suffix(".json"))  # first, so that no part is without it
            write_parquet(made, path)
        parts.append(read_parquet(path, RunError))
    return pl.concat(parts)


def _claim(contest: Contest, folder: Path) -> None:
    """Bind a folder to a contest."""
    path, mine, now = folder / JOB, contest.identity, maker()
    if not path.exists():
        write_json({"contest": mine, "made_by": now}, path)
    elif read_json(path, RunError).get("contest") != mine:
        raise RunError(f"{folder}: holds models of other data, folds or settings than these; choose another --out, or delete it")


@cache
def maker() -> dict[str, Any]:
    """By which code and on what machine this process works: of trmfin the version and `provenance` when first asked, libraries, cores."""
    libraries = {name: _version(name) for name in LIBRARIES}
    machine = {"machine": platform.machine(), "cores": os.cpu_count()}
    return {"trmfin": __version__, **provenance(), "libraries": libraries, **machine}


def makers(entries: list[Entry], folder: Path) -> list[dict[str, Any]]:
    """Each `maker` of some of the entries' parts in the folder, and of how many `models`; of those older than its record, only that."""
    paths = [folder / f"{entry.file}.json" for entry in entries]
    each = [read_json(path, RunError) if path.exists() else {} for path in paths]
    return [{**one, "models": each.count(one)} for place, one in enumerate(each) if one not in each[:place]]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:  # a challenger's, which is optional
        return None


def _enter(contest: Contest, entry: Entry, tell: Callable[[int, Progress], None]) -> pl.DataFrame:
    """Train one entry and ask it for its test rows."""
    split = contest.splits[entry.fold]
    train = drawn(contest, split.train, entry) if entry.labels else split.train
    began = time.monotonic()
    if entry.model in (TREES, WINDOWS):
        features = window_features(contest.sequences, contest.recipe) if entry.model == WINDOWS else lambda _, rows: contest.features[rows]
        p = trees(contest.sequences, train, split.test, contest.recipe, entry.seed, contest.workers, features)[:, None]
    elif entry.model in CHALLENGERS:
        held = holdouts(contest.sequences, train, 1, entry.seed)[0]
        answer = challenger(entry.model)(contest.features, contest.y, held.train, held.test, split.test, entry.seed, n_jobs=contest.workers)
        p = answer.p[:, None]
    else:
        recipe = entry_recipe(contest, entry)
        start = contest.start(entry.fold, recipe, tell)
        learnt = learn(contest.sequences, train, recipe, histories=split.train, start=start, workers=contest.workers, tell=tell)
        raw = primary_logits(learnt.ensemble.network, contest.sequences.aligned(learnt.fitted), split.test, workers=contest.workers)
        p = probability(learnt.log_odds(raw))
    return _frame(contest.sequences, entry, split.test, p, time.monotonic() - began)


def entry_recipe(contest: Contest, entry: Entry) -> Recipe:
    """The contest's recipe, for the model that an entry names."""
    training = replace(contest.recipe.training, seed=entry.seed)
    if entry.model == "scratch":
        training = replace(training, pretrain_epochs=0.0)
    recipe = replace(contest.recipe, training=training)
    if entry.model == "tiny":
        return replace(recipe, model=PRESETS["tiny"])
    return gru_recipe(contest.sequences, recipe) if entry.model == "gru" else recipe


def gru_recipe(sequences: Sequences, recipe: Recipe) -> Recipe:
    """A GRU with as many members, parameters and optimiser steps as the recursive network of a recipe."""
    model, training = gru_like(sequences, recipe.model), recipe.training
    more = mean_depth(recipe.model, training) / mean_depth(model, training)
    plain = replace(training, curriculum=(), state_noise=0.0, random_start=False)  # what only a recursion has
    return Recipe(model=model, training=replace(plain, epochs=training.epochs * more))


def gru_like(sequences: Sequences, model: ModelConfig) -> ModelConfig:
    """A GRU with the number of parameters closest to a recursive network's, and as many members."""
    edges = model.bins + 2 * model.splits  # as many as splits can give
    fitted = Fitted.fit(sequences, np.arange(min(len(sequences), 1000)), edges)

    def size(config: ModelConfig) -> int:
        with torch.random.fork_rng(devices=[]):
            return Network(sequences.task, fitted, config).parameters_count

    def peer(width: int) -> ModelConfig:
        plain = replace(model, nets=1, gradient="cycle", damping=0.0)  # what only a recursion has
        return replace(plain, core="gru", width=width, supervision_steps=1, members=1)

    wanted = size(replace(model, members=1))
    place = bisect_left(GRU_WIDTHS, wanted, lo=1, hi=len(GRU_WIDTHS) - 1, key=lambda width: size(peer(width)))
    nearest = min(GRU_WIDTHS[place - 1 : place + 1], key=lambda width: abs(size(peer(width)) - wanted))
    return replace(peer(nearest), members=model.members)


def drawn(contest: Contest, rows: NDArray[np.int64], entry: Entry) -> NDArray[np.int64]:
    """`entry.labels` labelled training rows, the same for every model, with the classes' shares kept."""
    rows = rows[contest.sequences.known[rows]]
    if entry.labels > len(rows):
        raise ConfigError(f"labels: {entry.labels} asked for, fold {entry.fold} has {len(rows)} labelled training rows; ask for fewer")
    random = np.random.default_rng((entry.draw, entry.labels))
    shuffled = random.permutation(rows)
    y = contest.y[shuffled]
    positives = round(entry.labels * y.mean())
    chosen = np.concatenate((shuffled[y == 1][:positives], shuffled[y == 0][: entry.labels - positives]))
    return np.sort(chosen)


def _frame(sequences: Sequences, entry: Entry, rows: NDArray[np.int64], p: NDArray[np.float64], seconds: float) -> pl.DataFrame:
    n, steps = p.shape
    repeated = np.repeat(np.arange(n), steps)
    return pl.DataFrame(
        {
            "sample_id": sequences.sample_ids[rows][repeated].astype(str),
            "model": [entry.model] * (n * steps),
            "seed": np.full(n * steps, entry.seed, np.int32),
            "fold": np.full(n * steps, entry.fold, np.int32),
            "labels": np.full(n * steps, entry.labels, np.int32),
            "draw": np.full(n * steps, entry.draw, np.int32),
            "step": np.tile(np.arange(1, steps + 1, dtype=np.int32), n),
            "y": sequences.targets.values[sequences.task.primary][rows][repeated].astype(np.float64),
            "p": p.reshape(-1),
            "group": sequences.group[rows][repeated].astype(np.int64),
            "seconds": np.full(n * steps, seconds),
        }
    )
