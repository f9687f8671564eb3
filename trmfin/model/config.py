"""Sizes of the network, as frozen data. Symbols of arXiv:2510.04871 beside each name."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple

from trmfin.errors import ConfigError

Mixer = Literal["attention", "mlp"]
CoreName = Literal["trm", "gru", "plain"]
Gradient = Literal["cycle", "step"]
CHOICES: dict[str, tuple[str, ...]] = {"core": ("trm", "gru", "plain"), "mixer": ("attention", "mlp"), "gradient": ("cycle", "step")}
NO_RECURSION = ("gru", "plain")


class Depth(NamedTuple):
    """How often one supervision step re-applies the network."""

    latent_steps: int  # n: updates of z before each update of y
    answer_steps: int  # T: updates of y; only the last carries gradient


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Everything that decides the shape of the network and how often it is re-applied."""

    core: CoreName = "trm"  # the recursion, or a peer to compare it with
    width: int = 64  # D: numbers per token in x, y and z
    blocks: int = 2  # layers of the one network that is re-applied
    mixer: Mixer = "attention"  # how tokens exchange information
    head_width: int = 16  # attention: D must be a multiple of it
    inner_multiple: int = 32  # SwiGLU inner width = round(8 D / 3) rounded up to this (paper: 256)
    latent_steps: int = 3  # n: updates of z before each update of y
    answer_steps: int = 2  # T: updates of y in one supervision step; only the last carries gradient
    supervision_steps: int = 4  # N_sup: losses per sample; y and z are detached between
    nets: int = 1  # networks: one for both y and z, or one each (HRM)
    gradient: Gradient = "cycle"  # what carries gradient: the last of the T cycles, or only its last update of z and of y (HRM)
    damping: float = 0.0  # share of the old state that an update keeps (EqR: .05)
    half_tokens: bool = False  # where products are in half precision, tokens between them are too, as in the official code
    bins: int = 24  # piecewise-linear pieces per number field
    splits: int = 0  # more edges for the leading token's numbers, at most two each: where the primary binary target changes along one
    members: int = 1  # networks whose logits are averaged

    def __post_init__(self) -> None:
        for name in (
            "width",
            "blocks",
            "head_width",
            "inner_multiple",
            "latent_steps",
            "answer_steps",
            "supervision_steps",
            "nets",
            "bins",
            "members",
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"model config: {name} is {value!r}; it must be a whole number of at least 1")
        if isinstance(self.splits, bool) or not isinstance(self.splits, int) or self.splits < 0:
            raise ConfigError(f"model config: splits is {self.splits!r}; it must be a whole number of at least 0")
        for name, allowed in CHOICES.items():
            if (value := getattr(self, name)) not in allowed:
                raise ConfigError(f"model config: {name} is {value!r}; expected {' or '.join(map(repr, allowed))}")
        if self.core in NO_RECURSION and (self.supervision_steps, self.nets, self.gradient, self.damping) != (1, 1, "cycle", 0):
            raise ConfigError(
                f"model config: core {self.core!r} has no recursion, so supervision_steps and nets must be 1, gradient 'cycle' and "
                f"damping 0; found {self.supervision_steps}, {self.nets}, {self.gradient!r}, {self.damping}"
            )
        if not isinstance(self.half_tokens, bool):
            raise ConfigError(f"model config: half_tokens is {self.half_tokens!r}; it must be true or false")
        if self.nets > 2:
            raise ConfigError(f"model config: nets is {self.nets}; expected 1, or 2 for one of y and one of z")
        if isinstance(self.damping, bool) or not isinstance(self.damping, int | float) or not 0 <= self.damping < 1:
            raise ConfigError(f"model config: damping is {self.damping!r}; it must lie in [0, 1)")
        if self.core != "gru" and self.mixer == "attention" and (self.width % self.head_width or self.head_width % 2):
            raise ConfigError(
                f"model config: width {self.width} and head_width {self.head_width}; "
                "attention needs width to be a multiple of head_width, and head_width even"
            )

    @property
    def inner_width(self) -> int:
        """Inner width of SwiGLU over D: two thirds of 4 D, rounded up to `inner_multiple`."""
        return swiglu_width(self.width, self.inner_multiple)

    @property
    def depth(self) -> Depth:
        """n and T of one supervision step."""
        return Depth(self.latent_steps, self.answer_steps)

    @property
    def heads(self) -> int:
        """Attention heads."""
        return self.width // self.head_width

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ModelConfig:
        """Inverse of `to_json`. Raises ConfigError on a key that is unknown: a misspelt option must not be silent."""
        if unknown := sorted(set(data) - set(cls.__dataclass_fields__)):
            raise ConfigError(f"model config: unknown {', '.join(unknown)}; known: {', '.join(sorted(cls.__dataclass_fields__))}")
        return cls(**data)


def swiglu_width(width: int, multiple: int) -> int:
    """Inner width of a SwiGLU that costs as much as a plain 4x MLP (Shazeer 2020, arXiv:2002.05202)."""
    return math.ceil(round(4 * width * 2 / 3) / multiple) * multiple


PRESETS: dict[str, ModelConfig] = {
    "tiny": ModelConfig(width=32, latent_steps=2, answer_steps=1, supervision_steps=3),  # one net for scoring on a CPU
    "small": ModelConfig(width=32, latent_steps=2, answer_steps=1, supervision_steps=3, members=8),
    "paper": ModelConfig(
        width=512, head_width=64, inner_multiple=256, latent_steps=6, answer_steps=3, supervision_steps=16, half_tokens=True
    ),
}


def preset(name: str, **changes: Any) -> ModelConfig:
    """A named size, with any fields changed. Raises ConfigError on an unknown name."""
    if name not in PRESETS:
        raise ConfigError(f"model preset {name!r} is unknown; choose one of {', '.join(PRESETS)}")
    return replace(PRESETS[name], **changes)
