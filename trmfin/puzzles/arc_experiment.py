"""One ARC experiment: a network taught demonstrations, its answers to tests in every version put to the vote, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from trmfin.data.files import remove_file, replacing, write_json
from trmfin.learn.fit import Progress
from trmfin.learn.supervise import precision
from trmfin.learn.threads import threads
from trmfin.model.network import Network
from trmfin.puzzles.arc import CELLS, PADDING, RELEASES, SIDE, Grid, augmentations
from trmfin.puzzles.arc_lessons import ARC, VERSIONS, ArcKind, Lessons, given_away, lessons
from trmfin.puzzles.arc_votes import TRIES, pass_at_2, vote
from trmfin.puzzles.experiment import ANSWERS, RESULT, STEPS_FILM, STEPS_PICTURE, Lesson, Spent, by_step, cleared, hardest, taught, unlike
from trmfin.puzzles.judge import Answered, answer
from trmfin.puzzles.pictures import draw_refinement
from trmfin.puzzles.puzzles import Grids

Tries = dict[str, list[list[Grid]]]  # task → for each of its tests at most two grids
OTHERWISE = (
    "the published run also learnt from the tests of training tasks and from ConceptARC, and moved its versions' vectors, "
    "which began at 0, by the sign of their gradients at a rate of 0.01; here they learn as all weights do"
)


@dataclass(frozen=True, kw_only=True)
class ArcAsk(Lesson):
    """What is asked for. The same ask gives the same answers on the same machine, unless time ends it."""

    kind: ArcKind


@dataclass(frozen=True, kw_only=True, eq=False)
class Judged:
    """What a network answers to the tests of the asked tasks."""

    tries: Tries
    exact: np.ndarray[Any, np.dtype[np.bool_]]  # (n, S) of every test in every version, after each step
    questions: Grids  # (m, 900) every test as it came
    answered: Answered  # of these


def run(ask: ArcAsk, out: Path, tell: Callable[[Progress], None], say: Callable[[str], None], anew: bool = False) -> dict[str, Any]:
    """Teach and judge, or go on where an interrupted run stopped; everything lands in `out`. → what result.json holds.

    tell, say, anew and CPU seconds: as `experiment.run` has them. A finished network answers any number of tasks.
    """
    with threads(ask.threads):
        say(f"drawing {ask.kind.versions:,} versions of each task")
        given = lessons(ask.kind, ask.recipe.training.seed)
        spent = cleared(out, anew)
        network = taught(ask, given.samples, given.train, given.validation, out, spent, tell)
        say(f"answering {sum(len(task.tests) for task in given.asked_tasks):,} tests of {len(given.asked):,} tasks in all versions")
        with precision(network, ask.recipe.training):
            judged = judge(ask, given, network)
    result = _result(ask, given, network, judged, spent)
    remove_file(out / RESULT)
    write_tries(out / ANSWERS, given, judged.tries)
    first = hardest(judged.answered)
    draw_refinement(*cropped(ask.kind, judged.questions[first], judged.answered.of(first)), out / STEPS_PICTURE, out / STEPS_FILM)
    write_json(result, out / RESULT)
    return result


def judge(ask: ArcAsk, given: Lessons, network: Network) -> Judged:
    """Answer every test of every asked task in all its versions, and let the versions vote. Task by task: all together take GB."""
    tries: Tries = {}
    exact, questions, plain = [], [], []
    for place, task in zip(given.asked.tolist(), given.asked_tasks, strict=True):
        looks = augmentations(task, ask.kind.versions, ask.recipe.training.seed)
        tests = given.tests(place, looks)
        answered = answer(network, tests, np.arange(len(tests)), ask.thinking)
        last = answered.grids[:, -1].reshape(-1, len(looks), CELLS)
        sure = (1 / (1 + np.exp(-answered.halts[:, -1].astype(np.float64)))).reshape(-1, len(looks))
        tries[task.id] = [[candidate.grid for candidate in vote(looks, cells, halts)] for cells, halts in zip(last, sure, strict=True)]
        seen = asked_cells(answered, tests.puzzles.answers)
        exact.append(seen.exact)
        as_it_came = np.arange(0, len(tests), len(looks))
        questions.append(tests.puzzles.questions[as_it_came])
        plain.append(Answered(grids=seen.grids[as_it_came], halts=seen.halts[as_it_came], truth=seen.truth[as_it_came]))
    together = {name: np.concatenate([getattr(part, name) for part in plain]) for name in ("grids", "halts", "truth")}
    return Judged(tries=tries, exact=np.concatenate(exact), questions=np.concatenate(questions), answered=Answered(**together))


def asked_cells(answered: Answered, truth: Grids) -> Answered:
    """The same with padding wherever the truth is padding, which is not asked. truth: (n, 900)."""
    return replace(answered, grids=np.where(truth[:, None] == PADDING, PADDING, answered.grids).astype(np.int8), truth=truth)


def cropped(kind: ArcKind, question: Grids, answered: Answered) -> tuple[ArcKind, Grids, Answered]:
    """The upper left square that holds all of one question, (900,), and of its answer."""
    used = np.flatnonzero((question != PADDING) | (answered.truth[0] != PADDING))
    side = int(np.max(np.divmod(used, SIDE))) + 1

    def cut(cells: Grids) -> Grids:
        return cells.reshape(*cells.shape[:-1], SIDE, SIDE)[..., :side, :side].reshape(*cells.shape[:-1], side * side)

    return replace(kind, side=side), cut(question), replace(answered, grids=cut(answered.grids), truth=cut(answered.truth))


def _result(ask: ArcAsk, given: Lessons, network: Network, judged: Judged, spent: Spent) -> dict[str, Any]:
    evaluated = sum(task.split == "evaluation" for task in given.tasks)
    return {
        "puzzle": ask.kind.name,
        "release": RELEASES[ask.kind.name],
        "pass_at_2": pass_at_2(given.asked_tasks, judged.tries),
        "exact": by_step(judged.exact),
        "tasks": len(given.asked),
        "tasks_in_all": evaluated,
        "tests": len(judged.questions),
        "predictions": len(judged.exact),
        "versions": ask.kind.versions,
        "trained_on": len(given.train),
        "cpu_seconds": spent.cpu_now(),
        "max_seconds": ask.max_seconds,
        "parameters": network.parameters_count,
        "thinking": asdict(ask.thinking),
        "parameters_of_versions": len(given.samples.owners) * ask.recipe.model.width,
        "seed": ask.recipe.training.seed,
        "published": ask.kind.published,
        "unlike_published": unlike_published(ask, evaluated),
        "given_away": given_away(ask.kind, given),
        "model": ask.recipe.model.to_json(),
        "training": ask.recipe.training.to_json(),
    }


def unlike_published(ask: ArcAsk, evaluated: int) -> str:
    """Why this run's number is not to be laid beside the published one as its equal. evaluated: evaluation tasks there are."""
    kind = ask.kind
    smaller = [f"{kind.versions:,} versions of {VERSIONS:,}"] if kind.versions < VERSIONS else []
    smaller += [f"{kind.asked} tasks of {evaluated}"] if kind.asked is not None and kind.asked < evaluated else []
    smaller += unlike(ask, ARC[kind.name].recipe)
    return (f"a small run ({', '.join(smaller)}); and " if smaller else "") + OTHERWISE


def write_tries(path: Path, given: Lessons, tries: Tries) -> None:
    """One line a test: its task, its number from 1, the two tries with a slash after each row, and whether one of them is right."""
    rows: list[dict[str, Any]] = []
    for task in given.asked_tasks:
        for number, (grids, (_, truth)) in enumerate(zip(tries[task.id], task.tests, strict=True), 1):
            texts = [as_text(grid) for grid in grids] + [None] * (TRIES - len(grids))
            rows.append(
                {
                    "task": task.id,
                    "test": number,
                    "first": texts[0],
                    "second": texts[1],
                    "right": any(np.array_equal(grid, truth) for grid in grids),
                }
            )
    columns = {"task": pl.String, "test": pl.Int64, "first": pl.String, "second": pl.String, "right": pl.Boolean}
    with replacing(path) as file:
        pl.DataFrame(rows, schema=columns).write_csv(file)


def as_text(grid: Grid) -> str:
    """A colour's digit a cell, rows parted by slashes."""
    return "/".join("".join(map(str, row)) for row in grid.tolist())
