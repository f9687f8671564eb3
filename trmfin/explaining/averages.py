"""Does the average of a comparison group stand for its rows? Asked of a bundle when it is trained; the answer is kept in its card.

An average is no possible row, and one pass where rows take ten. What it names is released only where rows name much the same
(`reasons.Checks`), and only of such scores as were asked about.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trmfin.errors import MissingExtra
from trmfin.explaining.comparison import FORMS
from trmfin.explaining.explainer import Asked
from trmfin.explaining.players import Players, players_of
from trmfin.explaining.reasons import jaccard, principal
from trmfin.explaining.sampling import attributed, check_sampler
from trmfin.explaining.shapley import Game
from trmfin.learn.bundle import Bundle
from trmfin.learn.threads import one_thread
from trmfin.scoring.engine import score_rows
from trmfin.scoring.table import has_log_odds
from trmfin.sequences.sequences import Sequences

CASES, LEAST = 24, 12  # explained in both forms, for each group; fewer than the least say nothing
LOOKED_AT = 20_000  # samples that they are chosen among, at most
Rows = NDArray[np.int64]


def averages(
    bundle: Bundle,
    sequences: Sequences,
    rows: Rows,
    *,
    seconds: float | None = None,
    tell: Callable[[int, int], None] = lambda done, cases: None,
) -> dict[str, dict[str, Any]]:
    """Of each group how alike its average and its rows are, by the Jaccard index of the principal players of flagged samples.

    sequences: aligned. rows: among which samples are chosen. Where fewer than CASES are flagged, they are the highest scores. seconds:
    after how many no other case is begun, once LEAST are done. tell: called with the cases done so far and all. Nothing is said where
    there are fewer samples than LEAST, of a score that is no log-odds, nor of more players than can be explained without shap where
    that is not installed.

    Each group has `jaccard`, the mean over `cases` after the last step, its `standard_error`, and `least_score`, from which on the cases
    were drawn: it says nothing of lower scores, of other players than `features`, or of earlier steps.
    """
    players, began = players_of(bundle.task), time.monotonic()
    if not (has_log_odds(bundle.task) and _can_be_explained(players)):
        return {}
    groups = bundle.reference["group"].unique(maintain_order=True).to_list()
    games = {name: [Game.of(bundle, players, Asked(group=name).comparison(bundle, form)) for form in FORMS] for name in groups}
    alike, done = {name: list[float]() for name in groups}, 0
    with one_thread():
        chosen, lowest = _cases(bundle, sequences, rows)
        if len(chosen) < LEAST:
            return {}
        for case in chosen:
            for name, forms in games.items():
                average, of_rows = (attributed(game, sequences, np.array([case])).values[0, -1] for game in forms)
                alike[name].append(jaccard(principal(average), principal(of_rows)))
            done += 1
            tell(done, len(chosen))
            if done >= LEAST and seconds is not None and time.monotonic() - began > seconds:
                break
    return {name: _summed(found) | {"least_score": lowest} for name, found in alike.items()}


def _can_be_explained(players: Players) -> bool:
    try:
        check_sampler(players)
    except MissingExtra:
        return False
    return True


def _cases(bundle: Bundle, sequences: Sequences, rows: Rows) -> tuple[Rows, float]:
    """CASES of the rows, or all where there are no more, in a seeded order; and the score from which on they were drawn."""
    some = rows[np.unique(np.linspace(0, len(rows) - 1, LOOKED_AT).round().astype(np.int64))]
    scores = score_rows(bundle, sequences, some).score
    order = np.argsort(-scores, kind="stable")
    flagged = int((scores >= bundle.policy.cutoff).sum())
    high = max(flagged, min(CASES, len(some)))
    chosen = some[order[np.unique(np.linspace(0, high - 1, CASES).round().astype(np.int64))]]
    lowest = bundle.policy.cutoff if high == flagged else float(scores[order[high - 1]])
    return np.random.default_rng(0).permutation(chosen), lowest


def _summed(alike: list[float]) -> dict[str, Any]:
    return {
        "cases": len(alike),
        "jaccard": float(np.mean(alike)),
        "standard_error": float(np.std(alike, ddof=1) / len(alike) ** 0.5),
    }
