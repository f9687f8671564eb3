"""`python -m trmfin.evaluate PIPELINE PREPARED --out REPORT`: train and test by the pipeline's protocol, beside challengers."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trmfin.command import run
from trmfin.errors import ConfigError, DataError, RunError

if TYPE_CHECKING:
    from trmfin.data.prepared import Prepared
    from trmfin.learn.contest import Contest, Entry
    from trmfin.learn.evaluation import Evaluation
    from trmfin.learn.fit import Progress
    from trmfin.sequences.protocol import Protocol
    from trmfin.shipped import Pipeline as Use

REPORT, PREDICTIONS, FEW = "report.json", "predictions.parquet", "predictions-few.parquet"  # FEW: where --labels asks for few
PARTS = "parts"  # folder inside REPORT with each entry's predictions, so that a killed evaluation goes on
OURS = (REPORT, "report.md", PREDICTIONS, FEW, "calibration.png", "steps.png", PARTS)
WALKING = ("test_days", "train_days", "delay_days", "known_from_days", "daily_alerts", "windows")
NEEDS = {"draws": "labels", **dict.fromkeys(WALKING, "test_start")}  # option → the one it says more about
TRAINING = ("baselines", "seeds", "config", "labels", "draws", "train_days", "resume")  # of no meaning for a finished bundle
NOTHING = {"baselines": "", "seeds": 1, "labels": ""}  # of these, what asks for no training
KnownFromDays = Annotated[
    int | None, typer.Option(min=0, help="Walk forward: test no group known bad by labels from so many days before the delay on.")
]
Pipeline = Annotated[
    str, typer.Argument(help="A shipped pipeline by name (payment_history, transactions) or your own file by path (./mine.py).")
]


def main(
    context: typer.Context,
    pipeline: Pipeline,
    prepared: Annotated[Path, typer.Argument(help="Folder written by `python -m trmfin.prepare`, with known targets.")],
    out: Annotated[Path, typer.Option(help="Folder to write: report.json, report.md, predictions.parquet, pictures.")],
    bundle: Annotated[Path | None, typer.Option(help="Judge this bundle as it is, instead of training anything.")] = None,
    baselines: Annotated[
        str, typer.Option(help="Also in the same folds: logistic, lightgbm, windows, gru, tiny, scratch; '' for none.")
    ] = "logistic,lightgbm,windows,gru",
    seeds: Annotated[int, typer.Option(min=1, help="Repeat with so many seeds.")] = 1,
    config: Annotated[Path | None, typer.Option(help="TOML with preset, [model] and [training].")] = None,
    labels: Annotated[str, typer.Option(help="Also train on so few labels, such as 300,1000,3000; adds predictions-few.parquet.")] = "",
    draws: Annotated[int, typer.Option(min=1, help="With --labels: draws of each size, spread over the folds.")] = 20,
    test_start: Annotated[str, typer.Option(help="Walk forward: first test day, YYYY-MM-DD.")] = "",
    test_days: Annotated[int | None, typer.Option(min=1, help="Walk forward: days in a test window.")] = None,
    train_days: Annotated[int | None, typer.Option(min=0, help="Walk forward: days of training before it; 0 = all.")] = None,
    delay_days: Annotated[int | None, typer.Option(min=0, help="Walk forward: days until a label is known, at least.")] = None,
    known_from_days: KnownFromDays = None,
    daily_alerts: Annotated[int | None, typer.Option(min=0, help="Walk forward: groups that can be looked at in a day.")] = None,
    windows: Annotated[int | None, typer.Option(min=1, help="Walk forward: test windows, one after the other.")] = None,
    fairness: Annotated[bool, typer.Option("--fairness/--no-fairness", help="By protected attribute; with --bundle, reasons too.")] = True,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes side by side; default: one a core.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Keep the models that an interrupted evaluation has finished.")] = False,
) -> None:
    """Train the recursive model and its challengers on the same folds, and report all of them.

    Samples are split as the pipeline's protocol says, or walk forward from --test-start: training then ends before each test
    window begins, labels included; what is not given stays the protocol's. A --bundle is judged on all samples with a known target,
    or on those that are tested from --test-start on. Every number can be computed again from predictions.parquet and
    predictions-few.parquet.

    \b
    Example:
      python -m trmfin.evaluate payment_history prepared/ --out report/
      python -m trmfin.evaluate payment_history prepared/ --out report/ --labels 300,1000,3000 --draws 20
      python -m trmfin.evaluate payment_history world/ --out report/ --test-start 2021-01-01 --test-days 60 --windows 3
      python -m trmfin.evaluate transactions cards/ --out report/ --train-days 31 --test-start 2018-08-08 --test-days 7 --known-from-days 7
      python -m trmfin.evaluate transactions cards/ --out report/ --bundle bundle/ --test-start 2018-08-08
    """
    from trmfin.data.prepared import Prepared
    from trmfin.learn.contest import maker
    from trmfin.learn.extras import check_importable
    from trmfin.scoring.folder import locked
    from trmfin.shipped import load_pipeline

    _check_given(context)
    asked: dict[str, Any] = {"baselines": _names(baselines), "seeds": seeds, "sizes": _sizes(labels), "draws": draws}
    check_importable([] if bundle is not None else asked["baselines"])
    _found(out)
    use, data = load_pipeline(pipeline), Prepared.read(prepared)
    protocol = _protocol(use.protocol, test_start, context.params)
    with locked(out):
        _check_free(out, resume, judged=bundle is not None)
        if bundle is not None:
            found = _judged(bundle, data, protocol, fairness, whole=not test_start)
        else:
            contest = _contest(use, data, protocol, config, workers or os.cpu_count() or 1)
            found = _entered(contest, data, protocol, asked, fairness, out / PARTS)
        found.report.update(command=_command(), made_by=maker(), prepared=data.manifest.get("files", {}))
        found.report.update(pipeline=use.name, pipeline_sha256=use.sha256)
        _publish(found, out)


def _command() -> str:
    words = sys.argv[2:] if sys.argv[1:2] == ["evaluate"] else sys.argv[1:]  # `trmfin evaluate …` is the same command
    return "python -m trmfin.evaluate " + shlex.join(words)


def _check_given(context: typer.Context) -> None:
    """Raises ConfigError on an option that was given and would change nothing."""
    given = [name for name in context.params if (source := context.get_parameter_source(name)) and source.name == "COMMANDLINE"]
    asking = [name for name in given if name not in NOTHING or context.params[name] != NOTHING[name]]
    if "bundle" in given and (idle := [name for name in TRAINING if name in asking]):
        raise ConfigError(
            f"{', '.join(map(_spelled, idle))}: of no effect with --bundle, which judges a finished bundle as it is; "
            "leave them out, or leave out --bundle"
        )
    if alone := [name for name in given if name in NEEDS and not context.params[NEEDS[name]]]:
        raise ConfigError(f"{_spelled(alone[0])}: of no effect without {_spelled(NEEDS[alone[0]])}; give that too, or leave it out")


def _spelled(name: str) -> str:
    return "--" + name.replace("_", "-")


def _protocol(base: Protocol, test_start: str, params: dict[str, Any]) -> Protocol:
    """The pipeline's protocol, walking forward from `test_start` where that is given. params: of the command; None = the protocol's own."""
    if not test_start:
        return base
    asked = {name.replace("windows", "folds"): params[name] for name in WALKING if params[name] is not None}
    return base.walking_from(test_start, asked)


def _names(baselines: str) -> list[str]:
    from trmfin.learn.baselines import CHALLENGERS
    from trmfin.learn.contest import NETWORKS, WINDOWS

    allowed = [*CHALLENGERS, WINDOWS, *(name for name in NETWORKS if name != "trm")]
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
    """Raises RunError unless `out` holds nothing yet, or a contest that is to be resumed."""
    names, begun = _found(out)
    if not names or (begun and resume):
        return
    if not begun and REPORT not in names:
        raise RunError(f"{out}: holds {min(names)!r} but no evaluation; choose a new or empty folder for --out")
    how = ", or --resume to keep the models it has finished" if begun and not judged else ""
    raise RunError(f"{out}: already holds an evaluation; choose another --out{how}")


def _found(out: Path) -> tuple[frozenset[str], bool]:
    """The names of a report's parts in `out`, and whether it holds a contest. Raises RunError where it holds anything else."""
    from trmfin.data.belongings import own_names
    from trmfin.learn.contest import JOB
    from trmfin.scoring.folder import LOCK

    names = own_names(out, (*OURS, LOCK), "a report")
    parts = own_names(out / PARTS, (JOB, "*-seed*-fold*.parquet", "*-seed*-fold*.json"), "a contest")
    return names - ({LOCK} if parts else {LOCK, PARTS}), JOB in parts


