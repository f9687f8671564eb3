"""Peers: cases of the same run that were not flagged although much the same drives their scores."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl

from trmfin.scoring.views import KEPT, Run, collected

PEERS = {"sample_id": pl.String, "score": pl.Float64, "distance": pl.Float64, "differs_in": pl.String, "by": pl.Float64}


def peers(run: Run, record: Mapping[str, Any], count: int = 3) -> pl.DataFrame:
    """The nearest cases that have a record and are not flagged, nearest first; empty where there are none.

    distance: Euclidean, between the values of the players that both have, in log-odds. differs_in: the player whose values differ
    most; by: the case's value less the peer's.
    """
    others, own = _values(run), record["attribution"]["values"]
    players = sorted(set(own) & set(others.columns[2:]))
    if not players:
        return pl.DataFrame(schema=PEERS)
    by = np.array([own[name] for name in players]) - others.select(players).to_numpy()
    distance = np.where(np.isnan(by).all(1), np.inf, np.sqrt(np.nansum(by * by, 1)))
    distance[(others["sample_id"] == record["sample_id"]).to_numpy()] = np.inf
    nearest = np.argsort(distance, kind="stable")[:count]
    nearest = nearest[np.isfinite(distance[nearest])]
    most = np.nanargmax(np.abs(by[nearest]), 1) if len(nearest) else nearest
    found = others.select("sample_id", "score")[nearest.tolist()].with_columns(
        distance=pl.Series(distance[nearest], dtype=pl.Float64),
        differs_in=pl.Series([players[place] for place in most], dtype=pl.String),
        by=pl.Series(by[nearest, most], dtype=pl.Float64),
    )
    table: pl.DataFrame = found.select(*PEERS)
    return table


@lru_cache(maxsize=KEPT)
def _values(run: Run) -> pl.DataFrame:
    """Cases that have a record and are not flagged, by name: sample_id, score and each player's value, null where a case lacks it."""
    if run.records is None:
        return pl.DataFrame(schema={"sample_id": pl.String, "score": pl.Float64})
    told = run.records.filter(pl.col("decision") == "not flagged").select("sample_id", "score", "values")
    long = collected(told.explode("values").unnest("values"), run.folder)
    return long.pivot("player", index=["sample_id", "score"], values="value").sort("sample_id")
