"""`python -m trmfin.evaluate PIPELINE PREPARED --out REPORT`: train and test by the pipeline's protocol, beside challengers."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trmfin.command import run
from trmfin.errors import ConfigError, DataError, RunError

if TYPE_CHECKING:
    import polars as pl

    from trmfin.data.prepared import Prepared
    from trmfin.learn.contest import Contest, Entry
    from trmfin.learn.policy import Costs
    from trmfin.learn.recipe import Recipe
    from trmfin.sequences.protocol import Protocol
    from trmfin.sequences.task import Task

PARTS = "parts"  # folder inside REPORT with each entry's predictions, so that a killed evaluation goes on
WALKING = ("test_days", "train_days", "known_from_days", "windows")
NEEDS = {"draws": "labels", **dict.fromkeys(WALKING, "test_start")}  # option → the one it says more about
TRAINING = ("baselines", "seeds", "config", "labels", "draws", "test_start", *WALKING, "resume")  # of no meaning for a finished bundle


def main(
    context: typer.Context,
    pipeline: Annotated[str, typer.Argument(help="A shipped pipeline by name (payment_history) or your own file by path (./mine.py).")],
    prepared: Annotated[Path, typer.Argument(help="Folder written by `python -m trmfin.prepare`, with known targets.")],
    out: Annotated[Path, typer.Option(help="Folder to write: report.json, report.md, predictions.parquet, pictures.")],
    bundle: Annotated[
        Path | None, typer.Option(help="Judge this bundle on PREPARED as it is, instead of training by the protocol.")
    ] = None,
    baselines: Annotated[
        str, typer.Option(help="Also in the same folds: logistic, lightgbm, gru, tiny, scratch; '' for none.")
    ] = "logistic,lightgbm,gru",
    seeds: Annotated[int, typer.Option(min=1, help="Repeat with so many seeds.")] = 1,
    config: Annotated[Path | None, typer.Option(help="TOML with preset, [model] and [training].")] = None,
    labels: Annotated[str, typer.Option(help="Also train on so few labels, such as 300,1000,3000.")] = "",
    draws: Annotated[int, typer.Option(min=1, help="With --labels: draws of each size, spread over the folds.")] = 20,
    test_start: Annotated[str, typer.Option(help="Walk forward: first test day, YYYY-MM-DD.")] = "",
    test_days: Annotated[int, typer.Option(min=0, help="Walk forward: days in a test window.")] = 0,
    train_days: Annotated[int, typer.Option(min=0, help="Walk forward: days of training before it; 0 = all.")] = 0,
    known_from_days: Annotated[int, typer.Option(min=0, help="Walk forward: days until a label is known.")] = 0,
    windows: Annotated[int, typer.Option(min=1, help="Walk forward: test windows, one after the other.")] = 1,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes side by side; default: one a core.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Keep the models that an interrupted evaluation has finished.")] = False,
) -> None:
    """Train the recursive model and its challengers on the same folds, and report all of them.

    Samples that share one as_of are split as the pipeline's protocol says. Samples of many times need --test-start and
    --test-days: training then ends before each test window begins, labels included.

    \b
    Example:
      python -m trmfin.evaluate payment_history prepared/ --out report/
      python -m trmfin.evaluate payment_history prepared/ --out report/ --labels 300,1000,3000 --draws 20
      python -m trmfin.evaluate payment_history world/ --out report/ --test-start 2021-01-01 --test-days 60 --windows 3
    """
    from trmfin.data.files import make_folder, write_json, write_parquet
    from trmfin.data.prepared import Prepared
    from trmfin.learn.contest import maker
    from trmfin.scoring.folder import locked
    from trmfin.shipped import load_pipeline

    _check_given(context)
    use, data = load_pipeline(pipeline), Prepared.read(prepared)
    protocol = _protocol(use.protocol, test_start, test_days, train_days, known_from_days, windows)
    make_folder(out)
    with locked(out):
        _check_free(out, resume, judged=bundle is not None)
        if bundle is not None:
            report, predictions = _of_bundle(bundle, data)
        else:
            contest = _contest(use, data, protocol, _recipe(config), workers or os.cpu_count() or 1)
            report, predictions = _of_contest(contest, data, protocol, _names(baselines), seeds, _sizes(labels), draws, out)
        words = sys.argv[2:] if sys.argv[1:2] == ["evaluate"] else sys.argv[1:]  # `trmfin evaluate …` is the same command
        report |= {"command": "python -m trmfin.evaluate " + shlex.join(words), "made_by": maker()}
        report |= {"prepared": data.manifest.get("files", {}), "pipeline": use.name, "pipeline_sha256": use.sha256}
        write_parquet(predictions, out / "predictions.parquet")
        write_json(report, out / "report.json")
        _publish(report, predictions, out)


def _check_given(context: typer.Context) -> None:
    """Raises ConfigError on an option that was given and would change nothing."""
    given = [name for name in context.params if (source := context.get_parameter_source(name)) and source.name == "COMMANDLINE"]
    if "bundle" in given and (idle := [name for name in TRAINING if name in given]):
        raise ConfigError(
            f"{', '.join(map(_spelled, idle))}: of no effect with --bundle, which judges a finished bundle on all samples as it is; "
            "leave them out, or leave out --bundle"
        )
    if alone := [name for name in given if name in NEEDS and not context.params[NEEDS[name]]]:
        raise ConfigError(f"{_spelled(alone[0])}: of no effect without {_spelled(NEEDS[alone[0]])}; give that too, or leave it out")


def _spelled(name: str) -> str:
    return "--" + name.replace("_", "-")


def _protocol(base: Protocol, test_start: str, test_days: int, train_days: int, delay: int, windows: int) -> Protocol:
    if not test_start:
        return base
    asked: dict[str, Any] = {
        "folds": windows,
        "test_start": test_start,
        "test_days": test_days,
        "train_days": train_days,
        "delay_days": delay,
    }
    if base.kind == "walk_forward":  # embargo, purge and new groups stay the pipeline's
        return replace(base, **asked)
    from trmfin.sequences.protocol import Protocol

    return Protocol(kind="walk_forward", **asked)


def _recipe(config: Path | None) -> Recipe:
    from trmfin.learn.recipe import Recipe

    return Recipe.default() if config is None else Recipe.from_toml(config)


def _names(baselines: str) -> list[str]:
    from trmfin.learn.baselines import CHALLENGERS
    from trmfin.learn.contest import NETWORKS

    allowed = [*CHALLENGERS, *(name for name in NETWORKS if name != "trm")]
    names = list(dict.fromkeys(name.strip() for name in baselines.split(",") if name.strip()))
    if unknown := [name for name in names if name not in allowed]:
        raise ConfigError(f"--baselines: {unknown[0]!r} is unknown; choose from {', '.join(allowed)}")
    return names


def _sizes(labels: str) -> list[int]:
    try:
        sizes = sorted({int(size) for size in labels.split(",") if size.strip()})
    except ValueError as error:
        raise ConfigError(f"--labels {labels!r}: expected whole numbers such as 300,1000,3000") from error
    if sizes and sizes[0] < 1:
        raise ConfigError(f"--labels {labels!r}: found {sizes[0]}; expected whole numbers of at least 1")
    return sizes


def _check_free(out: Path, resume: bool, judged: bool) -> None:
    if not resume and ((out / "report.json").exists() or (out / PARTS).exists()):
        how = "choose another --out" if judged else "choose another --out, or --resume to keep the models it has finished"
        raise RunError(f"{out}: already holds an evaluation; {how}")


def _contest(use: Any, data: Prepared, protocol: Protocol, recipe: Recipe, workers: int) -> Contest:
    from trmfin.learn.contest import Contest
    from trmfin.sequences.sequences import build
    from trmfin.sequences.splits import protocol_splits

    sequences = build(data, use.task)
    times = len(set(sequences.as_of.tolist()))
    if protocol.kind == "stratified" and not protocol.across_time and times > 1:
        raise DataError(
            f"{sequences.task.name}: samples have {times} different as_of, and folds without time would tell training what came later; "
            "give --test-start and --test-days, so that training ends before testing begins"
        )
    splits = protocol_splits(sequences, protocol)
    return Contest(sequences=sequences, features=use.challenger_features(data), recipe=recipe, splits=splits, workers=workers)


def _of_contest(
    contest: Contest, data: Prepared, protocol: Protocol, baselines: list[str], seeds: int, sizes: list[int], draws: int, out: Path
) -> tuple[dict[str, Any], pl.DataFrame]:
    """Run all entries; the report and the predictions with all labels."""
    from trmfin.learn import report as numbers
    from trmfin.learn.baselines import CHALLENGERS
    from trmfin.learn.contest import Entry, drawn, maker, makers, window_names
    from trmfin.learn.policy import Policy

    folds = range(len(contest.splits))
    names = sorted(["trm", *baselines], key=lambda name: name not in CHALLENGERS)  # a missing package shows before hours of training
    full = [Entry(model=name, seed=seed, fold=fold) for seed in range(seeds) for fold in folds for name in names]
    few = [
        Entry(model=name, seed=0, fold=draw % len(folds), labels=size, draw=draw)
        for size in sizes
        for draw in range(draws)
        for name in names
        if name != "tiny"
    ]
    for entry in few:  # more labels than there are: said before training
        drawn(contest, contest.splits[entry.fold].train, entry)
    truth = _truth(data, contest.sequences.task)
    predictions, drawn_few = _held(contest, full, out), _held(contest, few, out) if few else None
    report = {
        "protocol": protocol.to_json() | {"words": _words(protocol, len(contest.sequences))},
        "models_made_by": (made_by := makers(full + few, out / PARTS)),
        "notes": numbers.notes(predictions, drawn_few, len(contest.sequences)) + numbers.strangers(made_by, maker()),
        "windows": window_names(contest),
        "differences": numbers.differences(predictions),
        "recipe": {"model": contest.recipe.model.to_json(), "training": contest.recipe.training.to_json()},
        "scarcity": [] if drawn_few is None else numbers.scarcity(drawn_few),
    } | _of_any(predictions, data, contest.sequences.task, Policy().costs, truth)
    report["seconds"] = {name: entry["seconds"] for name, entry in report["models"].items()}
    return report, predictions


def _held(contest: Contest, entries: list[Entry], out: Path) -> pl.DataFrame:
    from trmfin.learn.contest import hold
    from trmfin.progress import Bar

    place = {entry: index for index, entry in enumerate(entries)}
    with Bar("evaluating", len(entries)) as bar:
        return hold(
            contest,
            entries,
            out / PARTS,
            tell=lambda entry, member, progress: bar.to(
                place[entry], f"{entry.file}, {progress.phase} member {member + 1}, step {progress.step} of {progress.total}"
            ),
        )


def _of_bundle(folder: Path, data: Prepared) -> tuple[dict[str, Any], pl.DataFrame]:
    """Predictions of a finished bundle on all samples with a known target."""
    from trmfin.learn import report as numbers
    from trmfin.learn.bundle import Bundle
    from trmfin.learn.contest import bundle_predictions

    bundle = Bundle.load(folder)
    predictions, truth = bundle_predictions(bundle, data), _truth(data, bundle.task)
    words = f"bundle {bundle.sha256[:12]} on {predictions['sample_id'].n_unique():,} samples{_seen(bundle.card, data)}"
    report = {
        "protocol": {"kind": "bundle", "bundle": bundle.sha256, "words": words},
        "notes": numbers.notes(predictions, None, len(data.samples)),
        "windows": ["all samples"],
    }
    return report | _of_any(predictions, data, bundle.task, bundle.policy.costs, truth), predictions


def _of_any(predictions: pl.DataFrame, data: Prepared, task: Task, costs: Costs, truth: pl.DataFrame | None) -> dict[str, Any]:
    """The numbers of any predictions, of a contest or of a bundle."""
    from trmfin.learn import report as numbers
    from trmfin.learn.fairness import fairness
    from trmfin.scoring.thresholds import cutoff_from_costs

    return {
        "task": task.name,
        "models": numbers.models(predictions),
        "costs": numbers.expected_costs(predictions, costs, cutoff_from_costs(costs)),
        "fairness": fairness(predictions, data.samples, task.protected),
        "steps": numbers.steps(predictions),
        "halting": numbers.halting(predictions),
        "gaps_closed": {} if truth is None else numbers.gaps_closed(predictions, truth),
    }


def _seen(card: dict[str, Any], data: Prepared) -> str:
    """A warning where a bundle is judged on the very samples it was trained on."""
    trained_on = card.get("prepared", {}).get("samples.parquet")
    same = trained_on is not None and trained_on == data.manifest.get("files", {}).get("samples.parquet")
    return ", WHICH IT WAS TRAINED ON: this is no test" if same else ""


def _truth(data: Prepared, task: Task) -> pl.DataFrame | None:
    """The oracle's probabilities of the primary target, None where there are none. Raises DataError where a sample has none."""
    import polars as pl

    if data.truth is None:
        return None
    truth = data.truth.filter(pl.col("target") == task.primary)
    if missing := len(data.samples) - len(truth):
        raise DataError(f"truth: {missing:,} of {len(data.samples):,} samples have none for {task.primary!r}; prepare the world again")
    return truth


def _words(protocol: Protocol, samples: int) -> str:
    if protocol.kind == "stratified":
        return f"{protocol.folds} stratified folds, seed {protocol.seed}, {samples:,} samples"
    return f"walk forward, {protocol.folds} windows of {protocol.test_days} days from {protocol.test_start}, {samples:,} samples"


def _publish(report: dict[str, Any], predictions: pl.DataFrame, out: Path) -> None:
    """report.md, pictures, and the tables on the screen."""
    from trmfin.data.files import replacing
    from trmfin.learn.pictures import draw_report
    from trmfin.learn.tables import markdown

    text = markdown(report)
    with replacing(out / "report.md") as file:
        file.write(text.encode())
    draw_report(predictions, out)
    typer.echo(text)
    typer.echo(f"report in {out}")


if __name__ == "__main__":
    run(main)
