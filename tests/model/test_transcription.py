"""The core equals a transcription of the paper's equations, at every supervision step, in values and in gradients."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.model.transcription import TinyRecursiveModel
from trmfin.model.config import ModelConfig, swiglu_width
from trmfin.model.core import Core, State

LENGTH, BATCH = 7, 3
MLP: dict[str, Any] = {"mixer": "mlp", "inner_multiple": 8}
ATTENTION: dict[str, Any] = {"mixer": "attention", "inner_multiple": 8}
SIZES = [
    MLP | {"width": 8, "answer_steps": 1, "latent_steps": 1, "supervision_steps": 2},
    MLP | {"width": 24, "answer_steps": 2, "latent_steps": 3, "supervision_steps": 4, "blocks": 1},
    MLP | {"width": 32, "answer_steps": 3, "latent_steps": 6, "supervision_steps": 16},
    ATTENTION | {"width": 8, "head_width": 8, "answer_steps": 1, "latent_steps": 1, "supervision_steps": 2},
    ATTENTION | {"width": 24, "head_width": 6, "answer_steps": 2, "latent_steps": 3, "supervision_steps": 4, "blocks": 1},
    ATTENTION | {"width": 32, "head_width": 2, "answer_steps": 3, "latent_steps": 4, "supervision_steps": 3},
    ATTENTION | {"width": 32, "head_width": 16, "answer_steps": 3, "latent_steps": 6, "supervision_steps": 16},
]
each_size = pytest.mark.parametrize("sizes", SIZES, ids=lambda sizes: "-".join(map(str, sizes.values())))


def pair(sizes: dict[str, Any], dtype: torch.dtype) -> tuple[Core, TinyRecursiveModel, Tensor]:
    """The core, the transcription with the core's weights, and a question (B, L, D)."""
    config = ModelConfig(**sizes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        core = Core(config, LENGTH)
        core = core.double() if dtype == torch.float64 else core
        x = torch.randn(BATCH, LENGTH, config.width, dtype=dtype)
        paper = TinyRecursiveModel(
            width=config.width,
            inner=config.inner_width,
            length=LENGTH,
            heads=config.heads if config.mixer == "attention" else 0,
            token_inner=swiglu_width(LENGTH, config.inner_multiple),
            blocks=config.blocks,
            n=config.latent_steps,
            T=config.answer_steps,
        ).to(dtype)
    paper.load_state_dict(core.state_dict())
    return core, paper, x


def steps_of(core: Core, paper: TinyRecursiveModel, x: Tensor, together: bool = False) -> list[tuple[State, tuple[Tensor, Tensor]]]:
    """What both carry after each supervision step. together: each step of both begins where the core ended."""
    setting = core.setting(torch.ones(BATCH, LENGTH, dtype=torch.bool))
    state, (y, z), found = core.start(x), paper.start(x), []
    for _ in range(core.config.supervision_steps):
        begin = state.detach() if together else State(y.detach(), z.detach())
        state, (y, z) = core(x, state.detach(), setting), paper.deep_recursion(x, *begin)
        found.append((state, (y, z)))
    return found


@each_size
def test_every_supervision_step_equals_the_paper(sizes: dict[str, Any]) -> None:
    """Each from the same state: an untrained MLP mixer is chaotic, its rounding grows tenfold a step and fills y after ten."""
    for ours, paper in steps_of(*pair(sizes, torch.float64), together=True):
        torch.testing.assert_close(tuple(ours), paper, atol=1e-9, rtol=0)


@each_size
def test_the_first_steps_each_on_its_own_equal_the_paper(sizes: dict[str, Any]) -> None:
    for ours, paper in steps_of(*pair(sizes, torch.float64))[:3]:
        torch.testing.assert_close(tuple(ours), paper, atol=1e-9, rtol=0)


@each_size
def test_the_first_step_in_single_precision_equals_the_paper(sizes: dict[str, Any]) -> None:
    ours, paper = steps_of(*pair(sizes | {"supervision_steps": 1}, torch.float32))[0]
    torch.testing.assert_close(tuple(ours), paper, atol=1e-4, rtol=0)


@each_size
def test_every_gradient_of_a_later_step_equals_the_paper(sizes: dict[str, Any]) -> None:
    core, paper, x = pair(sizes | {"supervision_steps": 2}, torch.float64)
    target = torch.linspace(-1, 1, x.numel(), dtype=torch.float64).view_as(x)
    state, (y, _) = steps_of(core, paper, x.requires_grad_())[-1]
    ours, theirs = gradients(core, x, (state.y - target).square().mean()), gradients(paper, x, (y - target).square().mean())
    assert ours.keys() == theirs.keys() and all(gradient.abs().max() > 1e-5 for gradient in ours.values())
    torch.testing.assert_close(ours, theirs, atol=1e-8, rtol=0)


def gradients(model: nn.Module, x: Tensor, loss: Tensor) -> dict[str, Tensor]:
    """Of every weight by name, and of the question."""
    leaves = dict(model.named_parameters()) | {"x": x}
    return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
