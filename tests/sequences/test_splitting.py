"""Edges where the answer changes."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.sequences.test_fitted import with_sizes
from tests.sequences.test_sequences import built, task
from tests.worlds import at
from trmfin.errors import ConfigError
from trmfin.sequences.fitted import Fitted
from trmfin.sequences.splitting import split_edges
from trmfin.sequences.task import Field


def noisy(seed: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Amounts of which those above 220, a narrow band and one of fifty others are bad."""
    random = np.random.default_rng(seed)
    values = random.gamma(2, 40, 4000).astype(np.float32).round(2)
    bad = (values > 220) | ((values > 50) & (values < 52)) & (random.random(4000) < 0.4) | (random.random(4000) < 0.02)
    return values, bad.astype(np.float64)


def test_a_rule_is_found_with_nothing_between_its_two_edges() -> None:
    values, y = noisy(0)
    below, above = split_edges(values, y, 1, 8)
    assert below == values[values <= 220].max() and above == values[values > 220].min()


@pytest.mark.parametrize("seed", range(3))
def test_splits_are_those_of_a_tree_of_one_feature(seed: int) -> None:
    tree = pytest.importorskip("sklearn.tree")
    values, y = noisy(seed)
    grown = tree.DecisionTreeClassifier(criterion="log_loss", max_leaf_nodes=9, min_samples_leaf=8).fit(values[:, None], y)
    expected = np.sort(grown.tree_.threshold[grown.tree_.feature >= 0])
    edges = split_edges(values, y, 8, 8)
    middles = np.array([edges[edges <= t].max() + edges[edges > t].min() for t in expected]) / 2
    np.testing.assert_allclose(middles, expected, rtol=1e-6)
    assert len(edges) <= 16


def test_rows_in_another_order_give_the_same_edges() -> None:
    values, y = noisy(1)
    order = np.random.default_rng(5).permutation(len(y))
    assert np.array_equal(split_edges(values, y, 6, 8), split_edges(values[order], y[order], 6, 8))


def test_where_nothing_is_to_be_told_there_is_no_edge() -> None:
    values = np.arange(100, dtype=np.float32)
    for y in (np.zeros(100), np.ones(100)):
        assert split_edges(values, y, 8, 8).size == 0
    assert split_edges(values[:15], (values[:15] > 7).astype(np.float64), 8, 8).size == 0  # too few for two sides of eight
    assert split_edges(np.zeros(100, np.float32), (values > 50).astype(np.float64), 8, 8).size == 0
    assert split_edges(values[:0], values[:0].astype(np.float64), 8, 8).size == 0


def test_only_numbers_of_the_leading_token_are_split() -> None:
    samples = [
        {"sample_id": f"s{v}", "limit": float(v), "target_default": int(v > 30), "target_default_known_at": at(20)} for v in range(40)
    ]
    own = Field(name="own", column="limit", transform="number", of="sample")
    size = Field(name="size", column="size", transform="number")
    sequences = built([{"size": 1.0}, {"size": 2.0}], samples, task(own, size))
    plain, split = (Fitted.fit(sequences, np.arange(40), bins=1, splits=splits).edges for splits in (0, 4))
    assert plain["own"] == (0, 39) and split["own"] == (0, 30, 31, 39) and split["size"] == plain["size"]


def test_splits_of_a_task_whose_leading_token_has_no_number_are_refused() -> None:
    with pytest.raises(ConfigError, match="4 splits; no number of task .* stands on the leading token"):
        Fitted.fit(with_sizes([1.0, 2.0]), np.arange(2), bins=2, splits=4)


def test_a_target_that_is_no_yes_or_no_says_nowhere_to_split() -> None:
    sequences = with_sizes([1.0, 2.0])
    asked = replace(sequences.task, targets=tuple(replace(t, head="quantiles", levels=(0.5,)) for t in sequences.task.targets))
    with pytest.raises(ConfigError, match="3 splits; only a binary primary target says where to split"):
        Fitted.fit(replace(sequences, task=asked), np.arange(2), bins=2, splits=3)
