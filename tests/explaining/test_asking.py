"""A scorer process: it answers as the run was made, says what is wrong, is started anew after it died, and ends with who asked."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.architecture.tree import ROOT
from tests.explaining.runs import ASKED, Made, explained, records_of
from trmfin.errors import BundleError, ConfigError, ScorerError
from trmfin.explaining.asking import CARD, Scorer, bundle_of, card_of, identity
from trmfin.explaining.replayed import Replayed, summed_up, to_replay
from trmfin.explaining.scorer import Answering, main
from trmfin.learn.bundle import Bundle
from trmfin.scoring.folder import read_manifest
from trmfin.scoring.views import opened

COMMAND = [sys.executable, "-m", "trmfin.explaining.scorer"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return explained(tmp_path_factory.mktemp("explained"), asked=replace(ASKED, counterfactual=True))


@pytest.fixture(scope="module")
def scorer(made: Made) -> Iterator[Scorer]:
    scorer = Scorer(made.bundle_folder)
    yield scorer
    scorer.close()


def alive(pid: int) -> bool:
    """Whether a process that is no child of ours, or was waited for, still runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_every_unedited_case_has_its_records_score_and_reasons(made: Made, scorer: Scorer) -> None:
    manifest = read_manifest(made.run)
    for record in records_of(made.run):
        found = scorer.score(manifest, record["data"]["case"])
        told, was = found["inference"], record["inference"]
        assert abs(told["score"] - was["score"]) <= 1e-5 and told["logits"] == pytest.approx(was["logits"], abs=1e-5)
        assert (told["step"], told["band"], told["decision"]) == (was["step"], was["band"], was["decision"])
        assert [reason["code"] for reason in found["reasons"]] == [reason["code"] for reason in record["reasons"]]


def test_the_runs_policy_decides_not_the_bundles(made: Made, scorer: Scorer) -> None:
    manifest = read_manifest(made.run)
    record = max(records_of(made.run), key=lambda record: record["inference"]["score"])
    strict = manifest | {"policy": manifest["policy"] | {"cutoff": 0.999}, "settings": manifest["settings"] | {"steps": 2}}
    told = scorer.score(strict, record["data"]["case"])["inference"]
    assert (told["decision"], told["cutoff"], len(told["logits"])) == ("not flagged", 0.999, 2)
    assert scorer.score(manifest, record["data"]["case"])["inference"]["decision"] == "flagged"


def test_a_record_is_replayed_and_one_that_was_changed_is_found(made: Made, scorer: Scorer) -> None:
    manifest, record = read_manifest(made.run), records_of(made.run)[3]
    found = scorer.replay(manifest, record)
    assert found.stands and found.sample_id == record["sample_id"] and found.logit_difference <= 1e-5
    record["inference"]["score"] = 0.01
    assert scorer.replay(manifest, record).differences[0].startswith("inference.score was 0.01, is ")


def test_an_error_is_an_answer_and_the_process_lives_on(made: Made, scorer: Scorer) -> None:
    manifest, case = read_manifest(made.run), records_of(made.run)[4]["data"]["case"]
    scorer.score(manifest, case)
    pid = scorer.pid
    with pytest.raises(ScorerError, match="case: its data cannot be read"):
        scorer.score(manifest, case | {"sample": "nonsense"})
    with pytest.raises(ScorerError, match=f"was made by bundle {'1' * 12}, not by {made.bundle.sha256[:12]}"):
        scorer.score(manifest | {"bundle": {"sha256": "1" * 64}}, case)
    with pytest.raises(ScorerError, match="this run has no records"):
        scorer.score({key: value for key, value in manifest.items() if key != "explain"}, case)
    assert scorer.score(manifest, case) and scorer.pid == pid


def test_one_that_was_killed_is_started_anew_even_in_the_midst_of_a_question(made: Made, scorer: Scorer) -> None:
    manifest, case = read_manifest(made.run), records_of(made.run)[4]["data"]["case"]
    scorer.score(manifest, case)
    first = scorer.pid
    assert first is not None
    os.kill(first, signal.SIGSTOP)  # the question waits, and so surely meets the kill
    killer = threading.Timer(0.5, os.kill, (first, signal.SIGKILL))
    killer.start()
    with pytest.raises(ScorerError, match=r"ended without an answer \(exit code -9\); ask again"):
        scorer.score(manifest, case)
    killer.join()
    assert scorer.pid is None
    assert scorer.score(manifest, case)["inference"]
    second = scorer.pid
    assert second is not None and second != first
    os.kill(second, signal.SIGKILL)
    while scorer.pid is not None:
        time.sleep(0.01)
    assert scorer.score(manifest, case)["inference"] and scorer.pid != second


