"""Peers: cases of the same run that were not flagged although much the same drives their scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from trmfin.scoring.views import Run, collected

PEERS = {"sample_id": pl.String, "score": pl.Float64, "distance": pl.Float64, "differs_in": pl.String, "by": pl.Float64}


def peers(run: Run, record: Mapping[str, Any], count: int = 3) -> pl.DataFrame:
    """The nearest cases that have a record and are not flagged, nearest first; empty where there are none.

    distance: Euclidean, between the players' values, in log-odds. differs_in: the player whose values differ most; by: the case's
    value less the peer's.
    """
    if run.records is None:
        return pl.DataFrame(schema=PEERS)
    values = record["attribution"]["values"]
    others = (pl.col("decision") == "not flagged") & (pl.col("sample_id") != record["sample_id"])
    long = run.records.filter(others).select("sample_id", "score", "values").explode("values").unnest("values")
    named = long.join(pl.LazyFrame({"player": list(values), "own": list(values.values())}), on="player")
    by = pl.col("own") - pl.col("value")
    nearest = (
        named.with_columns(by=by)
        .group_by("sample_id", "score")
        .agg(
            distance=pl.col("by").pow(2).sum().sqrt(),
            differs_in=pl.col("player").sort_by(pl.col("by").abs(), "player", descending=[True, False]).first(),
            by=pl.col("by").sort_by(pl.col("by").abs(), "player", descending=[True, False]).first(),
        )
        .sort("distance", "sample_id")
        .head(count)
    )
    return collected(nearest, run.folder).select(*PEERS)
