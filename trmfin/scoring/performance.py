"""How well a run's scores fit what happened since: metrics with intervals, calibration, months, what alerts would have cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from trmfin.learn.intervals import summary
from trmfin.learn.metrics import auc, calibration_curve
from trmfin.scoring.outcomes import outcomes
from trmfin.scoring.views import Run, collected

LEAST = 10  # events, and as many non-events: fewer judge nothing
NAMES = {
    "auc": "AUC",
    "ks": "KS",
    "ap": "AP",
    "gini": "Gini",
    "brier": "Brier",
    "log_loss": "log-loss",
    "ece": "ECE",
    "lift_10": "lift in the top decile",
}
Part = Literal["month", "band", "segment"]
BINS = 10
POINTS = 50  # of the cost curve


@dataclass(frozen=True, kw_only=True, eq=False)
class Judged:
    """Scores with known outcomes."""

    rows: pl.DataFrame  # sample_id, as_of, score, band, outcome, segment, month (of as_of)
    scored: int  # samples of the run

    @property
    def enough(self) -> bool:
        events = int(self.rows["outcome"].sum())
        return min(events, len(self.rows) - events) >= LEAST

    @property
    def y(self) -> np.ndarray:
        return self.rows["outcome"].cast(pl.Float64).to_numpy()

    @property
    def p(self) -> np.ndarray:
        return self.rows["score"].to_numpy()


def judged(run: Run) -> Judged:
    """The samples whose outcome is known and that have a score. Raises RunError where outcomes were tampered with."""
    wanted = run.scores.select("sample_id", "as_of", "score", "band").filter(pl.col("score").is_not_null() & pl.col("score").is_not_nan())
    rows = collected(wanted.join(outcomes(run.folder).lazy().select("sample_id", "outcome", "segment"), on="sample_id"), run.folder)
    return Judged(rows=rows.sort("sample_id").with_columns(month=pl.col("as_of").dt.strftime("%Y-%m")), scored=run.rows)


def metrics(found: Judged, draws: int = 500) -> pl.DataFrame:
    """metric, value, low, high: bootstrap intervals over samples (several of one client are taken as independent)."""
    told = summary(found.y, found.p, draws=draws)
    return pl.DataFrame([{"metric": name, **told[key]} for key, name in NAMES.items()])


def calibration(found: Judged) -> pl.DataFrame:
    """rows, predicted, observed, low, high: bins of equal size, Wilson intervals."""
    curve = calibration_curve(found.y, found.p, BINS)
    return pl.DataFrame({name: getattr(curve, name) for name in ("rows", "predicted", "observed", "low", "high")})


def by(found: Judged, column: Part) -> pl.DataFrame:
    """Vintages (month), bands or segments: samples, event_rate, mean_score, auc (null where a part has one class only).

    Samples whose segment nobody told are in none.
    """
    rows = []
    for (name,), part in found.rows.drop_nulls(column).group_by(column):
        y, p = part["outcome"].cast(pl.Float64).to_numpy(), part["score"].to_numpy()
        rows.append((name, len(part), float(y.mean()), float(p.mean()), auc(y, p) if 0 < y.sum() < len(y) else None))
    schema = {column: pl.String, "samples": pl.Int64, "event_rate": pl.Float64, "mean_score": pl.Float64, "auc": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row").sort("mean_score" if column == "band" else column)


def cost_curve(found: Judged, run: Run) -> pl.DataFrame:
    """cutoff and cost a sample: what flagging at a cut-off would have cost by the policy's costs, at POINTS cut-offs."""
    costs, y, p = run.policy.costs, found.y, found.p
    cutoffs = np.unique(np.append(np.quantile(p, np.linspace(0, 1, POINTS)), run.policy.cutoff))
    flagged = p[None] >= cutoffs[:, None]
    cost = costs.false_negative * (~flagged & (y == 1)).mean(1) + costs.false_positive * (flagged & (y == 0)).mean(1)
    return pl.DataFrame({"cutoff": cutoffs, "cost": cost})
