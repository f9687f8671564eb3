"""Every page, as Streamlit runs it: what it shows is what the files and the journal say, and what is wrong is said on it."""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.architecture.tree import ROOT
from tests.dashboards.shown import CLIENTS, pressed, said
from tests.explaining.runs import ASKED, Made, explained, records_of
from tests.scoring.models import PANEL, bundle_for, panel, saved
from trmfin.data.files import raw_from_frame, read_json, write_json
from trmfin.data.prepared import Prepared
from trmfin.data.seal import sealed
from trmfin.errors import RunError
from trmfin.explaining.pages import otherwise
from trmfin.scoring.drift import drift
from trmfin.scoring.journal import Journal
from trmfin.scoring.outcomes import append
from trmfin.scoring.review import ACTIONS, Reviewer, Step
from trmfin.scoring.runs import score_run
from trmfin.scoring.views import opened
from trmfin.sequences.task import Target

testing = pytest.importorskip("streamlit.testing.v1", reason="streamlit is not installed")
NOTE = "Seen the payslip of May, salary doubled."


def do(app: testing.AppTest, action: str, code: str | None = None, note: str = "") -> testing.AppTest:
    """Take a step on the page of a case."""
    labelled = {box.label: box for box in app.selectbox}
    labelled["What to do"].select(action)
    app.run()
    if code is not None:
        {box.label: box for box in app.selectbox}["Code"].select(code)
    if note:
        app.text_area[0].input(note)
    (button,) = (button for button in app.button if button.label == action.capitalize())
    button.click()
    app.run()
    assert not app.exception, app.exception
    return app


def test_the_portfolio_counts_what_the_run_holds(page: Callable[..., testing.AppTest], made: Made) -> None:
    app, run = page(), opened(made.run)
    flagged, index = f"{run.flagged} ({run.flagged / CLIENTS:.1%})", f"{drift(run).psi:.4f}"
    assert [metric.value for metric in app.metric] == [str(CLIENTS), flagged, "5", "0", str(run.flagged), index]
    assert "Too few to tell: the stability index" in said(app) and f"chance would give {drift(run).by_chance:.4f}" in said(app)


def test_a_case_shows_its_reasons_and_every_step(page: Callable[..., testing.AppTest], made: Made) -> None:
    record = next(record for record in records_of(made.run) if record["reasons"] and record["mitigating"])
    text = said(page("case", case=record["sample_id"]))
    for reason in (*record["reasons"], *record["mitigating"]):
        assert f"**{reason['code']}** {reason['text']}" in text and f"{reason['contribution']:+.3f} log-odds" in text
    assert f"What would have led to another result: {otherwise(record)}." in text
    assert f"**Score {record['inference']['score']:.4f}**" in text and f"by {record['attribution']['residual']:.1e}" in text


def test_a_case_without_a_record_says_so_and_one_that_is_not_there_too(page: Callable[..., testing.AppTest], made: Made) -> None:
    explained_ = {record["sample_id"] for record in records_of(made.run)}
    other = next(f"s{n}" for n in range(CLIENTS) if f"s{n}" not in explained_)
    assert "This score has no record" in said(page("case", case=other))
    assert "This run has no such sample" in said(page("case", case="nobody"))
    assert "No case is chosen" in said(page("case"))


def test_what_was_typed_stays_with_its_case_and_the_address_goes_on_to_the_next(
    page: Callable[..., testing.AppTest], made: Made, tmp_path: Path
) -> None:
    run = opened(made.run)
    names = run.scores.filter(pl.col("decision") == "flagged").sort("score", descending=True).collect()["sample_id"].to_list()
    app = page("case", case=names[0])
    app.text_area[0].input("Of the first case.")
    app.run()
    pressed(app, "Next open case")
    assert app.title[0].value == names[1] and app.text_area[0].value == ""
    assert app.query_params["case"] in (names[1], [names[1]])
    pressed(app, "Claim")
    with Journal(f"sqlite:///{tmp_path}/journal.db") as journal:
        assert [journal.case(run.seal, name).state for name in names[:2]] == ["open", "claimed"]


def test_a_page_without_a_case_leads_back_to_the_last_one(page: Callable[..., testing.AppTest], made: Made) -> None:
    app = page("case", case=records_of(made.run)[0]["sample_id"])
    del app.query_params["case"]
    app.run()
    links = [link.proto.label for link in app.get("page_link")]
    assert links == ["To the queue", f"Back to {records_of(made.run)[0]['sample_id']}"]


