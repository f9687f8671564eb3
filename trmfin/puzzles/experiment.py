"""One experiment: puzzles dealt apart, a network taught and judged on those it has never seen, its answers written down."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from trmfin.data.belongings import own_names
from trmfin.data.files import read_json, remove_file, replacing, write_json
from trmfin.errors import ConfigError, DataError, RunError
from trmfin.learn.checkpoint import identity, load_weights, save_weights
from trmfin.learn.fit import Progress, Rows, fit
from trmfin.learn.recipe import Recipe
from trmfin.learn.supervise import precision
from trmfin.learn.threads import threads
from trmfin.model.config import NO_RECURSION
from trmfin.model.network import Network
from trmfin.model.refine import AS_TRAINED, Thinking
from trmfin.puzzles.judge import Answered, answer, safe_margin
from trmfin.puzzles.kinds import KINDS, Kind, Parts, Subject
from trmfin.puzzles.pictures import draw_refinement
from trmfin.puzzles.puzzle_samples import PuzzleSamples
from trmfin.puzzles.puzzles import Grids, Puzzles, joined
from trmfin.scoring.folder import LOCK, remove_parts

CHECKPOINT, SPENT, NETWORK, RESULT, ANSWERS = "training.safetensors", "spent.json", "network.safetensors", "result.json", "answers.csv"
STEPS_PICTURE, STEPS_FILM = "steps.png", "steps.gif"
OURS = (CHECKPOINT, SPENT, NETWORK, RESULT, ANSWERS, STEPS_PICTURE, STEPS_FILM)
SHOWN_STEPS = (1, 2, 4, 8, 16, 32, 64, 128)


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What is taught to which network, and how it thinks. Raises ConfigError on a device or a recipe that cannot be had."""

    kind: Subject
    recipe: Recipe
    thinking: Thinking = AS_TRAINED
    max_seconds: float | None = None
    device: str = "cpu"
    compiled: bool = False
    threads: int = 1

    def __post_init__(self) -> None:
        gpus = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
        if self.device not in (here := ["cpu", *(["cuda"] if gpus else []), *gpus]):
            raise ConfigError(f"device is {self.device!r}; this machine has {', '.join(here)}, so choose one of these")
        if (members := self.recipe.model.members) != 1 or self.recipe.training.pretrain_epochs:
            raise ConfigError(
                f"puzzle {self.kind.name}: members {members}, pretrain_epochs {self.recipe.training.pretrain_epochs:g}; "
                "a puzzle is taught to one network from the start, so leave them at 1 and 0"
            )
        if self.recipe.model.core in NO_RECURSION and (self.thinking.rollouts > 1 or (self.thinking.steps or 1) > 1):
            raise ConfigError(
                f"puzzle {self.kind.name}: {self.thinking.steps} steps in {self.thinking.rollouts} rollouts; core "
                f"{self.recipe.model.core!r} has no recursion, so further ones would say the same: leave them out"
            )


@dataclass(frozen=True, kw_only=True)
class Ask(Lesson):
    """What is asked for. The same ask gives the same answers on the same machine, unless time ends it."""

    kind: Kind
    data: Path | None = None


def run(ask: Ask, out: Path, tell: Callable[[Progress], None], say: Callable[[str], None], anew: bool = False) -> dict[str, Any]:
    """Teach and judge, or go on where an interrupted run stopped; everything lands in `out`. → what result.json holds.

    tell: called while training; say: told in words what is being done. anew: what an earlier run left is removed, once
    the puzzles are known to be good. CPU seconds count all threads of this process since it began, and those of the runs
    that it resumes. A result.json that is there belongs to the answers beside it.
    """
    with threads(ask.threads):
        say("drawing puzzles")
        parts = ask.kind.parts(ask.data, ask.recipe.training.seed)
        _check(ask.kind, parts)
        spent = cleared(out, anew)
        network = _taught(ask, parts, out, spent, tell)
        say(f"answering {len(parts.test):,} held-out puzzles")
        samples = ask.kind.samples(parts.test, ask.recipe.training.seed)
        with precision(network, ask.recipe.training):
            answered = answer(network, samples, np.arange(len(samples)), ask.thinking)
            tried = ask.kind.samples(parts.validation, ask.recipe.training.seed)
            margin = safe_margin(answer(network, tried, np.arange(len(tried)), ask.thinking))
    result = _result(ask, parts, network, answered, margin, spent)
    remove_file(out / RESULT)
    write_answers(out / ANSWERS, ask.kind, parts.test, answered, margin)
    first = hardest(answered)
    draw_refinement(ask.kind, parts.test.questions[first], answered.of(first), out / STEPS_PICTURE, out / STEPS_FILM)
    write_json(result, out / RESULT)
    return result


