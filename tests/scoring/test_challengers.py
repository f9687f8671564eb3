"""Challengers are shown as the evaluation found them, even where they win."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT
from trmfin.errors import RunError
from trmfin.scoring.challengers import contest
from trmfin.scoring.views import opened
from trmfin.shipped import shipped_folder

CREDIT, CARDS = (ROOT / "docs" / "results" / f"{name}.json" for name in ("credit", "cards-windows"))


def test_models_and_differences_are_those_of_the_report_of_this_task() -> None:
    run, report = opened(shipped_folder("sample_data") / "payments" / "run"), json.loads(CREDIT.read_text())
    found = contest(run, [CREDIT, CARDS])
    assert found and found.challenged and found.words == report["protocol"]["words"] and found.models["model"][0] == "trm"
    assert set(found.models["model"]) == set(report["models"]) and len(found.models) > 3
    for row in found.models.iter_rows(named=True):
        told = report["models"][row["model"]]
        assert (row["AUC"], row["log-loss"]) == (told["auc"]["mean"], told["log_loss"]["mean"])
    for row in found.less.filter(metric="AUC").iter_rows(named=True):
        less = report["differences"][row["challenger"]]["auc"]
        assert (row["difference"], row["low"], row["high"]) == (less["mean"], less["low"], less["high"])
    assert set(found.less["challenger"]) == set(report["models"]) - {"trm"}


def test_an_evaluation_of_another_task_is_none_and_one_without_challengers_has_no_differences(tmp_path: Path) -> None:
    run = opened(shipped_folder("sample_data") / "payments" / "run")
    assert contest(run, []) is None and contest(run, [CARDS]) is None
    report = json.loads(CREDIT.read_text())
    alone = {key: value for key, value in report.items() if key != "differences"} | {"models": {"trm": report["models"]["trm"]}}
    (tmp_path / "report.json").write_text(json.dumps(alone))
    found = contest(run, [tmp_path / "report.json"])
    assert found and not found.challenged and found.less.is_empty() and found.models["model"].to_list() == ["trm"]


def test_a_report_is_of_its_task_whatever_file_the_pipeline_stands_in(tmp_path: Path) -> None:
    run, report = opened(shipped_folder("sample_data") / "payments" / "run"), json.loads(CREDIT.read_text())
    (tmp_path / "report.json").write_text(json.dumps(report | {"pipeline": "mine"}))
    assert contest(run, [tmp_path / "report.json"]) is not None
    (tmp_path / "report.json").write_text(json.dumps(report | {"task": "mine"}))
    assert contest(run, [tmp_path / "report.json"]) is None


WITHOUT_METRICS = {"task": "payment_history", "protocol": {"words": "five folds"}, "models": {"trm": {}}}


@pytest.mark.parametrize(
    "text",
    [None, "{", "[]", "{}", json.dumps(WITHOUT_METRICS), json.dumps(WITHOUT_METRICS | {"models": ["trm"]}), json.dumps({"models": {}})],
)
def test_what_is_no_report_is_refused(text: str | None, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    if text is not None:
        file.write_text(text)
    run = opened(shipped_folder("sample_data") / "payments" / "run")
    with pytest.raises(RunError, match="report.json: is no report.json that `python -m trmfin.evaluate` wrote"):
        contest(run, [file])
