"""What is read from the answer y."""

import pytest
import torch

from trmfin.model.heads import HALT_BIAS, Halt, head
from trmfin.sequences.task import Head, Target

CLASSES = ("a", "b", "c", "d")


def target(kind: Head) -> Target:
    return Target(
        name="t", head=kind, meaning="x", classes=CLASSES if kind in ("classes", "ordinal", "tokens") else (), levels=(0.1, 0.5, 0.9)
    )


def drawn(kind: Head) -> torch.nn.Module:
    """The head with weights drawn wide: some start at zero."""
    layer = head(target(kind), 8)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_()
    return layer


@pytest.fixture
def y():
    """(B, L, D) of a large spread, so that constraints are strained."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield torch.randn(50, 5, 8) * 20


@pytest.mark.parametrize(
    ("kind", "shape"), [("binary", (1,)), ("classes", (4,)), ("ordinal", (3,)), ("quantiles", (3,)), ("tokens", (5, 4)), ("choice", (5, 5))]
)
def test_each_head_gives_one_logit_an_answer(kind: Head, shape: tuple[int, ...], y: torch.Tensor) -> None:
    found = drawn(kind)(y)
    assert found.shape == (50, *shape) and torch.isfinite(found).all() and found.std() > 0


@pytest.mark.parametrize("kind", ["binary", "classes", "ordinal", "quantiles"])
def test_an_answer_for_the_sample_is_read_from_the_leading_token_alone(kind: Head, y: torch.Tensor) -> None:
    layer, other = drawn(kind), y.clone()
    other[:, 1:] = 0
    assert torch.equal(layer(y), layer(other)) and not torch.equal(layer(y), layer(y.flip(1)))


def strained(layer: torch.nn.Module) -> torch.nn.Module:
    """With weights that would cross thresholds, were they free."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.linspace(-9, 9, parameter.numel()).view_as(parameter))
    return layer


def test_quantiles_never_cross(y: torch.Tensor) -> None:
    found = strained(head(target("quantiles"), 8))(y)
    assert (found.diff(dim=1) >= 0).all() and found.diff(dim=1).std() > 1


def test_thresholds_of_ordinal_classes_are_ordered_and_the_same_for_all_samples(y: torch.Tensor) -> None:
    found = strained(head(target("ordinal"), 8))(y)  # P(class > k) falls with k
    assert (found.diff(dim=1) <= 0).all() and (found[:, 0] > found[:, 2]).all()
    torch.testing.assert_close(found.diff(dim=1), found.diff(dim=1)[:1].expand(50, 2), atol=1e-3, rtol=0)


@pytest.mark.parametrize(("kind", "shape"), [("quantiles", {"levels": (0.5,)}), ("ordinal", {"classes": ("no", "yes")})])
def test_a_single_threshold_is_allowed(kind: Head, shape: dict[str, tuple[object, ...]], y: torch.Tensor) -> None:
    assert head(Target(name="t", head=kind, meaning="x", **shape), 8)(y).shape == (50, 1)


def test_a_choice_depends_on_who_asks_and_on_who_is_offered(y: torch.Tensor) -> None:
    layer = head(target("choice"), 8)
    found = layer(y)
    expected = (y[0, 1] @ layer.asks.weight.T) @ (y[0, 3] @ layer.offers.weight.T) / 8**0.5
    torch.testing.assert_close(found[0, 1, 3], expected, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("kind", ["binary", "classes", "tokens"])
def test_a_head_for_classes_starts_at_equal_chances(kind: Head, y: torch.Tensor) -> None:
    assert (head(target(kind), 8)(y) == 0).all()


def test_the_halt_head_starts_at_go_on_for_every_sample(y: torch.Tensor) -> None:
    found = Halt(8)(y)
    assert HALT_BIAS == -5 and torch.equal(found, torch.full((50,), -5.0))
