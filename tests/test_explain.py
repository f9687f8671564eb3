"""`python -m trmfin.explain`: prints a record for people, checks a run, and replays it."""

from __future__ import annotations

import json
import shutil
from copy import deepcopy
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tests.explaining.runs import ASKED, LINES, Made, broken, explained, forged, records_of
from trmfin import explain, score
from trmfin.command import application
from trmfin.explaining import sampling
from trmfin.explaining.pages import as_html


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return explained(tmp_path_factory.mktemp("explained"), asked=replace(ASKED, counterfactual=True))


def run(*words: object) -> Result:
    return CliRunner().invoke(application(explain.main), [str(word) for word in words])


def test_a_record_is_printed_with_its_verdict_reasons_and_every_step(made: Made) -> None:
    record = next(record for record in records_of(made.run) if record["reasons"] and not record["needs_human"])
    printed = run(made.run, "--id", record["sample_id"]).stdout
    assert printed.startswith(f"{record['sample_id']}  as of {record['as_of'][:10]}  score {record['inference']['score']:.4f}")
    for reason in record["reasons"]:
        assert f"  {reason['rank']}  {reason['code']:<6} {reason['contribution']:+7.3f}  {reason['text']}" in printed
    for reason in record["mitigating"]:
        assert f"  {reason['rank']}  {reason['code']:<6} {reason['contribution']:+7.3f}  {reason['text']}" in printed.partition("lowers")[2]
    for name, steps in record["attribution"]["values_by_step"].items():
        assert f"  {name:<8}  {' '.join(f'{value:+7.3f}' for value in steps)}" in printed
    assert "what would have led to another result: " in printed
    assert "mapping pass" in printed and record["record_id"] in printed


def test_a_record_that_needs_a_person_says_so_first(made: Made, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(made.run, tmp_path / "run"))
    forged(0, lambda r: r.update(needs_human=["a check failed <b>"]))(folder)
    name = records_of(folder)[0]["sample_id"]
    printed = run(folder, "--id", name).stdout
    assert printed.index("A PERSON MUST LOOK before a reason is released:\n  a check failed <b>") < printed.index(
        "candidates for reasons, not released"
    )
    assert "A person must look: a check failed &lt;b&gt;." in run(folder, "--id", name, "--format", "html").stdout


def test_json_is_the_record(made: Made) -> None:
    record = records_of(made.run)[4]
    assert json.loads(run(made.run, "--id", record["sample_id"], "--format", "json").stdout) == record


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags, self.texts = list[str](), list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not [value for name, value in attrs if name in ("src", "href")], "the page stands alone"
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_html_stands_alone_and_says_the_same(made: Made) -> None:
    record = next(record for record in records_of(made.run) if record["reasons"])
    page = Page()
    page.feed(run(made.run, "--id", record["sample_id"], "--format", "html").stdout)
    text = " ".join(page.texts)
    assert {"table", "style", "h1", "title"} <= set(page.tags) and "script" not in page.tags
    assert record["mitigating"] and "What lowers the score" in text
    for reason in (*record["reasons"], *record["mitigating"]):
        assert reason["text"] in text and f"{reason['contribution']:+.3f}" in text
    for name in record["attribution"]["values"]:
        assert name in text
    assert record["sha256"] in text and "@media print" in text


def test_what_a_record_says_is_no_markup_of_the_page(made: Made) -> None:
    record = deepcopy(records_of(made.run)[0])
    record["checks"] |= {"<script>": "<script>"}
    record["needs_human"] = ["<script>"]
    page = Page()
    page.feed(as_html(record))
    assert "script" not in page.tags and " ".join(page.texts).count("<script>") == 3


def test_without_a_sample_all_are_checked_and_the_highest_score_is_shown(made: Made) -> None:
    records = records_of(made.run)
    best = max(records, key=lambda record: record["inference"]["score"])
    printed = run(made.run).stdout
    people = sum(bool(record["needs_human"]) for record in records)
    assert printed.startswith(
        f"{made.run}: 12 records, each byte and the chain as written; {people} need a person before a reason is released\n"
        f"  reasons of the other {12 - people}:\n"
    )
    released = [reason["code"] for record in records if not record["needs_human"] for reason in record["reasons"]]
    assert 0 < people < 12 and f"  B      bills                {released.count('B'):>9,}" in printed
    for other, index in (records[0]["stability"]["groups"] | {"its own rows": records[0]["stability"]["agreement"]}).items():
        assert f"  compared with {other}: principal factors alike by {index:.2f} of 1 (Jaccard, mean of 1)" in printed
    assert f"the highest score:\n\n{best['sample_id']}  as of" in printed


