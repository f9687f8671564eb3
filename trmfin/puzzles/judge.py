"""What a network answers to puzzles at every step, and how many of its answers are right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from trmfin.model.network import Network
from trmfin.model.refine import AS_TRAINED, Thinking, answers, answers_until_halted
from trmfin.puzzles.puzzle_samples import ANSWER, PuzzleSamples
from trmfin.puzzles.puzzles import Grids

BATCH = 128
MARGINS = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0)  # halt logits above which a puzzle may stop
SAFETY = 0.5  # added to the margin found on few puzzles


@dataclass(frozen=True, kw_only=True, eq=False)
class Answered:
    """Answers to n puzzles after each of S steps, and how sure the halt head was of each."""

    grids: Grids  # (n, S, cells)
    halts: NDArray[np.float32]  # (n, S) logits
    truth: Grids  # (n, cells)

    def of(self, row: int) -> Answered:
        """One puzzle's part."""
        return Answered(grids=self.grids[row : row + 1], halts=self.halts[row : row + 1], truth=self.truth[row : row + 1])

    @property
    def exact(self) -> NDArray[np.bool_]:
        """(n, S) whether every cell is right."""
        return np.asarray((self.grids == self.truth[:, None]).all(2))

    def halting_step(self, margin: float) -> NDArray[np.int64]:
        """(n,) the first step after which the halt logit is above the margin, the last where it never is; 1 … S."""
        stops = self.halts > margin
        stops[:, -1] = True
        return np.asarray(stops.argmax(1) + 1, np.int64)

    def at(self, steps: NDArray[np.int64]) -> Grids:
        """(n, cells) each puzzle's answer after its own number of steps, 1 … S."""
        return self.grids[np.arange(len(self.grids)), steps - 1]


def answer(
    network: Network,
    samples: PuzzleSamples,
    rows: NDArray[np.int64],
    thinking: Thinking = AS_TRAINED,
    size: int = BATCH,
    tell: Callable[[int], None] = lambda done: None,
) -> Answered:
    """Think over the puzzles `rows` (n,), all of them for all steps. tell: called with the puzzles done so far."""
    grids, halts, truth = [], [], []
    with torch.inference_mode():
        for first in range(0, len(rows), size):
            batch = samples.batch(rows[first : first + size])
            steps = list(answers(network.eval(), batch, thinking))
            grids.append(np.stack([_grids(step.logits[ANSWER], samples) for step in steps], 1))
            halts.append(torch.stack([step.halt for step in steps], 1).float().cpu().numpy())
            truth.append((batch.targets[ANSWER][:, 1:] + samples.first_answer).astype(np.int8))
            tell(min(first + size, len(rows)))
    return Answered(grids=np.concatenate(grids), halts=np.concatenate(halts), truth=np.concatenate(truth))


def safe_margin(answered: Answered) -> float:
    """SAFETY above the least of MARGINS by which halting loses no puzzle that all steps solve; the largest where each loses one.

    A halt head is surer of puzzles that it has not learnt from than it should be, so its own threshold, 0, costs answers.
    """
    solved = answered.exact[:, -1].sum()

    def kept(margin: float) -> bool:
        return bool((answered.at(answered.halting_step(margin)) == answered.truth).all(1).sum() >= solved)

    return SAFETY + next((margin for margin in MARGINS if kept(margin)), MARGINS[-1])


def answer_early(
    network: Network,
    samples: PuzzleSamples,
    rows: NDArray[np.int64],
    steps: int | None = None,
    margin: float = 0.0,
    size: int = BATCH,
) -> tuple[Grids, NDArray[np.int64]]:
    """Answers (n, cells) of puzzles that each leave their batch when the halt head says stop, and the steps each took (n,)."""
    grids, used = [], []
    with torch.inference_mode():
        for first in range(0, len(rows), size):
            found, taken = answers_until_halted(network.eval(), samples.batch(rows[first : first + size]), steps, margin)
            grids.append(_grids(found.logits[ANSWER], samples))
            used.append(taken.cpu().numpy())
    return np.concatenate(grids), np.concatenate(used)


def _grids(logits: torch.Tensor, samples: PuzzleSamples) -> Grids:
    """(B, cells) symbols of the likeliest classes; logits: (B, 1 + cells, K)."""
    return (logits[:, 1:].argmax(-1) + samples.first_answer).cpu().numpy().astype(np.int8)