def cleared(out: Path, anew: bool) -> Spent:
    """Take away what a kill left half written, and all that a run left where it is to be replaced. → what it has spent"""
    remove_parts(out)
    for name in OURS if anew else ():
        remove_file(out / name)
    return Spent.read(out / SPENT)


def check_free(out: Path, *, resume: bool, force: bool) -> None:
    """Raises RunError where `out` holds a run that is neither to be resumed nor to be replaced, or what is no part of a run."""
    if resume and force:
        raise ConfigError("--resume and --force: one goes on with what is there, the other throws it away; give one of them")
    names = own_names(out, (*OURS, LOCK), "a puzzle's run")
    if not (resume or force) and names - {LOCK}:
        raise RunError(f"{out}: holds a run of this command; go on with --resume, start again with --force, or choose another --out")


@dataclass(kw_only=True)
class Spent:
    """CPU seconds that earlier runs of the same training took, up to their last checkpoint."""

    cpu: float = 0.0

    @classmethod
    def read(cls, path: Path) -> Spent:
        """Raises RunError on a file that holds no such number."""
        if not path.exists():
            return cls()
        cpu = read_json(path, RunError).get("cpu")
        if isinstance(cpu, bool) or not isinstance(cpu, int | float) or not 0 <= cpu < float("inf"):
            raise RunError(f"{path}: cpu is {cpu!r}; expected seconds of at least 0, so start again with --force")
        return cls(cpu=cpu)

    def cpu_now(self) -> float:
        """CPU seconds of all threads, since this process began and before."""
        return self.cpu + time.process_time()

    def write(self, path: Path) -> None:
        write_json({"cpu": self.cpu_now()}, path)


def _check(kind: Kind, parts: Parts) -> None:
    """Raises DataError where a part is empty or its puzzles have another size."""
    for name, part in vars(parts).items():
        if not len(part):
            counts = ", ".join(f"{other} {len(puzzles):,}" for other, puzzles in vars(parts).items())
            raise DataError(f"puzzle {kind.name}: none are left for {name} ({counts}); give more puzzles")
        if (cells := part.questions.shape[1]) != kind.side**2:
            raise DataError(f"puzzle {kind.name}: found puzzles of {cells} cells; expected {kind.side} × {kind.side}, {kind.side**2} cells")


def _taught(ask: Ask, parts: Parts, out: Path, spent: Spent, tell: Callable[[Progress], None]) -> Network:
    """The network that has learnt from the training part in all its looks."""
    both = joined(parts.validation, parts.train)
    samples = ask.kind.samples(both, ask.recipe.training.seed, redrawn=True)
    rows, held = np.arange(len(samples)), len(parts.validation)
    return taught(ask, samples, rows[rows % len(both) >= held], rows[:held], out, spent, tell)


