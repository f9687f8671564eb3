"""Scoring from Python: `trmfin.load(BUNDLE).score(PREPARED)`, or `.score(frame, pipeline="payment_history")`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import polars as pl

from trmfin.data.delimited import REJECTS
from trmfin.data.files import raw_from_frame
from trmfin.data.header import matches
from trmfin.data.prepared import Prepared, apply, read_raws
from trmfin.errors import ConfigError
from trmfin.learn.bundle import Bundle
from trmfin.scoring.blocks import open_source
from trmfin.scoring.engine import score_rows
from trmfin.scoring.runs import SHARD_ROWS
from trmfin.scoring.scores import Scores
from trmfin.scoring.shards import Frames, frames
from trmfin.sequences.sequences import build
from trmfin.shipped import load_pipeline

if TYPE_CHECKING:
    import pandas as pd


def load(folder: str | Path) -> Scorer:
    """Read a model bundle and check its every byte. Raises BundleError that says which file is wrong."""
    return Scorer(Bundle.load(Path(folder)))


class Scorer:
    """A model that is ready to score.

    `rejects` holds the raw rows that the last call refused, with their line and every rule they broke (columns table,
    line, rules, row; polars). A call that refuses rows also warns. Prepared data have no rejects left.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.rejects = pl.DataFrame(schema=REJECTS)

    @overload
    def score(
        self, data: Prepared | str | Path | pl.DataFrame, pipeline: str | Path | None = None, steps: int | None = None
    ) -> pl.DataFrame: ...
    @overload
    def score(self, data: pd.DataFrame, pipeline: str | Path | None = None, steps: int | None = None) -> pd.DataFrame: ...
    def score(self, data: Any, pipeline: str | Path | None = None, steps: int | None = None) -> Any:
        """One row a sample: sample_id, as_of (UTC), score in [0, 1] (higher = riskier), step, logits, halts, band.

        data: a Prepared, the path of a prepared folder, or with `pipeline` (a shipped name or a path) raw data: a path or a
        frame. A pandas frame gives a pandas frame back, anything else a polars one. steps: supervision steps at most.
        Raises ConfigError on steps beyond the trained ones or a frame without a pipeline, DataError on unusable data.
        """
        table = self.tables(data, pipeline, steps)["scores"]
        return table.to_pandas() if _is_pandas(data) else table

    def tables(self, data: Any, pipeline: str | Path | None = None, steps: int | None = None) -> Frames:
        """All tables of a run: `scores`, `outputs/TARGET`, and `answers` of a task that asks for answers per token."""
        parts = [frames(self._scored(block, steps), self.bundle.task, self.bundle.policy) for block in self._blocks(data, pipeline)]
        return {name: pl.concat([part[name] for part in parts]) for name in parts[0]}

    def _scored(self, block: Prepared, steps: int | None) -> Scores:
        sequences = build(block, self.bundle.task).aligned(self.bundle.fitted)
        return score_rows(self.bundle, sequences, np.arange(len(sequences)), steps=steps)

    def _blocks(self, data: Any, pipeline: str | Path | None) -> Iterator[Prepared]:
        self.rejects = pl.DataFrame(schema=REJECTS)
        if pipeline is not None:
            yield self._prepared(data, pipeline)
        elif isinstance(data, Prepared):
            yield data
        elif isinstance(data, str | Path):
            for _, block in open_source(Path(data), self.bundle.task).blocks(SHARD_ROWS):
                yield block
        else:
            raise ConfigError(
                f"score: found a {type(data).__name__} and no pipeline, expected prepared data or a pipeline that makes them; "
                "add pipeline='payment_history' or the path of your own"
            )

    def _prepared(self, data: Any, pipeline: str | Path) -> Prepared:
        use = load_pipeline(pipeline)
        if isinstance(data, str | Path):
            raws = read_raws(use, Path(data))
        else:
            raw = raw_from_frame(data, "frame")
            raws = {matches(raw, use.schemas, use.aliases): raw}
        prepared = apply(use, raws, datetime.now(UTC))
        self.rejects = prepared.rejects
        if self.rejects.height:
            read = sum(raw.rows_read for raw in raws.values())
            warnings.warn(f"{self.rejects.height} of {read} raw rows were rejected and have no score; .rejects says why", stacklevel=4)
        return prepared


def _is_pandas(data: Any) -> bool:
    return type(data).__module__.partition(".")[0] == "pandas"
