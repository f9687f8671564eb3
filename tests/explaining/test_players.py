"""Players are a partition of a task's cells, whatever the view."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.worlds import card_and_shop, document_chain, monthly_panel, order_book
from trmfin.errors import ConfigError, TaskError
from trmfin.explaining.players import NOBODY, VIEWS, View, coalitions, players_of
from trmfin.sequences.explained import Player
from trmfin.sequences.task import Task
from trmfin.shipped import load_pipeline

TASKS = {
    **{world.__name__: world()[1] for world in (monthly_panel, card_and_shop, order_book, document_chain)},
    **{name: load_pipeline(name).task for name in ("payment_history", "transactions")},
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("name", TASKS)
def test_every_cell_has_one_player_and_every_player_a_cell(name: str, view: View) -> None:
    task = TASKS[name]
    players = players_of(task, view)
    fields = (*task.numbers, *task.codes)
    has = np.array([[field.leading == (token == 0) for field in fields] for token in range(task.length)])
    assert ((players.cells != NOBODY) == has).all()
    assert set(np.union1d(players.cells, players.tokens)) - {NOBODY} == set(range(len(players)))
    assert len(set(players.names)) == len(players)


@pytest.mark.parametrize("view", VIEWS)
def test_events_come_and_go_with_a_player(view: View) -> None:
    players = players_of(TASKS["transactions"], view)
    assert players.tokens[0] == NOBODY, "the sample itself is always there"
    assert (players.tokens[1:] != NOBODY).all()
    if view == "features":
        assert {players.names[owner] for owner in players.tokens[1:]} == {"pace"}


def test_the_tasks_groups_are_the_players_in_the_tasks_order() -> None:
    players = players_of(TASKS["transactions"])
    assert players.names == tuple(player.name for player in TASKS["transactions"].players)
    assert players.names[2:6] == ("card amounts", "card frauds", "terminal amounts", "terminal frauds")


def test_a_field_and_a_length_of_no_group_play_alone() -> None:
    task = TASKS["payment_history"]
    lone = replace(task, players=tuple(p for p in task.players if p.name != "history"), reasons=())
    assert {"age_of_statement", "length of statements"} <= set(players_of(lone).names)


def test_a_player_may_have_one_history_alone() -> None:
    players, task = players_of(TASKS["transactions"]), TASKS["transactions"]
    amount = [field.name for field in task.numbers].index("amount")
    owners = players.cells[:, amount]
    assert {players.names[owner] for owner in owners[1:9]} == {"card amounts"}
    assert {players.names[owner] for owner in owners[9:]} == {"terminal amounts"}


def test_segments_double_and_end_with_the_history() -> None:
    names = players_of(TASKS["payment_history"], "segments").names
    assert names == ("sample", "statements 4-6", "statements 2-3", "statements 1")


def test_coalitions_are_all_sets_nobody_first_and_all_last() -> None:
    sets = coalitions(3)
    assert sets.shape == (8, 3) and not sets[0].any() and sets[-1].all()
    assert len({tuple(row) for row in sets}) == 8
    assert (sets @ [1, 2, 4] == np.arange(8)).all()


def test_an_unknown_view_is_refused() -> None:
    with pytest.raises(ConfigError, match="view 'pixels' is unknown; choose one of features, histories"):
        players_of(TASKS["monthly_panel"], "pixels")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("players", "said"),
    [
        ((Player(name="a", fields=("amount",)), Player(name="b", fields=("amount",), of="card")), "both have field 'amount'"),
        ((Player(name="a", fields=("amount",), of="shop"),), "is none of its histories"),
        ((Player(name="a", fields=("present_amount",), of="card"),), "take it out"),
        ((Player(name="a", fields=(), lengths=("shop",)),), "has the length of 'shop', which is none of its histories"),
        (tuple(Player(name=name, fields=(), lengths=("card",)) for name in "ab"), "both have the length of 'card'"),
    ],
)
def test_players_that_overlap_or_miss_their_history_are_refused(players: tuple[Player, ...], said: str) -> None:
    task: Task = TASKS["transactions"]
    with pytest.raises(TaskError, match=said):
        replace(task, players=players, reasons=())
