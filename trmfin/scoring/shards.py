"""Scores as tables, one Parquet file each a shard, and back."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trmfin.learn.policy import Policy
from trmfin.scoring.scores import Answers, Effort, Scores, output_names, output_targets, token_targets
from trmfin.scoring.thresholds import bands
from trmfin.sequences.task import Task

UTC = pl.Datetime("us", "UTC")
SCORES = pl.Schema(
    {
        "sample_id": pl.String(),
        "as_of": UTC,
        "score": pl.Float64(),  # null where the primary target has none
        "step": pl.Int32(),
        "logits": pl.List(pl.Float32),  # one per step run
        "halts": pl.List(pl.Float32),
        "band": pl.String(),
    }
)
ANSWERS = pl.Schema(
    {**dict.fromkeys(("sample_id", "event_id", "field", "answer"), pl.String()), "probability": pl.Float32(), "step": pl.Int32()}
)
Frames = Mapping[str, pl.DataFrame]  # folder below the run's → table


def frames(scores: Scores, task: Task, policy: Policy) -> Frames:
    """The tables of one shard: `scores`, `outputs/TARGET` and, where the task asks for answers per token, `answers`."""
    tables = {"scores": score_frame(scores, policy)}
    for target in output_targets(task):
        columns = dict(zip(output_names(target), scores.outputs[target.name].T, strict=True))
        tables[output_folder(target.name)] = pl.DataFrame({"sample_id": _text(scores.sample_ids), **columns})
    if token_targets(task):
        tables["answers"] = answer_frame(scores)
    return tables


def score_frame(scores: Scores, policy: Policy) -> pl.DataFrame:
    """One row a sample, with its band; lists hold the steps that were run."""
    columns = {
        "sample_id": _text(scores.sample_ids),
        "as_of": pl.Series(scores.as_of).cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
        "score": pl.Series(scores.score).fill_nan(None),
        "step": scores.step,
        "logits": _lists(scores.logits),
        "halts": _lists(scores.halts),
        "band": _text(bands(scores.score, policy)),
    }
    return pl.DataFrame(columns).with_columns(pl.col("logits", "halts").list.head(pl.col("step"))).cast(SCORES)


def answer_frame(scores: Scores) -> pl.DataFrame:
    """One row for every token that was asked."""
    found = scores.answers
    return pl.DataFrame(
        {
            "sample_id": _text(scores.sample_ids[found.sample]),
            "event_id": _text(found.event_id),
            "field": _text(found.field),
            "answer": _text(found.answer),
            "probability": found.probability,
            "step": found.step,
        },
        schema=ANSWERS,
    )


def scores_from_frames(tables: Frames, task: Task, steps: int) -> Scores:
    """Inverse of `frames` for a run of at most `steps` steps; the effort is not in the tables."""
    table = tables["scores"]
    ids = table["sample_id"].to_numpy()
    answers = tables.get("answers", pl.DataFrame(schema=ANSWERS))
    place = pl.DataFrame({"sample_id": ids, "place": np.arange(len(ids))}, schema_overrides={"sample_id": pl.String()})
    return Scores(
        sample_ids=ids.astype(object),
        as_of=table["as_of"].to_physical().to_numpy(),
        score=table["score"].fill_null(np.nan).to_numpy(),
        step=table["step"].to_numpy(),
        logits=_matrix(table["logits"], steps),
        halts=_matrix(table["halts"], steps),
        outputs={t.name: tables[output_folder(t.name)].select(output_names(t)).to_numpy() for t in output_targets(task)},
        answers=Answers(
            sample=answers.join(place, on="sample_id", how="left", maintain_order="left")["place"].cast(pl.Int64).to_numpy(),
            event_id=_objects(answers["event_id"]),
            field=_objects(answers["field"]),
            answer=_objects(answers["answer"]),
            probability=answers["probability"].to_numpy(),
            step=answers["step"].to_numpy(),
        ),
        effort=Effort(),
    )


def output_folder(target: str) -> str:
    """Where a target's table lies in a run folder; a name that is no plain file name is percent-encoded."""
    return "outputs/" + quote(target, safe="").replace(".", "%2E")


def part_name(number: int) -> str:
    """File name of a shard's table."""
    return f"part-{number:05d}.parquet"


def _text(values: NDArray[np.object_]) -> pl.Series:
    return pl.Series(values.tolist(), dtype=pl.String)


def _objects(values: pl.Series) -> NDArray[np.object_]:
    return np.array(values.to_list(), dtype=object)


def _lists(values: NDArray[np.float32]) -> pl.Series:
    """(N, S) → N lists of S."""
    return pl.Series(values, dtype=pl.Array(pl.Float32, values.shape[1])).arr.to_list()


def _matrix(lists: pl.Series, width: int) -> NDArray[np.float32]:
    """N lists of at most `width` → (N, width), NaN after each list's end."""
    out = np.full((len(lists), width), np.nan, np.float32)
    lengths = lists.list.len().to_numpy()
    out[np.arange(width) < lengths[:, None]] = lists.explode(empty_as_null=False).to_numpy()
    return out
