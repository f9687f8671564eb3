"""ARC answers by vote: what a network says to every look of a test, turned back and counted, and the official score of two tries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trmfin.errors import DataError
from trmfin.puzzles.arc import ArcTask, Augmentation, Grid, decode_all
from trmfin.puzzles.puzzles import Grids

TRIES = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidate:
    """A grid that at least one look was answered with, as the task came."""

    grid: Grid
    votes: int  # looks
    halt: float  # mean halt probability of these looks, 0 to 1, higher is surer


def vote(looks: Sequence[Augmentation], cells: Grids, halts: NDArray[np.floating]) -> tuple[Candidate, ...]:
    """The two best answers to one test, fewer where fewer were given: by votes, then by halt, then the one given first.

    looks: V; cells: (V, 900) the codes answered to each; halts: (V,) halt probabilities. An answer without a coloured cell has
    no vote. Raises DataError on other lengths or on a halt that is no probability.
    """
    if not len(looks) == len(cells) == len(halts):
        raise DataError(f"vote: {len(looks)} looks, {len(cells)} answers, {len(halts)} halts; expected as many of each")
    if not ((halts >= 0) & (halts <= 1)).all():
        raise DataError("vote: a halt lies outside 0 to 1; expected probabilities (are these logits?)")
    pools: dict[tuple[tuple[int, ...], bytes], list[tuple[Grid, float]]] = {}
    for look, answered, halt in zip(looks, decode_all(cells), halts.tolist(), strict=True):
        if answered is not None:
            grid = look.invert(answered)
            pools.setdefault((grid.shape, grid.tobytes()), []).append((grid, halt))
    found = [Candidate(grid=pool[0][0], votes=len(pool), halt=sum(halt for _, halt in pool) / len(pool)) for pool in pools.values()]
    return tuple(sorted(found, key=lambda candidate: (-candidate.votes, -candidate.halt))[:TRIES])


def pass_at_2(tasks: Sequence[ArcTask], tries: Mapping[str, Sequence[Sequence[Grid]]]) -> float:
    """Mean over tasks of the share of tests with the true output among at most two tries; 0 to 1, higher is better.

    tries: task id → for each test in turn the grids tried, none where there is no answer. Raises DataError where there are no
    tasks, a task or test has no entry, or a test has more than two tries.
    """
    if not tasks:
        raise DataError("pass@2: no tasks; expected at least one")
    return float(np.mean([_share(task, tries) for task in tasks]))


def _share(task: ArcTask, tries: Mapping[str, Sequence[Sequence[Grid]]]) -> float:
    given = tries.get(task.id, ())
    if len(given) != len(task.tests):
        raise DataError(f"pass@2, task {task.id}: tries for {len(given)} of {len(task.tests)} tests; an empty list says there is none")
    if (most := max(map(len, given))) > TRIES:
        raise DataError(f"pass@2, task {task.id}: {most} tries for one test; expected at most {TRIES}, the best of `vote`")
    right = [any(np.array_equal(grid, truth) for grid in grids) for grids, (_, truth) in zip(given, task.tests, strict=True)]
    return sum(right) / len(right)
