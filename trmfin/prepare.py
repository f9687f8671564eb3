"""`python -m trmfin.prepare PIPELINE RAW --out PREPARED`: raw files into events and samples; what does not fit is kept with its reasons."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trmfin.command import run
from trmfin.errors import ConfigError, DataError, RunError

if TYPE_CHECKING:
    from trmfin.data.prepared import Intake, Prepared

LISTED = 5  # rules in the summary


def main(
    pipeline: Annotated[
        str,
        typer.Argument(
            metavar="PIPELINE", help="A shipped pipeline by name (payment_history, transactions) or your own file by path (./mine.py)."
        ),
    ],
    raw: Annotated[
        Path,
        typer.Argument(metavar="RAW", help="A raw file (.csv, .parquet), or a folder with one file a table, told apart by their columns."),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write: events, samples, rejects and manifest.json.")],
    max_reject_share: Annotated[float, typer.Option(min=0.0, max=1.0, help="Stop where more of the rows than this are rejected.")] = 0.10,
    samples_from: Annotated[
        str,
        typer.Option(help="Keep the samples as of this day on, YYYY-MM-DD (UTC): a night's. Events of before stay, as their histories."),
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace what an earlier prepare wrote to the folder.")] = False,
) -> None:
    """Read raw files, keep the rows that fit, and write them as events and samples.

    Every row is either accepted or rejected; a rejected row keeps its line number and every rule it broke, in
    PREPARED/rejects.parquet. Amounts with more decimals than their column has are rounded half-even and counted. Text may be
    UTF-8 or latin-1, separated by comma, semicolon, tab or bar; column names may differ in case, blanks and dots. In a folder,
    truth.parquet of a simulated world comes along.

    \b
    Example:
      python -m trmfin.prepare payment_history clients.csv --out prepared/
      python -m trmfin.prepare payment_history clients.csv --out prepared/ --max-reject-share 0.02 --force
      python -m trmfin.prepare transactions export.csv --out tonight/ --samples-from 2018-08-14
    """
    from trmfin.data.prepared import assemble, check_share, read_raws, take_in, write_rejects
    from trmfin.data.simulate import read_truth
    from trmfin.scoring.folder import locked
    from trmfin.shipped import load_pipeline

    start = _day(samples_from)
    _check_free(out, force)
    use = load_pipeline(pipeline)
    now = datetime.now(UTC)
    intake = take_in(use, read_raws(use, raw), now)
    with locked(out):
        _check_free(out, force)  # another prepare may have ended meanwhile
        if intake.too_many(max_reject_share):
            write_rejects(intake.rejects, out)
            check_share(intake, max_reject_share, f"every rejected row is in {out / 'rejects.parquet'}")
        prepared = _from(start, assemble(use, intake, now))
        if raw.is_dir():
            prepared = replace(prepared, truth=read_truth(raw, prepared.samples))
        prepared.write(out)
    _report(intake, prepared, out)


def _day(samples_from: str) -> date | None:
    try:
        return date.fromisoformat(samples_from) if samples_from else None
    except ValueError as error:
        raise ConfigError(f"--samples-from {samples_from!r}: expected a day such as 2018-08-14") from error


def _from(start: date | None, prepared: Prepared) -> Prepared:
    """The same with only those samples that are as of a day or later, which the manifest tells. Raises DataError where there is none."""
    import polars as pl

    if start is None:
        return prepared
    kept = prepared.samples.filter(pl.col("as_of").dt.date() >= start)
    if kept.is_empty():
        first, last = (
            f"{time:%Y-%m-%d}" for time in prepared.samples.select(first=pl.col("as_of").min(), last=pl.col("as_of").max()).row(0)
        )
        raise DataError(
            f"--samples-from {start}: none of {prepared.samples.height:,} samples is as of that day or later, they are as of {first} to "
            f"{last}; choose an earlier day"
        )
    return replace(prepared, samples=kept, manifest={**prepared.manifest, "samples_from": start.isoformat()})


def _check_free(out: Path, force: bool) -> None:
    """Raises RunError unless `out` is new, empty, or left by an earlier prepare (finished ones only with `force`)."""
    from trmfin.data.files import reading
    from trmfin.data.prepared import FILES, MANIFEST
    from trmfin.scoring.folder import LOCK

    with reading(out, RunError):
        if not out.exists():
            return
        if not out.is_dir():
            raise RunError(f"{out}: is a file, expected a folder to write to; choose another --out")
        names = {path.name for path in out.iterdir()}
    if strange := sorted(name for name in names - FILES if name != LOCK and not name.endswith(".part")):
        raise RunError(f"{out}: holds {strange[0]!r}, which prepare did not write; choose a new or empty folder for --out")
    if MANIFEST in names and not force:
        raise RunError(f"{out}: already holds prepared data; choose another --out, or --force to replace them")


def _report(intake: Intake, prepared: Prepared, out: Path) -> None:
    """What was read, what was refused and why, what was written where."""
    from trmfin.data.prepared import example

    width = max(8, *(len(item["name"]) for item in intake.inputs))
    typer.echo(f"{'file':<{width}}  {'table':<12}  {'encoding':<14}  {'read':>10}  {'accepted':>10}  {'rejected':>10}")
    for item in intake.inputs:
        counts = "  ".join(f"{item[key]:>10,}" for key in ("rows_read", "accepted", "rejected"))
        typer.echo(f"{item['name']:<{width}}  {item['table']:<12}  {item['encoding']:<14}  {counts}")
        if item["renamed"]:
            typer.echo(f"  read as: {', '.join(f'{found!r} = {column}' for found, column in item['renamed'].items())}")
        if rounded := intake.rounded[item["table"]]:
            typer.echo(f"  rounded to the column's decimals: {', '.join(f'{column} {count:,}' for column, count in rounded.items())}")
    if intake.rules:
        typer.echo(f"\n{'rows':>8}  broke the rule, for example")
    for rule, count in list(intake.rules.items())[:LISTED]:
        line, text = example(intake.rejects, rule)
        typer.echo(f"{count:>8,}  {text} (line {line})")
    if len(intake.rules) > LISTED:
        typer.echo(f"{'':>8}  and {len(intake.rules) - LISTED} more rules")
    since = f" as of {start} or later" if (start := prepared.manifest.get("samples_from")) else ""
    typer.echo(f"\nwrote {out}: {prepared.events.height:,} events, {prepared.samples.height:,} samples{since}")
    if intake.rejects.height:
        typer.echo(f"rejected rows, with line and reasons: {out / 'rejects.parquet'}")


if __name__ == "__main__":
    run(main)
