"""`python -m trmfin.train PIPELINE PREPARED --out BUNDLE`: prepared data with known targets into a bundle that scores."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trmfin.command import run
from trmfin.errors import ConfigError, DataError, RunError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from trmfin.learn.bundle import Bundle
    from trmfin.learn.recipe import Recipe
    from trmfin.sequences.protocol import Protocol
    from trmfin.sequences.sequences import Sequences

UNFINISHED = "training"  # folder inside BUNDLE with checkpoints, removed when the bundle is whole
MORE = 0.25  # of --max-seconds, in which comparison groups are measured on top, if the fewest cases need no longer
CHECKPOINTS = ("member-*.safetensors", "pretrained-*.safetensors")
ROOM = ("train_days", "delay_days", "purge_days", "embargo_days")  # what of a protocol says which samples before a day train
Pipeline = Annotated[
    str, typer.Argument(help="A shipped pipeline by name (payment_history, transactions) or your own file by path (./mine.py).")
]
Workers = Annotated[int | None, typer.Option(min=1, help="Members trained side by side; default: one a core.")]
MaxSeconds = Annotated[
    float | None,
    typer.Option(
        min=1,
        help="Train for about so long: a whole, shorter training, which depends on the machine. What reasons rest on is measured on top.",
    ),
]
Until = Annotated[str, typer.Option(help="Train as on this day, YYYY-MM-DD: on no answer that was not known before it.")]
TrainDays = Annotated[int | None, typer.Option(min=0, help="With --until: days of samples, as evaluate trains on; 0 = all before.")]
DelayDays = Annotated[int | None, typer.Option(min=0, help="With --until: days until a label is known, at least.")]
Base = Annotated[Path | None, typer.Option("--from", help="Adapt this bundle to --cases, a short training, instead of training one.")]
Cases = Annotated[Path | None, typer.Option(help="With --from: CSV or Parquet with sample_id, a line a confirmed case of something new.")]


def main(
    pipeline: Pipeline,
    prepared: Annotated[Path, typer.Argument(help="Folder written by `python -m trmfin.prepare`, with known targets.")],
    out: Annotated[Path, typer.Option(help="Folder to write the bundle to.")],
    seed: Annotated[int, typer.Option(min=0, help="Same seed, data and settings: same bundle.")] = 0,
    preset: Annotated[str, typer.Option(help="Size: tiny, small or paper; by default the pipeline's own, else small.")] = "",
    config: Annotated[Path | None, typer.Option(help="TOML with preset, [model] and [training]; see docs/training.md.")] = None,
    max_seconds: MaxSeconds = None,
    until: Until = "",
    train_days: TrainDays = None,
    delay_days: DelayDays = None,
    workers: Workers = None,
    base: Base = None,
    cases: Cases = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted training in BUNDLE.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle or an interrupted training in BUNDLE.")] = False,
) -> None:
    """Train a bundle: an ensemble of small recursive networks, its bins, its calibration and its card.

    Each member holds out a part of the samples, keeps the weights that do best on it, and calibration is fitted on what
    members said of samples whose answers they had not seen. A killed training goes on with --resume exactly where it stopped.

    With --until only those samples train that `evaluate` with that --test-start would train on; what is not given stays the pipeline's
    protocol. With --from and --cases a bundle learns a few confirmed cases and rehearses labelled samples of the time that it was trained
    on: give a PREPARED with that time, and the cases.

    \b
    Example:
      python -m trmfin.train payment_history prepared/ --out bundle/
      python -m trmfin.train payment_history prepared/ --out bundle/ --preset tiny --max-seconds 120
      python -m trmfin.train transactions cards/ --out bundle/ --until 2018-08-08 --train-days 31
      python -m trmfin.train transactions cards/ --out adapted/ --from bundle/ --cases confirmed.csv
    """
    from trmfin.data.prepared import Prepared
    from trmfin.learn.recipe import Recipe
    from trmfin.scoring.folder import locked
    from trmfin.sequences.sequences import build
    from trmfin.shipped import load_pipeline

    if config is not None and preset:
        raise ConfigError(f"--preset {preset} and --config {config}: name the preset inside the file")
    _check_adapting(base, cases, {"--preset": preset, "--max-seconds": max_seconds, "--until": until, "--resume": resume})
    use = load_pipeline(pipeline)
    recipe = Recipe.chosen(use.recipe, use.name, preset_name=preset, config=None if base else config, seed=seed)
    window = _window(use.protocol, until, train_days=train_days, delay_days=delay_days)
    _found(out)
    data = Prepared.read(prepared)
    sequences = build(data, use.task)
    about = {"prepared": data.manifest.get("files", {}), "pipeline": use.name, "pipeline_sha256": use.sha256}
    side_by_side = workers or os.cpu_count() or 1
    with locked(out):
        _check_free(out, resume, force)
        if base is not None and cases is not None:
            bundle = _adapted(base, cases, sequences, config, seed, side_by_side)
            bundle.card["adapted"].update(about)  # what else the card says is of the data that the base was trained on
        else:
            bundle = _trained(sequences, window, recipe, out / UNFINISHED, max_seconds, side_by_side)
            bundle.card.update(about)
        sha256 = bundle.save(out)
        _report(bundle.card, sha256, out)
        _remove_training(out / UNFINISHED)


def _window(base: Protocol, until: str, *, train_days: int | None, delay_days: int | None) -> Protocol | None:
    """What says which samples train; None = all with a known target. base: the pipeline's, of which stays what is not asked for."""
    given = {"train_days": train_days, "delay_days": delay_days}
    asked = {name: value for name, value in given.items() if value is not None}
    if not until:
        if asked:
            raise ConfigError(f"--{min(asked).replace('_', '-')}: of no effect without --until; give that too, or leave it out")
        return None
    try:
        day = date.fromisoformat(until).isoformat()
    except ValueError as error:
        raise ConfigError(f"--until {until!r}: expected a day such as 2018-08-08") from error
    return base.walking_from(day, {"test_days": 1, "folds": 1, **asked})  # nothing is tested, but a protocol has a test