def test_one_that_hangs_is_ended_in_time_and_who_waits_for_it_is_told(made: Made) -> None:
    manifest, case = read_manifest(made.run), records_of(made.run)[4]["data"]["case"]
    scorer = Scorer(made.bundle_folder)
    scorer.score(manifest, case)
    scorer.limit = 1.0
    assert scorer.pid is not None
    os.kill(scorer.pid, signal.SIGSTOP)
    said: list[str] = []

    def ask(limit: float) -> None:
        scorer.limit = limit
        with pytest.raises(ScorerError) as problem:
            scorer.score(manifest, case)
        said.append(str(problem.value))

    first = threading.Thread(target=ask, args=(1.5,))
    first.start()
    time.sleep(0.2)
    ask(0.2)
    first.join(30)
    assert "busy with other questions" in said[0] and "no answer within" in said[1] and scorer.pid is None


def test_threads_get_their_own_answers(made: Made, scorer: Scorer) -> None:
    manifest, records = read_manifest(made.run), records_of(made.run)
    found: dict[str, Any] = {}

    def ask(record: dict[str, Any]) -> None:
        found[record["sample_id"]] = scorer.score(manifest, record["data"]["case"])["inference"]["score"]

    threads = [threading.Thread(target=ask, args=(record,)) for record in records]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == {record["sample_id"]: pytest.approx(record["inference"]["score"], abs=1e-5) for record in records}


