"""The order of events in a prepared folder. It changes no sequence, only how much of a file has to be read for some samples."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl


def in_order_of_samples(events: pl.DataFrame, samples: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    """Events in the order in which samples first ask for their key, those that no sample asks for last; else as they were.

    key: columns of both tables, text or whole numbers; with any other the events stay as they are.
    """
    types = [(events.schema.get(name), samples.schema.get(name)) for name in key]
    if not types or any(kind is None or kind != other or not (kind == pl.String or kind.is_integer()) for kind, other in types):
        return events
    asked = samples.select(key).unique(keep="first", maintain_order=True).with_row_index("__asked")
    placed = events.join(asked, on=list(key), how="left", maintain_order="left")
    return placed.sort("__asked", nulls_last=True, maintain_order=True).drop("__asked")
