"""Which reasons the flagged in each protected group are told."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from tests.scoring.models import PANEL, START, World, panel
from tests.scoring.models import world as scored
from trmfin.explaining.comparison import comparison
from trmfin.explaining.mix import reason_mix
from trmfin.explaining.players import players_of
from trmfin.explaining.reasons import principal
from trmfin.explaining.shapley import Game, exact
from trmfin.learn.contest import bundle_predictions
from trmfin.learn.fairness import with_flags
from trmfin.learn.reference import reference
from trmfin.learn.tables import fairness_parts
from trmfin.sequences.explained import Player, Reason

CLIENTS = 600
FLAGGED = 60
REASONS = (
    Reason(code="B1", player="billed", text="bills", direction="raises"),
    Reason(code="B2", player="billed", text="bills", direction="lowers"),  # is told of what lowers a score, never here
    Reason(code="L1", player="limit", text="limit"),
)


@pytest.fixture(scope="module")
def world() -> World:
    prepared, number = panel(CLIENTS), np.arange(CLIENTS)
    samples = prepared.samples.with_columns(
        region=pl.Series(np.where(number % 2, "north", "south")),
        kind=pl.lit("only"),
        target_default=pl.Series((number % 3 == 0).astype(float)),
        target_default_known_at=pl.lit(START, pl.Datetime("us", "UTC")) + pl.duration(days=500),
    )
    players = (Player(name="billed", fields=("billed",)), Player(name="limit", fields=("limit",)))
    task = replace(PANEL, protected=("region", "kind", "unheard"), players=players, reasons=REASONS)
    made = scored(replace(prepared, samples=samples), task)
    near = reference(made.sequences, made.rows, None, 0.5).with_columns(group=pl.lit("near_cutoff_approved"))
    highest = with_flags(bundle_predictions(made.bundle, made.prepared))["p"].top_k(FLAGGED)
    policy = replace(made.bundle.policy, cutoff=float(highest.min()))  # type: ignore[arg-type]
    return replace(made, bundle=replace(made.bundle, reference=near, policy=policy))


def test_shares_are_those_of_the_flagged_one_by_one(world: World) -> None:
    predictions = bundle_predictions(world.bundle, world.prepared)
    found = reason_mix(world.bundle, world.prepared, predictions)
    flagged = with_flags(predictions, world.bundle.policy.cutoff).filter(pl.col("flag") == 1)["sample_id"].to_list()
    assert found["cases"] == len(flagged) == FLAGGED and [attribute["name"] for attribute in found["attributes"]] == ["region"]
    players = players_of(world.bundle.task)
    game = Game.of(world.bundle, players, comparison(world.bundle.task, world.bundle.reference, "near_cutoff_approved"))
    values = exact(game, world.sequences, np.array([int(name[1:]) for name in flagged])).values[:, -1]
    north = np.array([int(name[1:]) % 2 == 1 for name in flagged])
    (region,) = found["attributes"]
    assert region["groups"] == {"north": north.sum(), "south": (~north).sum()}
    seen = set()
    for line in region["reasons"]:
        m = players.names.index(line["player"])
        seen.add((line["player"], line["code"]))
        told, first = (np.array([m in principal(row)[:most] for row in values]) for most in (4, 1))
        assert line["told"] == pytest.approx({"north": told[north].mean(), "south": told[~north].mean()})
        assert line["first"] == pytest.approx({"north": first[north].mean(), "south": first[~north].mean()})
        assert line["gap"]["value"] == pytest.approx(abs(told[north].mean() - told[~north].mean()))
        assert line["gap"]["low"] <= line["gap"]["value"] <= line["gap"]["high"]
    assert seen <= {("billed", "B1"), ("limit", "L1"), ("status", ""), ("length of statements", "")} and len(seen) > 1


def test_of_many_flagged_evenly_spaced_ones_are_explained_and_progress_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trmfin.explaining.mix.CASES", 50)
    monkeypatch.setattr("trmfin.explaining.mix.LEAST", 5)
    told: list[tuple[int, int]] = []
    found = reason_mix(
        world.bundle, world.prepared, bundle_predictions(world.bundle, world.prepared), lambda done, cases: told.append((done, cases))
    )
    assert found["cases"] == sum(found["attributes"][0]["groups"].values()) == 50 and told[-1] == (50, 50)


def test_groups_with_few_of_the_flagged_are_left_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trmfin.explaining.mix.LEAST", 59)
    monkeypatch.setattr("trmfin.explaining.mix._told", lambda *_: pytest.fail("explained for nothing"))
    assert reason_mix(world.bundle, world.prepared, bundle_predictions(world.bundle, world.prepared))["attributes"] == []


def test_the_mix_is_a_table_a_column() -> None:
    line = {"code": "B1", "player": "billed", "told": {"a": 0.5, "b": 0.25}, "first": {"a": 0.125, "b": 0.0}}
    gap = {"value": 0.25, "low": 0.1, "high": 0.4, "most": "a", "least": "b"}
    rare = {"code": "", "player": "status", "told": {"a": 0.1, "b": 0.1}, "first": {"a": 0.0, "b": 0.0}}
    mix = {"name": "region", "groups": {"a": 40, "b": 20}, "reasons": [rare | {"gap": gap | {"value": 0.0}}, line | {"gap": gap}]}
    words, table = fairness_parts(
        {"attributes": [], "notes": [], "reasons": {"cases": 60, "compared_with": "portfolio", "attributes": [mix]}}
    )
    assert words.startswith(
        "What raises the scores that are flagged in each group, of 60 that were explained against the average of portfolio"
    )
    assert table.splitlines() == [
        "| region | a (40) | b (20) | largest difference |",
        "| --- | --- | --- | --- |",
        "| B1 billed | 50.0%, 12.5% | 25.0%, 0.0% | 0.2500 [0.1000, 0.4000], a / b |",
        "| status | 10.0%, 0.0% | 10.0%, 0.0% | 0.0000 [0.1000, 0.4000], a / b |",
    ]