def test_a_replay_says_that_all_stand_and_names_what_does_not(made: Made, tmp_path: Path) -> None:
    good = run(made.run, "--replay", "--bundle", made.bundle_folder)
    assert good.exit_code == 0 and "replayed 12 records: decisions and reasons are the same, log-odds differ by " in good.stdout
    folder = Path(shutil.copytree(made.run, tmp_path / "run"))
    forged(3, lambda r: r["inference"].update(score=0.01))(folder)
    bad = run(folder, "--replay", "--bundle", made.bundle_folder)
    assert bad.exit_code == 1 and "s3: inference.score was 0.01, is " in bad.stdout
    assert "error: replay: 1 of 12 records do not stand" in bad.stderr
    one = run(folder, "--id", "s2", "--replay", "--bundle", made.bundle_folder)
    assert one.exit_code == 0 and "replayed 1 records" in one.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--replay"], "error: explain: --replay works scores out again and needs the model; add --bundle"),
        (["--id", "nobody"], "has no record of sample 'nobody'"),
        (["--format", "json"], "error: --format: of no effect without --id, the sample whose record is wanted as json"),
        (["--bundle", "there"], "error: --bundle: of no effect without --replay"),
        (["--id", "s1", "--bundle", "there"], "error: --bundle: of no effect without --replay"),
        (["--id", "s1", "--replay", "--bundle", "there", "--format", "html"], "error: --format: of no effect with --replay"),
    ],
)
def test_what_cannot_be_done_is_one_line(words: list[str], said: str, made: Made) -> None:
    result = run(made.run, *words)
    assert result.exit_code == 1 and said in result.stderr and result.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [[], ["--id", "s4"], ["--replay", "--bundle", "BUNDLE"]])
def test_what_is_no_record_is_one_line_whatever_its_hashes(words: list[str], made: Made, tmp_path: Path) -> None:
    changes = {
        "inference.logits has 4 entries": lambda r: r["inference"].update(step=9),
        "checks is missing": lambda r: r.pop("checks"),
        "attribution.values is empty": lambda r: r["attribution"].update(values={}, values_by_step={}),
    }
    for number, (said, change) in enumerate(changes.items()):
        folder = Path(shutil.copytree(made.run, tmp_path / str(number)))
        broken(4, change)(folder)
        result = run(folder, *(str(made.bundle_folder) if word == "BUNDLE" else word for word in words))
        assert result.exit_code == 1 and said in result.stderr and "Traceback" not in result.output
        assert "line 5 (sample 's4')" in result.stderr and result.stderr.count("\n") == 1


def test_a_renamed_player_is_named_by_a_replay(made: Made, tmp_path: Path) -> None:
    def rename(record: dict[str, Any]) -> None:
        for name in ("values", "values_by_step"):
            record["attribution"][name]["luck"] = record["attribution"][name].pop("bills")

    folder = Path(shutil.copytree(made.run, tmp_path / "run"))
    forged(4, rename)(folder)
    result = run(folder, "--replay", "--bundle", made.bundle_folder)
    assert result.exit_code == 1 and "s4: attribution.values.bills was not there, is " in result.stdout
    assert result.stderr.endswith("1 of 12 records do not stand; they are named above\n")


def test_a_run_in_which_no_score_reaches_the_cutoff_says_so(made: Made, tmp_path: Path) -> None:
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps(made.bundle.policy.to_json() | {"cutoff": 0.999}))
    words = [made.bundle_folder, made.prepared, "--out", tmp_path / "run", "--policy", policy, "--explain", "adverse", "--threads", "1"]
    more = ["--comparison", "all_applicants"]
    assert CliRunner().invoke(application(score.main), [str(word) for word in (*words, *more)]).exit_code == 0
    assert (
        run(tmp_path / "run").stdout
        == f"{tmp_path / 'run'}: no score is at or above the policy's cut-off of 0.999, so there is no record\n"
    )


def test_a_changed_byte_is_named(made: Made, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(made.run, tmp_path / "run"))
    (folder / LINES).write_bytes((folder / LINES).read_bytes()[:-1])
    result = run(folder)
    assert result.exit_code == 1 and f"{LINES} was changed" in result.stderr


def test_a_run_without_records_and_a_folder_that_is_no_run_say_so(made: Made, tmp_path: Path) -> None:
    words = [str(made.bundle_folder), str(made.prepared), "--out", str(tmp_path / "plain"), "--threads", "1"]
    assert CliRunner().invoke(application(score.main), words).exit_code == 0
    assert "has no records; score again with --explain adverse, topk:N or all" in run(tmp_path / "plain").stderr
    assert "so it holds no run" in run(tmp_path).stderr


def test_scores_are_the_same_with_and_without_records(made: Made, tmp_path: Path) -> None:
    words = [str(made.bundle_folder), str(made.prepared), "--out", str(tmp_path / "plain"), "--threads", "1"]
    assert CliRunner().invoke(application(score.main), words).exit_code == 0
    name = "scores/part-00000.parquet"
    assert (tmp_path / "plain" / name).read_bytes() == (made.run / name).read_bytes()


@pytest.mark.parametrize("which", ["topk:0", "few"])
def test_score_refuses_what_it_cannot_explain_before_it_scores(which: str, made: Made, tmp_path: Path) -> None:
    words = [str(made.bundle_folder), str(made.prepared), "--out", str(tmp_path / "run"), "--explain", which]
    result = CliRunner().invoke(application(score.main), words)
    assert result.exit_code == 1 and "choose none, adverse, all, or topk:N" in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_sampler_that_is_missing_is_told_before_anything_is_scored(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "MOST_EXACT", 2)
    monkeypatch.setattr(sampling, "find_spec", lambda name: None)
    words = [str(made.bundle_folder), str(made.prepared), "--out", str(tmp_path / "run"), "--explain", "all"]
    result = CliRunner().invoke(application(score.main), words)
    assert result.exit_code == 1 and "pip install 'trmfin[explain]'" in result.stderr
    assert not (tmp_path / "run").exists()
