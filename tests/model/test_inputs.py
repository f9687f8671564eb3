"""How numbers and codes become the embedded question."""

import numpy as np
import pytest
import torch

from trmfin.model.inputs import Codes, PiecewiseLinear


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def encoded(layer: PiecewiseLinear, *values: float) -> torch.Tensor:
    """Each value as the only token of a sample. (values, D)"""
    numbers = torch.tensor(values, dtype=torch.float32)[:, None, None]
    return layer(numbers, torch.arange(1))[:, 0]


def test_a_number_is_the_share_of_each_bin_below_it_plus_a_presence() -> None:
    layer = PiecewiseLinear(torch.tensor([[0.0, 10.0, 30.0]]), 4)
    (first, second), present, absent = layer.bins[0], layer.present[0], layer.absent[0]
    found = encoded(layer, -5, 0, 5, 10, 20, 99, np.nan)
    expected = [present, present, first / 2 + present, first + present, first + second / 2 + present, first + second + present, absent]
    torch.testing.assert_close(found, torch.stack(expected))


def test_the_encoding_is_continuous_and_extreme_values_stay_finite() -> None:
    layer = PiecewiseLinear(torch.tensor([[-1.0, 0.0, 1e-6, 5.0]]), 4)
    below, above = encoded(layer, -1e-7, 1e-7)
    assert (below - above).abs().max() < 0.5
    largest = float(np.finfo(np.float32).max)
    assert torch.isfinite(encoded(layer, largest, -largest)).all()
    torch.testing.assert_close(encoded(layer, largest)[0], encoded(layer, 5.0)[0])


def test_edges_that_nearly_touch_leave_the_encoding_finite() -> None:
    layer = PiecewiseLinear(torch.tensor([[0.0, 1e-40, 1.0]]), 4)
    found = encoded(layer, 0.0, 1e-40, 0.5, np.nan)
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found[0], layer.present[0])


def test_a_bin_that_repeats_an_edge_says_nothing() -> None:
    short, padded = PiecewiseLinear(torch.tensor([[0.0, 1.0]]), 4), PiecewiseLinear(torch.tensor([[0.0, 1.0, 1.0, 1.0]]), 4)
    with torch.no_grad():
        padded.bins[0, :1], padded.present[:], padded.absent[:] = short.bins[0], short.present, short.absent
    torch.testing.assert_close(encoded(short, -1, 0.3, 1, 7, np.nan), encoded(padded, -1, 0.3, 1, 7, np.nan))


def test_a_field_that_a_token_does_not_have_adds_nothing() -> None:
    layer = PiecewiseLinear(torch.tensor([[0.0, 1.0], [0.0, 2.0]]), 4)
    numbers = torch.tensor([[[0.5, 1.0]]])
    for field, share in ((0, 0.5), (1, 0.5)):
        torch.testing.assert_close(layer(numbers, torch.tensor([field]))[0, 0], layer.bins[field, 0] * share + layer.present[field])


def test_codes_of_all_fields_are_summed_each_from_its_own_part_of_the_table() -> None:
    layer = Codes([3, 4], 2)
    codes = torch.tensor([[[2, 3]], [[0, 0]]])
    assert layer.table.shape == (7, 2)
    both, second = layer(codes, torch.arange(2))[:, 0], layer(codes, torch.tensor([1]))[:, 0]
    torch.testing.assert_close(both, torch.stack([layer.table[2] + layer.table[3 + 3], layer.table[0] + layer.table[3]]))
    torch.testing.assert_close(second, torch.stack([layer.table[3 + 3], layer.table[3]]))


def test_no_field_at_all_is_a_sum_of_nothing() -> None:
    layer = PiecewiseLinear(torch.zeros(0, 2), 4)
    assert torch.equal(layer(torch.zeros(2, 3, 0), torch.arange(0)), torch.zeros(2, 3, 4))