def _trained(
    sequences: Sequences, window: Protocol | None, recipe: Recipe, folder: Path, max_seconds: float | None, workers: int
) -> Bundle:
    """A bundle of all samples, or of those of a window. folder: of checkpoints."""
    import numpy as np

    from trmfin.data.files import make_folder
    from trmfin.learn.training import bundle_of, learn
    from trmfin.progress import TrainingProgress

    rows = np.arange(len(sequences)) if window is None else _rows(sequences, window)
    make_folder(folder)
    workers = min(workers, recipe.model.members)
    with TrainingProgress(recipe.model.members) as progress:
        learnt = learn(sequences, rows, recipe, folder=folder, max_seconds=max_seconds, workers=workers, tell=progress.tell)
    about = {} if window is None else {"window": {"until": window.test_start} | {name: getattr(window, name) for name in ROOM}}
    bundle = bundle_of(learnt, sequences, rows, recipe, about)
    bundle.card["averages"] = _averages(bundle, sequences, None if max_seconds is None else max_seconds * MORE)
    return bundle


def _averages(bundle: Bundle, sequences: Sequences, seconds: float | None) -> dict[str, Any]:
    """How far the averages of its comparison groups go, by labelled samples of the time that the bundle was trained on."""
    from trmfin.explaining.averages import averages
    from trmfin.learn.adapt import rehearsable
    from trmfin.progress import Bar

    rows = rehearsable(bundle, sequences)
    with Bar("comparing groups' averages with their rows, cases", 0) as bar:
        return averages(bundle, sequences.aligned(bundle.fitted), rows, seconds=seconds, tell=lambda done, cases: bar.to(done, total=cases))


def _rows(sequences: Sequences, window: Protocol) -> NDArray[np.int64]:
    """The rows of a window. Raises DataError where there is none, although some samples have a known target, and as `check_delay`."""
    import numpy as np

    from trmfin.learn.training import data_window
    from trmfin.sequences.splits import check_delay, rows_trained

    check_delay(sequences, window)
    rows, labelled = rows_trained(sequences, window), np.flatnonzero(sequences.known)
    if len(labelled) and not len(rows):
        found, days = data_window(sequences, labelled), window.train_days
        span = f"of the {days} days that end {window.delay_days} days before it " if days else ""
        raise DataError(
            f"--until {window.test_start}: no sample {span}has an answer that was known before it; those with an answer are as of "
            f"{found['first_as_of'][:10]} to {found['last_as_of'][:10]}; choose another day, or more --train-days"
        )
    return rows


def _adapted(base: Path, cases: Path, sequences: Sequences, config: Path | None, seed: int, workers: int) -> Bundle:
    """The bundle at `base`, adapted to the cases of a file."""
    from trmfin.learn.adapt import adapt, adapting_recipe, case_rows, read_cases, rehearsable
    from trmfin.learn.bundle import Bundle
    from trmfin.progress import TrainingProgress

    bundle = Bundle.load(base)
    if bundle.task != sequences.task:
        raise ConfigError(
            f"--from {base}: its task {bundle.task.name!r} is not the pipeline's; adapt it with the pipeline it was trained by"
        )
    recipe = adapting_recipe(bundle, seed, config)
    rows, before = case_rows(sequences, read_cases(cases)), rehearsable(bundle, sequences)
    with TrainingProgress(recipe.model.members) as progress:
        return adapt(bundle, sequences, rows, before, recipe, workers=workers, tell=progress.tell)


def _check_adapting(base: Path | None, cases: Path | None, training: dict[str, Any]) -> None:
    """Raises ConfigError where one of --from and --cases is without the other, or beside what only a whole training has."""
    if (base is None) != (cases is None):
        given, missing = ("--from", "--cases") if cases is None else ("--cases", "--from")
        raise ConfigError(f"{given}: of no effect without {missing}; give both to adapt a bundle, or none to train one")
    if base is not None and (idle := [name for name, value in training.items() if value]):
        raise ConfigError(f"{', '.join(idle)}: of no effect with --from, which adapts a finished bundle; leave it out")


