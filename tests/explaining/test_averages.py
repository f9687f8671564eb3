"""Whether the average of a group stands for its rows is measured once a bundle, and no reason is released against one that does not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.explaining.models import panel_world
from tests.explaining.runs import ALIKE, ASKED, Made, explained, records_of
from tests.scoring.models import World
from trmfin.errors import MissingExtra
from trmfin.explaining import averages as module
from trmfin.explaining.averages import CASES, averages
from trmfin.explaining.comparison import comparison
from trmfin.explaining.explainer import ROWS, Asked
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


def flagging(world: World, share: float) -> World:
    """The bundle's policy flags so many of its samples."""
    scores = score_rows(world.bundle, world.sequences, world.rows).score
    cutoff = 1.0 if share == 0 else float(np.sort(scores)[round((1 - share) * len(scores))])
    return replace(world, bundle=replace(world.bundle, policy=Policy(cutoff=cutoff)))


def by_hand(world: World, rows: np.ndarray) -> float:
    """The mean Jaccard index of these samples' principal players against the average of all applicants, and against its rows."""
    bundle, players, group = world.bundle, players_of(world.bundle.task), "all_applicants"
    average = Game.of(bundle, players, comparison(bundle.task, bundle.reference, group, "average"))
    of_rows = Game.of(bundle, players, comparison(bundle.task, bundle.reference, group, "rows", ROWS))
    one, other = (exact(game, world.sequences, rows).values[:, -1] for game in (average, of_rows))
    return float(np.mean([jaccard(principal(a), principal(b)) for a, b in zip(one, other, strict=True)]))


def test_what_is_kept_is_the_likeness_of_flagged_samples_evenly_spaced_by_score(world: World) -> None:
    some = flagging(world, 0.6)
    scores = score_rows(some.bundle, some.sequences, some.rows).score
    high = np.argsort(-scores, kind="stable")[: int((scores >= some.bundle.policy.cutoff).sum())]
    assert len(high) > CASES
    chosen = np.sort(high[np.linspace(0, len(high) - 1, CASES).round().astype(int)])
    told: list[tuple[int, int]] = []
    found = averages(some.bundle, some.sequences, some.rows, tell=lambda done, groups: told.append((done, groups)))
    assert found == {"all_applicants": {"cases": CASES, "jaccard": by_hand(some, chosen)}}
    assert 0 < found["all_applicants"]["jaccard"] < 1, "neither form is compared with itself"
    assert told == [(1, 1)]


def test_where_too_few_are_flagged_the_highest_scores_are_explained(world: World) -> None:
    nobody = flagging(world, 0.0)
    highest = np.argsort(-score_rows(nobody.bundle, nobody.sequences, nobody.rows).score, kind="stable")[:CASES]
    assert averages(nobody.bundle, nobody.sequences, nobody.rows)["all_applicants"]["jaccard"] == by_hand(nobody, np.sort(highest))
    few = averages(nobody.bundle, nobody.sequences, nobody.rows[:5])["all_applicants"]
    assert few == {"cases": 5, "jaccard": by_hand(nobody, nobody.rows[:5])}, "all, where there are no more"


def test_a_group_of_one_row_is_its_own_average(world: World) -> None:
    one = replace(world.bundle, reference=world.bundle.reference.filter(pl.col("mask").arr.all())[:1])
    assert averages(one, world.sequences, world.rows)["all_applicants"]["jaccard"] == 1.0


def test_every_group_is_measured_and_nothing_is_said_that_cannot_be(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = pl.concat([world.bundle.reference, world.bundle.reference[:9].with_columns(group=pl.lit("portfolio"))])
    assert list(averages(replace(world.bundle, reference=groups), world.sequences, world.rows)) == ["all_applicants", "portfolio"]

    def missing(players: object) -> None:
        raise MissingExtra("no shap")

    monkeypatch.setattr(module, "check_sampler", missing)
    assert averages(world.bundle, world.sequences, world.rows) == {}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return explained(tmp_path_factory.mktemp("explained"))


@pytest.mark.parametrize(("alike", "said"), [(0.7, "Jaccard index 0.70, below 0.75"), (None, "the bundle does not say whether")])
def test_no_reason_is_released_against_an_average_that_does_not_stand_for_its_rows(
    alike: float | None, said: str, made: Made, tmp_path: Path
) -> None:
    card = {} if alike is None else {"averages": {"all_applicants": {"cases": 12, "jaccard": alike}}}
    bundle = replace(made.bundle, card=card)
    score_run(bundle, made.prepared, tmp_path / "run", threads=1, explaining=Records(asked=ASKED))
    for record in records_of(tmp_path / "run"):
        assert record["checks"]["average"] == "fail" and record["attribution"]["comparison"]["alike"] == alike
        assert any(said in why and why.endswith("score with --comparison-form rows") for why in record["needs_human"])
        assert not any(line.startswith("reasons") for line in as_text(record)), "candidates are told as such"


def test_rows_need_no_average(made: Made, tmp_path: Path) -> None:
    score_run(
        replace(made.bundle, card={}),
        made.prepared,
        tmp_path / "run",
        threads=1,
        explaining=Records(asked=Asked(which="all", group="all_applicants", form="rows")),
    )
    for record in records_of(tmp_path / "run"):
        assert "average" not in record["checks"] and record["attribution"]["comparison"]["alike"] is None


def test_a_replay_asks_the_bundle_again(made: Made) -> None:
    manifest = json.loads((made.run / "manifest.json").read_text())
    (record, *_) = records_of(made.run)
    assert record["attribution"]["comparison"]["alike"] == ALIKE["averages"]["all_applicants"]["jaccard"]
    assert not Replayer(made.bundle, manifest).again(record, 0).differences
    for change in ({"alike": 0.99}, {"alike": None}):
        forged = json.loads(json.dumps(record))
        forged["attribution"]["comparison"].update(change)
        assert any("alike" in said for said in Replayer(made.bundle, manifest).again(forged, 0).differences)
