"""Our values against shap's: equal to its exact explainer, within errors of its samplers; its gradient methods fail on a recursion."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.explaining.models import panel_world
from tests.scoring.models import World
from trmfin.explaining.comparison import comparison
from trmfin.explaining.players import players_of
from trmfin.explaining.sampling import sampled
from trmfin.explaining.shapley import Game, exact
from trmfin.model.ensemble import Ensemble
from trmfin.scoring.engine import score_rows

shap = pytest.importorskip("shap", reason="shap is not installed: pip install 'trmfin[explain]'")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::PendingDeprecationWarning")


@pytest.fixture(scope="module")
def world() -> World:
    return panel_world(20)


def game_of(world: World) -> Game:
    return Game.of(
        world.bundle, players_of(world.bundle.task, "events"), comparison(world.bundle.task, world.bundle.reference, "all_applicants")
    )


def test_values_equal_shaps_exact_explainer(world: World) -> None:
    """In double precision, where the order of sums moves nothing that 1e-8 would see."""
    network = Ensemble(world.bundle.task, world.bundle.fitted, world.bundle.network.config).double().eval()
    network.load_state_dict(world.bundle.network.state_dict())
    game = game_of(replace(world, bundle=replace(world.bundle, network=network)))
    rows = world.rows[3:6]
    ours = exact(game, world.sequences, rows)
    M = len(game.players)
    for case, row in enumerate(rows):
        batch = world.sequences.batch(np.array([row]))
        theirs = shap.ExactExplainer(lambda sets, batch=batch: game.worth(batch, sets > 0.5)[0], np.zeros((1, M)))(np.ones((1, M)))
        np.testing.assert_allclose(theirs.values[0].T, ours.values[case], rtol=0, atol=1e-8)
        np.testing.assert_allclose(theirs.base_values[0], ours.base[case], rtol=0, atol=1e-8)


def test_sampled_values_add_up_and_lie_within_their_errors(world: World) -> None:
    game, rows = game_of(world), world.rows[3:9]
    state = np.random.get_state()[1]
    found, true = sampled(game, world.sequences, rows, rounds=12, seed=3), exact(game, world.sequences, rows)
    assert np.array_equal(np.random.get_state()[1], state), "shap seeds numpy's generator, which is put back"
    assert found.standard_error is not None
    np.testing.assert_allclose(found.base + found.values.sum(-1), found.logits, atol=1e-4)
    off = np.abs(found.values - true.values) / np.maximum(found.standard_error, 1e-4)
    assert (off < 3).mean() > 0.9, off
    again = sampled(game, world.sequences, rows, rounds=12, seed=3)
    np.testing.assert_array_equal(found.values, again.values)


def test_values_are_shaps_own_object(world: World) -> None:
    found = exact(game_of(world), world.sequences, world.rows[:4])
    told = found.explanation(step=1)
    assert isinstance(told, shap.Explanation)
    assert told.feature_names == list(found.players)
    np.testing.assert_allclose(told.base_values + told.values.sum(1), found.logits[:, 1], atol=1e-9)


@pytest.mark.parametrize("plot", ["bar", "beeswarm", "heatmap", "violin", "waterfall", "force", "decision"])
def test_shaps_plots_take_them(world: World, plot: str) -> None:
    matplotlib = pytest.importorskip("matplotlib", reason="shap draws with matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    told = exact(game_of(world), world.sequences, world.rows[:4]).explanation()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # shap's own
        if plot == "decision":
            shap.plots.decision(told.base_values[0], told.values, feature_names=told.feature_names, show=False)
        elif plot == "force":
            shap.plots.force(told[0], matplotlib=True, show=False)
        else:
            getattr(shap.plots, plot)(told[0] if plot == "waterfall" else told, show=False)
    pyplot.gcf().canvas.draw()
    drawn = [text.get_text() for axes in pyplot.gcf().axes for text in axes.findobj(matplotlib.text.Text)]
    pyplot.close("all")
    assert told.feature_names[0] in " ".join(drawn), drawn


class Logit(nn.Module):
    """The last step's log-odds of embedded questions, as shap's gradient methods want a model: (n, L D) → (n, 1)."""

    def __init__(self, network: Ensemble) -> None:
        super().__init__()
        self.network = network.networks[0]

    def forward(self, x: Tensor) -> Tensor:
        net = self.network
        x = x.view(len(x), -1, net.config.width)
        setting, state = net.core.setting(torch.ones(x.shape[:2], dtype=torch.bool)), net.core.start(x)
        for _ in range(net.config.supervision_steps):
            state = net.core(x, state, setting)
        return net.read(state, setting).logits[net.task.primary]


def test_gradient_methods_do_not_add_up_on_a_recursion_and_ours_does(world: World) -> None:
    """DeepExplainer keeps what passes through a module once, and a recursion runs one module many times; it does not say so.

    Both are off by far more than what a record may be; that is why neither is used.
    """
    bundle, full = world.bundle, np.flatnonzero(world.sequences.batch(world.rows).mask.all(1))
    with torch.no_grad():
        x = bundle.network.networks[0].encode(world.sequences.batch(full)).flatten(1)
        model = Logit(bundle.network)
        said = model(x)[:, 0].numpy()
    asked, background = x[:2], x[2:]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        deep = shap.DeepExplainer(model, background).shap_values(asked, check_additivity=False)
        gradient = shap.GradientExplainer(model, background).shap_values(asked, nsamples=500, rseed=0)
    differs = said[:2] - said[2:].mean()
    errors = {name: np.abs(np.asarray(values).reshape(2, -1).sum(1) - differs) for name, values in (("deep", deep), ("gradient", gradient))}
    ours = exact(game_of(world), world.sequences, full[:2])
    assert all(error.max() > 1e-2 for error in errors.values()), errors
    apart = score_rows(bundle, world.sequences, full[:2]).logits
    np.testing.assert_allclose(ours.base + ours.values.sum(-1), apart, atol=1e-4, err_msg="against the scores of a separate pass")
