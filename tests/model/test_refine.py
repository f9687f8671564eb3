"""Thinking a question over: more steps, several rollouts, and leaving when the halt head says so."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.model.test_network import network, world
from tests.worlds import document_chain, grid, monthly_panel
from trmfin.errors import ConfigError
from trmfin.model.config import ModelConfig
from trmfin.model.core import State
from trmfin.model.ensemble import Ensemble
from trmfin.model.network import Answer, Network
from trmfin.model.refine import Thinking, answers, answers_until_halted, picked
from trmfin.sequences.batch import Batch

STIRRED = Thinking(steps=3, rollouts=3, noise=0.5, seed=4)


def of(make: object, rows: list[int] | None = None) -> tuple[Network, Batch, str]:
    sequences = world(make)  # type: ignore[arg-type]
    made = network(make, supervision_steps=4).eval()  # type: ignore[arg-type]
    return made, sequences.batch(np.arange(len(sequences)) if rows is None else rows), sequences.task.primary


def logits(each: list[Answer], name: str) -> torch.Tensor:
    return torch.stack([answer.logits[name] for answer in each])


@torch.no_grad()
def test_as_trained_is_the_plain_loop() -> None:
    model, batch, name = of(monthly_panel)
    x, setting = model.encode(batch), model.setting(batch)
    state, plain = model.core.start(x), []
    for _ in range(4):
        state = model.core(x, state, setting)
        plain.append(model.read(state, setting))
    assert torch.equal(logits(list(answers(model, batch)), name), logits(plain, name))


@torch.no_grad()
def test_fewer_steps_are_the_first_of_more() -> None:
    model, batch, name = of(monthly_panel)
    longer = logits(list(answers(model, batch, Thinking(steps=6))), name)
    assert len(longer) == 6
    assert torch.equal(longer[:2], logits(list(answers(model, batch, Thinking(steps=2))), name))


@torch.no_grad()
@pytest.mark.parametrize("thinking", [STIRRED, Thinking(rollouts=3, random_start=True, pick="residual")])
def test_an_answer_of_several_rollouts_does_not_depend_on_its_batch(thinking: Thinking) -> None:
    model, batch, name = of(monthly_panel)
    together = logits(list(answers(model, batch, thinking)), name)
    alone = logits(list(answers(model, world(monthly_panel).batch([3]), thinking)), name)
    torch.testing.assert_close(alone[:, 0], together[:, 3], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_rollouts_are_a_function_of_the_seed() -> None:
    model, batch, name = of(monthly_panel)
    with torch.no_grad():
        model.halt.weight.normal_(generator=torch.Generator().manual_seed(1))  # so that runs differ in how sure they are
    once, again, other = (logits(list(answers(model, batch, replace(STIRRED, seed=seed))), name) for seed in (4, 4, 5))
    assert torch.equal(once, again) and not torch.equal(once, other)


def test_the_surest_run_is_taken_sample_by_sample() -> None:
    runs = [Answer(logits={"y": torch.full((2, 1), float(run))}, halt=torch.tensor([run, -run]).float()) for run in range(3)]
    best = picked(runs, torch.stack([run.halt for run in runs]))
    assert best.logits["y"].flatten().tolist() == [2.0, 0.0] and best.halt.tolist() == [2.0, 0.0]


@torch.no_grad()
def test_the_run_whose_answer_moves_least_is_taken_by_residual(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch, _ = of(monthly_panel)
    moves = iter([2.0, 1.0, 3.0])  # by how much each run's step moves y
    monkeypatch.setattr(type(model.core), "forward", lambda self, x, state, setting: State(state.y + next(moves), state.z))
    monkeypatch.setattr(type(model), "read", lambda self, state, setting: Answer(logits={"y": state.y[:, 0, :1]}, halt=state.y[:, 0, 0]))
    thinking = Thinking(steps=1, rollouts=3, random_start=True, pick="residual")
    (answer,) = answers(model, batch, thinking)
    second = list(answers_of_run(model, batch, thinking, 1))[0]
    assert torch.allclose(answer.halt, second + 1.0)


def answers_of_run(model: Network, batch: Batch, thinking: Thinking, run: int) -> list[torch.Tensor]:
    from trmfin.model.refine import begin

    return [begin(model.core.start(model.encode(batch)), thinking, run).y[:, 0, 0]]


@torch.no_grad()
def test_an_ensemble_is_thought_over_several_times_too() -> None:
    sequences = world(monthly_panel)
    config = ModelConfig(width=8, head_width=4, blocks=1, inner_multiple=4, latent_steps=1, answer_steps=1, bins=4, members=2)
    assert sequences.fitted is not None
    ensemble = Ensemble(sequences.task, sequences.fitted, config).eval()
    for thinking in (STIRRED, replace(STIRRED, pick="residual"), Thinking(rollouts=2, random_start=True)):
        each = list(answers(ensemble, sequences.batch([0, 1, 2]), thinking))
        assert len(each) == (thinking.steps or config.supervision_steps) and torch.isfinite(each[-1].halt).all()


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"rollouts": 0}, {"noise": -1.0}, {"pick": "best"}, {"rollouts": 2}, {"noise": 0.5}, {"random_start": True}],
)
def test_thinking_that_means_nothing_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="thinking"):
        Thinking(**wrong)  # type: ignore[arg-type]


@torch.no_grad()
@pytest.mark.parametrize("make", [monthly_panel, document_chain, grid])
def test_who_leaves_early_has_the_answer_of_the_step_it_left_at(make: object) -> None:
    model, batch, name = of(make)
    model.halt.weight.normal_(generator=torch.Generator().manual_seed(3))
    each = list(answers(model, batch))
    halts = torch.stack([answer.halt for answer in each])  # (S, B)
    model.halt.bias -= halts.median()
    margin = 0.01
    halts = torch.stack([answer.halt for answer in answers(model, batch)])
    stops = halts > margin
    stops[-1] = True
    expected = stops.int().argmax(0) + 1
    answer, used = answers_until_halted(model, batch, margin=margin)
    assert used.tolist() == expected.tolist()
    wanted = logits(each, name)[expected - 1, torch.arange(len(expected))]
    torch.testing.assert_close(answer.logits[name], wanted, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(answer.halt, halts[expected - 1, torch.arange(len(expected))], atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(("bias", "steps"), [(1e6, 1), (-1e6, 4)])
def test_all_may_leave_at_once_or_none_before_the_end(bias: float, steps: int) -> None:
    model, batch, _ = of(monthly_panel)
    model.halt.bias.fill_(bias)
    assert set(answers_until_halted(model, batch)[1].tolist()) == {steps}
