"""As-of windows: which events a sample may see, as places in one order of all events. Nothing is copied per sample."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trmfin.errors import TaskError
from trmfin.sequences.columns import as_codes, distinct, filled

Int = NDArray[np.int64]
NO_KEY = -1  # a row that belongs to no history


@dataclass(frozen=True, kw_only=True)
class Window:
    """One history of every sample: events order[start[i]:stop[i]] are sample i's, oldest first."""

    order: Int  # (M + 1,) rows of the event columns, by key, known_at, sequence, event_id; the last is the absent event E
    start: Int  # (N,)
    stop: Int  # (N,) stop - start ≤ length
    length: int  # W_h: places of this history in a sample's windows


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
    keys = 2 + int(max(members.key.max(initial=NO_KEY), key.max(initial=NO_KEY)))  # from 0, and NO_KEY
    moment, count = _moments(np.concatenate((members.known_at[held], as_of)), keys)
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


def _moments(times: Int, keys: int) -> tuple[Int, int]:
    """Whole numbers from 0 in the times' order, and more than the largest of them: so few that each of so many keys can have its own."""
    if not len(times):
        return times, 0
    first, span = int(times.min()), int(times.max()) - int(times.min()) + 1
    if keys * span <= np.iinfo(np.int64).max:
        return times - first, span
    order = np.argsort(times)
    ranks = np.empty_like(times)
    ranks[order] = np.cumsum(np.diff(times[order], prepend=times[order][:1]) != 0)
    return ranks, int(ranks.max()) + 1


def _settle_ties(rows: Int, place: Int, ties: pl.DataFrame) -> None:
    """Order rows of equal place by `ties`, in place. Few rows are tied, so that only those pay for comparing strings."""
    equal = place[1:] == place[:-1]
    if not equal.any():
        return
    tied = np.flatnonzero(np.append(equal, False) | np.insert(equal, 0, False))
    table = ties[rows[tied]].insert_column(0, pl.Series("__place", place[tied]))
    rows[tied] = rows[tied][table.select(pl.arg_sort_by(table.columns, nulls_last=False)).to_series().to_numpy()]


def key_codes(events: pl.DataFrame, samples: pl.DataFrame, keys: tuple[str, ...]) -> tuple[Int, Int]:
    """One code per distinct key over events and samples, from 0, (E,) and (N,); NO_KEY where any part of the key is null.

    Raises TaskError where a key column is missing.
    """
    for table, frame in (("events", events), ("samples", samples)):
        if missing := [k for k in keys if k not in frame.columns]:
            found = ", ".join(frame.columns)
            raise TaskError(f"{table}: no key column {missing[0]!r}; histories need it in events and samples (found {found})")
        if differ := [k for k in keys if events.schema.get(k) != frame.schema[k]]:
            found = f"{frame.schema[differ[0]]}, but {events.schema[differ[0]]} in events"
            raise TaskError(f"{table}, key column {differ[0]}: {found}; write both as String")
    codes = np.zeros(len(events) + len(samples), np.int64)
    for place, name in enumerate(keys):
        columns = [frame[name].cast(pl.String) for frame in (events, samples)]
        values = distinct(pl.concat([distinct(column) for column in columns]))
        part = np.concatenate([filled(as_codes(column, values).cast(pl.Int64), NO_KEY) for column in columns])
        if place == 0:
            codes = part
        else:
            known = (codes != NO_KEY) & (part != NO_KEY)
            pairs = codes[known] * len(values) + part[known]
            codes = np.full(len(codes), NO_KEY)
            codes[known] = np.unique(pairs, return_inverse=True)[1]
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


def event_places(windows: Iterable[Window], rows: Int, absent: int) -> Int:
    """(B, W) row of each event in the windows of the samples `rows`, history after history; `absent` (E) on padding."""
    parts = [np.full((len(rows), 0), absent)]
    for window in windows:
        place = window.stop.take(rows)[:, None] + np.arange(-window.length, 0)  # (B, W_h), right-aligned: padding is on the left
        place[place < window.start.take(rows)[:, None]] = len(window.order) - 1
        parts.append(window.order.take(place))
    return np.concatenate(parts, axis=1)
