"""Pictures of a report: calibration, and how scores move over recursion steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from trmfin.data.files import replacing
from trmfin.errors import MissingExtra
from trmfin.learn.metrics import calibration_curve
from trmfin.learn.report import by_step, last_steps

BLUE, ORANGE, GREY = "#2b6cb0", "#dd6b20", "#718096"
PATHS = 60  # samples drawn one by one


def draw_report(predictions: pl.DataFrame, folder: Path) -> None:
    """calibration.png, and steps.png where a model has several steps. Raises MissingExtra without matplotlib."""
    try:
        import matplotlib
    except ImportError as error:
        raise MissingExtra(f'pictures: matplotlib cannot be imported ({error}); install it with: pip install "trmfin[bench]"') from error
    matplotlib.use("agg")
    _save(_calibration(last_steps(predictions)), folder / "calibration.png")
    mine = predictions.filter((pl.col("model") == "trm") & (pl.col("seed") == pl.col("seed").min()))
    if mine["step"].max() != 1:
        _save(_paths(mine), folder / "steps.png")


def _calibration(final: pl.DataFrame) -> Any:
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(5.5, 5))
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--", label="perfect")
    for (name,), frame in final.group_by(["model"], maintain_order=True):
        curve = calibration_curve(frame["y"], frame["p"])
        axes.plot(curve.predicted, curve.observed, marker="o", markersize=3, linewidth=1, label=str(name))
    axes.set(xlabel="predicted probability, mean of 15 bins of equal size", ylabel="share that happened", title="Calibration, out of fold")
    axes.legend(frameon=False)
    return figure


def _paths(mine: pl.DataFrame) -> Any:
    from matplotlib import pyplot as plt

    rows, log_odds = by_step(mine)
    y, (n, count) = rows["y"].to_numpy(), log_odds.shape
    chosen = np.argsort(log_odds[:, -1])[np.unique(np.linspace(0, n - 1, PATHS).astype(int))]
    figure, axes = plt.subplots(figsize=(6, 5))
    for row in chosen:
        axes.plot(range(1, count + 1), log_odds[row], color=ORANGE if y[row] else BLUE, linewidth=0.8, alpha=0.7)
    axes.plot([], [], color=ORANGE, label="target 1")
    axes.plot([], [], color=BLUE, label="target 0")
    axes.set(
        xlabel="recursion (supervision) step",
        ylabel="log-odds of the score",
        title=f"{len(chosen)} samples' scores over steps",
        xticks=range(1, count + 1),
    )
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)  # beside the lines, not over them
    return figure


def _save(figure: Any, path: Path) -> None:
    from matplotlib import pyplot as plt

    with replacing(path) as file:
        figure.savefig(file, dpi=130, bbox_inches="tight", format="png", metadata={"Software": None})
    plt.close(figure)
