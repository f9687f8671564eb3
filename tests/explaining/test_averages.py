"""Whether the average of a group stands for its rows is measured once a bundle, and no reason is released against one that does not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.explaining.models import panel_world
from tests.explaining.runs import ALIKE, ASKED, MEASURED, Made, explained, records_of
from tests.scoring.models import World
from trmfin.errors import MissingExtra
from trmfin.explaining import averages as module
from trmfin.explaining.averages import averages
from trmfin.explaining.comparison import comparison
from trmfin.explaining.explainer import Asked
from trmfin.explaining.pages import as_text
from trmfin.explaining.players import players_of
from trmfin.explaining.reasons import jaccard, principal
from trmfin.explaining.records import Records
from trmfin.explaining.replay import Replayer
from trmfin.explaining.shapley import Game, exact
from trmfin.learn.policy import Policy
from trmfin.scoring.engine import score_rows
from trmfin.scoring.runs import score_run


@pytest.fixture(scope="module")
def world() -> World:
    return panel_world(40)


def flagging(world: World, count: int) -> World:
    """The bundle's policy flags so many of its samples."""
    ranked = np.sort(scores_of(world))[::-1]
    return replace(world, bundle=replace(world.bundle, policy=Policy(cutoff=float(ranked[count - 1]) if count else 1.0)))


def scores_of(world: World) -> np.ndarray:
    return score_rows(world.bundle, world.sequences, world.rows).score


def by_hand(world: World, rows: np.ndarray) -> list[float]:
    """The Jaccard indices of these samples' principal players against the average of all applicants, and against ten of its rows."""
    bundle, players, group = world.bundle, players_of(world.bundle.task), "all_applicants"
    average = Game.of(bundle, players, comparison(bundle.task, bundle.reference, group, "average"))
    of_rows = Game.of(bundle, players, comparison(bundle.task, bundle.reference, group, "rows", 10))
    one, other = (exact(game, world.sequences, rows).values[:, -1] for game in (average, of_rows))
    return [jaccard(principal(a), principal(b)) for a, b in zip(one, other, strict=True)]


def test_what_is_kept_is_how_alike_flagged_samples_are_in_both_forms(world: World) -> None:
    flags = flagging(world, 15)
    told: list[tuple[int, int]] = []
    (found,) = averages(flags.bundle, flags.sequences, flags.rows, tell=lambda *now: told.append(now)).values()
    alike = by_hand(flags, np.flatnonzero(scores_of(flags) >= flags.bundle.policy.cutoff))
    highest = np.argsort(-scores_of(flags), kind="stable")[:24]
    assert len(alike) == 15 and found["cases"] == 24 and found["least_score"] == np.sort(scores_of(flags))[-24], "too few are flagged"
    assert found["jaccard"] == pytest.approx(np.mean(by_hand(flags, highest)), abs=1e-12)
    assert told == [(case, 24) for case in range(1, 25)]
    more = flagging(world, 25)
    (found,) = averages(more.bundle, more.sequences, more.rows).values()
    alike = by_hand(more, np.argsort(-scores_of(more), kind="stable")[:25])
    one_less = [float(np.mean(alike[:place] + alike[place + 1 :])) for place in range(25)]
    assert min(abs(found["jaccard"] - mean) for mean in one_less) < 1e-12, "24 of the 25 that are flagged"
    assert found["least_score"] == more.bundle.policy.cutoff and 0 < found["jaccard"] < 1, "neither form is compared with itself"
    assert found["standard_error"] == pytest.approx(np.std(alike, ddof=1) / 24**0.5, rel=0.1)


def test_where_there_are_few_samples_or_little_time_less_is_explained_and_said(world: World) -> None:
    few = averages(world.bundle, world.sequences, world.rows[:13])["all_applicants"]
    assert few["cases"] == 13 and few["jaccard"] == pytest.approx(np.mean(by_hand(world, world.rows[:13])), abs=1e-12)
    assert few["least_score"] == min(world.bundle.policy.cutoff, scores_of(world)[:13].min())
    assert averages(world.bundle, world.sequences, world.rows, seconds=0)["all_applicants"]["cases"] == 12, "fewer say nothing"
    assert averages(world.bundle, world.sequences, world.rows[:11]) == {}


