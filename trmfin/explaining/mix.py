"""Reason mix: which principal factors the flagged samples in each group of a protected attribute have.

Protected attributes are never features; a group that has other factors than the rest is flagged for other things. That is a
question to look into, not a verdict. Factors count whether or not release checks would let them be told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trmfin.data.prepared import Prepared
from trmfin.explaining.comparison import comparison
from trmfin.explaining.players import Players, players_of
from trmfin.explaining.reasons import principal
from trmfin.explaining.sampling import attributed
from trmfin.explaining.shapley import Game
from trmfin.learn.bundle import Bundle
from trmfin.learn.fairness import groups_of, share_of, with_flags
from trmfin.learn.intervals import group_numbers, resampled
from trmfin.sequences.sequences import build

COMPARED_WITH = "near_cutoff_approved"
CASES = 500  # flagged samples that are explained
LEAST = 20  # explained samples of a group whose shares are shown
Float = NDArray[np.float64]


def reason_mix(
    bundle: Bundle, data: Prepared, predictions: pl.DataFrame, tell: Callable[[int, int], None] = lambda done, cases: None
) -> dict[str, Any]:
    """Per protected column and reason: the share of each group's flagged samples that has it, and the largest difference.

    predictions: as `bundle_predictions` gives them, flagged by the bundle's policy. At most CASES flagged samples are explained, evenly
    spaced by score, by exact Shapley values of the last step's log-odds against the average of COMPARED_WITH. Columns in which fewer
    than two groups have LEAST of them are left out; where none is left, nothing is explained. tell: called with the cases done so far
    and all. Raises ConfigError where the bundle lacks the group.
    """
    task, flagged = bundle.task, with_flags(predictions, bundle.policy.cutoff).filter(pl.col("flag") == 1).sort("p", "sample_id")
    if len(flagged) > CASES:
        flagged = flagged[np.linspace(0, len(flagged) - 1, CASES).round().astype(np.int64).tolist()]
    columns = {name: groups for name in task.protected if (groups := _groups(flagged, predictions, data.samples, name))}
    found: dict[str, Any] = {"cases": len(flagged), "compared_with": COMPARED_WITH, "attributes": []}
    if not columns:  # nothing would be shown of what was explained
        return found
    players, codes = players_of(task), {reason.player: reason.code for reason in task.reasons if "raises" in reason.directions}
    told, first = _told(bundle, data, players, flagged["sample_id"], tell)
    for name, (shown, code) in columns.items():
        reasons = [
            {"code": codes.get(player, ""), "player": player} | _line(told[:, m], first[:, m], code, list(shown), flagged["group"])
            for m, player in enumerate(players.names)
            if told[code >= 0, m].any()
        ]
        found["attributes"].append({"name": name, "groups": shown, "reasons": reasons})
    return found


def _groups(
    flagged: pl.DataFrame, tested: pl.DataFrame, samples: pl.DataFrame, name: str
) -> tuple[dict[str, int], NDArray[np.int64]] | None:
    """The groups with at least LEAST flagged samples, in the tables' order with how many they have, and (n,) which of them each flagged
    sample is of, -1 = none; None where there are fewer than two."""
    groups = groups_of(tested, samples, name)
    if groups is None:
        return None
    of = flagged.select("sample_id").join(groups.of_sample, on="sample_id", how="left", maintain_order="left")["value"]
    shown = {group: count for group in groups.large if (count := int((of == group).sum())) >= LEAST}
    if len(shown) < 2:
        return None
    return shown, of.replace_strict(list(shown), list(range(len(shown))), default=-1, return_dtype=pl.Int64).to_numpy()


def _told(bundle: Bundle, data: Prepared, players: Players, sample_ids: pl.Series, tell: Callable[[int, int], None]) -> tuple[Float, Float]:
    """(N, M) 1 where a player is among a sample's principal ones, and where it is the first of them."""
    sequences = build(data, bundle.task).aligned(bundle.fitted)
    place = {name: row for row, name in enumerate(sequences.sample_ids.tolist())}
    rows = np.array([place[name] for name in sample_ids], np.int64)
    game = Game.of(bundle, players, comparison(bundle.task, bundle.reference, COMPARED_WITH))
    values = attributed(game, sequences, rows, tell=lambda done: tell(done, len(rows))).values[:, -1]
    told, first = np.zeros_like(values), np.zeros_like(values)
    for case, mine in enumerate(principal(row) for row in values):
        told[case, mine], first[case, mine[:1]] = 1, 1
    return told, first


def _line(told: Float, first: Float, code: NDArray[np.int64], names: list[str], group: pl.Series) -> dict[str, Any]:
    """One reason's shares by group. Which two are compared is settled once, on all cases; the draws keep to them."""
    kept = code >= 0
    told, first, code, once = told[kept], first[kept], code[kept], np.ones(kept.sum())
    shares = share_of(code, once, told)
    most, least = int(shares.argmax()), int(shares.argmin())

    def gap(weight: Float) -> list[float]:
        drawn = share_of(code, weight, told)
        return [float(drawn[most] - drawn[least])]

    (found,) = resampled(gap, group_numbers(group.to_numpy()[kept]))
    return {
        "told": dict(zip(names, shares.tolist(), strict=True)),
        "first": dict(zip(names, share_of(code, once, first).tolist(), strict=True)),
        "gap": found.to_json() | {"most": names[most], "least": names[least]},
    }
