"""The page of the queue: what it is narrowed to, which case is claimed from it, and what looking at some of them finds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qsl

import polars as pl
import pytest

from tests.dashboards.shown import CLIENTS, pressed, said
from tests.explaining.runs import Made, records_of
from trmfin.scoring.journal import Journal
from trmfin.scoring.queue import Query, queue
from trmfin.scoring.review import Reviewer, Step
from trmfin.scoring.views import opened

testing = pytest.importorskip("streamlit.testing.v1", reason="streamlit is not installed")


def test_the_queue_filters_by_the_address_and_by_hand(page: Callable[..., testing.AppTest], made: Made) -> None:
    run = opened(made.run)
    assert f"{CLIENTS} cases, page 1 of 1" in said(page("queue"))
    app = page("queue", decision="flagged")
    assert f"{run.flagged} cases" in said(app)
    {box.label: box for box in app.selectbox}["Review"].select("decided")
    app.run()
    assert "No case fits these filters" in said(app) and app.query_params["state"] in ("decided", ["decided"])
    assert all("page 1 of 1" in said(page("queue", page=number)) for number in ("nonsense", "0", "99"))


def test_the_riskiest_open_case_is_claimed_and_opened(page: Callable[..., testing.AppTest], made: Made, tmp_path: Path) -> None:
    run = opened(made.run)
    names = run.scores.filter(pl.col("decision") == "flagged").sort("score", descending=True).collect()["sample_id"].to_list()
    with Journal(f"sqlite:///{tmp_path}/journal.db") as journal:
        journal.act(Reviewer(name="ben", roles=("analyst",)), run.seal, names[0], Step(action="claim"))
        app = page("queue")
        (button,) = (button for button in app.button if button.label == "Claim the riskiest open case")
        button.click()
        app.run()
        assert not app.exception and app.title[0].value == names[1] and "review: **claimed** by ann" in said(app)
        for name in names[2:]:
            journal.act(Reviewer(name="ben", roles=("analyst",)), run.seal, name, Step(action="claim"))
    app = page("queue")
    (button,) = (button for button in app.button if button.label == "Claim the riskiest open case")
    button.click()
    app.run()
    assert "Nothing is left to claim" in said(app)


def test_what_the_queue_is_narrowed_to_goes_along_to_the_case_and_back(page: Callable[..., testing.AppTest], made: Made) -> None:
    narrowed = {"run": made.run.name, "sort": "sample_id", "search": "s1", "page": "1"}
    wanted = Query(sort="sample_id", descending=False, search="s1")
    reviewed = pl.DataFrame(schema={"sample_id": pl.String, "state": pl.String, "owner": pl.String})
    names = queue(opened(made.run), reviewed, wanted).rows["sample_id"].to_list()
    app = page("queue", **narrowed)
    (row,) = (row for row in app.get("page_link") if row.proto.label.startswith(f"{names[0]} "))
    assert dict(parse_qsl(row.proto.query_string)) == narrowed | {"case": names[0]}
    app = page("case", case=names[0], **narrowed)
    pressed(app, "Next open case")
    assert app.title[0].value == names[1]
    (back,) = (link for link in app.get("page_link") if link.proto.label == "Back to the queue")
    assert dict(parse_qsl(back.proto.query_string)) == narrowed
    app = page("queue", **narrowed)
    pressed(app, "Claim the first open case of these")
    assert app.title[0].value == names[0] and "review: **claimed** by ann" in said(app)


def test_a_band_goes_along_and_its_cases_are_claimed_flagged_or_not(page: Callable[..., testing.AppTest], made: Made) -> None:
    run = opened(made.run)
    lowest = run.policy.bands[0][0]
    names = run.scores.filter(pl.col("band") == lowest).sort("score", descending=True).collect()["sample_id"].to_list()
    app = page("queue", band=lowest)
    assert all(row.proto.query_string.count(f"band={lowest}") for row in app.get("page_link")) and len(names) > 1
    pressed(app, "Claim the first open case of these")
    assert app.title[0].value == names[0] and "not flagged by the model" in said(app)


@pytest.mark.parametrize("number", ["²", "9" * 20, "-1", "nonsense"])
def test_a_page_that_is_no_number_is_the_first(page: Callable[..., testing.AppTest], made: Made, number: str) -> None:
    assert "page 1 of 1" in said(page("queue", page=number))
    assert "This run has no such sample" in said(page("case", page=number, case="nobody"))
    assert page("case", page=number, case="s1").title[0].value == "s1"


def test_the_queue_marks_cases_whose_reasons_are_told(page: Callable[..., testing.AppTest], made: Made) -> None:
    told = {row.proto.label.partition(" ")[0] for row in page("queue").get("page_link") if "with reasons" in row.proto.label}
    assert told == {record["sample_id"] for record in records_of(made.run)}


def test_looking_at_more_cases_finds_more(page: Callable[..., testing.AppTest]) -> None:
    app = page("queue")
    app.slider[0].set_value(3)
    app.run()
    few = [metric.value for metric in app.metric]
    app.slider[0].set_value(9)
    app.run()
    assert few[0] > app.metric[0].value and few[1] < app.metric[1].value
