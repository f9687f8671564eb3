"""Does the average of a comparison group stand for its rows? Asked once of a bundle, when it is trained; the answer is kept in its card.

An average is no possible row, and one pass where rows take ten. What it names is released only where rows name much the same
(`reasons.Checks`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from trmfin.errors import MissingExtra
from trmfin.explaining.comparison import FORMS
from trmfin.explaining.explainer import Asked
from trmfin.explaining.players import players_of
from trmfin.explaining.reasons import jaccard, principal
from trmfin.explaining.sampling import attributed, check_sampler
from trmfin.explaining.shapley import Game
from trmfin.learn.bundle import Bundle
from trmfin.scoring.engine import score_rows
from trmfin.scoring.table import has_log_odds
from trmfin.scoring.thresholds import flagged
from trmfin.sequences.sequences import Sequences

CASES = 12  # explained in both forms, for each group
LOOKED_AT = 2_000  # samples that they are chosen among, at most
Rows = NDArray[np.int64]


def averages(
    bundle: Bundle, sequences: Sequences, rows: Rows, tell: Callable[[int, int], None] = lambda done, groups: None
) -> dict[str, dict[str, float]]:
    """Of each group: `cases`, and `jaccard`, the mean of the Jaccard indices of their principal players against average and rows.

    sequences: aligned. rows: what was trained on. Cases are flagged samples, evenly spaced by their scores; where too few are flagged,
    the highest scores. tell: called with the groups done so far and all. Nothing is said of a score that is no log-odds, nor of
    more players than can be explained without shap where that is not installed.
    """
    players = players_of(bundle.task)
    try:
        check_sampler(players)
    except MissingExtra:
        return {}
    if not has_log_odds(bundle.task):
        return {}
    chosen, groups = _cases(bundle, sequences, rows), bundle.reference["group"].unique(maintain_order=True).to_list()
    found = dict[str, dict[str, float]]()
    for name in groups:
        asked = Asked(group=name)
        games = [Game.of(bundle, players, asked.comparison(bundle, form)) for form in FORMS]
        values = [attributed(game, sequences, chosen).values[:, -1] for game in games]
        alike = [jaccard(principal(one), principal(other)) for one, other in zip(*values, strict=True)]
        found[name] = {"cases": len(chosen), "jaccard": float(np.mean(alike))}
        tell(len(found), len(groups))
    return found


def _cases(bundle: Bundle, sequences: Sequences, rows: Rows) -> Rows:
    """CASES of the rows, or all where there are no more."""
    some = rows[np.unique(np.linspace(0, len(rows) - 1, LOOKED_AT).round().astype(np.int64))]
    scores = score_rows(bundle, sequences, some).score
    order = np.argsort(-scores, kind="stable")
    high = max(int(flagged(scores, bundle.policy).sum()), min(CASES, len(some)))
    return np.sort(some[order[np.unique(np.linspace(0, high - 1, CASES).round().astype(np.int64))]])
