"""What training needs of a set of samples, whatever it is made of: windows over events, or puzzles redrawn on the fly."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trmfin.sequences.batch import Batch
from trmfin.sequences.fitted import Fitted
from trmfin.sequences.targets import Targets
from trmfin.sequences.task import Task


class Samples(Protocol):
    """N samples of one task that come in batches."""

    def __len__(self) -> int: ...

    @property
    def task(self) -> Task: ...

    @property
    def fitted(self) -> Fitted | None:
        """What category codes are aligned to."""
        ...

    @property
    def targets(self) -> Targets:
        """Answers of heads that give one a sample; those per token come with batches."""
        ...

    @property
    def known(self) -> NDArray[np.bool_]:
        """(N,) whether the primary target is known."""
        ...

    def batch(self, rows: ArrayLike) -> Batch:
        """The samples `rows` (B,); each one's part depends on that row alone."""
        ...

    def arrays(self) -> list[NDArray[Any]]:
        """Everything that samples are made of, for a digest."""
        ...
