"""How a network is trained, as frozen data."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal

from trmfin.errors import ConfigError
from trmfin.model.config import Depth

if TYPE_CHECKING:
    from trmfin.sequences.samples import Samples

Curriculum = tuple[tuple[float, int, int], ...]
KINDS: dict[str, tuple[Any, str]] = {"int": (int, "a whole number"), "float": (int | float, "a number"), "bool": (bool, "true or false")}
BATCHES = 16  # in one pass, at least, as long as a batch does not fall below SMALLEST_BATCH
SMALLEST_BATCH = 64
WARMUP_SHARE = 0.2
SMOOTHED = ("binary", "classes", "ordinal")  # heads whose labels are smoothed, unless they are distributions already
PARTS = {"inputs": ("numbers", "codes", "places", "relations"), "core": ("core",), "heads": ("heads", "halt")}  # of a network, by name
SEEDS_APART = 1000  # so that runs of neighbouring seeds share no member


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Everything about training that is not the network's shape. Results are a function of data, these and the code."""

    seed: int = 0
    epochs: float = 9.0  # passes over the training samples; each pass gives every sample all its supervision steps
    steps: int = 0  # optimiser steps of the run, where they are not to follow from epochs; 0 = they are
    pretrain_epochs: float = 6.0  # passes over all histories, labelled or not, foretelling the next event, before training
    batch_size: int = 512  # B: slots, at most: fewer where samples are few
    learning_rate: float = 2e-3
    warmup_steps: int = 200  # of the learning rate; at most WARMUP_SHARE of a run
    schedule: Literal["cosine", "constant"] = "cosine"
    optimiser: Literal["adamw", "adam_atan2"] = "adamw"
    weight_decay: float = 1.0
    average_decay: float = 0.999  # EMA of the weights; what is kept and scored
    clip_norm: float = 1.0
    refill: bool = True  # slots: one optimiser step per supervision step; False: one per N_sup steps, losses averaged
    random_depth: bool = False  # a slot is refilled after a random 1 … N_sup steps instead of always N_sup
    curriculum: Curriculum = ()  # (from this share of the run on, n, T), rising: shallow first (CGAR); empty = the model's own n and T
    halt_early: bool = True  # exact: a slot whose halt head says stop is refilled
    random_start: bool = False  # a fresh slot begins from a random state (EqR)
    state_noise: float = 0.0  # standard deviation of noise on y and z before each step (EqR: .01)
    field_dropout: float = 0.0  # chance that a source column is hidden from all tokens of a sample
    cell_dropout: float = 0.0  # chance that a single cell is hidden
    label_smoothing: float = 0.0
    positive_weight: float = 1.0  # weight of samples whose primary binary target is 1
    negative_share: float = 1.0  # of the samples whose primary binary target is 0, how many are trained on; the loss knows it
    least_negatives: int = 0  # a larger share of them where that would leave fewer than about so many, see `for_samples`
    halt_weight: float = 0.5  # share of the halt head's loss
    halt_gain: float = 1e-3  # no_further_gain: a further step must lower the loss by more than this
    validations: int = 16  # how often validation is looked at
    frozen: tuple[str, ...] = ()  # parts of the network that keep the weights they begin with: inputs, core, heads
    half_precision: bool = False  # bfloat16 products where the processor gains from it

    def __post_init__(self) -> None:
        for f in fields(self):
            kind, expected = KINDS.get(str(f.type), (object, ""))
            value = getattr(self, f.name)
            if not isinstance(value, kind) or (
                kind is not object and (isinstance(value, bool) != (kind is bool) or not math.isfinite(value))
            ):
                raise ConfigError(f"training settings: {f.name} is {value!r}; it must be {expected}")
        for name, allowed in (("schedule", ("cosine", "constant")), ("optimiser", ("adamw", "adam_atan2"))):
            if (value := getattr(self, name)) not in allowed:
                raise ConfigError(f"training settings: {name} is {value!r}; choose {' or '.join(allowed)}")
        object.__setattr__(self, "curriculum", checked_curriculum(self.curriculum))
        object.__setattr__(self, "frozen", checked_frozen(self.frozen))
        for name in ("seed", "steps", "warmup_steps", "state_noise", "pretrain_epochs", "weight_decay", "halt_weight", "least_negatives"):
            if (value := getattr(self, name)) < 0:
                raise ConfigError(f"training settings: {name} is {value}; it must be at least 0")
        for name in ("epochs", "batch_size", "learning_rate", "validations", "clip_norm", "positive_weight"):
            if not (value := getattr(self, name)) > 0:
                raise ConfigError(f"training settings: {name} is {value}; it must be above 0")
        for name in ("average_decay", "field_dropout", "cell_dropout", "label_smoothing"):
            if not 0 <= (value := getattr(self, name)) < 1:
                raise ConfigError(f"training settings: {name} is {value}; it must lie in [0, 1)")
        if not 0 < self.negative_share <= 1:
            raise ConfigError(f"training settings: negative_share is {self.negative_share}; it must lie in (0, 1]")
        if self.least_negatives and self.negative_share == 1:
            raise ConfigError(
                f"training settings: least_negatives is {self.least_negatives} and negative_share 1, so none is left out; change one"
            )
        if self.random_depth and not self.refill:
            raise ConfigError(
                "training settings: random_depth is True and refill False; only refilled slots differ in depth, so change one"
            )

    def check_for(self, sequences: Samples) -> None:
        """Raises ConfigError where a setting would do nothing with these samples' targets."""
        task = sequences.task
        for name, what in (("positive_weight", "weighs the positives"), ("negative_share", "thins the negatives")):
            if (value := getattr(self, name)) != 1.0 and (head := task.target(task.primary).head) != "binary":
                raise ConfigError(
                    f"training settings: {name} is {value:g}, but the primary target {task.primary!r} is of the kind "
                    f"{head}; it {what} of a binary one, so leave it at 1"
                )
        if self.label_smoothing and not any(t.head in SMOOTHED and sequences.targets.values[t.name].ndim == 1 for t in task.targets):
            raise ConfigError(
                f"training settings: label_smoothing is {self.label_smoothing:g}, but no target of task {task.name!r} has single labels "
                f"({', '.join(SMOOTHED)}); it smooths no others, so leave it at 0"
            )

    @property
    def offset(self) -> float:
        """Log-odds that thinning the negatives adds to every sample: the network is to answer without it (King & Zeng 2001)."""
        return -math.log(self.negative_share)

    def depth(self, share: float) -> Depth | None:
        """n and T after this share of the run; None = the model's own."""
        begun = [Depth(n, T) for start, n, T in self.curriculum if share >= start]
        return begun[-1] if begun else None

    def warmup(self, steps: int) -> int:
        """Warm-up of a run of `steps` optimiser steps: a short run must leave it too."""
        return min(self.warmup_steps, int(steps * WARMUP_SHARE))

    def for_samples(self, count: int) -> TrainSettings:
        """The same training for few samples: smaller batches and less thinning, so that enough steps are taken.

        count: labelled samples. The share that `least_negatives` asks for is of all of them, positives and held-out ones too: with
        25,000, a positive in a hundred and an eighth held out, a member trains on about 21,700 negatives.
        """
        batch_size = min(self.batch_size, max(count // BATCHES, SMALLEST_BATCH))
        share = max(self.negative_share, min(self.least_negatives / count, 1.0))
        return replace(self, batch_size=batch_size, negative_share=share, least_negatives=0)

    def of_member(self, index: int) -> TrainSettings:
        """The same training with the seed of one member."""
        return replace(self, seed=self.seed * SEEDS_APART + index)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TrainSettings:
        """Inverse of `to_json`. Raises ConfigError on an unknown key: a misspelt option must not be silent."""
        if unknown := sorted(set(data) - set(cls.__dataclass_fields__)):
            raise ConfigError(f"training settings: unknown {', '.join(unknown)}; known: {', '.join(sorted(cls.__dataclass_fields__))}")
        return cls(**data)


def checked_frozen(parts: Any) -> tuple[str, ...]:
    """Names of parts in the order of PARTS, whatever sequence they came as. Raises ConfigError on others, and where nothing is left."""
    named = isinstance(parts, list | tuple) and all(isinstance(part, str) for part in parts)
    names = set(parts) if named else set()
    if not named or not names < set(PARTS):
        raise ConfigError(f"training settings: frozen is {parts!r}; expected some of {', '.join(PARTS)}, not all of them")
    return tuple(part for part in PARTS if part in names)


def checked_curriculum(stages: Any) -> Curriculum:
    """Stages as tuples, whatever sequences they came as. Raises ConfigError unless they are (share, n, T), shares rising from 0."""
    lists = isinstance(stages, list | tuple) and all(isinstance(stage, list | tuple) and len(stage) == 3 for stage in stages)
    numbers = lists and all(type(share) in (int, float) and type(n) is type(T) is int for share, n, T in stages)
    found = tuple((float(share), n, T) for share, n, T in stages) if numbers else ()
    shares = [share for share, _, _ in found]
    rising = shares == sorted(set(shares)) and all(0 <= share < 1 for share in shares) and (not found or shares[0] == 0)
    if not numbers or not rising or not all(n >= 1 and T >= 1 for _, n, T in found):
        raise ConfigError(
            f"training settings: curriculum is {stages!r}; expected stages (from this share of the run on, n, T), "
            "shares rising from 0 to below 1, n and T whole numbers of at least 1"
        )
    return found
