"""Samples per second of the recursion in training and inference: ours, the paper's equations written down, the PyPI package.

    python tests/benchmarks/recursion.py [--width 512 --tokens 97 --batch 64 --T 3 --n 6 --mixer mlp --steps 4 --threads 2]
    python tests/benchmarks/recursion.py --steps 16 --halt-mean 4 --only "ours fp32" "ours bf16"
    python tests/benchmarks/recursion.py --only "ours fp32" "transcription fp32" --sweep [batch=1,8,32 width=64,128]

training    one supervision step of a batch: embedding, recursion, logits and halt logit, loss, backward, AdamW. samples/s: of such steps.
inference   all supervision steps of a batch without gradient, and the digits chosen after the last.
ours        `Core`. bf16: autocast, as `trmfin.learn.supervise` does; tokens too: `half_tokens`, as the paper's size has it;
            compiled: `torch.compile` of its blocks.
transcription  tests/model/transcription.py, eager. bf16: autocast; cast per call: a bf16 state, and each weight cast where it is
            used, as the official code does.
package     `tiny-recursive-model` of PyPI: its own embedding, losses and `predict`, which never halts here; MLPMixer1D, or the
            Encoder of x-transformers with SwiGLU, rotary positions and flash attention; inner widths such that it multiplies as
            much as ours.

Contestants take turns, in --rounds rounds of which every other runs backwards, so that a machine that drifts drifts for all; a rate
is the median of rounds. Memory that was freed stays with the process (`trmfin.learn.memory`), whoever runs. GFLOP/s count products
only, by one arithmetic for all. peak: the best of five products of two square matrices (--gemm), in the same run. x transcription,
x package: the rate over that of the fastest of them in the same precision.
--halt-mean: a second table, of inference in which samples leave the batch as the halt head of a trained network might have it.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.benchmarks.contestants import (  # noqa: E402
    CONTESTANTS,
    VOCABULARY,
    Family,
    Sizes,
    halting,
    inference,
    training,
)
from trmfin.learn.memory import keep_memory  # noqa: E402

Kind = Literal["training", "inference"]
GRAPHS = 64  # of a block's code, at most: compiled contestants share it
Rates = dict[tuple[str, Kind], float]  # samples per second
KINDS: tuple[Kind, ...] = ("training", "inference")
PER_KIND = ("samples/s", "GFLOP/s", "of peak", "x transcription", "x package")
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
SWEEP = ["batch=1,8,32,128", "width=64,128,256,512", "tokens=16,36,97,256", "n=1,2,6", "steps=1,4"]


def peak(dtype: torch.dtype, size: int) -> float:
    """FLOP/s of the best of five products of two square matrices."""
    a, b = torch.randn(2, size, size).to(dtype)
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / min(seconds)


def calls_per_second(call: Callable[[], object], seconds: float) -> float:
    """Called again and again for so long, at least once."""
    began, calls = time.perf_counter(), 0
    while calls == 0 or time.perf_counter() - began < seconds:
        call()
        calls += 1
    return calls / (time.perf_counter() - began)


def taken_in_turns(jobs: dict[Any, Callable[[], object]], rounds: int, seconds: float) -> dict[Any, float]:
    """Calls per second of each job, the median of rounds. seconds: for each job, over all rounds."""
    for call in jobs.values():
        call()  # memory is taken and code compiled
    found: dict[Any, list[float]] = {name: [] for name in jobs}
    for number in range(rounds):
        for name in list(jobs)[:: -1 if number % 2 else 1]:
            found[name].append(calls_per_second(jobs[name], seconds / rounds))
    return {name: median(rates) for name, rates in found.items()}


def batch(sizes: Sizes) -> tuple[Tensor, Tensor]:
    """Tokens and labels (B, L)."""
    tokens, labels = torch.randint(VOCABULARY, (2, sizes.batch, sizes.tokens), generator=torch.Generator().manual_seed(0))
    return tokens, labels


def missing(names: Sequence[str], sizes: Sizes) -> dict[str, str]:
    """Why a contestant cannot take part."""
    package = "" if find_spec("tiny_recursive_model") else "not installed: pip install tiny-recursive-model"
    package = package or ("its T is 2 at least" if sizes.T == 1 else "")
    compiler = no_compiler() if any(CONTESTANTS[name].compiled for name in names) else ""
    reasons = {name: compiler if CONTESTANTS[name].compiled else package if CONTESTANTS[name].family == "package" else "" for name in names}
    return {name: reason for name, reason in reasons.items() if reason}


def no_compiler() -> str:
    """Why `torch.compile` cannot run here; empty where it can."""
    try:
        torch.compile(lambda t: t.sin() + 1)(torch.ones(2))
    except Exception as error:  # whatever a compiler that is not there makes torch raise
        return f"no compiler: {type(error).__name__}"
    return ""


def measured(names: Sequence[str], sizes: Sizes, rounds: int, seconds: float) -> Rates:
    """Samples per second of each contestant at each kind of work."""
    torch.compiler.reset()
    torch._dynamo.config.recompile_limit = GRAPHS
    torch._dynamo.config.fail_on_recompile_limit_hit = True  # or who is called compiled runs uncompiled
    jobs: dict[tuple[str, Kind], Callable[[], object]] = {}
    tokens, labels = batch(sizes)
    for name in names:
        contestant = CONTESTANTS[name]
        jobs[name, "training"] = training(contestant, contestant.solver(sizes).train(), tokens, labels)
        jobs[name, "inference"] = inference(contestant, contestant.solver(sizes).eval(), tokens, sizes.steps)
    return {job: rate * sizes.batch for job, rate in taken_in_turns(jobs, rounds, seconds).items()}


def rows(sizes: Sizes, rates: Rates, peaks: dict[str, float]) -> Iterator[list[str]]:
    """The cells of one contestant each: its name, then PER_KIND for both kinds."""
    for name in dict.fromkeys(name for name, _ in rates):
        precision, cells = CONTESTANTS[name].precision, [name]
        for kind in KINDS:
            rate = rates.get((name, kind))
            if rate is None:
                cells += ["-"] * len(PER_KIND)
                continue
            flops = rate * sizes.flops(kind == "training")
            cells += [figure(rate), f"{flops / 1e9:.1f}", f"{flops / peaks[precision]:.0%}"]
            for family in ("transcription", "package"):
                best = fastest(rates, family, precision, kind)
                cells.append(f"{rate / best:.2f}" if best else "-")
        yield cells


def fastest(rates: Rates, family: Family, precision: str, kind: Kind) -> float:
    """The best rate of a family in a precision; 0 where none of it takes part."""
    of_family = [name for name, c in CONTESTANTS.items() if (c.family, c.precision) == (family, precision)]
    return max((rates.get((name, kind), 0.0) for name in of_family), default=0.0)


def figure(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


def line(cells: Sequence[str]) -> str:
    """A line of a markdown table."""
    return f"| {' | '.join(cells)} |"


def head(*names: str) -> list[str]:
    return [line(names), line(["---", *["---:"] * (len(names) - 1)])]


HEAD = [f"{kind} {name}" if name == "samples/s" else name for kind in KINDS for name in PER_KIND]


def halted_lines(names: Sequence[str], sizes: Sizes, mean: float, rounds: int, seconds: float) -> Iterator[str]:
    """Ours with early halting against ours without. mean: steps of a sample, before they are cut at all.

    Not what is compiled: each size of batch would be compiled anew.
    """
    drawn = torch.empty(sizes.batch).geometric_(1 / mean, generator=torch.Generator().manual_seed(0)).long()
    profile = drawn.clamp(max=sizes.steps)
    share = float(profile.double().mean()) / sizes.steps
    yield (
        f"Early halting by a profile that is GIVEN, not learnt: steps of each sample geometric with mean {mean:g}, cut at {sizes.steps}: "
        f"{share:.1%} of all steps are taken, so {1 / share:.2f} times as fast would be no cost of compaction."
    )
    yield ""
    yield from head("contestant", "all steps samples/s", "halting samples/s", "times as fast", "of what the steps saved allow")
    tokens, _ = batch(sizes)
    jobs: dict[tuple[str, str], Callable[[], object]] = {}
    for name in names:
        contestant = CONTESTANTS[name]
        if contestant.family == "ours" and not contestant.compiled:
            model = contestant.solver(sizes).eval()
            jobs[name, "all"] = inference(contestant, model, tokens, sizes.steps)
            jobs[name, "halting"] = halting(contestant, model, tokens, profile)
    rates = taken_in_turns(jobs, rounds, seconds)
    for name in dict.fromkeys(name for name, _ in rates):
        every, early = rates[name, "all"] * sizes.batch, rates[name, "halting"] * sizes.batch
        yield line([name, figure(every), figure(early), f"{early / every:.2f}", f"{early / every * share:.0%}"])


def report(sizes: Sizes, asked: argparse.Namespace) -> Iterator[str]:
    """Everything that is printed, line by line."""
    peaks = {name: peak(dtype, asked.gemm) for name, dtype in PRECISIONS.items()}
    skipped = missing(asked.only, sizes)
    names = [name for name in asked.only if name not in skipped]
    yield f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    yield f"peak of {asked.gemm}^3: " + ", ".join(f"{name} {value / 1e9:.0f} GFLOP/s" for name, value in peaks.items())
    yield f"{sizes}; {asked.rounds} rounds, {asked.seconds:g} s each contestant and kind"
    yield "GFLOP a sample: " + ", ".join(f"{kind} {sizes.flops(kind == 'training') / 1e9:.3g}" for kind in KINDS)
    yield from (f"without {name}: {reason}" for name, reason in skipped.items())
    if asked.sweep is None:
        yield from ["", *head("contestant", *HEAD)]
        yield from map(line, rows(sizes, measured(names, sizes, asked.rounds, asked.seconds), peaks))
    for axis in asked.sweep or ():
        field, _, values = axis.partition("=")
        yield from ["", *head(field, "contestant", *HEAD)]
        for value in map(int, values.split(",")):
            point = replace(sizes, **{field: value})  # type: ignore[arg-type]
            rates = measured(names, point, asked.rounds, asked.seconds)
            yield from (line([str(value), *cells]) for cells in rows(point, rates, peaks))
    if asked.halt_mean:
        yield ""
        yield from halted_lines(names, sizes, asked.halt_mean, asked.rounds, asked.seconds)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    numbers = {"width": 512, "tokens": 97, "batch": 64, "T": 3, "n": 6, "steps": 4, "head-width": 64, "inner-multiple": 256}
    for name, default in numbers.items():
        options.add_argument(f"--{name}", type=int, default=default)
    options.add_argument("--mixer", choices=["mlp", "attention"], default="mlp")
    options.add_argument("--only", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS), metavar="CONTESTANT")
    options.add_argument("--sweep", nargs="*", metavar="SIZE=VALUE,VALUE", help=f"by default {' '.join(SWEEP)}")
    options.add_argument("--halt-mean", type=float, help="mean steps of a sample that halts early")
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=float, default=20, help="of each contestant and kind, over all rounds; a call is never cut")
    options.add_argument("--gemm", type=int, default=4096)
    asked = options.parse_args()
    keep_memory()
    asked.sweep = SWEEP if asked.sweep == [] else asked.sweep
    torch.set_num_threads(asked.threads)
    fields = {name.replace("-", "_") for name in numbers} | {"mixer"}
    for text in report(Sizes(**{name: getattr(asked, name) for name in fields}), asked):
        print(text, flush=True)


if __name__ == "__main__":
    main()
