"""Each head's loss against a value worked out another way."""

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.metrics import mean_pinball_loss
from torch import Tensor

from trmfin.learn.losses import exact, log_stablemax, loss_per_sample, per_token_loss
from trmfin.sequences.sequences import IGNORE
from trmfin.sequences.task import Target

BINARY = Target(name="t", head="binary", meaning="x")
CLASSES = Target(name="t", head="classes", meaning="x", classes=("a", "b", "c"))
ORDINAL = Target(name="t", head="ordinal", meaning="x", classes=("low", "mid", "high"))
QUANTILES = Target(name="t", head="quantiles", meaning="x", levels=(0.1, 0.5, 0.9))
TOKENS = Target(name="t", head="tokens", meaning="x", classes=("a", "b"))
CHOICE = Target(name="t", head="choice", meaning="x")
NAN = float("nan")


def logits(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)) * 2


def test_binary_loss_is_the_log_loss() -> None:
    raw, y = logits(8, 1), torch.tensor([0.0, 1, 1, 0, 1, 0, 0, 1])
    found = loss_per_sample(BINARY, raw, y)
    p = raw[:, 0].double().sigmoid()
    np.testing.assert_allclose(found.mean(), sklearn_log_loss(y, torch.stack((1 - p, p), 1)), rtol=1e-5)
    torch.testing.assert_close(found, torch.where(y == 1, -p.log(), -(1 - p).log()).float())


def test_a_binary_target_may_be_a_share() -> None:
    found = loss_per_sample(BINARY, torch.tensor([[1.0]]), torch.tensor([0.25]))
    p = torch.tensor(1.0).sigmoid()
    torch.testing.assert_close(found[0], -(0.25 * p.log() + 0.75 * (1 - p).log()))


def test_smoothing_spreads_a_share_of_a_label_over_all_answers() -> None:
    raw, y = logits(4, 1), torch.tensor([0.0, 1, 1, 0])
    torch.testing.assert_close(loss_per_sample(BINARY, raw, y, 0.2), loss_per_sample(BINARY, raw, y * 0.8 + 0.1))
    raw, y = logits(4, 3), torch.tensor([0.0, 2, 1, 0])
    soft = torch.nn.functional.one_hot(y.long(), 3) * 0.7 + 0.1
    torch.testing.assert_close(loss_per_sample(CLASSES, raw, y, 0.3), loss_per_sample(CLASSES, raw, soft))


def test_loss_of_classes_is_the_cross_entropy_of_a_softmax() -> None:
    raw, y = logits(5, 3), torch.tensor([0.0, 2, 1, 1, 0])
    found = loss_per_sample(CLASSES, raw, y)
    np.testing.assert_allclose(found.mean(), sklearn_log_loss(y, raw.double().softmax(1)), rtol=1e-5)


def test_classes_may_be_a_distribution() -> None:
    raw, shares = logits(2, 3), torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])
    torch.testing.assert_close(loss_per_sample(CLASSES, raw, shares), -(shares * raw.softmax(1).log()).sum(1))


def test_ordinal_loss_is_a_log_loss_a_threshold() -> None:
    raw = torch.tensor([[1.0, -2.0]] * 3)
    found = loss_per_sample(ORDINAL, raw, torch.tensor([0.0, 1.0, 2.0]))
    above_low, above_mid = torch.tensor([1.0, -2.0]).sigmoid()
    expected = [
        -(1 - above_low).log() - (1 - above_mid).log(),
        -above_low.log() - (1 - above_mid).log(),
        -above_low.log() - above_mid.log(),
    ]
    torch.testing.assert_close(found, torch.stack(expected))


def test_quantile_loss_is_the_pinball_loss_summed_over_levels() -> None:
    raw, y = logits(6, 3), torch.tensor([0.5, -3.0, 2.0, 0.0, 9.0, 1.0])
    expected = sum(mean_pinball_loss(y, raw[:, k], alpha=level) for k, level in enumerate(QUANTILES.levels))
    np.testing.assert_allclose(loss_per_sample(QUANTILES, raw, y).mean(), expected, rtol=1e-5)


def test_loss_of_tokens_is_the_mean_stablemax_cross_entropy_over_the_tokens_asked() -> None:
    raw = torch.tensor([[[3.0, -1.0], [0.0, 1.0], [5.0, 5.0]], [[1.0, 2.0], [0.0, 0.0], [0.0, 0.0]]])
    truth = torch.tensor([[0.0, 1.0, IGNORE], [IGNORE, IGNORE, IGNORE]])
    first, second = 4 / (4 + 1 / 2), 2 / (1 + 2)  # s(3) = 4, s(-1) = 1/2; s(0) = 1, s(1) = 2
    expected = torch.tensor([-(np.log(first) + np.log(second)) / 2, 0.0], dtype=torch.float32)
    torch.testing.assert_close(loss_per_sample(TOKENS, raw, truth), expected)


