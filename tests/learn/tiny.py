"""A world that is learnt in a second: what a client's few notes say decides the target, but for a few clients.

This file is also a pipeline, whose data need no preparing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import dataframely as dy
import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from trmfin.data.prepared import Prepared
from trmfin.learn import report, training
from trmfin.learn.intervals import fold_summary, summary
from trmfin.learn.settings import TrainSettings
from trmfin.model.config import ModelConfig
from trmfin.sequences.fitted import Fitted
from trmfin.sequences.protocol import Protocol
from trmfin.sequences.sequences import Sequences, build
from trmfin.sequences.task import Field, History, Target, Task

TIME = pl.Datetime("us", "UTC")
START = datetime(2024, 1, 1, tzinfo=UTC)
MODEL = ModelConfig(width=8, head_width=4, blocks=1, inner_multiple=4, latent_steps=1, answer_steps=1, supervision_steps=2, bins=4)
TRAINING = TrainSettings(
    epochs=30,
    pretrain_epochs=0,
    batch_size=16,
    learning_rate=1e-2,
    warmup_steps=5,
    weight_decay=0.01,
    average_decay=0.9,
    validations=4,
    clip_norm=5.0,
)
TASK = Task(
    name="notes",
    histories=(History(name="notes", keys=("client",), length=3),),
    fields=(
        Field(name="late", column="late", transform="number"),
        Field(name="kind", column="kind", transform="category"),
        Field(name="limit", column="limit", transform="signed_log", of="sample"),
    ),
    targets=(Target(name="bad", head="binary", meaning="probability that the client turns bad"),),
    primary="bad",
    group="household",
    money=("limit",),
)
PROTOCOL = Protocol(kind="stratified", folds=2, seed=42)


class Raw(dy.Schema):
    """Never read."""

    client = dy.String()


SCHEMAS: dict[str, type[dy.Schema]] = {"raw": Raw}
ALIASES: dict[str, str] = {}


def prepare(tables: dict[str, pl.DataFrame]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Never called."""
    raise NotImplementedError


def notes(clients: int = 64, months: int = 1, labelled: bool = True) -> Prepared:
    """Client c has c % 4 notes by each month's end, and a household with client c ± 1; bad where the notes are late.

    One sample a client and month; months = 1 gives samples of one as_of. With every eleventh client it is the other way round.
    """
    events: list[dict[str, Any]] = []
    samples: list[dict[str, Any]] = []
    for month in range(months):
        as_of = START + timedelta(days=30 * (month + 1))
        for c in range(clients):
            late = [(7 * c + 5 * month) % 10 + 0.1 * k for k in range(c % 4)]
            for k, value in enumerate(late):
                when = as_of - timedelta(days=10 - k)
                event = {"event_id": f"{c}.{month}.{k}", "event_time": when, "known_at": when, "event_type": "note", "client": f"c{c}"}
                events.append({**event, "late": value, "kind": "abc"[(c + k) % 3]})
            bad = bool(late and late[-1] >= 5) != (c % 11 == 0)
            sample = {
                "sample_id": f"c{c}@{month}",
                "as_of": as_of,
                "client": f"c{c}",
                "household": f"h{c // 2}",
                "limit": 100 * (1 + c % 5),
            }
            known = {"target_bad": float(bad), "target_bad_known_at": as_of + timedelta(days=20)} if labelled else {}
            samples.append({**sample, **known})
    times = {"event_time": TIME, "known_at": TIME}
    own = {"as_of": TIME, "target_bad_known_at": TIME} if labelled else {"as_of": TIME}
    return Prepared(events=pl.DataFrame(events, schema_overrides=times), samples=pl.DataFrame(samples, schema_overrides=own))


def challenger_features(prepared: Prepared) -> pl.DataFrame:
    """For challengers: how late the newest note is, and how many there are."""
    newest = prepared.events.sort("known_at").group_by(pl.col("event_id").str.replace(r"\.\d+$", "")).agg(pl.col("late").last(), pl.len())
    key = pl.format("{}.{}", pl.col("client").str.slice(1), pl.col("sample_id").str.extract(r"@(\d+)"))
    joined = prepared.samples.with_columns(key.alias("event_id")).join(newest, on="event_id", how="left", maintain_order="left")
    return joined.select("sample_id", "late", pl.col("len").fill_null(0).cast(pl.Int64).alias("notes"), "limit")


@dataclass(frozen=True, kw_only=True)
class World:
    sequences: Sequences  # aligned
    fitted: Fitted
    train: NDArray[np.int64]
    validation: NDArray[np.int64]


def world(prepared: Prepared | None = None, task: Task = TASK, bins: int = 4) -> World:
    """Every fourth four rows validate, the others train."""
    sequences = build(notes() if prepared is None else prepared, task)
    rows = np.arange(len(sequences))
    fitted = Fitted.fit(sequences, rows, bins)
    return World(sequences=sequences.aligned(fitted), fitted=fitted, train=rows[rows // 4 % 4 != 3], validation=rows[rows // 4 % 4 == 3])


def asking(target: Target, halt: str = "no_further_gain") -> Task:
    """The task with another target."""
    return replace(TASK, targets=(target,), primary=target.name, halt=halt)


def answering(prepared: Prepared, name: str, answers: list[Any]) -> Prepared:
    """The data with another target's answers, all known 20 days later; None = unknown."""
    known = pl.when(pl.Series(answers).is_not_null()).then(pl.col("as_of") + timedelta(days=20))
    added = {f"target_{name}": pl.Series(answers), f"target_{name}_known_at": known}
    return replace(prepared, samples=prepared.samples.with_columns(**added))


@contextmanager
def few_draws() -> Iterator[None]:
    """Intervals of reports and cards from 20 draws instead of a thousand: for tests that are about something else."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (report, training):
            patch.setattr(module, "summary", partial(summary, draws=20))
        patch.setattr(report, "fold_summary", partial(fold_summary, draws=20))
        yield
