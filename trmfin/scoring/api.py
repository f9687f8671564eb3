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
from trmfin.data.prepared import Prepared, assemble, check_share, read_raws, take_in
from trmfin.errors import ConfigError
from trmfin.learn.bundle import Bundle
from trmfin.scoring.blocks import open_source
from trmfin.scoring.engine import score_rows
from trmfin.scoring.runs import MAX_REJECT_SHARE, SHARD_ROWS
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
    line, rules, row; polars). A call that refuses rows also warns, and ends in a DataError where they are too many.
    Prepared data have no rejects left.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.rejects = pl.DataFrame(schema=REJECTS)
        self._rows_read = 0  # raw rows of the last call

    @overload
    def score(
        self,
        data: Prepared | str | Path | pl.DataFrame,
        pipeline: str | Path | None = None,
        steps: int | None = None,
        max_reject_share: float = MAX_REJECT_SHARE,
    ) -> pl.DataFrame: ...
    @overload
    def score(
        self,
        data: pd.DataFrame,
        pipeline: str | Path | None = None,
        steps: int | None = None,
        max_reject_share: float = MAX_REJECT_SHARE,
    ) -> pd.DataFrame: ...
    def score(
        self, data: Any, pipeline: str | Path | None = None, steps: int | None = None, max_reject_share: float = MAX_REJECT_SHARE
    ) -> Any:
        """One row a sample: sample_id, as_of (UTC), score in [0, 1] (higher = riskier), step, logits, halts, band.

        data: a Prepared, the path of a prepared folder, or with `pipeline` (a shipped name or a path) raw data: a path or a
        frame. A pandas frame gives a pandas frame back, anything else a polars one. steps: supervision steps at most.
        max_reject_share: of the raw rows, at most so many may be rejected; 1 allows any but all.
        Raises ConfigError on steps beyond the trained ones or a frame without a pipeline, DataError on unusable data and
        on more rejects than allowed.
        """
        table = self._tables(data, pipeline, steps, max_reject_share)["scores"]
        self._warn()
        return table.to_pandas() if _is_pandas(data) else table

    def tables(
        self, data: Any, pipeline: str | Path | None = None, steps: int | None = None, max_reject_share: float = MAX_REJECT_SHARE
    ) -> Frames:
        """All tables of a run: `scores`, `outputs/TARGET`, and `answers` of a task that asks for answers per token."""
        found = self._tables(data, pipeline, steps, max_reject_share)
        self._warn()
        return found

    def _tables(self, data: Any, pipeline: str | Path | None, steps: int | None, max_reject_share: float) -> Frames:
        blocks = self._blocks(data, pipeline, max_reject_share)
        parts = [frames(self._scored(block, steps), self.bundle.task, self.bundle.policy) for block in blocks]
        return {name: pl.concat([part[name] for part in parts]) for name in parts[0]}

    def _scored(self, block: Prepared, steps: int | None) -> Scores:
        sequences = build(block, self.bundle.task).aligned(self.bundle.fitted)
        return score_rows(self.bundle, sequences, np.arange(len(sequences)), steps=steps)

    def _blocks(self, data: Any, pipeline: str | Path | None, max_reject_share: float) -> Iterator[Prepared]:
        self.rejects = pl.DataFrame(schema=REJECTS)
        if pipeline is not None:
            yield self._prepared(data, pipeline, max_reject_share)
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

    def _prepared(self, data: Any, pipeline: str | Path, max_reject_share: float) -> Prepared:
        use, now = load_pipeline(pipeline), datetime.now(UTC)
        if isinstance(data, str | Path):
            raws = read_raws(use, Path(data))
        else:
            raw = raw_from_frame(data, "frame")
            raws = {matches(raw, use.schemas, use.aliases): raw}
        intake = take_in(use, raws, now)
        self.rejects, self._rows_read = intake.rejects, intake.rows_read
        check_share(intake, max_reject_share, "every rejected row is in .rejects")
        return assemble(use, intake, now)

    def _warn(self) -> None:
        """Warn of rejected rows in the caller's caller's name."""
        if self.rejects.height:
            rows = f"{self.rejects.height} of {self._rows_read} raw rows"
            warnings.warn(f"{rows} were rejected and have no score; .rejects says why", stacklevel=3)


def _is_pandas(data: Any) -> bool:
    return type(data).__module__.partition(".")[0] == "pandas"
