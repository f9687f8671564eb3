"""Training on another device: no tensor that is left on the processor meets one of the device.

The device is pretended, since there may be none where tests run: its tensors say that they are there and are computed here, and
an operation on tensors of both is refused. What is learnt and answered there must be, to the bit, what the processor learns and
answers. A GRU is left out: torch turns its output in place, which a pretended tensor does not see.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from tests.learn.test_checkpoint import Killed, killed_at
from tests.learn.test_fit import OTHER_HEADS, SHORT, same, train
from tests.learn.tiny import MODEL, World, answering, asking, notes, world
from tests.model.test_network import network, whole
from tests.worlds import document_chain, grid, monthly_panel
from trmfin.model.refine import Thinking, answers, answers_until_halted
from trmfin.sequences.fitted import Fitted
from trmfin.sequences.sequences import build
from trmfin.sequences.task import Head, Target

THERE = torch.device("meta")  # the only name of a device that every build of torch takes
CARRIERS = (torch.ops.aten._to_copy, torch.ops.aten.copy_)  # of values from one device to another
EAGER = {torch.ops.aten._conj.default: torch.ops.aten.conj_physical.default}  # the lazy one marks what is held, where nobody looks
SETTINGS = replace(SHORT, optimiser="adam_atan2", steps=2, validations=2)


class Far(Tensor):
    """A tensor of the device."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Self:
        looks = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype, "device": THERE}
        made: Self = Tensor._make_wrapper_subclass(cls, held.size(), **looks)  # type: ignore[attr-defined]
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, operation: Any, types: Any, given: Any = (), named: Any = None) -> Any:
        return computed(operation, given, named or {})


class Device(TorchDispatchMode):
    """While it lasts the device is there."""

    def __torch_dispatch__(self, operation: Any, types: Any, given: Any = (), named: Any = None) -> Any:
        return computed(operation, given, named or {})


def computed(operation: Any, given: Any, named: dict[str, Any]) -> Any:
    """What an operation gives: on the device where that is named, or else where its tensors are."""
    tensors = [value for value in tree_leaves((given, named)) if isinstance(value, Tensor)]
    far = [isinstance(tensor, Far) for tensor in tensors]
    if any(far) and operation.overloadpacket not in CARRIERS and any(tensor.ndim for tensor in tensors if not isinstance(tensor, Far)):
        raise RuntimeError(f"{operation}: of {len(tensors)} tensors {sum(far)} are on the device and the others are not")
    there, named = any(far), {name: value for name, value in named.items() if name != "pin_memory"}
    if named.get("device") is not None:
        there, named["device"] = torch.device(named["device"]) == THERE, torch.device("cpu")
    found = EAGER.get(operation, operation)(*tree_map(near, given), **tree_map(near, named))
    if operation._schema.is_mutable:
        return given[0] if isinstance(found, Tensor) else found
    return tree_map(lambda value: Far(value) if isinstance(value, Tensor) else value, found) if there else found


def near(value: Any) -> Any:
    return value.held if isinstance(value, Far) else value


@pytest.fixture(autouse=True)
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The device, and one way to attend, whatever it prefers. What torch itself decides by a device's name is decided here."""
    made = torch.tensor
    monkeypatch.setattr(torch, "tensor", lambda values, device="cpu", **named: made(values, **named).to(device))
    monkeypatch.setattr(torch, "inference_mode", torch.no_grad)
    monkeypatch.setattr(torch.__future__, "_overwrite_module_params_on_conversion", True)
    monkeypatch.setattr(import_module("torch.optim.adam"), "_device_dtype_check_for_fused", lambda parameter: None)
    with Device(), sdpa_kernel(SDPBackend.MATH):
        yield


def alike(where: World | None = None, **asked: Any) -> bool:
    there, here = train(where, device=str(THERE), **asked), train(where, **asked)
    return same(there, here) and (there.history, there.depths) == (here.history, here.depths)


