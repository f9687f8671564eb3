"""Peers: cases of the same run that were not flagged although much the same drives their scores."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl

from trmfin.scoring.views import KEPT, Run, collected

VALUE_OF = "value of "
PEERS = {"sample_id": pl.String, "score": pl.Float64, "distance": pl.Float64, "differs_in": pl.String, "by": pl.Float64}


def peers(run: Run, record: Mapping[str, Any], count: int = 3) -> pl.DataFrame:
    """The nearest cases that have a record and are not flagged, nearest first; empty where there are none.

    distance: Euclidean, between the values of the players that both have, in log-odds. differs_in: the player whose values differ
    most; by: the case's value less the peer's.
    """
    others, own = _values(run), record["attribution"]["values"]
    players = [name for name in own if f"{VALUE_OF}{name}" in others.columns]
    if not players:
        return pl.DataFrame(schema=PEERS)
    by = np.array([own[name] for name in players]) - others.select(f"{VALUE_OF}{name}" for name in players).to_numpy()
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
    """Cases that have a record and are not flagged, by name: sample_id, score and each player's value, null where a case lacks it.

    A player's column is VALUE_OF its name, which may be that of any other column.
    """
    if run.records is None:
        return pl.DataFrame(schema={"sample_id": pl.String, "score": pl.Float64})
    told = run.records.filter(pl.col("decision") == "not flagged").select("sample_id", "score", "values")
    long = collected(told.explode("values").unnest("values"), run.folder)
    long = long.with_columns(player=VALUE_OF + pl.col("player"))
    return long.pivot("player", index=["sample_id", "score"], values="value").sort("sample_id")