def test_loss_of_a_choice_is_a_softmax_over_candidates_and_padding_costs_nothing() -> None:
    raw = logits(2, 3, 3).requires_grad_()
    walled = raw.masked_fill(torch.tensor([[False, True, False], [False] * 3])[:, None, :], float("-inf"))
    truth = torch.tensor([[IGNORE, IGNORE, 0.0], [IGNORE, 2.0, 1.0]])
    found = loss_per_sample(CHOICE, walled, truth)
    torch.testing.assert_close(found[0], -raw[0, 2, [0, 2]].log_softmax(0)[0])
    torch.testing.assert_close(found[1], -(raw[1, 1].log_softmax(0)[2] + raw[1, 2].log_softmax(0)[1]) / 2)
    found.sum().backward()
    assert torch.isfinite(raw.grad).all() and (raw.grad[0, :2] == 0).all()


@pytest.mark.parametrize(
    ("target", "shape", "unknown"),
    [
        (BINARY, (3, 1), [NAN, NAN, NAN]),
        (CLASSES, (3, 3), [NAN, NAN, NAN]),
        (CLASSES, (3, 3), [[NAN] * 3] * 3),
        (ORDINAL, (3, 2), [NAN, NAN, NAN]),
        (QUANTILES, (3, 3), [NAN, NAN, NAN]),
        (TOKENS, (3, 4, 2), [[float(IGNORE)] * 4] * 3),
        (CHOICE, (3, 4, 4), [[float(IGNORE)] * 4] * 3),
    ],
)
def test_an_unknown_target_costs_nothing_and_moves_nothing(target: Target, shape: tuple[int, ...], unknown: list[object]) -> None:
    raw = logits(*shape).requires_grad_()
    found = loss_per_sample(target, raw, torch.tensor(unknown))
    assert found.shape == (3,) and (found == 0).all()
    found.sum().backward()
    assert torch.equal(raw.grad, torch.zeros(shape))


def test_one_unknown_target_leaves_the_losses_of_others_alone() -> None:
    raw = logits(3, 1).requires_grad_()
    found = loss_per_sample(BINARY, raw, torch.tensor([1.0, NAN, 0.0]))
    found.sum().backward()
    torch.testing.assert_close(found[[0, 2]], loss_per_sample(BINARY, raw[[0, 2]], torch.tensor([1.0, 0.0])))
    assert raw.grad[1] == 0 and (raw.grad[[0, 2]] != 0).all()


def test_stablemax_is_a_distribution_that_keeps_the_order() -> None:
    raw = torch.tensor([-50.0, -1.0, -0.5, 0.0, 0.5, 1.0, 80.0])
    p = log_stablemax(raw).exp()
    np.testing.assert_allclose(p.sum(), 1, rtol=1e-6)
    np.testing.assert_allclose(p / p[3], [1 / 51, 1 / 2, 1 / 1.5, 1, 1.5, 2, 81], rtol=1e-5)


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0, -0.0])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_stablemax_has_finite_gradients_at_the_logits_where_its_plain_form_has_none(value: float, kind: torch.dtype) -> None:
    raw = torch.full((1, 2, 3), value, dtype=kind, requires_grad=True)
    per_token_loss(raw, torch.tensor([[0, 2]]), stable=True).sum().backward()
    assert torch.isfinite(raw.grad).all() and raw.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("target", "raw", "truth", "right"),
    [
        (BINARY, [[2.0], [2.0], [-1.0], [1.0]], [1.0, 0.0, 0.0, NAN], [True, False, True, False]),
        (BINARY, [[2.0], [2.0], [-1.0], [-1.0]], [0.9, 0.1, 0.1, 0.9], [True, False, True, False]),
        (CLASSES, [[0.0, 3.0, 1.0]] * 2, [1.0, 2.0], [True, False]),
        (CLASSES, [[0.0, 3.0, 1.0]] * 2, [[0.2, 0.5, 0.3], [0.9, 0.1, 0.0]], [True, False]),
        (ORDINAL, [[3.0, -1.0]] * 3, [0.0, 1.0, 2.0], [False, True, False]),
        (QUANTILES, [[0.0, 1.0, 2.0]], [1.0], [False]),
        (TOKENS, [[[1.0, 0.0], [0.0, 1.0]]] * 3, [[0.0, 1.0], [0.0, 0.0], [IGNORE, 1.0]], [True, False, True]),
    ],
)
def test_an_answer_is_exact_where_all_that_is_asked_is_right(target: Target, raw: list, truth: list, right: list[bool]) -> None:
    assert exact(target, torch.tensor(raw), torch.tensor(truth)).tolist() == right