def test_a_run_that_is_not_there_is_not_another_without_a_word(page: Callable[..., testing.AppTest], made: Made) -> None:
    assert "No run here is called “nope”; this is “run”" in said(page(run="nope"))
    assert "No run here is called" not in said(page("queue", run=made.run.name))


def test_a_run_without_records_still_tells_what_people_made_of_it(page: Callable[..., testing.AppTest], made: Made, tmp_path: Path) -> None:
    score_run(made.bundle, made.prepared, tmp_path / "bare", threads=1)
    text = said(page("audit", runs=tmp_path / "bare"))
    assert "no records to replay" in text and "Nothing was decided yet" in text and "This run has no records. Score" in text


def test_from_a_claim_to_a_decision_with_a_second_pair_of_eyes(page: Callable[..., testing.AppTest], made: Made, tmp_path: Path) -> None:
    run, record = opened(made.run), records_of(made.run)[0]
    name, flagged = record["sample_id"], record["inference"]["decision"] == "flagged"
    override = "override down" if flagged else "override up"
    app = do(page("case", case=name), "claim")
    assert "review: **claimed** by ann" in said(app)
    (steps,) = (box for box in app.selectbox if box.label == "What to do")
    assert steps.value is None and "Release" not in [button.label for button in app.button], "a second click on Claim does nothing"
    assert steps.options == ["release", "accept", override, "refer", "request document"], "no override that goes with the model"
    assert "the note has 5 characters; write at least 20" in said(do(app, override, "other", "short"))
    assert "**claim** · ann" in said(app), "the rest of the page stands below the error"
    app = do(page("case", case=name), override, "other", NOTE)
    assert f"review: **awaiting second**, proposed by ann: {'not flagged' if flagged else 'flagged'}" in said(app)
    assert "takes four eyes. ann proposed it; a second person, an approver" in said(app)
    assert "What to do" not in [box.label for box in app.selectbox], "who proposed it is not offered to approve it"
    with Journal(f"sqlite:///{tmp_path}/journal.db") as journal:
        journal.act(Reviewer(name="ben", roles=("approver",)), run.seal, name, Step(action="approve"))
        assert [event.action for event in journal.history(run.seal, name)] == ["claim", override, "approve"]
        assert journal.history(run.seal, name)[1].record == record["sha256"]
        assert journal.verify()[0] == 3
    text = said(page("case", case=name))
    assert "review: **decided** by ann" in text and NOTE in text and "**approve** · ben" in text
    assert page().metric[3].value == "1"
    assert "1 cases decided, **1 (100.0%) otherwise than the model**" in said(page("audit"))


def test_somebody_elses_case_cannot_be_taken(page: Callable[..., testing.AppTest], made: Made, tmp_path: Path) -> None:
    run, name = opened(made.run), records_of(made.run)[0]["sample_id"]
    app = page("case", case=name)
    with Journal(f"sqlite:///{tmp_path}/journal.db") as journal:
        journal.act(Reviewer(name="ben", roles=("analyst",)), run.seal, name, Step(action="claim"))
    (button,) = (button for button in app.button if button.label == "Claim")
    button.click()
    app.run()
    assert "claim" in said(app) and not app.exception
    with Journal(f"sqlite:///{tmp_path}/journal.db") as journal:
        assert journal.case(run.seal, name).version == 1


def test_bytes_and_chain_are_checked_on_demand(page: Callable[..., testing.AppTest], made: Made, tmp_path: Path) -> None:
    app = page("audit")
    for button, words in (
        ("Check every byte of this run", "3 files are as they were written"),
        ("Check the journal", "Chain intact, 0 events"),
    ):
        (found,) = (one for one in app.button if one.label == button)
        found.click()
        app.run()
        assert words in said(app)
    folder = Path(shutil.copytree(made.run, tmp_path / "run"))
    path = folder / "records/part-00000.jsonl"
    path.write_bytes(path.read_bytes()[:-1] + b" ")
    app = page("audit", runs=folder)
    app.button[0].click()
    app.run()
    assert "records/part-00000.jsonl was changed" in said(app)