def test_it_ends_with_its_object_and_with_the_process_that_asks_however_that_dies(made: Made) -> None:
    manifest, case = read_manifest(made.run), records_of(made.run)[4]["data"]["case"]
    scorer = Scorer(made.bundle_folder)
    scorer.score(manifest, case)
    pid = scorer.pid
    assert pid is not None and alive(pid)
    del scorer
    gc.collect()
    assert not alive(pid)
    code = (
        "import json, sys, os, signal; from pathlib import Path; from trmfin.explaining.asking import Scorer\n"
        f"scorer = Scorer(Path({str(made.bundle_folder)!r})); run, case = json.load(sys.stdin)\n"
        "scorer.score(run, case); print(scorer.pid, 'torch' in sys.modules, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps([manifest, case]), capture_output=True, text=True, cwd=ROOT, check=False
    )
    number, torch = done.stdout.split()
    assert (done.returncode, torch) == (-9, "False")
    end = time.monotonic() + 30
    while alive(int(number)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not alive(int(number))


def test_nothing_but_answers_is_on_its_standard_output(made: Made) -> None:
    case = records_of(made.run)[4]["data"]["case"]
    good = json.dumps({"ask": "score", "run": read_manifest(made.run), "case": case})
    asked = "\n".join(["no json", "[]", '{"ask": "other"}', '{"ask": "score", "run": {}}', good]) + "\n"
    done = subprocess.run([*COMMAND, str(made.bundle_folder)], input=asked, capture_output=True, text=True, cwd=ROOT, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0 and lines[0] == {"bundle": made.bundle.sha256}
    assert all("the question cannot be read" in line["error"] for line in lines[1:5])
    assert set(lines[5]) == {"inference", "reasons", "mitigating", "needs_human"}


def test_a_bundle_that_cannot_be_loaded_is_the_answer(made: Made, tmp_path: Path) -> None:
    with pytest.raises(ScorerError, match="no such folder"):
        Scorer(tmp_path / "nowhere").score(read_manifest(made.run), {})


def test_without_a_bundle_it_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2 and "usage: python -m trmfin.explaining.scorer BUNDLE" in capsys.readouterr().err


def test_a_python_that_cannot_be_started_is_said(made: Made, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    with pytest.raises(ScorerError, match="no-python cannot be started"):
        Scorer(made.bundle_folder).score(read_manifest(made.run), {})


def test_a_question_is_answered_without_a_counterfactual(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search for one takes many scores; a record's replay does look for it."""
    answering, record = Answering(made.bundle), records_of(made.run)[4]
    searches: list[object] = []
    found = "trmfin.explaining.explainer.counterfactual"
    monkeypatch.setattr(found, lambda *arguments: searches.append(arguments) or pytest.fail("a counterfactual was looked for"))
    line = json.dumps({"ask": "score", "run": read_manifest(made.run), "case": record["data"]["case"]}).encode()
    assert "inference" in answering.to(line) and searches == []
    monkeypatch.undo()
    line = json.dumps({"ask": "replay", "run": read_manifest(made.run), "record": record}).encode()
    assert answering.to(line)["differences"] == ()


def test_a_record_that_lacks_parts_is_an_answer_and_the_process_goes_on(made: Made) -> None:
    answering = Answering(made.bundle)
    manifest, record = read_manifest(made.run), records_of(made.run)[0]
    for broken in ({key: value for key, value in record.items() if key != "checks"}, {"data": 7}):
        line = json.dumps({"ask": "replay", "run": manifest, "record": broken}).encode()
        assert "checks is missing" in answering.to(line)["differences"]
    line = json.dumps({"ask": "replay", "run": manifest, "record": [record]}).encode()
    assert "what was asked cannot be worked out" in answering.to(line)["error"]
    assert answering.to(json.dumps({"ask": "replay", "run": manifest, "record": record}).encode())["differences"] == ()


def test_a_bundles_card_is_shown_as_it_was_saved(made: Made, tmp_path: Path) -> None:
    assert card_of(made.bundle_folder).startswith("# Model card: panel")
    changed = Path(shutil.copytree(made.bundle_folder, tmp_path / "bundle"))
    (changed / CARD).write_text("# Model card: the best there is")
    with pytest.raises(BundleError, match="was changed since the bundle was saved"):
        card_of(changed)
    (changed / CARD).unlink()
    with pytest.raises(BundleError, match=CARD):
        card_of(changed)


def test_the_bundle_of_a_run_is_found_by_its_hash(made: Made, tmp_path: Path) -> None:
    manifest = read_manifest(made.run)
    other = tmp_path / "other"
    Bundle.load(made.bundle_folder).save(other)
    (other / "manifest.json").write_bytes((other / "manifest.json").read_bytes() + b"\n")
    assert identity(made.bundle_folder) == made.bundle.sha256
    assert bundle_of(manifest, [other, made.bundle_folder]) == made.bundle_folder
    with pytest.raises(ConfigError) as told:
        bundle_of(manifest, [other])
    assert made.bundle.sha256[:12] in str(told.value) and f"{identity(other)[:12]} (other)" in str(told.value)
    with pytest.raises(ConfigError, match="given: none; start with `python -m trmfin.dashboard RUN --bundle BUNDLE`"):
        bundle_of(manifest, [])
    with pytest.raises(BundleError, match="no such file"):
        identity(tmp_path)


def test_the_riskiest_records_are_chosen_or_some_evenly_spread(made: Made) -> None:
    run = opened(made.run)
    ranked = [record["sample_id"] for record in sorted(records_of(made.run), key=lambda record: -record["inference"]["score"])]
    assert to_replay(run, 3, "riskiest") == ranked[:3]
    assert to_replay(run, 3, "evenly spread") == [ranked[0], ranked[6], ranked[11]]
    assert to_replay(run, 1, "evenly spread") == ranked[:1]
    assert to_replay(run, 99, "riskiest") == to_replay(run, 99, "evenly spread") == ranked
    for count, choice in ((0, "riskiest"), (1, "any")):
        with pytest.raises(ConfigError, match="expected at least 1, riskiest or evenly spread"):
            to_replay(run, count, choice)  # type: ignore[arg-type]


def test_replays_are_summed_up() -> None:
    stands = Replayed(sample_id="a", logit_difference=1e-8, value_difference=0.0, differences=())
    falls = Replayed(sample_id="b", logit_difference=0.5, value_difference=0.0, differences=("score was 1, is 2",))
    assert summed_up([stands, falls]) == "1 of 2 records stand; log-odds differ by 5.0e-01 at most."
    assert summed_up([]).startswith("0 of 0")
