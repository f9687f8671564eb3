"""Small untrained bundles with a comparison group, for tests of explanations."""

from __future__ import annotations

from dataclasses import replace

from tests.scoring.models import CONFIG, World, panel, world
from trmfin.learn.reference import reference


def panel_world(clients: int, members: int = 1) -> World:
    """`clients` samples of 0 to 4 statements; the group all_applicants is all of them."""
    made = world(panel(clients), config=replace(CONFIG, members=members))
    return replace(made, bundle=replace(made.bundle, reference=reference(made.sequences, made.rows, None, 0.5)))
