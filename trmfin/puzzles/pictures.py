"""An answer being refined: one picture with a panel a step, and an animation of the same."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from trmfin.data.files import replacing
from trmfin.errors import MissingExtra
from trmfin.puzzles.arc import SYMBOLS
from trmfin.puzzles.judge import Answered
from trmfin.puzzles.kinds import Subject
from trmfin.puzzles.puzzles import Grids

PANELS = (1, 2, 3, 4, 6, 8, 12, 16)  # steps that the picture shows, of those there are
GIVEN, RIGHT, WRONG, CHANGED = "#1a202c", "#2b6cb0", "#c53030", "#fefcbf"
SYMBOL_COLOURS = {"#": "#2d3748", " ": "#ffffff", "S": "#68d391", "G": "#f6ad55", "o": "#63b3ed"}  # of mazes, which need no letters
ARC_COLOURS = dict(  # nothing, just outside the grid, then the ten colours as ARC's own viewer shows them
    zip(
        SYMBOLS,
        "#ffffff #e2e8f0 #000000 #0074d9 #ff4136 #2ecc40 #ffdc00 #aaaaaa #f012be #ff851b #7fdbff #870c25".split(),
        strict=True,
    )
)
FRAMES_A_SECOND = 2


def draw_refinement(kind: Subject, question: Grids, answered: Answered, picture: Path, film: Path) -> None:
    """Draw the first puzzle of `answered`, question (cells,), to a PNG and a GIF. Raises MissingExtra without matplotlib."""
    try:
        import matplotlib
    except ImportError as error:
        raise MissingExtra(f'pictures: matplotlib cannot be imported ({error}); install it with: pip install "trmfin[bench]"') from error
    matplotlib.use("agg")
    from matplotlib import pyplot as plt
    from matplotlib.animation import FuncAnimation, PillowWriter

    grids, truth = answered.grids[0], answered.truth[0]
    shown = [step for step in PANELS if step <= len(grids)]
    columns = min(len(shown), 4)
    rows = -(-len(shown) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(2.6 * columns, 2.9 * rows), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, step in zip(axes.flat, shown, strict=False):
        _panel(axis, kind, question, grids, truth, step)
    with replacing(picture) as file:
        figure.savefig(file, dpi=110, bbox_inches="tight", format="png", metadata={"Software": None})
    plt.close(figure)

    figure, axis = plt.subplots(figsize=(3.2, 3.5))

    def frame(number: int) -> list[Any]:
        axis.clear()
        axis.axis("off")
        _panel(axis, kind, question, grids, truth, number)
        return []

    last = min(_settled(grids) + 1, len(grids))
    animation = FuncAnimation(figure, frame, frames=[0, *range(1, last + 1), last, last], interval=1000 / FRAMES_A_SECOND)
    with TemporaryDirectory() as folder, replacing(film) as file:  # the writer takes a path alone, and its ending tells the format
        animation.save(made := Path(folder) / film.name, writer=PillowWriter(fps=FRAMES_A_SECOND))
        file.write(made.read_bytes())
    plt.close(figure)


def _settled(grids: Grids) -> int:
    """The step from which on the answer does not change, 1 … S."""
    moved = np.flatnonzero((grids[1:] != grids[:-1]).any(1))
    return int(moved[-1]) + 2 if moved.size else 1


def _panel(axis: Any, kind: Subject, question: Grids, grids: Grids, truth: Grids, step: int) -> None:
    """The answer after `step` steps, 0 = the question alone; cells that the step has changed are marked."""
    colours = ARC_COLOURS if kind.symbols == SYMBOLS else SYMBOL_COLOURS
    side, now = kind.side, question if step == 0 else grids[step - 1]
    before = question if step <= 1 else grids[step - 2]
    wrong = 0 if step == 0 else int((now != truth).sum())
    axis.set_title("question" if step == 0 else f"step {step}: {f'{wrong} wrong' if wrong else 'solved'}", fontsize=10)
    axis.set_xlim(0, side)
    axis.set_ylim(side, 0)
    axis.set_aspect("equal")
    for cell in range(side * side):
        row, column = divmod(cell, side)
        symbol = kind.symbols[int(now[cell])]
        drawn = symbol in colours
        changed = step > 1 and now[cell] != before[cell]
        face = colours[symbol] if drawn else CHANGED if changed else "white"
        edge = WRONG if drawn and step and now[cell] != truth[cell] else "#cbd5e0"
        axis.add_patch(_square(column, row, face, edge))
        if not drawn and symbol != ".":
            colour = GIVEN if now[cell] == question[cell] else RIGHT if now[cell] == truth[cell] else WRONG
            axis.text(column + 0.5, row + 0.54, symbol, ha="center", va="center", color=colour, fontsize=72 / side)
    for rows, columns in kind.boxes:
        for place in range(0, side + 1, rows):
            axis.plot([0, side], [place, place], color=GIVEN, linewidth=1.4)
        for place in range(0, side + 1, columns):
            axis.plot([place, place], [0, side], color=GIVEN, linewidth=1.4)


def _square(column: int, row: int, face: str, edge: str) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((column, row), 1, 1, facecolor=face, edgecolor=edge, linewidth=1.2 if edge == WRONG else 0.6)
