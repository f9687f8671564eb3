"""Comparison groups: what a case is compared with when its score is explained. Named, hashed, and part of the bundle.

all_applicants         training samples, evenly spaced
portfolio              each group's latest sample that is not flagged: the book as it stands
near_cutoff_approved   held-out samples that are just not flagged, next to the cut-off first

A group is used in one of two forms. `rows`: each of K of its rows takes the place of what is turned off, and values are means
over them. `average`: the mean of what its rows' cells add to a token's embedding takes the place, one pass instead of K; it is
no possible row, so whether it names what the rows name is measured (`averages`), and a release check.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trmfin.errors import BundleError, ConfigError
from trmfin.sequences.batch import Batch, token_tags
from trmfin.sequences.task import Task

Form = Literal["average", "rows"]
FORMS: tuple[Form, ...] = get_args(Form)
BELOW_CUTOFF = ("near_cutoff_approved", "portfolio")  # groups that were chosen by the cut-off of the bundle's own policy
Int = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """The rows of one group, as the network sees them, and how they are used."""

    name: str
    form: Form
    rows: Batch  # K of them
    sample_ids: tuple[str, ...]  # (K,)
    sha256: str  # of name, form, identities and cells

    def __len__(self) -> int:
        return len(self.sample_ids)


def comparison(task: Task, reference: pl.DataFrame, name: str, form: Form = "average", count: int | None = None) -> Comparison:
    """A group of a bundle's `reference`, `count` evenly spaced rows of it; None = all.

    Raises ConfigError on an unknown group or form and on more rows than there are, BundleError where its cells do not fit the task.
    """
    if form not in FORMS:
        raise ConfigError(f"comparison: form {form!r} is unknown; choose {' or '.join(FORMS)}")
    group = reference.filter(pl.col("group") == name)
    if group.is_empty():
        found = ", ".join(reference["group"].unique(maintain_order=True).to_list())
        raise ConfigError(f"comparison: the bundle has no group {name!r}; it has {found}: choose one of these, or train the bundle again")
    if count is not None:
        if not 1 <= count <= len(group):
            raise ConfigError(f"comparison: {count} rows of group {name!r} asked for; choose 1 to {len(group)}")
        group = group[np.linspace(0, len(group) - 1, count).round().astype(np.int64).tolist()]
    rows = _batch(task, group)
    ids = tuple(group["sample_id"].to_list())
    digest = hashlib.sha256("\n".join((name, form, *ids)).encode())
    for values in (rows.numbers, rows.codes, rows.mask):
        digest.update(np.ascontiguousarray(values).tobytes())
    return Comparison(name=name, form=form, rows=rows, sample_ids=ids, sha256=digest.hexdigest())


def _batch(task: Task, group: pl.DataFrame) -> Batch:
    K, L = len(group), task.length
    shapes = {"numbers": (K, L, len(task.numbers)), "codes": (K, L, len(task.codes)), "mask": (K, L)}
    types = {"numbers": np.float32, "codes": np.int64, "mask": np.bool_}
    found: dict[str, NDArray[np.generic]] = {}
    for name, shape in shapes.items():
        values = np.stack(group[name].to_list()) if name in group.columns else np.zeros((K, 0))
        if values.size != np.prod(shape):
            raise BundleError(f"bundle: its reference has {values.size} {name} for {K} rows, the task {shape}; train it again")
        found[name] = values.reshape(shape).astype(types[name])
    return Batch(tag=np.tile(token_tags(task), (K, 1)), rows=np.arange(K), **found)  # type: ignore[arg-type]


def completed(task: Task, rows: Batch) -> Batch:
    """The rows with every event token filled, so that their cells can be looked at at any token, whoever says that it is there.

    A place that a row has no event for is filled with the row's oldest event of that history; a history without events stays
    absent, which is what a sample without events looks like.
    """
    tags = token_tags(task)
    source = np.tile(np.arange(task.length), (len(rows.rows), 1))  # (K, L) the token that each is filled from
    for history in range(1, len(task.histories) + 1):
        places = np.flatnonzero(tags == history)
        there = rows.mask[:, places]
        oldest = places[there.argmax(1)]
        source[:, places] = np.where(there, places, oldest[:, None])
    at = np.arange(len(rows.rows))[:, None]
    return replace(rows, numbers=rows.numbers[at, source], codes=rows.codes[at, source], mask=np.ones_like(rows.mask))
