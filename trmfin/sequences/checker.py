"""Checkers: deterministic rules that say by how much an answer breaks them. They never mix with the model's score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trmfin.sequences.batch import Batch


class Checker(Protocol):
    """From the question and an answer to named residuals: rows and columns of a grid, totals of an invoice.

    answer: (B, L) per token, in the form of the target it answers (class positions for `tokens`).
    Returns name → (B,) or (B, R) residuals; 0 where the rule holds, larger where it is broken more.
    """

    def __call__(self, batch: Batch, answer: NDArray[np.int64]) -> Mapping[str, NDArray[np.float64]]: ...
