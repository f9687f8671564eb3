"""Sizes, presets and what is refused."""

import json

import pytest

from trmfin.errors import ConfigError
from trmfin.model.config import PRESETS, Depth, ModelConfig, preset

HRM = ModelConfig(nets=2, gradient="step", damping=0.05)
PLAIN = ModelConfig(core="plain", supervision_steps=1)


@pytest.mark.parametrize("config", [*map(preset, PRESETS), HRM, PLAIN])
def test_a_config_survives_json(config: ModelConfig) -> None:
    assert ModelConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.parametrize("name", list(PRESETS))
def test_a_config_older_than_a_field_has_its_default(name: str) -> None:
    younger = {"nets", "gradient", "damping"}
    assert ModelConfig.from_json({key: value for key, value in preset(name).to_json().items() if key not in younger}) == preset(name)


def test_depth_is_n_and_t() -> None:
    assert ModelConfig(latent_steps=6, answer_steps=3).depth == Depth(latent_steps=6, answer_steps=3) == (6, 3)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"width": 0}, "width is 0"),
        ({"supervision_steps": 0}, "supervision_steps is 0"),
        ({"width": 24, "head_width": 16}, "multiple of head_width"),
        ({"width": 9, "head_width": 3}, "head_width even"),
        ({"mixer": "conv"}, "'conv'"),
        ({"core": "lstm"}, "'lstm'"),
        ({"core": "gru", "supervision_steps": 4}, "core 'gru' has no recursion, so supervision_steps"),
        ({"core": "plain", "supervision_steps": 2}, "core 'plain' has no recursion, so supervision_steps"),
        ({"core": "plain", "supervision_steps": 1, "width": 24}, "multiple of head_width"),
        ({"gradient": "all"}, "gradient is 'all'; expected 'cycle' or 'step'"),
        ({"nets": 0}, "nets is 0"),
        ({"nets": 2.0}, "nets is 2.0"),
        ({"width": 64.0}, "width is 64.0"),
        ({"latent_steps": 2.5}, "latent_steps is 2.5"),
        ({"members": True}, "members is True"),
        ({"bins": "24"}, "bins is '24'"),
    ],
)
def test_a_shape_that_cannot_be_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ModelConfig(**changes)


def test_a_misspelt_option_and_an_unknown_preset_are_refused() -> None:
    with pytest.raises(ConfigError, match="unknown latent_step; known: answer_steps"):
        ModelConfig.from_json({"latent_step": 3})
    with pytest.raises(ConfigError, match="'huge' is unknown; choose one of tiny, small, paper"):
        preset("huge")


def test_a_gru_may_have_any_width() -> None:
    assert ModelConfig(core="gru", width=20, supervision_steps=1).width == 20


def test_a_preset_can_be_changed_field_by_field() -> None:
    assert preset("tiny", members=3) == ModelConfig.from_json(preset("tiny").to_json() | {"members": 3})