def _check_free(out: Path, resume: bool, force: bool) -> None:
    """Raises RunError unless `out` may be written to. A training that was to replace a bundle may be resumed beside it."""
    if resume and force:
        raise ConfigError("--resume and --force: one goes on with an interrupted training, the other throws it away; give one of them")
    finished, begun = _found(out)
    if force:
        _remove_training(out / UNFINISHED)
        return
    if finished and not (begun and resume):
        raise RunError(f"{out}: already holds a bundle; choose another --out, or --force to replace it")
    if begun and not resume:
        raise RunError(f"{out}: holds an interrupted training; go on with --resume, or start again with --force")


def _found(out: Path) -> tuple[bool, bool]:
    """Whether `out` holds a bundle, and whether it holds an interrupted training.

    Raises RunError where it holds what neither of them has, which no option lets `train` replace or remove.
    """
    from trmfin.data.belongings import own_names
    from trmfin.data.files import read_json
    from trmfin.learn.bundle import MANIFEST, MODEL_CARD, PARTS, WEIGHTS
    from trmfin.scoring.folder import LOCK

    names = own_names(out, (*PARTS, MODEL_CARD, MANIFEST, UNFINISHED, LOCK), "a bundle")
    begun = bool(own_names(out / UNFINISHED, CHECKPOINTS, "a training"))
    if MANIFEST in names:
        files = read_json(out / MANIFEST, RunError).get("files")
        if not isinstance(files, dict) or WEIGHTS not in files:
            raise RunError(f"{out}: holds a {MANIFEST} that is not a bundle's; choose a new or empty folder for --out")
    elif not begun and (alone := sorted(names.intersection((*PARTS, MODEL_CARD)))):  # the parts of a killed save lie beside its training
        raise RunError(f"{out}: holds {alone[0]!r} but no bundle's {MANIFEST}; choose a new or empty folder for --out")
    return MANIFEST in names, begun


def _remove_training(folder: Path) -> None:
    """Remove checkpoints and their folder. Raises RunError where it holds anything else, or cannot be removed."""
    from trmfin.data.belongings import own_names
    from trmfin.data.files import STAYS, changing, remove_file

    for name in own_names(folder, CHECKPOINTS, "a training"):
        remove_file(folder / name)
    if folder.exists():
        with changing(folder, *STAYS):
            folder.rmdir()


def _report(card: dict[str, Any], sha256: str, out: Path) -> None:
    """How well members did on what they held out, how far the averages of comparison groups go, and where the bundle is."""
    held, data = card["held_out"], card["data"]
    typer.echo(f"bundle      {out}  sha256 {sha256[:16]}")
    days = f"as of {data['first_as_of'][:10]} to {data['last_as_of'][:10]}"
    if adapted := card.get("adapted"):
        rehearsed = f"{adapted['rehearsed']:,} samples {days} rehearsed"
        what = f"{adapted['cases']:,} cases learnt, {rehearsed}, {adapted['seconds']:.1f} s"
        typer.echo(f"adapted     from {adapted['bundle'][:16]}: {what}; judge it with `python -m trmfin.evaluate … --bundle {out}`")
        typer.echo(f"averages    {_averages_said(card)}")
        return
    typer.echo(f"samples     {data['samples']:,} {days}")
    model = card["model"]
    size = f"{model['parameters']:,} in {model['members']} members, {model['supervision_steps']} steps"
    typer.echo(f"parameters  {size}, {_flops(model['flops'])} a sample")
    if held:
        said = "   ".join(
            f"{name} {held[name]['value']:.4f} [{held[name]['low']:.4f}, {held[name]['high']:.4f}]"
            for name in ("auc", "ap", "log_loss", "ece")
        )
        typer.echo(f"held out    {held['samples']:,} samples, by members that had not seen their answers: {said}")
        halt = card["early_halting"]
        typer.echo(
            f"halting     judged by these members, a policy with halt_epsilon {halt['halt_epsilon']:g} would save"
            f" {halt['steps_saved']:.0%} of the steps for at most {halt['tolerance']:g} AUC"
        )
    typer.echo(f"averages    {_averages_said(card)}")


def _averages_said(card: dict[str, Any]) -> str:
    """How alike the averages of comparison groups are to their rows, or why nothing is said of it."""
    from trmfin.explaining.reasons import ALIKE

    if alike := card.get("averages"):
        said = ", ".join(f"{group} {found['jaccard']:.2f} of {found['cases']}" for group, found in alike.items())
        return f"name what their groups' rows name by {said} cases (mean Jaccard index; reasons are released from {ALIKE:g} on)"
    if not card["held_out"]:
        return "none: the score is no log-odds, which reasons are of"
    if "adapted" in card:
        return "not measured of the new weights: no reason is released against them; score with --comparison-form rows"
    return "not measured: fewer than twelve samples, or more than twelve players and no shap; score with --comparison-form rows"


def _flops(count: int) -> str:
    """A number of floating-point operations in words: 12.3 MFLOP."""
    size, prefix = next(((size, prefix) for size, prefix in ((10**9, "G"), (10**6, "M")) if count >= size), (10**3, "k"))
    return f"{count / size:,.1f} {prefix}FLOP"


if __name__ == "__main__":
    run(main)
