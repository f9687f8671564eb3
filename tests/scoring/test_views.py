"""What people see of a run: pages of the queue, expected numbers, and what is said of a run that cannot be read."""

from __future__ import annotations

import shutil
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.explaining.runs import Made, explained, rehashed
from trmfin.data.files import read_json, write_json
from trmfin.data.seal import sealed
from trmfin.errors import ConfigError, RunError
from trmfin.explaining.explainer import Asked
from trmfin.explaining.record import checks_of, record_of
from trmfin.scoring.queue import Query, next_case, outlook, queue
from trmfin.scoring.views import Run, at_stake, by_band, distribution, opened

NOBODY = pl.DataFrame(schema={"sample_id": pl.String, "state": pl.String, "owner": pl.String, "decision": pl.String, "version": pl.Int64})
CLIENTS = 23


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    asked = Asked(which="topk:3", group="all_applicants")
    return explained(tmp_path_factory.mktemp("seen"), clients=CLIENTS, asked=asked, shard_rows=10)


@pytest.fixture
def run(made: Made) -> Run:
    return opened(made.run)


@pytest.fixture
def scores(run: Run) -> np.ndarray:
    return run.scores.collect()["score"].to_numpy()


def test_pages_hold_every_row_once_and_in_order(run: Run, scores: np.ndarray) -> None:
    pages = [queue(run, NOBODY, Query(page=page, size=5)) for page in range(1, 6)]
    assert {page.total for page in pages} == {CLIENTS} and [len(page.rows) for page in pages] == [5, 5, 5, 5, 3]
    whole = pl.concat([page.rows for page in pages])
    assert whole["sample_id"].n_unique() == CLIENTS and whole["score"].to_list() == sorted(scores, reverse=True)
    assert whole["decision"].to_list() == ["flagged" if score >= 0.4 else "not flagged" for score in whole["score"]]
    assert queue(run, NOBODY, Query(page=9, size=5)).rows.is_empty()


def test_filters_and_orders(run: Run) -> None:
    reviewed = pl.concat(
        [NOBODY, pl.DataFrame([("s3", "claimed", "ann", "", 1), (None, "decided", "", "", 2)], schema=NOBODY.schema, orient="row")]
    )
    claimed = queue(run, reviewed, Query(state="claimed"))
    assert claimed.rows["sample_id"].to_list() == ["s3"] and claimed.rows["owner"].to_list() == ["ann"]
    assert queue(run, reviewed, Query(state="open")).total == CLIENTS - 1
    band = run.policy.bands[0][0]
    assert set(queue(run, NOBODY, Query(band=band)).rows["band"]) <= {band}
    assert queue(run, NOBODY, Query(search="s1", sort="sample_id", descending=False)).rows["sample_id"].to_list() == [
        "s1",
        *(f"s{n}" for n in range(10, 20)),
    ]
    assert queue(run, NOBODY, Query(search=".*")).total == 0, "what is searched for is no pattern"
    by_time = queue(run, NOBODY, Query(sort="as_of"))
    assert by_time.rows["sample_id"].to_list() == sorted(by_time.rows["sample_id"].to_list()), "ties stand by sample"