def _contest(use: Use, data: Prepared, protocol: Protocol, config: Path | None, workers: int) -> Contest:
    from trmfin.learn.contest import Contest
    from trmfin.learn.recipe import Recipe
    from trmfin.sequences.sequences import build
    from trmfin.sequences.splits import check_delay, protocol_splits

    recipe, sequences = Recipe.chosen(use.recipe, use.name, config=config), build(data, use.task)
    times = len(set(sequences.as_of.tolist()))
    if protocol.kind == "stratified" and not protocol.across_time and times > 1:
        raise DataError(
            f"{sequences.task.name}: samples have {times} different as_of, and folds without time would tell training what came later; "
            "give --test-start and --test-days, so that training ends before testing begins"
        )
    check_delay(sequences, protocol)
    splits = protocol_splits(sequences, protocol)
    return Contest(sequences=sequences, features=use.challenger_features(data), recipe=recipe, splits=splits, workers=workers)


def _entered(contest: Contest, data: Prepared, protocol: Protocol, asked: dict[str, Any], fairness: bool, folder: Path) -> Evaluation:
    """Train and test, with the progress of all entries in one bar. asked: what `entries` is asked for."""
    from trmfin.learn.evaluation import entries, of_contest
    from trmfin.progress import Bar

    full, few = entries(contest, **asked)
    place = {entry: index for index, entry in enumerate(full + few)}
    with Bar("evaluating", len(place)) as bar:

        def tell(entry: Entry, member: int, progress: Progress) -> None:
            bar.to(place[entry], f"{entry.file}, {progress.phase} member {member + 1}, step {progress.step} of {progress.total}")

        def judging() -> None:
            bar.to(len(place), "drawing intervals")
            bar.say("evaluating: all models have answered; their intervals are drawn now, for large tests in minutes")

        return of_contest(contest, data, protocol, (full, few), folder, fair=fairness, tell=tell, judging=judging)


