"""The parts of one block."""

import pytest
import torch
import torch.nn.functional as F

from tests.model import by_hand
from trmfin.model.config import ModelConfig, swiglu_width
from trmfin.model.layers import NORM_EPS, Attention, Setting, SwiGLU, linear, rms_norm, rotary_turns, rotate, truncated_normal


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize(("width", "multiple", "inner"), [(512, 256, 1536), (64, 32, 192), (32, 32, 96), (97, 256, 512), (8, 1, 21)])
def test_inner_width_of_swiglu_is_two_thirds_of_four_widths_rounded_up(width: int, multiple: int, inner: int) -> None:
    assert swiglu_width(width, multiple) == inner


def test_swiglu_gates_by_silu() -> None:
    layer, h = SwiGLU(6, 10), torch.randn(2, 3, 6)
    gate, up = h @ layer.gate_up.weight[:10].T, h @ layer.gate_up.weight[10:].T
    torch.testing.assert_close(layer(h, layer.weights(h.dtype)), (F.silu(gate) * up) @ layer.down.weight.T)


def test_rms_norm_has_no_gain_and_leaves_a_mean_square_of_one() -> None:
    normed = rms_norm(torch.randn(4, 3, 64) * 7 + 2)
    torch.testing.assert_close(normed.square().mean(-1), torch.ones(4, 3), atol=1e-4, rtol=0)
    torch.testing.assert_close(rms_norm(torch.zeros(2, 8)), torch.zeros(2, 8))


def test_the_norm_answers_the_same_bits_whether_it_trains_or_scores() -> None:
    h = torch.randn(4, 3, 32) * 7
    with torch.inference_mode():
        scored = rms_norm(h)
    trained = rms_norm(h.clone().requires_grad_())
    assert trained.requires_grad and torch.equal(trained.detach(), scored)


def test_the_closed_gradient_of_the_norm_is_the_numerical_one() -> None:
    h = torch.randn(2, 3, 8, dtype=torch.float64)
    h[0, 0] *= 1e-3  # where the epsilon counts
    assert torch.autograd.gradcheck(rms_norm, h.requires_grad_())


def test_the_norm_of_half_precision_products_has_torchs_gradient() -> None:
    layer, h, gradients = linear(32, 32), torch.randn(5, 32), []
    for norm in (rms_norm, lambda h: F.rms_norm(h, (32,), eps=NORM_EPS)):
        layer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            normed = norm(h + layer(h))
        assert normed.dtype == torch.float32
        (normed * torch.arange(32)).sum().backward()
        gradients.append(layer.weight.grad.clone())
    torch.testing.assert_close(*gradients, atol=0.1, rtol=0.01)


def test_a_second_derivative_of_the_norm_is_refused_not_wrong() -> None:
    h = torch.randn(3, 8, requires_grad=True)
    (first,) = torch.autograd.grad(rms_norm(h).pow(3).sum(), h, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_are_cut_so_that_each_part_makes_one_piece_and_cast_once(dtype: torch.dtype) -> None:
    mlp, attention = SwiGLU(6, 10), Attention(ModelConfig(width=8, head_width=4))
    for parts, whole in ((mlp.weights(dtype)[:2], mlp.gate_up), (attention.weights(dtype)[:2], attention.qkv)):
        assert torch.equal(torch.cat(parts), whole.weight.to(dtype))
        assert all(part.is_contiguous() and part.dtype == dtype for part in parts)
    assert [len(part) for part in (*mlp.weights(dtype), *attention.weights(dtype))] == [10, 10, 6, 16, 8, 8]


def test_linear_maps_have_no_bias_and_a_truncated_lecun_normal_start() -> None:
    layer = linear(400, 300)
    assert layer.bias is None and layer.weight.shape == (300, 400)
    assert layer.weight.std().item() == pytest.approx(400**-0.5, rel=0.02)
    assert layer.weight.abs().max() <= 2 / 0.8796 * 400**-0.5 + 1e-6


def test_a_truncated_normal_has_the_asked_spread_and_no_tails() -> None:
    drawn = truncated_normal(100_000, std=0.5)
    assert drawn.std().item() == pytest.approx(0.5, rel=0.01) and drawn.abs().max().item() <= 0.5 * 2 / 0.8796 + 1e-6


def test_attention_scores_depend_on_relative_position_alone() -> None:
    turns, q, k = rotary_turns(12, 8), torch.randn(8), torch.randn(8)
    score = rotate(q.repeat(12, 1), turns) @ rotate(k.repeat(12, 1), turns).T  # (query's place, key's place)
    for distance in range(-11, 12):
        along = score.diagonal(distance)
        torch.testing.assert_close(along, along[0].expand_as(along), atol=1e-4, rtol=0)
    assert score[0].unique().numel() > 6


def test_rotary_turns_pairs_of_channels_and_keeps_length() -> None:
    turns, h = rotary_turns(7, 6), torch.randn(7, 6)
    torch.testing.assert_close(rotate(h, turns), by_hand.turned(h))
    torch.testing.assert_close(rotate(h, turns).norm(dim=1), h.norm(dim=1))
    assert torch.equal(rotate(h, turns)[0], h[0]) and rotate(h.bfloat16(), turns).dtype == torch.bfloat16


def test_attention_with_a_bias_per_head_equals_the_hand_computed_one() -> None:
    layer = Attention(ModelConfig(width=8, head_width=4))
    h, bias = torch.randn(1, 5, 8), torch.randn(1, 2, 5, 5)
    setting = Setting(dtype=h.dtype, weights=(), answer_weights=(), turns=rotary_turns(5, 4), bias=bias)
    found = layer(h, setting, layer.weights(h.dtype))[0]
    weights = {f"mixer.{name}": value for name, value in layer.named_parameters()}
    expected = by_hand.norm(h[0] + by_hand.attention(h[0], weights, "mixer", 2, torch.zeros(5, dtype=torch.bool), bias[0]))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