@pytest.mark.parametrize(("asked", "said"), [({"sort": "luck"}, "sort 'luck' is unknown"), ({"page": 0}, "page 0 of 25 rows")])
def test_what_does_not_exist_is_refused(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Query(**asked)


def test_the_next_case_is_the_riskiest_that_nobody_has(run: Run) -> None:
    flagged = queue(run, NOBODY, Query(decision="flagged")).rows["sample_id"].to_list()
    assert len(flagged) > 2
    assert next_case(run, NOBODY, "") == flagged[0] and next_case(run, NOBODY, flagged[0]) == flagged[1]
    assert [next_case(run, NOBODY, name) for name in flagged] == [*flagged[1:], flagged[0]], "who skips a case comes past all of them"
    mine = pl.DataFrame([(flagged[1], "claimed", "ann", "", 1)], schema=NOBODY.schema, orient="row")
    assert next_case(run, mine, flagged[1]) == flagged[0] and next_case(run, mine, flagged[0]) == flagged[2]
    taken = pl.DataFrame([(name, "decided", "ann", "flagged", 2) for name in flagged], schema=NOBODY.schema, orient="row")
    assert next_case(run, taken, "") == ""


def test_the_next_case_is_one_of_those_that_the_queue_is_narrowed_to(run: Run) -> None:
    by_name = Query(decision="not flagged", sort="sample_id", descending=False, search="s1")
    names = queue(run, NOBODY, by_name).rows["sample_id"].to_list()
    assert len(names) > 2 and next_case(run, NOBODY, names[0], by_name) == names[1]
    assert next_case(run, NOBODY, names[-1], replace(by_name, page=7)) == names[0]
    claimed = pl.DataFrame([(names[1], "claimed", "ann", "", 1)], schema=NOBODY.schema, orient="row")
    assert next_case(run, claimed, names[0], by_name) == names[2]
    assert next_case(run, NOBODY, "", Query(sort="sample_id", descending=False)) == "s0", "the first of what is listed"
    flagged = queue(run, NOBODY, Query(decision="flagged")).rows["sample_id"].to_list()
    assert next_case(run, NOBODY, "", Query(state="claimed", page=3)) == flagged[0], "flagged ones are meant where nothing is narrowed"
    assert next_case(run, NOBODY, "", Query(band="no such band")) == ""


def test_tables_that_went_missing_after_the_run_was_opened_are_a_message(made: Made, tmp_path: Path) -> None:
    run = opened(Path(shutil.copytree(made.run, tmp_path / "run")))
    for path in run.files("scores"):
        path.unlink()
    with pytest.raises(RunError, match="cannot be read .*; restore it from a copy"):
        queue(run, NOBODY, Query())
    with pytest.raises(RunError, match="cannot be read .*; restore it from a copy"):
        next_case(run, NOBODY, "", Query(search="s"))


def test_the_queue_says_which_cases_have_a_record(made: Made, run: Run) -> None:
    rows = queue(run, NOBODY, Query()).rows
    told = rows.filter("explained")["sample_id"].to_list()
    assert len(told) == 3 and all(record_of(run, name) for name in told)
    assert not any(record_of(run, name) for name in rows.filter(~pl.col("explained"))["sample_id"])


def test_the_distribution_and_the_bands_count_every_score(run: Run, scores: np.ndarray) -> None:
    found = distribution(run)
    assert found["samples"].sum() == CLIENTS and found["lower"][0] == 0 and found["upper"][-1] == 1
    assert found["share"].to_list() == (found["samples"] / CLIENTS).to_list()
    assert found["reference"].to_list() == pytest.approx(found["share"].to_list())  # the bundle was judged by these very samples
    bands = by_band(run)
    assert bands["samples"].sum() == CLIENTS and bands["share"].sum() == pytest.approx(1)
    total = sum(count * mean for count, mean in zip(bands["samples"], bands["mean_score"], strict=True) if count)
    assert total == pytest.approx(scores.sum()) and run.flagged == (scores >= 0.4).sum()


def test_the_outlook_is_what_calibrated_scores_expect(run: Run, scores: np.ndarray) -> None:
    best, costs = np.sort(scores)[::-1], run.policy.costs
    seen = outlook(run, 4)
    assert seen.precision == pytest.approx(best[:4].mean()) and seen.recall == pytest.approx(best[:4].sum() / best.sum())
    assert seen.cost == pytest.approx(costs.false_negative * best[4:].sum() + costs.false_positive * (1 - best[:4]).sum())
    assert seen.cutoff == best[3] and outlook(run, 999).looked_at == CLIENTS


def test_checks_are_counted_over_all_records(run: Run) -> None:
    found = checks_of(run)
    records = [record_of(run, name) for name in run.scores.collect()["sample_id"]]
    for check, said, count in found.iter_rows():
        assert count == sum(record is not None and record["checks"].get(check) == said for record in records)
    assert found["records"].sum() == sum(len(record["checks"]) for record in records if record) > 0


def test_records_are_found_by_sample_and_the_rest_have_none(run: Run) -> None:
    best = queue(run, NOBODY, Query(size=4)).rows["sample_id"].to_list()
    assert [bool(record_of(run, name)) for name in best] == [True, True, True, False] and record_of(run, "nobody") is None
    record = record_of(run, best[0])
    assert record and record["sample_id"] == best[0] and at_stake(record) == record["data"]["case"]["sample"]["limit"] > 0
    assert at_stake(None) is None
    for limit, known in ((None, None), (-5, 5)):
        other = deepcopy(record)
        other["data"]["case"]["sample"]["limit"] = limit
        assert at_stake(other) == known
    assert at_stake({"data": {"money": ["billed"], "case": {"sample": {}}}}) == 0
    row = run.row(best[0])
    assert row and row["decision"] == "flagged" and run.row("nobody") is None


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def _without_score(run: Path) -> None:
    path = run / "scores/part-00001.parquet"
    pl.read_parquet(path).drop("score").write_parquet(path)
    rehashed(run)


def _fewer(run: Path) -> None:
    path = run / "scores/part-00001.parquet"
    pl.read_parquet(path)[:3].write_parquet(path)
    rehashed(run)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda run: (run / "scores/part-00001.parquet").unlink(), "cannot be read"),
        (lambda run: _cut(run / "scores/part-00001.parquet"), "part-00001.parquet: cannot be read"),
        (_without_score, "has no column 'score', so another version wrote it"),
        (_fewer, "its tables hold 16 scores, its manifest names 23"),
        (lambda run: (run / "manifest.json").unlink(), "no manifest.json"),
        (lambda run: (run / "manifest.json").write_text("{}"), "update trmfin"),
    ],
)
def test_a_run_that_cannot_be_read_says_what_is_wrong_and_what_to_do(harm: Any, said: str, made: Made, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(made.run, tmp_path / "run"))
    harm(folder)
    with pytest.raises(RunError, match=said) as found:
        opened(folder)
    assert "\n" not in str(found.value) and len(str(found.value)) < 600


