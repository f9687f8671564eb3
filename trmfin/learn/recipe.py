"""A network's shape and its training together: what `--config FILE.toml` may say."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trmfin.errors import ConfigError
from trmfin.learn.settings import TrainSettings
from trmfin.model.config import NO_RECURSION, ModelConfig, preset

DEFAULT_PRESET = "small"
OF_RECURSION = ("curriculum", "state_noise", "random_start")  # training settings that deepen or disturb it


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides a trained network beside the data."""

    model: ModelConfig
    training: TrainSettings

    def __post_init__(self) -> None:
        """Raises ConfigError where training asks for what only a recursion has, or ends at another depth than answers have."""
        stages, depth = self.training.curriculum, self.model.depth
        if stages and self.model.core not in NO_RECURSION and tuple(stages[-1][1:]) != depth:
            raise ConfigError(
                f"training settings: curriculum ends with n {stages[-1][1]} and T {stages[-1][2]}, but the network answers with "
                f"latent_steps {depth.latent_steps} and answer_steps {depth.answer_steps}; let it end there, or give [] for none"
            )
        idle = [name for name in OF_RECURSION if getattr(self.training, name)]
        if self.model.core in NO_RECURSION and idle:
            raise ConfigError(
                f"training settings: {', '.join(idle)} set, but core {self.model.core!r} has no recursion, so it does nothing; "
                "set curriculum to [], state_noise to 0 and random_start to false"
            )

    @classmethod
    def default(cls, name: str = DEFAULT_PRESET, seed: int = 0) -> Recipe:
        """A preset's shape with the default training."""
        return cls(model=preset(name), training=TrainSettings(seed=seed))

    @classmethod
    def from_toml(cls, path: Path, seed: int = 0, base: Recipe | None = None) -> Recipe:
        """Read `preset = "…"`, a shape, and the tables [model] and [training]; what is left out is the preset's, or that of `base`.

        Raises ConfigError naming the file and the key that is unknown or out of range.
        """
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{path.name}: cannot be read as TOML ({error}); expected preset, [model] and [training]") from error
        return cls.from_data(data, path.name, seed, base)

    @classmethod
    def from_data(cls, data: Mapping[str, Any], where: str, seed: int = 0, base: Recipe | None = None) -> Recipe:
        """The same of plain data: `preset` and the tables `model` and `training`. where: what errors call it."""
        if unknown := sorted(set(data) - {"preset", "model", "training"}):
            raise ConfigError(f"{where}: unknown {', '.join(unknown)}; expected preset, [model] and [training]")
        try:
            if "seed" in _table(data, "training"):
                raise ConfigError("training settings: seed is an option of the command (--seed, --seeds), not of the file")
            base = base or cls.default(seed=seed)
            model = preset(str(data["preset"])) if "preset" in data else base.model
            training = TrainSettings.from_json(base.training.to_json() | _table(data, "training"))
            if training.steps and "epochs" in _table(data, "training"):
                raise ConfigError(f"training settings: epochs does nothing beside steps {training.steps}; set steps, or steps to 0")
            return cls(model=ModelConfig.from_json(model.to_json() | _table(data, "model")), training=training)
        except (ConfigError, TypeError) as error:
            raise ConfigError(f"{where}: {error}") from error

    @classmethod
    def chosen(cls, own: Mapping[str, Any], where: str, *, preset_name: str = "", config: Path | None = None, seed: int = 0) -> Recipe:
        """What a pipeline's own recipe, a preset's shape and a file come to, each over what stands before it."""
        recipe = cls.from_data(own, where, seed)
        recipe = replace(recipe, model=preset(preset_name)) if preset_name else recipe
        return recipe if config is None else cls.from_toml(config, seed, recipe)

    def with_seed(self, seed: int) -> Recipe:
        """The same with another seed."""
        return replace(self, training=replace(self.training, seed=seed))

    def with_model(self, **changes: Any) -> Recipe:
        """The same training for a changed shape."""
        return replace(self, model=replace(self.model, **changes))


def _table(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    table = data.get(name, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{name} is {table!r}; expected a table [{name}]")
    return table
