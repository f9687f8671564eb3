"""Several networks that answer as one, and the recurrent peer."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.model.test_network import TINY, answers, drawn, network, whole, world
from tests.worlds import document_chain, monthly_panel
from trmfin.model.core import State
from trmfin.model.ensemble import Ensemble
from trmfin.model.network import Network


def ensemble(make=monthly_panel, members: int = 3, **changes) -> Ensemble:
    sequences = world(make)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = Ensemble(sequences.task, sequences.fitted, replace(TINY, members=members, **changes)).eval()
        for member in made.networks:
            drawn(member)
    return made


def test_an_ensemble_answers_the_mean_of_its_members_logits_at_each_step() -> None:
    for make, name in ((monthly_panel, "default"), (document_chain, "settles")):
        together, batch = ensemble(make), whole(make)
        with torch.no_grad():
            for number, member in enumerate(together.members):
                member.halt.weight.fill_(number)
        alone = [answers(member, batch) for member in together.members]
        found = answers(together, batch)
        torch.testing.assert_close(found.logits[name], torch.stack([a.logits[name] for a in alone]).mean(0))
        torch.testing.assert_close(found.halt, torch.stack([a.halt for a in alone]).mean(0))
        assert not torch.equal(alone[0].logits[name], alone[1].logits[name])


def test_many_samples_are_answered_member_by_member_and_few_as_one(monkeypatch) -> None:
    together, batch = ensemble(document_chain), whole(document_chain)
    few, size = answers(together, batch), batch.mask.size * TINY.width * 3
    monkeypatch.setattr("trmfin.model.ensemble.JOINED_NUMBERS", size)
    assert together.setting(batch).joined is not None
    monkeypatch.setattr("trmfin.model.ensemble.JOINED_NUMBERS", size - 1)
    assert together.setting(batch).joined is None
    torch.testing.assert_close(answers(together, batch).logits["settles"], few.logits["settles"])


@pytest.mark.parametrize(
    "changes",
    [
        {"mixer": "mlp"},
        {"nets": 2, "gradient": "step", "damping": 0.05},
        {"core": "plain", "supervision_steps": 1},
        {"core": "gru", "supervision_steps": 1},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_members_of_every_kind_of_core_answer_together_as_alone(changes) -> None:
    together, batch = ensemble(**changes), whole(monthly_panel)
    assert not batch.mask.all()
    alone = torch.stack([answers(member, batch).logits["default"] for member in together.members])
    torch.testing.assert_close(answers(together, batch).logits["default"], alone.mean(0))
    assert not torch.equal(alone[0], alone[1])


def test_states_stand_behind_the_batch_axis_so_that_samples_can_leave() -> None:
    together, batch = ensemble(), whole(monthly_panel)
    x, setting = together.encode(batch), together.setting(batch)
    assert x.shape == (20, 3, 4, 8)
    full = together.core(x, together.core.start(x), setting)
    kept = torch.arange(20) % 2 == 0
    fewer = together.setting(world(monthly_panel).batch(np.flatnonzero(kept.numpy())))
    after = together.core(x[kept], State(full.y[kept], full.z[kept]), fewer)
    torch.testing.assert_close(after.y, together.core(x, full, setting).y[kept], atol=1e-5, rtol=1e-5)


def test_an_ensemble_counts_all_members() -> None:
    together, one = ensemble(), network(monthly_panel)
    assert together.parameters_count == 3 * one.parameters_count and together.flops(2) == 3 * one.flops(2)
    state = together.state_dict()
    assert len(state) == 3 * len(one.state_dict())
    places = [value.untyped_storage().data_ptr() for value in state.values() if value.numel()]
    assert len(places) == len(set(places))


def test_one_member_is_that_network() -> None:
    single, batch = ensemble(members=1), whole(monthly_panel)
    torch.testing.assert_close(answers(single, batch).logits["default"], answers(single.members[0], batch).logits["default"])


def test_a_gru_reads_the_oldest_token_first_and_answers_after_the_newest() -> None:
    sequences, batch = world(monthly_panel), whole(monthly_panel)
    net = Network(sequences.task, sequences.fitted, replace(TINY, core="gru", supervision_steps=1)).eval()
    x = net.encode(batch)
    state = net.core(x, net.core.start(x), net.setting(batch))
    with torch.no_grad():
        normed = x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        hidden, _ = net.core.gru(normed)
    torch.testing.assert_close(state.y[:, 0], hidden[:, -1])
    later = x.clone()
    later[:, -1] += 1
    changed = net.core(later, net.core.start(x), net.setting(batch))
    assert torch.equal(changed.y[:, 1:-1], state.y[:, 1:-1]) and not torch.equal(changed.y[:, 0], state.y[:, 0])


def test_a_gru_has_about_the_cost_its_formula_says() -> None:
    net = network(monthly_panel, core="gru", supervision_steps=1, width=32)
    D, L = 32, 4
    cells = len(net.leading_numbers) + len(net.event_numbers) * (L - 1)
    assert net.flops(1) == 2 * 6 * D * D * L + 2 * net.numbers.bins[0].numel() * cells
