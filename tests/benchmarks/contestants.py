"""Who is timed by `recursion.py`: one puzzle network around our core and around the paper's equations, and the PyPI package's."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.model.transcription import Linear, TinyRecursiveModel
from trmfin.model.config import Mixer, ModelConfig, swiglu_width
from trmfin.model.core import Core, State
from trmfin.model.layers import Setting
from trmfin.model.network import Answer
from trmfin.model.refine import answers_until_halted

VOCABULARY = 11  # padding, blank, digits
HALT_WEIGHT = 0.5

Family = Literal["ours", "transcription", "package"]
Precision = Literal["fp32", "bf16"]
Weights = Literal["as they are", "autocast", "cast per call"]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Symbols of arXiv:2510.04871."""

    width: int  # D
    tokens: int  # L
    batch: int
    T: int
    n: int
    mixer: Mixer
    steps: int  # supervision steps of inference
    head_width: int = 64  # attention; D where that is less
    inner_multiple: int = 256  # inner widths of SwiGLU are rounded up to it

    @property
    def config(self) -> ModelConfig:
        return ModelConfig(
            width=self.width,
            mixer=self.mixer,
            head_width=min(self.head_width, self.width),
            inner_multiple=self.inner_multiple,
            latent_steps=self.n,
            answer_steps=self.T,
            supervision_steps=self.steps,
        )

    @property
    def token_inner(self) -> int:
        """Inner width of the SwiGLU over tokens."""
        return swiglu_width(self.tokens, self.inner_multiple)

    def flops(self, training: bool) -> int:
        """Multiplications and additions in one sample's products: of a supervision step of training, or of all steps of inference.

        A backward pass costs two forward ones; embedding, heads, norms and optimiser are left out.
        """
        c, L = self.config, self.tokens
        if self.mixer == "attention":
            mixing = 4 * c.width**2 * L + 2 * L**2 * c.width
        else:
            mixing = 3 * L * self.token_inner * c.width
        call = 2 * c.blocks * (mixing + 3 * c.width * c.inner_width * L)
        forward = self.T * (self.n + 1)  # calls of the network
        return (forward + 2 * (self.n + 1) if training else self.steps * forward) * call


class Puzzle(nn.Module):
    """Tokens in, logits of every token and the halt logit out, around a recursion; as in the paper."""

    def __init__(self, recursion: Core | TinyRecursiveModel, width: int, stream: torch.dtype | None = None) -> None:
        """stream: type of question and state where it is not that of the weights."""
        super().__init__()
        self.recursion, self.stream, self.scale = recursion, stream, width**0.5
        self.embedding = nn.Embedding(VOCABULARY, width)
        nn.init.normal_(self.embedding.weight, std=1 / self.scale)
        self.logits, self.halt = Linear(width, VOCABULARY), Linear(width, 1)

    def question(self, tokens: Tensor) -> Tensor:
        return (self.embedding(tokens) * self.scale).to(self.stream or self.embedding.weight.dtype)

    def begin(self, tokens: Tensor) -> tuple[Callable[[State], State], State]:
        """A supervision step for these tokens, and the state to begin with. What a step needs beside the state is made once."""
        x, recursion = self.question(tokens), self.recursion
        if isinstance(recursion, TinyRecursiveModel):
            return lambda state: State(*recursion.deep_recursion(x, *state)), State(*recursion.start(x))
        setting = recursion.setting(torch.ones_like(tokens, dtype=torch.bool))
        return lambda state: recursion(x, state, setting), recursion.start(x)

    def loss(self, tokens: Tensor, labels: Tensor) -> Tensor:
        """Of the first supervision step."""
        step, state = self.begin(tokens)
        y = step(state).y
        logits, halt = self.logits(y).float(), self.halt(y[:, 0])[:, 0].float()
        right = (logits.argmax(-1) == labels).all(1).float()
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten()) + HALT_WEIGHT * F.binary_cross_entropy_with_logits(halt, right)

    def answer(self, tokens: Tensor, steps: int) -> Tensor:
        """Digits chosen after all steps (B, L); the halt head is asked after each, and not heeded."""
        step, state = self.begin(tokens)
        for _ in range(steps):
            state = step(state)
            self.halt(state.y[:, 0])
        return self.logits(state.y).argmax(-1)