def test_tensors_of_two_devices_do_not_meet() -> None:
    there = torch.ones(2).to(THERE)
    with pytest.raises(RuntimeError, match="of 2 tensors 1 are on the device"):
        there + torch.ones(2)
    assert isinstance(there + torch.tensor(1.0), Far) and (there + 1).cpu().tolist() == [2, 2]


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ({}, {"optimiser": "adamw", "random_depth": True}),
        ({"mixer": "mlp"}, {"refill": False, "state_noise": 0.1}),
        ({"core": "plain", "supervision_steps": 1}, {"positive_weight": 2.0, "label_smoothing": 0.1, "field_dropout": 0.2}),
        (
            {"nets": 2, "gradient": "step", "damping": 0.05, "answer_steps": 2},
            {"random_start": True, "state_noise": 0.1, "curriculum": ((0.0, 1, 1), (0.5, 2, 2))},
        ),
    ],
)
def test_every_core_is_trained_there_in_every_way(model: dict[str, Any], settings: dict[str, Any]) -> None:
    assert alike(settings=replace(SETTINGS, **settings), model=replace(MODEL, **model))


@pytest.mark.parametrize(("head", "shape", "answer"), OTHER_HEADS)
def test_every_head_is_trained_there(head: Head, shape: dict[str, Any], answer: Callable[[float], Any]) -> None:
    data = notes()
    other = answering(data, "other", [answer(bad) for bad in data.samples["target_bad"]])
    where = world(other, asking(Target(name="other", head=head, meaning="x", **shape), "exact"))
    assert alike(where, settings=SETTINGS)


@pytest.mark.parametrize("make", [grid, document_chain])
def test_answers_per_token_and_relations_are_trained_there(make: Callable[..., Any]) -> None:
    sequences = build(*make())
    fitted, rows = Fitted.fit(sequences, np.arange(len(sequences)), 4), np.flatnonzero(sequences.known)
    assert alike(World(sequences=sequences.aligned(fitted), fitted=fitted, train=rows, validation=rows), settings=SETTINGS)


@pytest.mark.parametrize("optimiser", ["adamw", "adam_atan2"])
def test_a_training_is_resumed_there(optimiser: str, tmp_path: Path) -> None:
    settings = replace(SETTINGS, optimiser=optimiser)
    with pytest.raises(Killed):
        train(settings=settings, device=str(THERE), checkpoint=tmp_path / "member", tell=killed_at(2))
    assert same(train(settings=settings, device=str(THERE), checkpoint=tmp_path / "member"), train(settings=settings))


@torch.no_grad()
@pytest.mark.parametrize("thinking", [Thinking(rollouts=3, noise=0.5), Thinking(rollouts=2, random_start=True, pick="residual")])
def test_questions_are_thought_over_there(thinking: Thinking) -> None:
    here, there = network(monthly_panel), network(monthly_panel).to(THERE)
    for one, other in zip(answers(here, whole(monthly_panel), thinking), answers(there, whole(monthly_panel), thinking), strict=True):
        assert torch.equal(one.logits["default"], other.logits["default"].cpu())


@torch.no_grad()
@pytest.mark.parametrize("make", [monthly_panel, document_chain])
def test_samples_that_halt_leave_their_batch_there(make: Callable[..., Any]) -> None:
    here, there = network(make), network(make).to(THERE)
    for model in (here, there):
        model.halt.weight.copy_(torch.linspace(-1, 1, 8))
    first = next(answers(here, whole(make))).halt.median() + 1e-4
    for model in (here, there):
        model.halt.bias -= first
    (one, steps), (other, taken) = (answers_until_halted(model, whole(make)) for model in (here, there))
    assert torch.equal(steps, taken.cpu()) and len(steps.unique()) == 2
    assert all(torch.equal(logits, other.logits[name].cpu()) for name, logits in one.logits.items())
