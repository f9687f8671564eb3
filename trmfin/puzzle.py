"""`python -m trmfin.puzzle NAME`: teach a network a benchmark puzzle, judge it on puzzles it has never seen, show how it thinks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from trmfin.command import run


def main(
    name: Annotated[str, typer.Argument(help="sudoku4, sudoku6, sudoku9, sudoku-hard, maze9 or maze-hard.")],
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
    steps: Annotated[
        int | None, typer.Option(min=1, help="Supervision steps when answering, which may be more than trained; default 16, for maze9 6.")
    ] = None,
    rollouts: Annotated[int, typer.Option(min=1, help="Times each puzzle is thought over when answering; the surest answer is taken.")] = 1,
    noise: Annotated[float, typer.Option(min=0, help="Rollouts differ by noise of this standard deviation on their state (PTRM).")] = 0.0,
    restarts: Annotated[bool, typer.Option("--restarts", help="Rollouts differ by the random state they begin from (EqR).")] = False,
    pick: Annotated[str, typer.Option(help="Surest by its halt head, or by how little its answer moved.")] = "halt",
    device: Annotated[str, typer.Option(help="cpu, or cuda where a GPU is at hand.")] = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="Of the processor; results differ in their last digits with another number.")] = 1,
) -> None:
    """Teach a network a puzzle and judge it on held-out ones: the same recursion that scores financial histories.

    Puzzles are drawn, or read from --data; none that is answered is trained on, in any of its symmetries. OUT gets
    result.json, answers.csv (one line a puzzle), the network, and a picture and an animation of one answer being refined.

    \b
    Example:
      python -m trmfin.puzzle sudoku4
      python -m trmfin.puzzle sudoku6 --data my_puzzles.txt --out build/mine
      python -m trmfin.puzzle sudoku6 --resume --steps 64 --rollouts 8 --noise 0.5 --pick halt
    """
    from trmfin.learn.recipe import Recipe
    from trmfin.model.refine import Thinking
    from trmfin.progress import TrainingProgress
    from trmfin.puzzles.experiment import Ask, check_free
    from trmfin.puzzles.experiment import run as experiment
    from trmfin.puzzles.kinds import kind_of
    from trmfin.scoring.folder import locked

    kind = kind_of(name, level)
    base = kind.recipe.with_seed(seed)
    recipe = base if config is None else Recipe.from_toml(config, seed, base)
    thinking = Thinking(steps=steps or kind.steps, rollouts=rollouts, noise=noise, random_start=restarts, pick=pick, seed=seed)
    ask = Ask(kind=kind, recipe=recipe, data=data, thinking=thinking, max_seconds=max_seconds, device=device, threads=threads)
    folder = out or Path("build") / name
    with locked(folder):
        check_free(folder, resume=resume, force=force)
        with TrainingProgress(1) as progress:
            result = experiment(ask, folder, tell=lambda told: progress.tell(0, told), say=lambda what: progress.say(what), anew=force)
    _report(result, folder)


def _report(result: dict[str, Any], folder: Path) -> None:
    steps = ", ".join(f"{share:.2%} after {step}" for step, share in result["exact"].items())
    typer.echo(f"exact       {steps} steps, of {result['held_out']:,} held-out puzzles")
    typer.echo(f"valid       {result['valid']:.2%} keep all rules after the last step")
    typer.echo(
        f"halting     {result['halted']['exact']:.2%} exact where the halt head ends it, after {result['halted']['mean_steps']:.1f} steps"
    )
    if result["published"]:
        typer.echo(f"published   {result['published']}")
    typer.echo(f"cost        {result['cpu_seconds']:,.0f} CPU seconds in all, {result['parameters']:,} parameters, seed {result['seed']}")
    typer.echo(f"answers     {folder / 'answers.csv'}")


if __name__ == "__main__":
    run(main)
