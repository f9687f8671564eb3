"""Sizes of the network, as frozen data. Symbols of arXiv:2510.04871 beside each name."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from trmfin.errors import ConfigError

Mixer = Literal["attention", "mlp"]
CoreName = Literal["trm", "gru"]


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
    bins: int = 24  # piecewise-linear pieces per number field
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
            "bins",
            "members",
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"model config: {name} is {value!r}; it must be a whole number of at least 1")
        if self.core not in ("trm", "gru"):
            raise ConfigError(f"model config: core is {self.core!r}; expected 'trm' or 'gru'")
        if self.core == "gru" and self.supervision_steps != 1:
            raise ConfigError(f"model config: a gru has no recursion, so supervision_steps must be 1; found {self.supervision_steps}")
        if self.mixer not in ("attention", "mlp"):
            raise ConfigError(f"model config: mixer is {self.mixer!r}; expected 'attention' or 'mlp'")
        if self.core == "trm" and self.mixer == "attention" and (self.width % self.head_width or self.head_width % 2):
            raise ConfigError(
                f"model config: width {self.width} and head_width {self.head_width}; "
                "attention needs width to be a multiple of head_width, and head_width even"
            )

    @property
    def inner_width(self) -> int:
        """Inner width of SwiGLU over D: two thirds of 4 D, rounded up to `inner_multiple`."""
        return swiglu_width(self.width, self.inner_multiple)

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
    "paper": ModelConfig(width=512, head_width=64, inner_multiple=256, latent_steps=6, answer_steps=3, supervision_steps=16),
}


def preset(name: str, **changes: Any) -> ModelConfig:
    """A named size, with any fields changed. Raises ConfigError on an unknown name."""
    if name not in PRESETS:
        raise ConfigError(f"model preset {name!r} is unknown; choose one of {', '.join(PRESETS)}")
    return replace(PRESETS[name], **changes)
