"""`python -m trmfin.outcomes RUN FILE`: appends what turned out of scored samples to their run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trmfin.command import run


def main(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run folder.")],
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="CSV or Parquet: sample_id, outcome (0 or 1), known_at if it is not today, and a segment if there are some.",
        ),
    ],
) -> None:
    """Append outcomes to a run, so that its scores can be judged by what happened.

    The run's own files stay as they are. Rows that cannot be used are kept beside, with the rules that they broke; a file is taken
    once, and a sample's newest outcome counts.

    \b
    Example:
      python -m trmfin.outcomes runs/2026-05 defaults-until-november.csv
    """
    from datetime import UTC, datetime

    from trmfin.data.files import read_raw
    from trmfin.scoring.outcomes import append, outcomes
    from trmfin.scoring.views import opened

    looked_at = opened(run_folder)
    batch, rules = append(looked_at, read_raw(file), datetime.now(UTC))
    typer.echo(f"{file.name}: {batch.read:,} rows read, {batch.accepted:,} accepted, {batch.rejected:,} rejected")
    for rule, count in rules.items():
        typer.echo(f"{count:>8,}  {rule}")
    if batch.changed:
        typer.echo(f"{batch.changed:,} samples had another outcome before")
    known = outcomes(run_folder)
    typer.echo(f"known now: {len(known):,} of {looked_at.rows:,} samples, {int(known['outcome'].sum()):,} of them 1")


if __name__ == "__main__":
    run(main)
