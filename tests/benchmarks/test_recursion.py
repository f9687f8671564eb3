"""The tables of `recursion.py`: that contestants do the same work, and what each number is. Sizes here are too small to tell speed."""

import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tests.benchmarks.contestants import CONTESTANTS, Sizes, halting, inference, training
from tests.benchmarks.recursion import HEAD, Rates, batch, main, missing, no_compiler, rows, taken_in_turns
from trmfin.model.config import Mixer

SIZES = Sizes(width=32, tokens=17, batch=4, T=2, n=2, mixer="mlp", steps=3, head_width=16, inner_multiple=8)
MIXERS: tuple[Mixer, ...] = ("mlp", "attention")
EAGER = [name for name, c in CONTESTANTS.items() if not c.compiled and (c.family != "package" or find_spec("tiny_recursive_model"))]
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # the package's, when imported
UNTRAINED = ("output_init_embed", "latent_init_embed", "register_tokens")  # the package's: what precedes the last cycle


def answer(name: str, sizes: Sizes) -> Tensor:
    return inference(CONTESTANTS[name], CONTESTANTS[name].solver(sizes).eval(), batch(sizes)[0], sizes.steps)()


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("name", [name for name in EAGER if name.endswith("fp32")])
def test_every_contestant_multiplies_as_much_as_is_counted(name: str, mixer: Mixer) -> None:
    sizes, contestant = replace(SIZES, mixer=mixer), CONTESTANTS[name]
    tokens, labels = batch(sizes)
    train = training(contestant, contestant.solver(sizes), tokens, labels)
    fixed = contestant.solver(sizes).eval().requires_grad_(False)  # or the counter looks for where gradients come from
    for call, kind in ((train, "training"), (inference(contestant, fixed, tokens, sizes.steps), "inference")):
        with FlopCounterMode(display=False) as counted, sdpa_kernel(SDPBackend.MATH):  # the fused kernel of a CPU is not counted
            call()
        near = 0.05 if name != "package fp32" else 0.1  # its attention picks the fused kernel all the same
        assert sizes.flops(kind == "training") * sizes.batch == pytest.approx(counted.get_total_flops(), rel=near), kind


@pytest.mark.parametrize("mixer", MIXERS)
def test_ours_and_the_transcription_choose_the_same_digits(mixer: Mixer) -> None:
    sizes = replace(SIZES, mixer=mixer)
    ours = answer("ours fp32", sizes)
    assert ours.shape == (4, 17) and len(ours.unique()) > 3
    assert torch.equal(ours, answer("transcription fp32", sizes))
    for name in ("ours bf16", "ours bf16, tokens too", "transcription bf16", "transcription bf16, cast per call"):
        assert (answer(name, replace(sizes, steps=1)) == answer("ours fp32", replace(sizes, steps=1))).double().mean() > 0.9, name


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("name", EAGER)
def test_training_moves_every_weight_and_lowers_the_loss(name: str, mixer: Mixer) -> None:
    sizes = replace(SIZES, mixer=mixer)
    model = CONTESTANTS[name].solver(sizes).train()
    step = training(CONTESTANTS[name], model, *batch(sizes))
    losses = [float(step()) for _ in range(3)]
    still = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert losses[2] < losses[0] and all(name.endswith(UNTRAINED) for name in still), still


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("name", ["ours fp32", "ours bf16, tokens too"])
def test_a_sample_told_to_halt_is_answered_as_after_so_many_steps(name: str, mixer: Mixer) -> None:
    sizes, profile = replace(SIZES, mixer=mixer), torch.tensor([2, 1, 3, 1])
    model = CONTESTANTS[name].solver(sizes).eval()
    halted = halting(CONTESTANTS[name], model, batch(sizes)[0], profile)
    for _ in range(2):  # of no memory of the call before
        digits = halted()
        for row, steps in enumerate(profile.tolist()):
            assert (digits[row] == answer(name, replace(sizes, steps=steps))[row]).sum() >= (17 if name.endswith("fp32") else 14)


def test_contestants_take_turns_every_other_round_backwards() -> None:
    calls: list[str] = []
    rates = taken_in_turns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=3, seconds=0)
    assert calls == [*"ab", *"ab", *"ba", *"ab"] and all(rate > 0 for rate in rates.values())


def test_every_number_of_a_line_is_of_its_column() -> None:
    one = replace(SIZES, T=1, n=1)
    rates: Rates = {("ours fp32", "training"): 300.0, ("ours fp32", "inference"): 12.0, ("ours bf16, tokens too", "inference"): 24.0}
    theirs: Rates = {("transcription fp32", "training"): 150.0, ("package fp32", "inference"): 16.0}
    peaks = {"fp32": 12 * one.flops(False) * 4.0, "bf16": 24 * one.flops(False) * 2.0}
    ours, cast, paper, package = rows(one, rates | theirs, peaks)
    assert len(HEAD) == len(ours) - 1 == 10
    assert ours[:2] == ["ours fp32", "300"] and ours[4:6] == ["2.00", "-"]
    assert ours[6:] == ["12", f"{12 * one.flops(False) / 1e9:.1f}", "25%", "-", "0.75"]
    assert cast[1:6] == ["-"] * 5 and cast[8:] == ["50%", "-", "-"]
    assert paper[4] == "1.00" and package[10] == "1.00"


def test_who_cannot_take_part_is_left_out_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(function: object) -> None:
        raise RuntimeError("no g++")

    monkeypatch.setattr(torch, "compile", fails)
    monkeypatch.setattr("tests.benchmarks.recursion.find_spec", lambda name: None)
    assert no_compiler() == "no compiler: RuntimeError"
    reasons = missing(["ours fp32", "ours compiled fp32", "package fp32"], SIZES)
    assert reasons == {"ours compiled fp32": "no compiler: RuntimeError", "package fp32": "not installed: pip install tiny-recursive-model"}


TINY = "--width 16 --tokens 5 --batch 2 --T 2 --n 1 --steps 2 --inner-multiple 8 --mixer attention --head-width 8 --threads 1".split()
QUICK = [*"--gemm 64 --seconds 0 --rounds 1".split(), "--only", "ours fp32", "transcription fp32"]


def first_cells(printed: str, count: int) -> list[list[str]]:
    """The first cells of every line of a table."""
    lines = [text.strip("| ").split(" | ") for text in printed.splitlines() if text.startswith("| ")]
    return [cells[:count] for cells in lines if cells[0] != "---"]


def test_the_script_prints_a_table_and_one_of_halting(checkout: Path) -> None:
    command = [sys.executable, "tests/benchmarks/recursion.py", *TINY, *QUICK, "--halt-mean", "1.5"]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=True)
    assert first_cells(done.stdout, 1) == [["contestant"], ["ours fp32"], ["transcription fp32"], ["contestant"], ["ours fp32"]]


def test_a_sweep_has_a_table_for_each_size_that_is_varied(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["recursion.py", *TINY, *QUICK, "--sweep", "batch=1,3", "steps=1"])
    main()
    lines = [["batch", "contestant"], *([size, name] for size in "13" for name in QUICK[-2:]), ["steps", "contestant"]]
    assert first_cells(capsys.readouterr().out, 2) == [*lines, *(["1", name] for name in QUICK[-2:])]