def taught(
    ask: Lesson, samples: PuzzleSamples, train: Rows, validation: Rows, out: Path, spent: Spent, tell: Callable[[Progress], None]
) -> Network:
    """The network that has learnt the rows `train`, read where it has been trained before."""
    recipe = ask.recipe
    belongs = identity(samples, train, validation, recipe.model, recipe.training)
    network = Network(samples.task, samples.fitted, recipe.model)
    if (out / NETWORK).exists():
        weights = load_weights(out / NETWORK, belongs)
    else:

        def told(progress: Progress) -> None:
            if progress.validation is not None:
                spent.write(out / SPENT)
            tell(progress)

        trained = fit(
            samples,
            train,
            validation,
            fitted=samples.fitted,
            model=recipe.model,
            settings=recipe.training,
            checkpoint=out / CHECKPOINT,
            max_seconds=ask.max_seconds,
            device=ask.device,
            compiled=ask.compiled,
            tell=told,
        )
        weights = trained.weights
        save_weights(out / NETWORK, weights, belongs)
    remove_file(out / CHECKPOINT)
    network.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    if ask.compiled:
        network.core.compile_blocks()
    return network.to(ask.device)


def hardest(answered: Answered) -> int:
    """A puzzle that shows refinement: of those solved in the end, the first that was solved last."""
    exact = answered.exact
    solved = np.where(exact[:, -1], exact.shape[1] - exact[:, ::-1].cumprod(1).sum(1), -1)
    return int(solved.argmax())


def _result(ask: Ask, parts: Parts, network: Network, answered: Answered, margin: float, spent: Spent) -> dict[str, Any]:
    halted = answered.halting_step(margin)
    early = (answered.at(halted) == answered.truth).all(1)
    return {
        "puzzle": ask.kind.name,
        "exact": by_step(answered.exact),
        "valid": float(ask.kind.valid(parts.test.questions, answered.grids[:, -1]).mean()),
        "halted": {"margin": margin, "exact": float(early.mean()), "mean_steps": float(halted.mean())},
        "held_out": len(parts.test),
        "trained_on": len(parts.train),
        "level": ask.kind.level,
        "data": ask.data.name if ask.data else "",
        "thinking": asdict(ask.thinking),
        "cpu_seconds": spent.cpu_now(),
        "max_seconds": ask.max_seconds,
        "parameters": network.parameters_count,
        "seed": ask.recipe.training.seed,
        "published": ask.kind.published,
        "unlike_published": ", ".join(unlike(ask, KINDS[ask.kind.name].recipe)) if ask.kind.published else "",
        "model": ask.recipe.model.to_json(),
        "training": ask.recipe.training.to_json(),
    }


def unlike(ask: Lesson, paper: Recipe) -> list[str]:
    """How this run was taught otherwise than the published one."""
    found = [f"{ask.max_seconds:g} seconds of training"] if ask.max_seconds else []
    for here, there in ((ask.recipe.model, paper.model), (ask.recipe.training, replace(paper.training, seed=ask.recipe.training.seed))):
        own, theirs = here.to_json(), there.to_json()
        found += [f"{name} {own[name]} not {theirs[name]}" for name in own if own[name] != theirs[name]]
    return found


def by_step(exact: NDArray[np.bool_]) -> dict[str, float]:
    """The share that is exact after some steps and after the last. exact: (n, S)."""
    steps = exact.shape[1]
    return {str(step): float(exact[:, step - 1].mean()) for step in (*(s for s in SHOWN_STEPS if s < steps), steps)}


def write_answers(path: Path, kind: Kind, puzzles: Puzzles, answered: Answered, margin: float) -> None:
    """One line a puzzle: question and last answer as text, whether it is the known one and whether it keeps the rules."""
    last = answered.grids[:, -1]
    frame = pl.DataFrame(
        {
            "puzzle": lines(puzzles.questions, kind.symbols),
            "answer": lines(last, kind.symbols),
            "exact": answered.exact[:, -1],
            "valid": kind.valid(puzzles.questions, last),
            "halting_step": answered.halting_step(margin),
        }
    )
    with replacing(path) as file:
        frame.write_csv(file)


def lines(grids: Grids, symbols: tuple[str, ...]) -> list[str]:
    """Each grid's cells in reading order, one character each."""
    return ["".join(row) for row in np.array(symbols)[grids].tolist()]