def _judged(folder: Path, data: Prepared, protocol: Protocol, fairness: bool, *, whole: bool) -> Evaluation:
    """Judge a bundle, on all samples or on those that the protocol tests, and say what the flagged of each protected group are told."""
    from trmfin.explaining.mix import reason_mix
    from trmfin.learn.bundle import Bundle
    from trmfin.learn.evaluation import of_bundle
    from trmfin.progress import Bar

    bundle = Bundle.load(folder)
    found = of_bundle(bundle, data, protocol, whole=whole, fair=fairness)
    if tables := found.report["fairness"]:
        try:
            with Bar("explaining", 0) as bar:
                tables["reasons"] = reason_mix(bundle, data, found.predictions, lambda done, cases: bar.to(done, total=cases))
        except ConfigError as error:  # a bundle without comparison groups is judged all the same
            tables["notes"].append(f"no reasons by group: {error}")
    return found


def _publish(found: Evaluation, out: Path) -> None:
    """Predictions, report.json, report.md, pictures, and the tables on the screen."""
    from trmfin.data.files import remove_file, replacing, write_json, write_parquet
    from trmfin.learn.pictures import draw_report
    from trmfin.learn.tables import markdown

    write_parquet(found.predictions, out / PREDICTIONS)
    if found.few is None:
        remove_file(out / FEW)  # of an evaluation that asked for few labels, which this one goes on with
    else:
        write_parquet(found.few, out / FEW)
    write_json(found.report, out / REPORT)
    text = markdown(found.report)
    with replacing(out / "report.md") as file:
        file.write(text.encode())
    draw_report(found.predictions, out)
    typer.echo(text)
    typer.echo(f"report in {out}")


if __name__ == "__main__":
    run(main)
