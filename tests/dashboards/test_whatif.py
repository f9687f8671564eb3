"""What-if and replays, as Streamlit runs them: a process scores, the page says that nothing is decided, and nothing is written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.dashboards.shown import CLIENTS, pressed, said
from tests.explaining.runs import Made, explained, forged, records_of
from trmfin.scoring.journal import Journal
from trmfin.scoring.views import opened

testing = pytest.importorskip("streamlit.testing.v1", reason="streamlit is not installed")


def with_edits(app: Any, made: Made, name: str, sample: dict[int, Any] | None = None, events: dict[int, Any] | None = None) -> Any:
    """The page after cells were edited and a score was asked for."""
    seal = opened(made.run).seal
    for part, cells in (("sample", sample), ("events", events)):
        app.session_state[f"{part} of {seal} {name}"] = {"edited_rows": cells or {}, "added_rows": [], "deleted_rows": []}
    return pressed(app, "Score it so")


@pytest.fixture
def record(made: Made) -> dict[str, Any]:
    return max((record for record in records_of(made.run)), key=lambda record: len(record["data"]["case"]["events"]))


def test_an_edit_gives_another_score_that_is_no_decision(
    page: Callable[..., testing.AppTest], made: Made, record: dict[str, Any], tmp_path: Path
) -> None:
    before = {path: (path.read_bytes() if path.is_file() else b"", path.stat().st_mtime_ns) for path in made.run.rglob("*")}
    name, case = record["sample_id"], record["data"]["case"]
    app = page("whatif", bundles=(made.bundle_folder,), case=name)
    assert "**Not a decision:** nothing is written, to the run or to the journal." in said(app)
    assert [list(table.value.columns)[0] for table in app.data_editor] == ["limit", "keep event"]
    assert list(app.data_editor[1].value["event_id"]) == [event["event_id"] for event in reversed(case["events"])]
    assert app.data_editor[0].value["limit"][0] == case["sample"]["limit"] / 100
    app = with_edits(app, made, name)
    assert [metric.value for metric in app.metric] == [f"{record['inference']['score']:.4f}"] * 2 and "Nothing was edited" in said(app)
    app = with_edits(app, made, name, {0: {"limit": 12.34}}, {0: {"keep event": False}, 1: {"billed": 999_999.99}})
    assert app.metric[0].value == f"{record['inference']['score']:.4f}" != app.metric[1].value
    changes, steps = (table.value for table in app.dataframe if table.editing_mode == "read_only")
    newest, second = (event["event_id"] for event in case["events"][:-3:-1])
    assert list(zip(changes["where"], changes["column"], changes["after"], strict=True)) == [
        ("sample", "limit", "12.34"), (newest, "event", "left out"), (second, "billed", "999,999.99")
    ]  # fmt: skip
    assert list(steps["before"]) == pytest.approx(record["inference"]["logits"]) and (steps["change"].abs() > 1e-3).all()
    assert {path: (path.read_bytes() if path.is_file() else b"", path.stat().st_mtime_ns) for path in made.run.rglob("*")} == before
    with Journal(f"sqlite:///{tmp_path}/journal.db") as journal:
        assert list(journal.events()) == []


def test_what_cannot_be_used_is_said_and_so_is_a_missing_bundle(
    page: Callable[..., testing.AppTest], made: Made, record: dict[str, Any], tmp_path: Path
) -> None:
    name = record["sample_id"]
    app = page("whatif", bundles=(made.bundle_folder,), case=name)
    text = said(with_edits(app, made, name, events={0: {"event_type": None}}))
    assert f"what-if, event_type of {record['data']['case']['events'][-1]['event_id']}: is empty" in text
    assert "limit of the sample: found 1.005; expected an amount" in said(with_edits(app, made, name, sample={0: {"limit": 1.005}}))
    assert not app.metric
    assert "given: none; start with `python -m trmfin.dashboard RUN --bundle BUNDLE`" in said(page("whatif", case=name))
    other = explained(tmp_path, clients=7)
    text = said(page("whatif", bundles=(other.bundle_folder,), case=name))
    assert made.bundle.sha256[:12] in text and f"{other.bundle.sha256[:12]} (bundle)" in text


def test_only_a_case_with_a_record_can_be_edited(page: Callable[..., testing.AppTest], made: Made) -> None:
    explained_ = {record["sample_id"] for record in records_of(made.run)}
    other = next(f"s{n}" for n in range(CLIENTS) if f"s{n}" not in explained_)
    for name, words in ((other, "This score has no record"), ("nobody", "This run has no such sample"), ("", "No case is chosen")):
        app = page("whatif", bundles=(made.bundle_folder,), **({"case": name} if name else {}))
        assert words in said(app) and not app.data_editor and "Not a decision" in said(app)


def test_records_are_replayed_and_what_differs_is_named(page: Callable[..., testing.AppTest], made: Made, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(made.run, tmp_path / "run"))
    records = sorted(records_of(folder), key=lambda record: -record["inference"]["score"])
    place = [record["sample_id"] for record in records_of(folder)].index(records[0]["sample_id"])
    forged(place, lambda record: record["inference"].update(band="unheard of"))(folder)
    app = page("audit", runs=folder, bundles=(made.bundle_folder,))
    app.number_input[0].set_value(3)
    text = said(pressed(app, "Replay records"))
    assert f"Riskiest: {', '.join(record['sample_id'] for record in records[:3])}" in text
    assert "2 of 3 records stand; log-odds differ by" in text
    assert f"{records[0]['sample_id']}: inference.band was 'unheard of', is " in text
    app = page("case", runs=folder, bundles=(made.bundle_folder,), case=records[1]["sample_id"])
    assert "1 of 1 records stand" in said(pressed(app, "Replay this record"))


def test_a_replay_without_a_bundle_says_what_to_give_and_the_page_goes_on(page: Callable[..., testing.AppTest], made: Made) -> None:
    app = pressed(page("case", case=records_of(made.run)[0]["sample_id"]), "Replay this record")
    assert "start with `python -m trmfin.dashboard RUN --bundle BUNDLE`" in said(app)
    assert "What was done" in [subheader.value for subheader in app.subheader]
    assert "RUN --bundle BUNDLE" in said(pressed(page("audit"), "Replay records"))
