"""Links between events: which tokens of a sample are related, as small codes that bias attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trmfin.sequences.columns import microseconds

Int = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Links:
    """K links, sorted by the event they start from."""

    source: Int  # (K,) row of the event columns
    target: Int  # (K,) row of the event columns
    kind: NDArray[np.str_]  # (K,)
    known_at: Int  # (K,)


def read_links(links: pl.DataFrame | None, event_ids: pl.Series) -> Links:
    """Links as rows of the event columns, any number of them or none at all."""
    if links is None:
        none = np.zeros(0, np.int64)
        return Links(source=none, target=none, kind=np.zeros(0, np.str_), known_at=none)
    index = pl.DataFrame({"id": event_ids}).with_row_index("row")
    ends = [
        links.select(id=name).join(index, on="id", how="left", maintain_order="left")["row"].cast(pl.Int64).to_numpy()
        for name in ("from_event", "to_event")
    ]
    order = np.lexsort((ends[1], ends[0]))
    kind = links["kind"].to_numpy().astype(np.str_)
    known_at = microseconds(links["known_at"]).to_numpy()
    return Links(source=ends[0][order], target=ends[1][order], kind=kind[order], known_at=known_at[order])


def relation(links: Links, kinds: Sequence[str], tokens: Int, as_of: Int, absent: int) -> Int:
    """(B, L, L) code of each pair of tokens: 0 = none, k = linked by kinds[k - 1], either way; the first-named kind counts.

    tokens: (B, L) event rows, `absent` where there is none. A link counts when it was known strictly before as_of (B,).
    """
    B, L = tokens.shape
    codes = np.zeros((B, L, L), np.int64)
    flat = tokens.ravel()
    near, link = _pairs(links.source, flat)  # token `near` (place in flat) starts `link`
    sample = near // L
    known = links.known_at[link] < as_of[sample]
    near, link, sample = near[known], link[known], sample[known]
    held = np.flatnonzero(flat != absent)
    place = held // L * (absent + 1) + flat[held]  # of (sample, event)
    order = np.argsort(place, kind="stable")
    pair, found = _pairs(place[order], sample * (absent + 1) + links.target[link])
    far = held[order][found]
    near, link, sample = near[pair], link[pair], sample[pair]
    for code in range(len(kinds), 0, -1):
        of_kind = links.kind[link] == kinds[code - 1]
        b, i, j = sample[of_kind], near[of_kind] % L, far[of_kind] % L
        codes[b, i, j] = codes[b, j, i] = code
    return codes


def _pairs(values: Int, wanted: Int) -> tuple[Int, Int]:
    """All (place in wanted, place in values) with equal entries; values are sorted."""
    start, stop = np.searchsorted(values, wanted, side="left"), np.searchsorted(values, wanted, side="right")
    count = stop - start
    which = np.repeat(np.arange(len(wanted)), count)
    within = np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count)
    return which, start[which] + within
