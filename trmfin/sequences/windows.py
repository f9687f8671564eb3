"""As-of windows: which events a sample may see, as places in one order of all events. Nothing is copied per sample."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trmfin.errors import TaskError

Int = NDArray[np.int64]
NO_KEY = -1  # a row that belongs to no history


@dataclass(frozen=True, kw_only=True)
class Window:
    """One history of every sample: events order[start[i]:stop[i]] are sample i's, oldest first."""

    order: Int  # (M + 1,) rows of the event columns, by key, known_at, sequence, event_id; the last is the absent event E
    start: Int  # (N,)
    stop: Int  # (N,) stop - start ≤ length
    length: int  # L_h: tokens this history takes in a sample


@dataclass(frozen=True, kw_only=True)
class Members:
    """M memberships of events in histories' keys. An event may stand under several keys (links), and under none."""

    row: Int  # (M,) row of the event columns
    key: Int  # (M,) code of the key, NO_KEY = none
    known_at: Int  # (M,) when the membership could be known: never before the event itself


def as_of_windows(members: Members, ties: pl.DataFrame, *, key: Int, as_of: Int, length: int) -> Window:
    """The last `length` members of each sample's key that were known strictly before its as_of.

    ties: one row an event, columns that order events of one key and one instant, the unique event_id last; nulls first.
    key, as_of: (N,) of the samples; NO_KEY gives an empty window. O((M + N) log) without a loop over samples.
    """
    events = len(ties)
    held = np.flatnonzero(members.key != NO_KEY)
    moment, count = _ranks(np.concatenate((members.known_at[held], as_of)))
    place = members.key[held] * count + moment[: len(held)]  # rises with (key, known_at)
    order = np.argsort(place)
    sorted_place, rows = place[order], members.row[held][order]
    _settle_ties(rows, sorted_place, ties)
    asked = key * count + moment[len(held) :]  # NO_KEY is -1, so that its places lie before all others: nothing is found there
    in_order = np.argsort(asked)  # a search for rising places stays where the last one ended, which is many times as fast
    stop = np.empty_like(asked)
    stop[in_order] = np.searchsorted(sorted_place, asked[in_order], side="left")
    begins = np.searchsorted(sorted_place, np.arange(key.max(initial=NO_KEY) + 1) * count, side="left")
    first = np.where(key == NO_KEY, 0, np.append(begins, 0)[key])
    start = np.maximum(first, stop - length)
    return Window(order=np.append(rows, events), start=start, stop=stop, length=length)


def _ranks(values: Int) -> tuple[Int, int]:
    """Each value's place among the different values, from 0, and how many these are."""
    order = np.argsort(values)
    ranks = np.empty_like(values)
    ranks[order] = np.cumsum(np.diff(values[order], prepend=values[order][:1]) != 0)
    return ranks, int(ranks.max(initial=-1)) + 1


def _settle_ties(rows: Int, place: Int, ties: pl.DataFrame) -> None:
    """Order rows of equal place by `ties`, in place. Few rows are tied, so that only those pay for comparing strings."""
    equal = place[1:] == place[:-1]
    if not equal.any():
        return
    tied = np.flatnonzero(np.append(equal, False) | np.insert(equal, 0, False))
    table = ties[rows[tied]].insert_column(0, pl.Series("__place", place[tied]))
    rows[tied] = rows[tied][table.select(pl.arg_sort_by(table.columns, nulls_last=False)).to_series().to_numpy()]


def key_codes(events: pl.DataFrame, samples: pl.DataFrame, keys: tuple[str, ...]) -> tuple[Int, Int]:
    """One code per distinct key over events and samples, (E,) and (N,); NO_KEY where any part of the key is null.

    Raises TaskError where a key column is missing.
    """
    for table, frame in (("events", events), ("samples", samples)):
        if missing := [k for k in keys if k not in frame.columns]:
            found = ", ".join(frame.columns)
            raise TaskError(f"{table}: no key column {missing[0]!r}; histories need it in events and samples (found {found})")
        if differ := [k for k in keys if events.schema.get(k) != frame.schema[k]]:
            found = f"{frame.schema[differ[0]]}, but {events.schema[differ[0]]} in events"
            raise TaskError(f"{table}, key column {differ[0]}: {found}; write both as String")
    parts = [f"k{i}" for i in range(len(keys))]
    columns = [pl.col(k).cast(pl.String).alias(part) for k, part in zip(keys, parts, strict=True)]
    both = pl.concat([events.select(columns), samples.select(columns)])
    distinct = both.drop_nulls().unique(maintain_order=True).with_row_index("code")
    codes = both.join(distinct, on=parts, how="left", maintain_order="left")["code"].cast(pl.Int64).fill_null(NO_KEY).to_numpy()
    return codes[: len(events)], codes[len(events) :]


def through_links(direct: Members, source: Int, target: Int, known_at: Int) -> Members:
    """`direct` memberships (one an event, in row order), and one more for each link, either way: the far event joins the near one's key.

    source, target, known_at: (K,) linked event rows and when the link was known. A membership is known when both events
    and the link are; of several ways into one key the earliest counts.
    """
    near, far = np.concatenate((source, target)), np.concatenate((target, source))
    linked = np.maximum(np.concatenate((known_at, known_at)), np.maximum(direct.known_at[near], direct.known_at[far]))
    row, key = np.concatenate((direct.row, far)), np.concatenate((direct.key, direct.key[near]))
    known = np.concatenate((direct.known_at, linked))
    order = np.lexsort((known, row, key))
    order = order[key[order] != NO_KEY]
    again = (key[order][1:] == key[order][:-1]) & (row[order][1:] == row[order][:-1])
    kept = order[~np.insert(again, 0, False)] if len(order) else order
    return Members(row=row[kept], key=key[kept], known_at=known[kept])


def event_tokens(windows: Iterable[Window], rows: Int, absent: int) -> Int:
    """(B, L) event row of each token of the samples `rows`; `absent` (E) on the leading token and on padding."""
    parts = [np.full((len(rows), 1), absent)]
    for window in windows:
        place = window.stop.take(rows)[:, None] + np.arange(-window.length, 0)  # (B, L_h), right-aligned: padding is on the left
        place[place < window.start.take(rows)[:, None]] = len(window.order) - 1
        parts.append(window.order.take(place))
    return np.concatenate(parts, axis=1)