@pytest.mark.parametrize("name", ["portfolio", "queue", "case", "whatif", "performance", "drift", "audit"])
def test_a_run_that_cannot_be_read_is_a_message_on_every_page(
    name: str, page: Callable[..., testing.AppTest], made: Made, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(made.run, tmp_path / "run"))
    path = folder / "scores/part-00000.parquet"
    path.write_bytes(path.read_bytes()[:-40])
    app = page(name, runs=folder, case="s1")
    assert "cannot be read" in said(app) and "restore it from a copy" in said(app)
    assert "no manifest.json" in said(page(name, runs=tmp_path, case="s1"))


def test_nothing_is_written_to_a_run(page: Callable[..., testing.AppTest], made: Made) -> None:
    before = {path: path.stat().st_mtime_ns for path in made.run.rglob("*")}
    name = records_of(made.run)[1]["sample_id"]
    do(page("case", case=name), "claim")
    for other in ("portfolio", "queue", "audit", "drift", "performance", "export", "whatif"):
        page(other)
    assert {path: path.stat().st_mtime_ns for path in made.run.rglob("*")} == before


def test_a_visitor_may_look_and_not_act(page: Callable[..., testing.AppTest], made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashboards.frame.at_this_machine", lambda: False)
    app = page("case", case=records_of(made.run)[0]["sample_id"])
    labels = {button.label for button in app.button}
    assert "You may look, not act" in said(app) and not labels & {*(action.capitalize() for action in ACTIONS), "Replay this record"}


def test_challengers_stand_beside_the_model_where_an_evaluation_is_given(
    page: Callable[..., testing.AppTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = ROOT / "sample_data" / "payments" / "run"
    assert "No evaluation of this task is given" in said(page("performance", runs=sample))
    monkeypatch.setenv("TRMFIN_REPORTS", str(ROOT / "docs" / "results" / "credit.json"))
    app = page("performance", runs=sample)
    models, less = (table.value for table in app.dataframe)
    assert list(models["model"])[0] == "trm" and {"lightgbm", "logistic", "gru"} <= set(models["model"])
    assert "5 stratified folds" in said(app) and set(less["challenger"]) == set(models["model"]) - {"trm"}


def test_performance_waits_for_outcomes_and_then_judges(page: Callable[..., testing.AppTest], made: Made, tmp_path: Path) -> None:
    assert "Too few outcomes are known" in said(page("performance"))
    whole = explained(tmp_path, clients=60, asked=replace(ASKED, which="topk:1"))
    run = opened(whole.run)
    names = run.scores.collect().sort("score")["sample_id"].to_list()
    table = pl.DataFrame({"sample_id": names, "outcome": [n % 3 == 0 for n in range(60)]}).cast({"outcome": pl.Int8})
    append(run, raw_from_frame(table, "outcomes"), datetime(2026, 5, 1, tzinfo=UTC))
    app = page("performance", runs=whole.run)
    assert "60 of 60 scores have a known outcome" in said(app)
    table_shown = app.dataframe[0].value
    values = dict(zip(table_shown["metric"], table_shown["value"], strict=True))
    assert 0 < values["AUC"] < 1


def resealed(run: Path, folder: Path, **other: Any) -> Path:
    """The run with other entries in its manifest; None takes one out."""
    shutil.copytree(run, folder)
    manifest = {key: value for key, value in (read_json(folder / "manifest.json", RunError) | other).items() if value is not None}
    write_json(sealed({key: value for key, value in manifest.items() if key != "seal"}), folder / "manifest.json")
    return folder


def shifted(made: Made, folder: Path) -> Path:
    """The same clients with ten times their limits, scored by the same bundle."""
    data = Prepared.read(made.prepared)
    replace(data, samples=data.samples.with_columns(pl.col("limit") * 10)).write(folder / "prepared")
    score_run(made.bundle, folder / "prepared", folder / "shifted", threads=1)
    return folder / "shifted"


def test_drift_is_from_training_unless_another_run_is_chosen(page: Callable[..., testing.AppTest], made: Made, tmp_path: Path) -> None:
    app, found = page("drift"), drift(opened(made.run))
    assert app.metric[0].value == f"{found.psi:.4f}" and app.selectbox[0].options == ["the bundle's training data"]
    assert "Too few to tell: below 0.1" in said(app) and "cells of one client are not independent" in said(app)
    other = Path(shutil.copytree(made.run, tmp_path / "earlier"))
    app = page("drift", runs=Path(f"{made.run}{os.pathsep}{other}"), against="earlier")
    assert app.metric[0].value == "0.0000" and "Too few to tell: below 0.1" in said(app)


def test_the_worst_field_comes_first_and_the_chosen_one_stands_in_the_address(
    page: Callable[..., testing.AppTest], made: Made, tmp_path: Path
) -> None:
    later = shifted(made, tmp_path)
    app = page("drift", runs=later)
    table = app.dataframe[1].value
    assert table["field"][0] == "limit" and [list(words) for words in table["verdict"]] == [["too few to tell"]] * 3
    field = {box.label: box for box in app.selectbox}["Field"]
    assert field.options[0] == "the worst, limit at sample"
    field.select("billed at statements")
    app.run()
    assert not app.exception and app.query_params["field"] in ("billed at statements", ["billed at statements"])
    assert page("drift", runs=later, field="billed at statements").selectbox[1].value == "billed at statements"
    assert page("drift", runs=later, field="nonsense").selectbox[1].value == ""


def test_an_older_run_says_that_it_has_no_profile_and_still_compares_scores(
    page: Callable[..., testing.AppTest], made: Made, tmp_path: Path
) -> None:
    older = resealed(made.run, tmp_path / "older", profile=None)  # as an older version would have written it
    assert "older than profiles of its data" in said(page("drift", runs=older)) and not page("drift", runs=older).metric
    app = page("portfolio", runs=older)
    assert app.metric[-1].value == "not told" and "score again into another folder" in said(app)
    app = page("drift", runs=Path(f"{older}{os.pathsep}{made.run}"), against=made.run.name)
    assert app.metric[0].value == "0.0000" and "older than profiles of its data" in said(app)


def test_a_run_of_no_rows_is_a_message(page: Callable[..., testing.AppTest], made: Made, tmp_path: Path) -> None:
    bands = dict.fromkeys(opened(made.run).manifest["counts"]["bands"], 0)
    empty = resealed(made.run, tmp_path / "run", files={}, records=None, counts={"rows": 0, "shards": 0, "bands": bands})
    for name in ("portfolio", "drift"):
        assert "its input had no rows. Score a folder with samples" in said(page(name, runs=empty))


def test_a_task_without_log_odds_shows_its_fields(page: Callable[..., testing.AppTest], tmp_path: Path) -> None:
    data, target = panel(20), Target(name="default", head="quantiles", levels=(0.1, 0.9), meaning="loss")
    bundle, prepared = saved(data, bundle_for(data, replace(PANEL, targets=(target,))), tmp_path)
    score_run(bundle, prepared, tmp_path / "run", threads=1)
    app = page("drift", runs=tmp_path / "run")
    assert "kept no scores to compare with" in said(app) and len(app.dataframe[0].value) == 3
    assert page("portfolio", runs=tmp_path / "run").metric[-1].value == "not told"


def test_an_export_is_checked_first_and_noted_in_the_journal(page: Callable[..., testing.AppTest], made: Made, tmp_path: Path) -> None:
    app = page("export")
    app.radio[0].set_value(app.radio[0].options[-1])
    app.button[0].click()
    app.run()
    assert not app.exception and "Download" in app.get("download_button")[0].proto.label
    frame = importlib.import_module("dashboards.frame")
    frame.exported(opened(made.run).seal, "", "zip")
    with Journal(f"sqlite:///{tmp_path}/journal.db") as journal:
        assert [(event.action, event.code, event.case) for event in journal.events()] == [("export", "zip", "")]
    folder = Path(shutil.copytree(made.run, tmp_path / "run"))
    (folder / "records/part-00000.jsonl").write_bytes(b"")
    app = page("export", runs=folder)
    app.radio[0].set_value(app.radio[0].options[-1])
    app.button[0].click()
    app.run()
    assert "records/part-00000.jsonl was changed" in said(app)


def test_a_visitor_exports_nothing(page: Callable[..., testing.AppTest], made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashboards.frame.at_this_machine", lambda: False)
    assert "You may look, not export" in said(page("export"))
    assert not page("case", case=records_of(made.run)[0]["sample_id"]).get("download_button")
