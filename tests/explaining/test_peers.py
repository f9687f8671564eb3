"""Peers of a case are the nearest of its run that were not flagged."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from tests.explaining.runs import ASKED, Made, explained, records_of
from trmfin.explaining.peers import PEERS, peers
from trmfin.scoring.views import Run, opened


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return explained(tmp_path_factory.mktemp("peers"), clients=20)


def test_the_nearest_by_values_are_found_and_what_differs_is_told(made: Made) -> None:
    run, records = opened(made.run), records_of(made.run)
    approved = [record for record in records if record["inference"]["decision"] == "not flagged"]
    assert 3 < len(approved) < len(records)
    for record in records:
        names = list(record["attribution"]["values"])
        own = np.array([record["attribution"]["values"][name] for name in names])
        away = {
            other["sample_id"]: own - np.array([other["attribution"]["values"][name] for name in names])
            for other in approved
            if other is not record
        }
        wanted = sorted(away, key=lambda name: (float(np.linalg.norm(away[name])), name))[:3]
        found = peers(run, record)
        assert found["sample_id"].to_list() == wanted and found.columns == list(PEERS)
        for name, distance, player, by in found.select("sample_id", "distance", "differs_in", "by").iter_rows():
            assert distance == pytest.approx(np.linalg.norm(away[name]), abs=1e-12)
            assert by == pytest.approx(away[name][names.index(player)]) and abs(by) == pytest.approx(np.abs(away[name]).max())


def test_a_player_may_have_the_name_of_any_column(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    run, record = opened(made.run), deepcopy(records_of(made.run)[0])
    plain = peers(run, record)
    name = next(iter(record["attribution"]["values"]))
    monkeypatch.setattr(Run, "records", property(lambda self: self._table("records").with_columns(renamed("values", name, "score"))))
    record["attribution"]["values"] = {("score" if key == name else key): value for key, value in record["attribution"]["values"].items()}
    found = peers(opened(made.run), record)
    assert found.drop("differs_in").equals(plain.drop("differs_in"))


def renamed(column: str, name: str, other: str) -> pl.Expr:
    """A column of lists of player and value in which a player has another name."""
    player = pl.element().struct.field("player")
    return pl.col(column).list.eval(
        pl.struct(player=pl.when(player == name).then(pl.lit(other)).otherwise(player), value=pl.element().struct.field("value"))
    )


def test_without_records_of_such_cases_there_are_none(made: Made, tmp_path_factory: pytest.TempPathFactory) -> None:
    few = explained(tmp_path_factory.mktemp("few"), clients=20, asked=replace(ASKED, which="topk:2"))
    record = records_of(made.run)[0]
    assert peers(opened(few.run), record).is_empty() and peers(opened(few.run), record).columns == list(PEERS)