def test_a_cut_record_says_so(made: Made, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(made.run, tmp_path / "run"))
    run = opened(folder)
    for path in (folder / "records").glob("*.parquet"):
        _cut(path)
    with pytest.raises(RunError, match="cannot be read"):
        record_of(run, "s1")


@pytest.mark.parametrize(
    "change",
    [
        lambda text: pl.lit(text.replace('"decided_by":"model"', '"decided_by":"human"')),
        lambda text: pl.lit(text[:-5]),
        lambda text: pl.lit("[]"),
    ],
)
def test_a_changed_record_is_not_shown(change: Any, made: Made, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(made.run, tmp_path / "run"))
    path = next((folder / "records").glob("*.parquet"))
    table = pl.read_parquet(path)
    name, text = table.row(0, named=True)["sample_id"], table["record"][0]
    table.with_columns(record=pl.when(pl.col("sample_id") == name).then(change(text)).otherwise("record")).write_parquet(path)
    with pytest.raises(RunError, match=f"the record of {name}: (was changed|is no)"):
        record_of(opened(folder), name)


def test_a_run_without_rows_or_records_is_no_error(made: Made, tmp_path: Path) -> None:
    empty = explained(tmp_path / "none", clients=CLIENTS, asked=Asked(which="topk:1", group="all_applicants"))
    manifest = read_json(empty.run / "manifest.json", RunError)
    bare = {key: value for key, value in manifest.items() if key not in ("seal", "records", "explain")}
    bare |= {"files": {}, "counts": {"rows": 0, "shards": 0, "bands": dict.fromkeys(manifest["counts"]["bands"], 0)}}
    write_json(sealed(bare), empty.run / "manifest.json")
    run = opened(empty.run)
    assert run.records is None and record_of(run, "s1") is None and run.rows == run.flagged == 0
    assert queue(run, NOBODY, Query()).total == 0 and distribution(run)["samples"].sum() == 0
    assert outlook(run, 5).looked_at == 0 and by_band(run)["samples"].sum() == 0
