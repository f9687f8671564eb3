"""`python -m trmfin.explain RUN --id SAMPLE_ID`: why a score is what it is, from the run's record; `--replay` works it out again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from trmfin.command import run
from trmfin.errors import ConfigError, RunError

if TYPE_CHECKING:
    from collections.abc import Iterable


def main(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, written by python -m trmfin.score … --explain WHICH.")],
    id: Annotated[str | None, typer.Option("--id", help="The sample whose record is wanted; by default all in short.")] = None,
    bundle: Annotated[Path | None, typer.Option(help="The bundle that made the run; needed for --replay.")] = None,
    replay: Annotated[
        bool, typer.Option("--replay", help="Work score and reasons out again from the record's own data, and compare.")
    ] = False,
    format: Annotated[Literal["text", "html", "json"], typer.Option(help="How the record is printed.")] = "text",
) -> None:
    """Print why a score is what it is, or check that every record of a run still stands.

    Every byte of the run is checked against its manifest, and every record against the one before it, first: a changed value, a
    dropped or a moved line is found and named. A replay needs the bundle and nothing else: a record holds its own data.

    \b
    Example:
      python -m trmfin.explain run/ --id C000028@2024-10
      python -m trmfin.explain run/ --id C000028@2024-10 --format html > why.html
      python -m trmfin.explain run/ --replay --bundle bundle/
    """
    from trmfin.explaining.records import placed_records
    from trmfin.scoring.folder import verify_run

    _check_given(id, bundle, replay, format)
    manifest = verify_run(run_folder)
    if "records" not in manifest:
        raise RunError(f"{run_folder}: has no records; score again with --explain adverse, topk:N or all")
    records = placed_records(run_folder, manifest)
    if id is not None:
        records = iter([_found(records, id, run_folder)])
    if replay and bundle is not None:
        _replayed(records, bundle, manifest, 1 if id is not None else manifest["records"]["count"])
    elif id is not None:
        _printed(next(records)[1], format)
    else:
        _counted((record for _, record in records), run_folder, manifest)


def _check_given(id: str | None, bundle: Path | None, replay: bool, format: str) -> None:
    """Raises ConfigError on options that lack another, or would change nothing."""
    if replay and bundle is None:
        raise ConfigError("explain: --replay works scores out again and needs the model; add --bundle")
    if bundle is not None and not replay:
        raise ConfigError("--bundle: of no effect without --replay; give that too, or leave it out")
    if format != "text" and replay:
        raise ConfigError("--format: of no effect with --replay, which prints no record; leave one of them out")
    if format != "text" and id is None:
        raise ConfigError(
            f"--format: of no effect without --id, the sample whose record is wanted as {format}; give that too, or leave it out"
        )


def _found(records: Iterable[tuple[int, dict[str, Any]]], name: str, run_folder: Path) -> tuple[int, dict[str, Any]]:
    """The sample's record and its place, after all have been checked."""
    found = [(place, record) for place, record in records if record["sample_id"] == name]
    if not found:
        raise RunError(f"{run_folder}: has no record of sample {name!r}; it was not among those that --explain asked for, or is no sample")
    return found[0]


def _printed(record: dict[str, Any], form: str) -> None:
    from trmfin.explaining.pages import as_html, as_json, as_text

    if form == "json":
        typer.echo(as_json(record))
    elif form == "html":
        typer.echo(as_html(record), nl=False)
    else:
        for line in as_text(record):
            typer.echo(line)


def _counted(records: Iterable[dict[str, Any]], run_folder: Path, manifest: dict[str, Any]) -> None:
    """How many records there are, which reasons are released, and the record of the highest score."""
    codes, alike, people, count, highest = dict[tuple[str, str], int](), dict[str, list[float]](), 0, 0, dict[str, Any]()
    for record in records:
        count, people = count + 1, people + bool(record["needs_human"])
        if not highest or record["inference"]["score"] > highest["inference"]["score"]:
            highest = record
        for reason in () if record["needs_human"] else record["reasons"]:
            key = (reason["code"], reason["player"])
            codes[key] = codes.get(key, 0) + 1
        stability = record["stability"]
        rows = {"its own rows": stability["agreement"]} if "agreement" in stability else {}
        for other, index in (rows | stability.get("groups", {})).items():
            alike.setdefault(other, []).append(index)
    if not count:
        where = (
            f"is at or above the policy's cut-off of {manifest['policy']['cutoff']:g}" if manifest["counts"]["rows"] else "is in the run"
        )
        typer.echo(f"{run_folder}: no score {where}, so there is no record")
        return
    typer.echo(f"{run_folder}: {count:,} records, each byte and the chain as written; {people:,} need a person before a reason is released")
    if codes:
        typer.echo(f"  reasons of the other {count - people:,}:")
    for (code, player), times in sorted(codes.items(), key=lambda item: -item[1]):
        typer.echo(f"  {code:<6} {player:<20} {times:>9,}  {times / (count - people):6.1%}")
    for other, found in alike.items():
        typer.echo(
            f"  compared with {other}: principal factors alike by {sum(found) / len(found):.2f} of 1 (Jaccard, mean of {len(found):,})"
        )
    typer.echo("\nthe highest score:\n")
    _printed(highest, "text")


def _replayed(records: Iterable[tuple[int, dict[str, Any]]], bundle: Path, manifest: dict[str, Any], total: int) -> None:
    from trmfin.explaining.replay import Replayer
    from trmfin.learn.bundle import Bundle
    from trmfin.progress import Bar

    replayer, bad, worst = Replayer(Bundle.load(bundle), manifest), list[str](), 0.0
    with Bar("replaying records", total) as bar:
        for done, (place, record) in enumerate(records, start=1):
            found = replayer.again(record, place)
            worst = max(worst, found.logit_difference)
            bad += [f"{found.sample_id}: {what}" for what in found.differences]
            bar.to(done)
    for text in bad:
        typer.echo(text)
    if bad:
        raise RunError(f"replay: {len({text.partition(': ')[0] for text in bad})} of {total:,} records do not stand; they are named above")
    typer.echo(f"replayed {total:,} records: decisions and reasons are the same, log-odds differ by {worst:.1e} at most")


if __name__ == "__main__":
    run(main)
