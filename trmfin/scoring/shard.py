"""One block of samples scored, and its tables written: a shard of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from trmfin.data.files import make_folder, sha256_of, write_parquet
from trmfin.data.prepared import Prepared
from trmfin.errors import RunError
from trmfin.learn.bundle import Bundle
from trmfin.scoring.engine import score_rows
from trmfin.scoring.folder import Shard
from trmfin.scoring.shards import frames, part_name
from trmfin.scoring.thresholds import band_counts
from trmfin.sequences.profile import counted
from trmfin.sequences.sequences import build


def scored_shard(bundle: Bundle, block: Prepared, number: int, out: Path, settings: dict[str, Any], tell: Callable[[int], None]) -> Shard:
    """Score the samples of a block, count what they look like, and write their tables into the run folder `out`.

    settings: of the job. tell: called with the rows done so far. Raises RunError where a table cannot be written.
    """
    sequences = build(block, bundle.task).aligned(bundle.fitted)
    rows = np.arange(len(sequences))
    chosen = {name: settings[name] for name in ("steps", "batch_size", "threads")}
    scores = score_rows(bundle, sequences, rows, **chosen, tell=tell)
    files = {}
    for folder, table in frames(scores, bundle.task, bundle.policy).items():
        path = out / folder / part_name(number)
        make_folder(path.parent)
        write_parquet(table, path)
        files[path.relative_to(out).as_posix()] = sha256_of(path, RunError)
    return Shard(
        number=number,
        rows=len(scores),
        files=files,
        bands=band_counts(scores.score, bundle.policy),
        effort=scores.effort,
        cells=tuple(tuple(counts.tolist()) for counts in counted(sequences, rows, bundle.profile.features).table),
    )
