"""How many threads torch works with: one while numbers are made that must come out the same on every machine's count of cores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch


@contextmanager
def threads(count: int) -> Iterator[None]:
    """torch works in so many threads inside; as found afterwards. Sums split over threads differ in their last digits."""
    found = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(found)


def one_thread() -> AbstractContextManager[None]:
    """`threads(1)`."""
    return threads(1)
