"""How the C library hands out memory: large tensors of one training step are those of the next."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
NEVER, LARGE = -1, 1 << 30


def keep_memory() -> None:
    """Freed memory stays with this process, for good. Does nothing where the C library is not glibc.

    glibc maps whatever exceeds 32 MiB afresh and gives it back when freed, so that every large tensor is paid for page by
    page: at D = 512, 97 tokens and batches of 64 that was a third of a training step in single precision (docs/log.md).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(M_MMAP_THRESHOLD, LARGE)
    mallopt(M_TRIM_THRESHOLD, NEVER)
