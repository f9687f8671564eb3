"""A checker is a plain function from question and answer to residuals."""

import numpy as np

from tests.worlds import grid
from trmfin.sequences.batch import Batch
from trmfin.sequences.checker import Checker
from trmfin.sequences.sequences import build


def rows_and_columns(batch: Batch, answer: np.ndarray) -> dict[str, np.ndarray]:
    """Digits missing from each row and column of a 4×4 grid. (B, 4) each."""
    cells = answer[:, 1:].reshape(-1, 4, 4)

    def missing(lines: np.ndarray) -> np.ndarray:
        return 4.0 - (lines[..., None] == np.arange(4)).any(2).sum(2)

    return {"rows": missing(cells), "columns": missing(cells.transpose(0, 2, 1))}


def test_a_checker_says_where_an_answer_breaks_its_rules() -> None:
    checker: Checker = rows_and_columns
    batch = build(*grid()).batch([0])
    solution = batch.targets["digit"].astype(np.int64)
    broken = solution.copy()
    broken[0, 1] = broken[0, 2]  # the first cell repeats its neighbour
    assert all((residual == 0).all() for residual in checker(batch, solution).values())
    assert checker(batch, broken)["rows"].tolist() == [[1, 0, 0, 0]] and checker(batch, broken)["columns"].tolist() == [[1, 0, 0, 0]]
