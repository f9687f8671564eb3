"""Which training rows a member does not see: it picks its best step on them, and calibration is fitted on them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trmfin.errors import DataError
from trmfin.sequences.sequences import Sequences
from trmfin.sequences.splits import Split, walk_forward
from trmfin.sequences.transforms import NEVER

LEAST_FOLDS = 8
LATEST_SHARE = 0.15  # of the labelled training rows, where the latest are held out


def holdouts(sequences: Sequences, rows: NDArray[np.int64], members: int, seed: int) -> list[Split]:
    """One split of the labelled ones of `rows` for each member.

    Whole groups are dealt into folds = max(members, LEAST_FOLDS) random parts, positives evenly; member k holds out part
    k, its groups with all their times, and trains on the others, the newest times included. Where there are fewer groups than
    that and samples have several times, every member holds out the latest rows and trains on what was known before them.

    Either way `rows` alone are split: what lies before a test window, labels included, is for `walk_forward` to say. What
    dealing does not do where samples have several times: the held-out rows are those of other groups at the same times,
    not of later ones, so the choice of the best step and calibration do not see drift, and what is measured on held-out
    rows says nothing about it. Where groups follow each other in time, as days do, members also train on days after theirs.
    Raises DataError where there are fewer groups than folds and one time, and where nothing was known before the latest rows.
    """
    rows = rows[sequences.known[rows]]
    if hold_out_latest(sequences, rows, members):
        return [latest(sequences, rows)] * members
    part = dealt_parts(sequences, rows, max(members, LEAST_FOLDS), seed)
    return [Split(train=rows[part != k], test=rows[part == k]) for k in range(members)]


def hold_out_latest(sequences: Sequences, rows: NDArray[np.int64], members: int) -> bool:
    """Whether all members hold out the latest of these labelled rows, because there are too few groups to deal."""
    few = np.unique(sequences.group[rows]).size < max(members, LEAST_FOLDS)
    return few and np.unique(sequences.as_of[rows]).size > 1


def described(sequences: Sequences, rows: NDArray[np.int64], members: int, seed: int) -> dict[str, Any]:
    """How `holdouts` splits these labelled rows, for a card: by unit (a column of samples) and seed; None where they play no part."""
    if hold_out_latest(sequences, rows, members):
        return {"held_out": "latest", "parts": 1, "unit": None, "seed": None}
    return {"held_out": "dealt", "parts": max(members, LEAST_FOLDS), "unit": sequences.task.group, "seed": seed}


def dealt_parts(sequences: Sequences, rows: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    """(n,) part of each row, 0 … folds - 1: groups in random order within equal mean target, dealt in turn.

    Raises DataError where there are fewer groups than folds.
    """
    groups, inverse = np.unique(sequences.group[rows], return_inverse=True)
    if len(groups) < folds:
        raise DataError(f"held-out parts: {len(groups)} groups among {len(rows)} labelled training rows; expected at least {folds}")
    target = np.asarray(sequences.targets.values[sequences.task.primary][rows], np.float64).reshape(len(rows), -1)[:, 0]
    mean = np.bincount(inverse, np.nan_to_num(target)) / np.bincount(inverse)
    order = np.lexsort((np.random.default_rng(seed).permutation(len(groups)), mean))
    part = np.empty(len(groups), np.int64)
    part[order] = np.arange(len(groups)) % folds
    return part[inverse]


def latest(sequences: Sequences, rows: NDArray[np.int64]) -> Split:
    """The latest labelled rows, and those whose label was known before them."""
    as_of, known_at = sequences.as_of[rows], sequences.targets.known_at[sequences.task.primary][rows]
    start = max(np.quantile(as_of, 1 - LATEST_SHARE, method="higher"), np.unique(as_of)[1])  # something must lie before it
    split = walk_forward(as_of, known_at, starts=np.array([start]), test_span=int(as_of.max() - start) + 1)[0]
    return Split(train=rows[split.train], test=rows[split.test])


def untold(sequences: Sequences, rows: NDArray[np.int64], held_out: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those of `rows` whose histories do not tell what the held-out rows ask: in a group, none later than its first held-out row.

    The history of a later row holds what happened after the held-out one, which is close to its answer.
    """
    first = np.full(int(sequences.group.max()) + 1, NEVER)
    np.minimum.at(first, sequences.group[held_out], sequences.as_of[held_out])
    return rows[sequences.as_of[rows] <= first[sequences.group[rows]]]
