"""What `--config FILE.toml` may say, and what it may not."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from trmfin.errors import ConfigError
from trmfin.learn.recipe import DEFAULT_PRESET, Recipe
from trmfin.learn.settings import TrainSettings
from trmfin.model.config import PRESETS

PLAIN = '[model]\ncore = "plain"\nsupervision_steps = 1\n[training]\n'


def read(text: str | bytes, folder: Path, seed: int = 0) -> Recipe:
    path = folder / "recipe.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Recipe.from_toml(path, seed)


def test_what_a_file_leaves_out_keeps_the_presets_value(tmp_path: Path) -> None:
    found = read('preset = "tiny"\n[model]\nwidth = 48\n[training]\nepochs = 2\n', tmp_path, seed=7)
    assert found.model == replace(PRESETS["tiny"], width=48) and found.training == TrainSettings(epochs=2, seed=7)
    assert read("", tmp_path, seed=3) == Recipe.default(DEFAULT_PRESET, 3)


def test_a_curriculum_is_a_list_of_lists(tmp_path: Path) -> None:
    found = read("[training]\ncurriculum = [[0, 1, 1], [0.5, 2, 1]]\n", tmp_path).training
    assert found == TrainSettings(curriculum=((0.0, 1, 1), (0.5, 2, 1)))
    assert TrainSettings.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_a_file_may_change_single_values_of_another_recipe(tmp_path: Path) -> None:
    base = Recipe(model=replace(PRESETS["tiny"], nets=2), training=TrainSettings(seed=5, curriculum=((0.0, 2, 1),), steps=9))
    path = tmp_path / "recipe.toml"
    path.write_text('[model]\ngradient = "step"\n[training]\ncurriculum = []\n')
    found = Recipe.from_toml(path, base=base)
    assert found == Recipe(model=replace(base.model, gradient="step"), training=replace(base.training, curriculum=()))
    path.write_text('preset = "small"\n[training]\ncurriculum = []\n')
    base = replace(base, training=replace(base.training, curriculum=()))
    assert Recipe.from_toml(path, base=base) == replace(base, model=PRESETS["small"])


def test_a_pipelines_own_recipe_gives_way_to_a_preset_and_to_a_file(tmp_path: Path) -> None:
    own = {"preset": "tiny", "model": {"width": 48}, "training": {"epochs": 2}}
    chosen = partial(Recipe.chosen, own, "mine", seed=3)
    assert chosen() == Recipe(model=replace(PRESETS["tiny"], width=48), training=TrainSettings(epochs=2, seed=3))
    assert chosen(preset_name="small") == Recipe(model=PRESETS["small"], training=TrainSettings(epochs=2, seed=3))
    (tmp_path / "file.toml").write_text("[training]\nepochs = 4\n[model]\nbins = 7\n")
    found = chosen(config=tmp_path / "file.toml")
    assert found == Recipe(model=replace(PRESETS["tiny"], width=48, bins=7), training=TrainSettings(epochs=4, seed=3))
    with pytest.raises(ConfigError, match="mine: .*unknown widht"):
        Recipe.chosen({"model": {"widht": 3}}, "mine")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('presets = "tiny"', "unknown presets; expected preset, "),
        ('preset = "huge"', "'huge' is unknown; choose one of tiny"),
        ('preset = ["tiny"]', "is unknown; choose one of tiny"),
        ("[model]\nwidht = 32", "unknown widht; known: answer_steps"),
        ("[model]\nwidth = 32.0", "width is 32.0; it must be a whole number"),
        ("[model]\nwidth = 30", "multiple of head_width"),
        ("[[model]]\nwidth = 32", "expected a table \\[model\\]"),
        ("training = 3", "training is 3; expected a table"),
        ("[training]\nlr = 0.1", "unknown lr; known: average_decay"),
        ("[training]\nepochs = 0", "epochs is 0; it must be above 0"),
        ("[training]\nepochs = inf", "epochs is inf; it must be a number"),
        ("[training]\nepochs = nan", "epochs is nan; it must be a number"),
        ('[training]\nepochs = "5"', "epochs is '5'; it must be a number"),
        ("[training]\nbatch_size = 2.5", "batch_size is 2.5; it must be a whole number"),
        ("[training]\nbatch_size = true", "batch_size is True; it must be a whole number"),
        ("[training]\nrefill = 1", "refill is 1; it must be true or false"),
        ("[training]\nseed = 7", "seed is an option of the command"),
        ("[training]\nwarmup_steps = -1", "warmup_steps is -1; it must be at least 0"),
        ("[training]\nweight_decay = -0.1", "weight_decay is -0.1; it must be at least 0"),
        ("[training]\nnegative_share = 0", "negative_share is 0; it must lie in"),
        ("[training]\nleast_negatives = 9", "least_negatives is 9 and negative_share 1, so none is left out"),
        ("[training]\nlabel_smoothing = 1.0", "label_smoothing is 1.0; it must lie in"),
        ("[training]\nrandom_depth = true\nrefill = false", "random_depth is True and refill False; only refilled slots"),
        ('[training]\noptimiser = "sgd"', "optimiser is 'sgd'; choose adamw or adam_atan2"),
        ('[training]\nschedule = "linear"', "schedule is 'linear'; choose cosine or constant"),
        ("[training]\nsteps = -1", "steps is -1; it must be at least 0"),
        ("[training]\ncurriculum = [[0.5, 1, 1]]", "curriculum is .*; expected stages"),
        ('[training]\ncurriculum = [["0", 1, 1]]', "curriculum is .*; expected stages"),
        ("[training]\ncurriculum = [0, 1, 1]", "curriculum is .*; expected stages"),
        ('[training]\ncurriculum = "shallow first"', "curriculum is 'shallow first'; expected stages"),
        ("[model]\nnets = 3", "nets is 3; expected 1, or 2"),
        ('[model]\ngradient = "half"', "gradient is 'half'; expected 'cycle' or 'step'"),
        ("[model]\ndamping = 1", "damping is 1; it must lie in"),
        ('[model]\ncore = "plain"', "core 'plain' has no recursion, so supervision_steps"),
        ("[training]\ncurriculum = [[0, 1, 1], [0.5, 2, 2]]", "curriculum ends with n 2 and T 2, but .* latent_steps 2 and answer_steps 1"),
        ("[training]\nsteps = 9\nepochs = 2", "epochs does nothing beside steps 9"),
        (PLAIN + "curriculum = [[0, 1, 1]]", "curriculum set, but core 'plain' has no recursion, so it does nothing; set curriculum to"),
        (PLAIN + "random_start = true\nstate_noise = 0.1", "state_noise, random_start set, but core 'plain' has no recursion"),
        ("[training", "cannot be read as TOML"),
        (b"preset = '\xff'", "cannot be read as TOML"),
    ],
)
def test_a_file_that_asks_for_what_cannot_be_names_file_and_key(text: str | bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"recipe.toml: .*{said}") as caught:
        read(text, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="none.toml: cannot be read as TOML"):
        Recipe.from_toml(tmp_path / "none.toml")


def test_settings_survive_json() -> None:
    settings = TrainSettings(seed=3, optimiser="adam_atan2", refill=False, epochs=2)
    assert TrainSettings.from_json(settings.to_json()) == settings


@pytest.mark.parametrize(("samples", "batch"), [(300, 64), (4000, 250), (100_000, 512)])
def test_few_samples_come_in_smaller_batches(samples: int, batch: int) -> None:
    assert TrainSettings().for_samples(samples) == TrainSettings(batch_size=batch)
    assert TrainSettings(batch_size=16).for_samples(samples) == TrainSettings(batch_size=16)  # never larger than asked for


def test_few_samples_are_thinned_less() -> None:
    settings = TrainSettings(negative_share=0.1, least_negatives=2_000)
    shares = {count: settings.for_samples(count).negative_share for count in (1_000, 2_000, 10_000, 20_000, 100_000)}
    assert shares == {1_000: 1.0, 2_000: 1.0, 10_000: 0.2, 20_000: 0.1, 100_000: 0.1}
    few = settings.for_samples(10_000)
    assert few.for_samples(10_000) == few, "asked twice it is the same"


def test_a_changed_shape_keeps_the_training() -> None:
    recipe = Recipe.default("tiny", seed=4)
    assert recipe.with_model(members=2).training == recipe.training and recipe.with_model(members=2).model.members == 2
