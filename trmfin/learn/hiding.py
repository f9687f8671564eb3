"""Cells made absent on purpose, a source column at a time: what is hidden of a token is hidden from all fields of that column.

A field that compares with the column of a neighbouring event still tells of it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trmfin.sequences.batch import Batch
from trmfin.sequences.task import Field, Task

Mask = NDArray[np.bool_]


def hidden_cells(task: Task, batch: Batch, random: np.random.Generator, *, everywhere: float = 0.0, here: float = 0.0) -> tuple[Mask, Mask]:
    """Which numbers (B, L, F) and codes (B, L, C) to hide. Fields of one column are hidden together.

    everywhere: chance that a column is hidden from all tokens of a sample; here: from one token.
    """
    columns = list(dict.fromkeys(_source(f) for f in task.fields))
    B, L = batch.mask.shape
    gone = random.random((B, 1, len(columns)), np.float32) < everywhere
    gone = gone | (random.random((B, L, len(columns)), np.float32) < here)

    def of(fields: tuple[Field, ...]) -> Mask:
        return gone[..., [columns.index(_source(f)) for f in fields]]

    return of(task.numbers), of(task.codes)


def _source(field: Field) -> tuple[str, str]:
    return field.of, field.column