def test_samples_are_looked_for_among_evenly_spaced_ones_of_those_given(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOKED_AT", 3)
    monkeypatch.setattr(module, "LEAST", 3)
    given = world.rows[1:40:2]
    found = averages(world.bundle, world.sequences, given)["all_applicants"]
    assert found["cases"] == 3 and found["jaccard"] == pytest.approx(np.mean(by_hand(world, given[[0, 10, 19]])), abs=1e-12)


def test_a_group_of_one_row_is_its_own_average(world: World) -> None:
    one = replace(world.bundle, reference=world.bundle.reference.filter(pl.col("mask").arr.all())[:1])
    assert averages(one, world.sequences, world.rows)["all_applicants"]["jaccard"] == 1.0


def test_every_group_is_measured_and_nothing_is_said_that_cannot_be(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = pl.concat([world.bundle.reference, world.bundle.reference[:9].with_columns(group=pl.lit("portfolio"))])
    assert list(averages(replace(world.bundle, reference=groups), world.sequences, world.rows[:12])) == ["all_applicants", "portfolio"]
    of_amounts = replace(world.bundle.task, targets=(replace(world.bundle.task.target("default"), head="quantiles", levels=(0.5,)),))
    assert averages(replace(world.bundle, task=of_amounts), world.sequences, world.rows) == {}, "no log-odds"

    def missing(players: object) -> None:
        raise MissingExtra("no shap")

    monkeypatch.setattr(module, "check_sampler", missing)
    assert averages(world.bundle, world.sequences, world.rows) == {}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return explained(tmp_path_factory.mktemp("explained"))


def records_with(made: Made, out: Path, card: dict[str, Any], asked: Asked = ASKED, **settings: Any) -> list[dict[str, Any]]:
    score_run(replace(made.bundle, card=card), made.prepared, out / "run", threads=1, explaining=Records(asked=asked), **settings)
    return records_of(out / "run")


@pytest.mark.parametrize(
    ("alike", "said"), [(0.7, "Jaccard index 0.70, below 0.75"), (None, "the bundle has not measured, for such a score")]
)
def test_no_reason_is_released_against_an_average_that_does_not_stand_for_its_rows(
    alike: float | None, said: str, made: Made, tmp_path: Path
) -> None:
    card = {} if alike is None else {"averages": {"all_applicants": MEASURED | {"jaccard": alike}}}
    for record in records_with(made, tmp_path, card):
        assert record["checks"]["average"] == "fail" and record["attribution"]["comparison"]["alike"] == alike
        assert any(said in why and why.endswith("score with --comparison-form rows") for why in record["needs_human"])
        assert "reasons" not in [line.split(" (")[0] for line in as_text(record)], "they are told as candidates"


def test_of_lower_scores_other_players_and_fewer_steps_nothing_is_known(made: Made, tmp_path: Path) -> None:
    scores = sorted(record["inference"]["score"] for record in records_of(made.run))
    card = {"averages": {"all_applicants": MEASURED | {"least_score": scores[6]}}}
    for record in records_with(made, tmp_path / "high", card):
        high = record["inference"]["score"] >= scores[6]
        assert record["checks"]["average"] == ("pass" if high else "fail")
        assert record["attribution"]["comparison"]["alike"] == (0.9 if high else None)
    ways = {"view": (replace(ASKED, view="histories"), {}), "steps": (ASKED, {"steps": 1}), "halting": (ASKED, {"halt_epsilon": 1e9})}
    for name, (asked, settings) in ways.items():
        found = records_with(made, tmp_path / name, ALIKE, asked, **settings)
        assert {record["checks"]["average"] for record in found} == {"fail"}


def test_rows_need_no_average(made: Made, tmp_path: Path) -> None:
    for record in records_with(made, tmp_path, {}, replace(ASKED, form="rows")):
        assert "average" not in record["checks"] and record["attribution"]["comparison"]["alike"] is None


def test_a_replay_asks_the_bundle_again(made: Made) -> None:
    manifest = json.loads((made.run / "manifest.json").read_text())
    (record, *_) = records_of(made.run)
    assert record["attribution"]["comparison"]["alike"] == MEASURED["jaccard"]
    assert not Replayer(made.bundle, manifest).again(record, 0).differences
    for change in ({"alike": 0.99}, {"alike": None}):
        forged = json.loads(json.dumps(record))
        forged["attribution"]["comparison"].update(change)
        assert any("alike" in said for said in Replayer(made.bundle, manifest).again(forged, 0).differences)
