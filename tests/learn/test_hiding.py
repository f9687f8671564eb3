"""What is hidden is hidden wholly: no field of the same column gives it away."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.learn.tiny import TASK, world
from trmfin.learn.hiding import hidden_cells
from trmfin.sequences.task import Field

TWICE = replace(TASK, fields=(*TASK.fields, Field(name="late_as_a_category", column="late", transform="category")))


def test_fields_of_one_column_are_hidden_together() -> None:
    w = world()
    numbers, codes = hidden_cells(TWICE, w.sequences.batch(w.train), np.random.default_rng(0), here=0.5)
    late, again = numbers[..., 0], codes[..., 1]
    assert np.array_equal(late, again) and 0.4 < late.mean() < 0.6
    assert not np.array_equal(late, codes[..., 0])  # another column has a draw of its own


def test_a_column_hidden_everywhere_is_hidden_from_all_tokens_of_a_sample() -> None:
    w = world()
    numbers, _ = hidden_cells(TWICE, w.sequences.batch(w.train), np.random.default_rng(0), everywhere=0.5)
    assert (numbers[..., 0].all(1) | ~numbers[..., 0].any(1)).all() and 0.2 < numbers[:, 0, 0].mean() < 0.8
