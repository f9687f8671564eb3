"""`python -m trmfin.score BUNDLE PREPARED --out RUN`: a score for every sample, with its path over the recursion steps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trmfin.command import run

if TYPE_CHECKING:
    from trmfin.explaining.explainer import Asked
    from trmfin.explaining.records import Records
    from trmfin.progress import Bar
    from trmfin.scoring.runs import Summary


Pipeline = Annotated[
    str | None, typer.Option(help="Prepare raw data first with this pipeline (a shipped name or ./mine.py), into RUN/prepared.")
]
Rejects = Annotated[float, typer.Option(min=0.0, max=1.0, help="With --pipeline: stop where more of the raw rows than this are rejected.")]
Halting = Annotated[
    float | None,
    typer.Option(min=0.0, help="In place of the policy's: a step that moves the log-odds by less is the last; 0 = all steps."),
]
Explain = Annotated[
    str,
    typer.Option(
        metavar="WHICH",
        help="Write a record with reasons for: none; adverse, the scores at or above the policy's cut-off; topk:N, the N highest; all.",
    ),
]
Players = Annotated[str, typer.Option(help="Who explains: features (the task's own groups), histories, segments or events.")]
Group = Annotated[str, typer.Option(help="What scores are compared with: near_cutoff_approved, portfolio or all_applicants.")]
Form = Annotated[
    str, typer.Option(help="The group as one average case, or as rows of it: at most ten, evenly spaced, which takes ten times as long.")
]

Counterfactual = Annotated[bool, typer.Option("--counterfactual", help="Look for the smallest change that crosses the cut-off, too.")]


def main(
    bundle: Annotated[Path, typer.Argument(help="A model bundle, written by python -m trmfin.train.")],
    prepared: Annotated[Path, typer.Argument(help="A prepared folder; with --pipeline a raw file, or a folder of raw files.")],
    out: Annotated[Path, typer.Option(help="Run folder to write: scores/part-*.parquet and manifest.json.")],
    pipeline: Pipeline = None,
    max_reject_share: Rejects = 0.10,
    steps: Annotated[int | None, typer.Option(min=1, help="Supervision steps at most; by default all that were trained.")] = None,
    policy: Annotated[
        Path | None, typer.Option(help="A JSON file of bands, cut-off and halting, in place of the bundle's policy.json.")
    ] = None,
    halt_epsilon: Halting = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Processor threads; by default all.")] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Samples per batch; by default what stays in the processor's cache.")
    ] = None,
    shard_rows: Annotated[int, typer.Option(min=1, help="Samples per Parquet file, and the most that are in memory at once.")] = 50_000,
    explain: Explain = "none",
    players: Players = "features",
    comparison: Group = "near_cutoff_approved",
    comparison_form: Form = "average",
    counterfactual: Counterfactual = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run, or check that a finished one is whole.")] = False,
) -> None:
    """Score every sample of prepared data. Scores lie in [0, 1]; higher is riskier.

    The run folder is a function of bundle, data and settings: an interrupted run that is resumed ends with the same bytes.
    Where the policy says when a sample is settled (halt_epsilon), settled samples take no further steps; `early_halting` in the
    bundle's card.json names the largest value that costs at most .001 AUC on held-out samples.

    \b
    Example:
      python -m trmfin.score bundle/ prepared/ --out run/
      python -m trmfin.score bundle/ clients.csv --pipeline payment_history --out run/ --explain adverse
    """
    from trmfin.learn.bundle import Bundle
    from trmfin.learn.policy import read_policy
    from trmfin.progress import Bar
    from trmfin.scoring.runs import score_run
    from trmfin.shipped import load_pipeline

    asked = _asked(explain, players, comparison, comparison_form, counterfactual)
    model = Bundle.load(bundle)
    with Bar("scoring rows", 0) as bar, Bar("explaining scores", 0) as second:
        summary = score_run(
            model,
            prepared,
            out,
            steps=steps,
            policy=None if policy is None else read_policy(policy),
            halt_epsilon=halt_epsilon,
            batch_size=batch_size,
            threads=threads,
            shard_rows=shard_rows,
            resume=resume,
            pipeline=None if pipeline is None else load_pipeline(pipeline),
            max_reject_share=max_reject_share,
            explaining=None if asked is None else _records(asked, second),
            tell=lambda progress: bar.to(progress.rows, total=progress.total),
        )
    for line in report(summary, out):
        typer.echo(line)


def _asked(which: str, players: str, group: str, form: str, counterfactual: bool) -> Asked | None:
    """What is to be explained; None = nothing. Said before anything is scored where it cannot be."""
    from trmfin.explaining.explainer import Asked

    if which == "none":
        return None
    return Asked(which=which, view=players, group=group, form=form, counterfactual=counterfactual)  # type: ignore[arg-type]


def _records(asked: Asked, bar: Bar) -> Records:
    from trmfin.explaining.records import Records

    return Records(asked=asked, tell=lambda cases, total: bar.to(cases, total=total))


def report(summary: Summary, out: Path) -> Iterator[str]:
    """What was rejected and scored, how fast, what halting saved, and how the scores fall into bands."""
    if summary.raw_rows:
        where = f"; they lie, each with its line and reasons, in {out / 'prepared' / 'rejects.parquet'}" if summary.rejected else ""
        yield f"rejected {summary.rejected:,} of {summary.raw_rows:,} raw rows{where}"
    if summary.rounded:
        yield f"rounded {summary.rounded:,} amounts to their column's decimals"
    kept = summary.rows - summary.rows_now
    speed = f", {summary.rows_now / summary.seconds:,.0f} rows/s" if summary.rows_now else ""
    yield f"scored {summary.rows_now:,} rows{f' ({kept:,} were there already)' if kept else ''} in {summary.seconds:.1f} s{speed}"
    effort = summary.effort
    steps = f"{effort.sample_steps:,} of {effort.sample_steps_in_full:,} supervision steps of samples"
    calls = f"{effort.calls:,} of {effort.calls_in_full:,} calls ({effort.calls_saved:.1%})"
    yield f"network: {steps} (early halting saved {effort.sample_steps_saved:.1%}) in {calls}"
    if summary.records is not None:
        yield f"explained {summary.records:,} scores in {summary.explaining_seconds:.1f} s; {summary.needs_human:,} need a person"
    yield ""
    width = max(4, *(len(band.name) for band in summary.bands))
    yield f"{'band':<{width}}  {'up to':>6}  {'rows':>12}  {'share':>6}"
    for band in summary.bands:
        yield f"{band.name:<{width}}  {band.upper:>6.3f}  {band.rows:>12,}  {band.share:>6.1%}"
    yield ""
    yield f"wrote {out}: scores/, {'records/, ' if summary.records else ''}manifest.json"


if __name__ == "__main__":
    run(main)
