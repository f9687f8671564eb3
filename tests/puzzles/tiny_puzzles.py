"""A puzzle that is taught in a second: 4×4 Sudoku with many givens, a network of a few thousand weights."""

from dataclasses import replace

from trmfin.learn.recipe import Recipe
from trmfin.model.config import ModelConfig
from trmfin.puzzles.board import FOUR
from trmfin.puzzles.kinds import TAUGHT, Kind, generated, sudoku_kind

MODEL = ModelConfig(width=16, mixer="mlp", blocks=1, inner_multiple=8, latent_steps=1, answer_steps=1, supervision_steps=2)
RECIPE = Recipe(model=MODEL, training=replace(TAUGHT, steps=12, batch_size=16, validations=4, curriculum=(), half_precision=False))
CONFIG = """
[model]
width = 16
head_width = 8
blocks = 1
inner_multiple = 8
latent_steps = 1
answer_steps = 1
supervision_steps = 2
[training]
steps = 12
batch_size = 16
validations = 4
curriculum = []
"""


def kind() -> Kind:
    return sudoku_kind(FOUR, "sudoku4", RECIPE, generated(FOUR, (9, 12), (200, 20, 30)))