class Package(nn.Module):
    """`tiny-recursive-model` of PyPI, its inner widths such that it multiplies as much as the paper's. Raises ImportError without it.

    Its plain MLP has two matrices, the paper's SwiGLU three: hence 1.5 times the inner width.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        from tiny_recursive_model import MLPMixer1D, TinyRecursiveModel  # type: ignore[import-not-found]
        from x_transformers import Encoder  # type: ignore[import-not-found]

        c, D = sizes.config, sizes.width
        if sizes.mixer == "attention":
            swiglu = {"ff_glu": True, "ff_swish": True, "ff_no_bias": True, "ff_mult": c.inner_width / D}
            attention = {"heads": c.heads, "attn_dim_head": c.head_width, "attn_flash": True, "rotary_pos_emb": True}
            network = Encoder(dim=D, depth=c.blocks, use_rmsnorm=True, **attention, **swiglu)
        else:
            inner = {"expansion_factor": 1.5 * sizes.token_inner / D, "expansion_factor_token": 1.5 * c.inner_width / D}
            network = MLPMixer1D(dim=D, depth=c.blocks, seq_len=sizes.tokens, **inner)
        depth = {"num_refinement_blocks": sizes.T, "num_latent_refinements": sizes.n}
        self.model = TinyRecursiveModel(dim=D, num_tokens=VOCABULARY, network=network, halt_loss_weight=HALT_WEIGHT, **depth)

    def loss(self, tokens: Tensor, labels: Tensor) -> Tensor:
        return self.model(tokens, *self.model.get_initial(), labels=labels)[0] / len(tokens)

    def answer(self, tokens: Tensor, steps: int) -> Tensor:
        never = 2.0  # a probability that no halt head reaches
        return self.model.predict(tokens, halt_prob_thres=never, max_deep_refinement_steps=steps)[0]


@dataclass(frozen=True, kw_only=True)
class Contestant:
    family: Family
    precision: Precision
    weights: Weights = "as they are"
    half_tokens: bool = False
    compiled: bool = False

    def solver(self, sizes: Sizes) -> Puzzle | Package:
        """Fresh, the same weights at every call. Raises ImportError where the package is not installed."""
        torch.manual_seed(0)
        if self.family == "package":
            return Package(sizes)
        c = replace(sizes.config, half_tokens=self.half_tokens)
        heads = c.heads if c.mixer == "attention" else 0
        recursion: Core | TinyRecursiveModel = Core(c, sizes.tokens)
        if self.family == "transcription":
            paper = TinyRecursiveModel(
                width=c.width, inner=c.inner_width, length=sizes.tokens, heads=heads, token_inner=sizes.token_inner, n=sizes.n, T=sizes.T
            )
            paper.load_state_dict(recursion.state_dict())
            recursion = paper
        if self.compiled and isinstance(recursion, Core):
            recursion.compile_blocks()
        torch.manual_seed(1)  # the same embedding and heads, whatever the recursion drew
        return Puzzle(recursion, c.width, torch.bfloat16 if self.weights == "cast per call" else None)

    def context(self) -> AbstractContextManager[object]:
        return torch.autocast("cpu", torch.bfloat16) if self.weights == "autocast" else nullcontext()


CONTESTANTS = {
    "ours fp32": Contestant(family="ours", precision="fp32"),
    "ours bf16": Contestant(family="ours", precision="bf16", weights="autocast"),
    "ours bf16, tokens too": Contestant(family="ours", precision="bf16", weights="autocast", half_tokens=True),
    "ours compiled fp32": Contestant(family="ours", precision="fp32", compiled=True),
    "ours compiled bf16": Contestant(family="ours", precision="bf16", weights="autocast", compiled=True),
    "ours compiled bf16, tokens too": Contestant(family="ours", precision="bf16", weights="autocast", half_tokens=True, compiled=True),
    "transcription fp32": Contestant(family="transcription", precision="fp32"),
    "transcription bf16": Contestant(family="transcription", precision="bf16", weights="autocast"),
    "transcription bf16, cast per call": Contestant(family="transcription", precision="bf16", weights="cast per call"),
    "package fp32": Contestant(family="package", precision="fp32"),
    "package bf16": Contestant(family="package", precision="bf16", weights="autocast"),
}


def training(contestant: Contestant, model: Puzzle | Package, tokens: Tensor, labels: Tensor) -> Callable[[], Tensor]:
    """One supervision step and one step of the optimiser; gives the loss."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step() -> Tensor:
        with contestant.context():
            loss = model.loss(tokens, labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.detach()

    return step


def inference(contestant: Contestant, model: Puzzle | Package, tokens: Tensor, steps: int) -> Callable[[], Tensor]:
    """All supervision steps; gives the digits chosen (B, L)."""

    def answer() -> Tensor:
        with torch.inference_mode(), contestant.context():
            return model.answer(tokens, steps)

    return answer


def halting(contestant: Contestant, model: Puzzle | Package, tokens: Tensor, profile: Tensor) -> Callable[[], Tensor]:
    """Inference as `answers_until_halted` runs it, were each sample to halt after so many steps (profile, (B,)).

    Gives the digits chosen. Samples that have halted leave the batch, so what it costs to take them out is timed too.
    """
    if not (isinstance(model, Puzzle) and isinstance(model.recursion, Core)):
        raise TypeError(f"{type(model).__name__} of {contestant}; halting is that of a Puzzle around a Core")
    puzzle, core = model, model.recursion

    def answer() -> Tensor:
        with torch.inference_mode(), contestant.context():
            found, used = answers_until_halted(Told(puzzle, core, profile), tokens, int(profile.max()))  # type: ignore[arg-type]
        if not torch.equal(used, profile):
            raise RuntimeError(f"samples took {used.tolist()} steps; told were {profile.tolist()}")
        return found.logits["digits"].argmax(-1)

    return answer


class Told:
    """A network, as far as `answers_until_halted` asks, whose halt head says what it is told. For one use."""

    def __init__(self, puzzle: Puzzle, core: Core, profile: Tensor) -> None:
        self.core, self.encode = core, puzzle.question
        self.puzzle, self.profile, self.step = puzzle, profile, 0

    def setting(self, tokens: Tensor) -> Setting:
        return self.core.setting(torch.ones_like(tokens, dtype=torch.bool))

    def read(self, state: State, setting: Setting) -> Answer:
        self.step += 1
        left = self.profile[self.profile >= self.step]  # of the samples that are still in the batch
        self.puzzle.halt(state.y[:, 0])
        return Answer(logits={"digits": self.puzzle.logits(state.y)}, halt=torch.where(left > self.step, -1.0, 1.0))
