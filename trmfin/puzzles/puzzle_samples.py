"""Puzzles as samples that the network trains on: a leading token, then one token a cell, redrawn on the fly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trmfin.puzzles.chance import uniform
from trmfin.puzzles.puzzles import Puzzles, Redraw
from trmfin.sequences.batch import Batch
from trmfin.sequences.columns import FIRST_CODE
from trmfin.sequences.fitted import Fitted
from trmfin.sequences.targets import IGNORE, Targets
from trmfin.sequences.task import Field, History, Target, Task

ANSWER, SYMBOL, OWNER = "answer", "symbol", "puzzle"
TIMELESS = "1970-01-01T00:00:00+00:00"


def puzzle_task(name: str, cells: int, answers: Sequence[str], meaning: str, owned: bool = False) -> Task:
    """A puzzle as a task: a symbol at each cell, an answer among `answers` at each cell, right only as a whole.

    owned: the leading token says whose puzzle it is.
    """
    owner = (Field(name=OWNER, column=OWNER, transform="category", of="sample"),) if owned else ()
    return Task(
        name=name,
        histories=(History(name="cells", keys=("puzzle",), length=cells),),
        fields=(Field(name=SYMBOL, column=SYMBOL, transform="category"), *owner),
        targets=(Target(name=ANSWER, head="tokens", meaning=meaning, classes=tuple(answers)),),
        primary=ANSWER,
        group="puzzle",
        halt="exact",
        timeless=True,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class PuzzleSamples:
    """N puzzles in V looks each: N·V samples. Row r is puzzle r mod N in look r div N; look 0 is the puzzle as it came.

    An answer's class is its symbol's position less `first_answer`; cells whose answer is a symbol before that are not asked.
    The task has the field of an owner where there are `owners`.
    """

    task: Task
    symbols: tuple[str, ...]
    puzzles: Puzzles
    first_answer: int = 0
    redraw: Redraw | None = None
    looks: int = 1
    seed: int = 0
    owners: tuple[str, ...] = ()  # by name: each is a code that the leading token carries, so that something is learnt for it alone
    owner: NDArray[np.int64] | None = None  # (N,) whose each puzzle is, as its position in `owners`

    def __len__(self) -> int:
        return len(self.puzzles) * self.looks

    @property
    def fitted(self) -> Fitted:
        """Nothing is learnt from training rows: the vocabulary is the rules'."""
        vocabulary = {SYMBOL: self.symbols} | ({OWNER: self.owners} if self.owners else {})
        return Fitted(edges={}, vocabulary=vocabulary, fit_until=TIMELESS, task_sha256=self.task.sha256)

    @property
    def targets(self) -> Targets:
        return Targets(values={}, known_at={})

    @property
    def known(self) -> NDArray[np.bool_]:
        return np.ones(len(self), bool)

    def arrays(self) -> list[NDArray[Any]]:
        owner = [] if self.owner is None else [self.owner]
        redraw = [] if self.redraw is None else [np.frombuffer(type(self.redraw).__qualname__.encode(), np.uint8)]
        return [self.puzzles.questions, self.puzzles.answers, np.array([self.looks, self.seed, self.first_answer]), *redraw, *owner]

    def look(self, rows: ArrayLike) -> Puzzles:
        """The puzzles `rows` (B,) as they are redrawn."""
        places = np.asarray(rows, np.int64)
        plain = self.puzzles.take(places % len(self.puzzles))
        again = places >= len(self.puzzles)
        if self.redraw is None or not again.any():
            return plain
        redrawn = self.redraw(plain, uniform(self.seed, places, self.redraw.draws))
        return Puzzles(
            questions=np.where(again[:, None], redrawn.questions, plain.questions),
            answers=np.where(again[:, None], redrawn.answers, plain.answers),
        )

    def batch(self, rows: ArrayLike) -> Batch:
        """Tokens and answers of the samples `rows` (B,)."""
        puzzles = self.look(rows)
        B, cells = puzzles.questions.shape
        codes = np.zeros((B, 1 + cells, len(self.task.codes)), np.int64)
        codes[:, 1:, 0] = puzzles.questions.astype(np.int64) + FIRST_CODE
        if self.owner is not None:
            codes[:, 0, 1] = self.owner[np.asarray(rows, np.int64) % len(self.puzzles)] + FIRST_CODE
        truth = np.full((B, 1 + cells), IGNORE, np.float32)
        truth[:, 1:] = np.where(puzzles.answers < self.first_answer, IGNORE, puzzles.answers - self.first_answer)
        tag = np.ones((B, 1 + cells), np.int64)
        tag[:, 0] = 0
        return Batch(
            numbers=np.zeros((B, 1 + cells, 0), np.float32),
            codes=codes,
            tag=tag,
            mask=np.ones((B, 1 + cells), bool),
            rows=np.asarray(rows, np.int64),
            targets={ANSWER: truth},
        )
