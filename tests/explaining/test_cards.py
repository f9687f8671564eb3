"""Reasons of two histories: on simulated card transactions, each reason names events of its own history that were known by then."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.scoring.models import bundle_for
from trmfin.data.prepared import Prepared, apply, read_raws
from trmfin.explaining.comparison import comparison
from trmfin.explaining.evidence import histories_of, newest
from trmfin.explaining.explainer import Asked, Explainer
from trmfin.explaining.players import players_of
from trmfin.explaining.shapley import Game, exact
from trmfin.learn.bundle import Bundle
from trmfin.learn.reference import reference
from trmfin.model.config import preset
from trmfin.scoring.engine import score_rows
from trmfin.scoring.shards import score_frame
from trmfin.sequences.batch import window_events
from trmfin.sequences.sequences import Sequences, build
from trmfin.shipped import load_pipeline

USE = load_pipeline("transactions")


@pytest.fixture(scope="module")
def world(checkout: Path) -> tuple[Prepared, Bundle, Sequences]:
    """The sample transactions and an untrained network, wide weights, so that scores differ."""
    prepared = apply(USE, read_raws(USE, checkout / "sample_data" / "transactions" / "raw"), datetime(2030, 1, 1, tzinfo=UTC))
    bundle = bundle_for(prepared, USE.task, preset("tiny", bins=8))
    sequences = build(prepared, USE.task).aligned(bundle.fitted)
    groups = reference(sequences, np.arange(0, len(sequences), 97), None, 0.5)
    return prepared, Bundle(**{**vars(bundle), "reference": groups}), sequences


def test_a_player_reads_the_histories_of_its_cells_its_summaries_and_its_lengths(world: tuple[Prepared, Bundle, Sequences]) -> None:
    _, bundle, sequences = world
    players = players_of(bundle.task)
    read = {name: histories_of(bundle.task, players, place) for place, name in enumerate(players.names)}
    assert read["pace"] == ["card", "terminal"] and read["card frauds"] == ["card"] and read["terminal amounts"] == ["terminal"]
    assert read["amount"] == [], "the sample's own column"
    windows = window_events(sequences, len(sequences) - 1)
    tokens = sequences.event_ids(np.array([len(sequences) - 1]))[0]
    for name, newest_tokens in (("card", tokens[1:9]), ("terminal", tokens[9:])):
        there = [event for event in newest_tokens if event is not None]
        assert there and windows[name][-len(there) :] == there, "oldest first; tokens are the newest of a window"


def test_where_no_event_alone_carries_a_value_the_newest_do_as_many_of_each_history() -> None:
    read = {"card": [f"c{place}" for place in range(20)], "terminal": ["t0", "t1"]}
    assert newest(read) == [*(f"c{place}" for place in range(14, 20)), "t0", "t1"]
    assert newest({"card": read["card"]}) == read["card"][-12:] and newest({}) == []


def test_each_reason_names_events_of_its_own_history(world: tuple[Prepared, Bundle, Sequences]) -> None:
    prepared, bundle, sequences = world
    rows = np.arange(len(sequences) - 12, len(sequences))
    scores = score_rows(bundle, sequences, rows)
    about = {"inputs": {}, "settings": {"steps": 3, "threads": 1}}
    explainer = Explainer(bundle, Asked(which="all", group="all_applicants"), about)
    events = {row["event_id"]: row for row in prepared.events.iter_rows(named=True)}
    samples = {row["sample_id"]: row for row in prepared.samples.iter_rows(named=True)}
    keys, seen = {"card": "customer_id", "terminal": "terminal_id"}, set()
    for record in explainer.bodies(prepared, sequences, rows, score_frame(scores, bundle.policy)):
        sample = samples[record["sample_id"]]
        assert abs(record["attribution"]["residual"]) <= 1e-4
        for reason in record["reasons"]:
            history = reason["player"].split()[0]
            for name in reason["event_ids"]:
                assert events[name]["known_at"] < sample["as_of"]
                if history in keys:
                    seen.add(reason["player"])
                    assert events[name][keys[history]] == sample[keys[history]]
    assert len(seen) >= 2, "reasons of several histories were told"


def test_fewer_than_thirteen_players_are_exact_and_add_up(world: tuple[Prepared, Bundle, Sequences]) -> None:
    _, bundle, sequences = world
    players = players_of(bundle.task)
    assert len(players) == 8
    rows = np.arange(len(sequences) - 3, len(sequences))
    found = exact(Game.of(bundle, players, comparison(bundle.task, bundle.reference, "all_applicants")), sequences, rows)
    np.testing.assert_allclose(found.base + found.values.sum(-1), score_rows(bundle, sequences, rows).logits, atol=1e-4)
    assert pl.Series(found.values[:, -1].ravel()).is_finite().all()
