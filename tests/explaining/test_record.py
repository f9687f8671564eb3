"""Records keep their published schema, a run writes them byte for byte the same, and a killed run goes on with them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from tests.explaining.runs import ASKED, LINES, TABLE, Made, explained, records_of
from tests.scoring.models import contents
from trmfin.data.files import write_parquet
from trmfin.errors import ConfigError, RunError
from trmfin.explaining import records as module
from trmfin.explaining.case import Case
from trmfin.explaining.explainer import Asked, picked
from trmfin.explaining.pages import as_text
from trmfin.explaining.reasons import shown
from trmfin.explaining.record import chained, checked, line, record_of, sealed
from trmfin.explaining.records import Records, read_records
from trmfin.explaining.replay import Replayer
from trmfin.scoring.folder import EXPLAINED, verify_run
from trmfin.scoring.runs import score_run
from trmfin.scoring.views import opened

SCHEMA = Path(__file__).parents[2] / "docs" / "record.schema.json"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return explained(tmp_path_factory.mktemp("explained"), asked=replace(ASKED, counterfactual=True))


def test_every_record_keeps_the_published_schema(made: Made) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed: pip install 'trmfin[dev]'")
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for record in records_of(made.run):
        assert [error.message for error in validator.iter_errors(record)] == []
    strange = records_of(made.run)[0] | {"more": 1}
    assert not validator.is_valid(strange)


def test_a_record_adds_up_and_says_what_the_table_says(made: Made) -> None:
    table = pl.read_parquet(made.run / "scores" / "part-00000.parquet")
    for record, row in zip(records_of(made.run), table.iter_rows(named=True), strict=True):
        told, found = record["inference"], record["attribution"]
        assert (record["sample_id"], told["score"], told["logits"], told["step"]) == (
            row["sample_id"],
            row["score"],
            row["logits"],
            row["step"],
        )
        total = found["base"] + sum(found["values"].values())
        assert abs(total - row["logits"][-1]) <= 1e-4
        assert found["residual"] == pytest.approx(total - row["logits"][-1], abs=1e-12)
        assert told["decision"] == ("flagged" if row["score"] >= 0.4 else "not flagged")
        for part, sign in (("reasons", 1), ("mitigating", -1)):
            assert [reason["rank"] for reason in record[part]] == list(range(1, len(record[part]) + 1))
            assert all(sign * reason["contribution"] > 0 for reason in record[part])
            assert all(reason["contribution"] == found["values"][reason["player"]] for reason in record[part])


def test_quoted_extremes_are_those_of_the_whole_case(made: Made) -> None:
    quoted = []
    for record in records_of(made.run):
        case = Case.from_json(record["data"]["case"])
        for reason in (*record["reasons"], *record["mitigating"]):
            if reason["code"] == "B":
                known = case.events["billed"].drop_nulls()
                most = shown(known.max(), True)
                assert f"Statements of {most} at most" in reason["text"]
                carried = case.events.filter(pl.col("event_id").is_in(reason["event_ids"]))["billed"]
                quoted.append(carried.max() != known.max())
        if any("unknown" in reason["text"] for reason in record["reasons"]):
            assert record["checks"]["wording"] == "fail" and record["needs_human"]
    assert any(quoted), "some events that carry a reason are not the case's most"


def test_a_flagged_score_that_nothing_raises_needs_a_person(made: Made, tmp_path: Path) -> None:
    """The cut-off lies below every score here, and that of the comparison too."""
    policy = replace(made.bundle.policy, cutoff=1e-9)
    run = tmp_path / "run"
    score_run(made.bundle, made.prepared, run, threads=1, policy=policy, explaining=Records(asked=ASKED))
    silent = [record for record in records_of(run) if not record["reasons"]]
    assert silent and all(record["inference"]["decision"] == "flagged" for record in silent)
    for record in silent:
        assert record["checks"]["told"] == "fail" and "no factor raises it above the comparison's" in " ".join(record["needs_human"])
    assert all(record["checks"]["told"] == "pass" for record in records_of(made.run))


def test_players_without_a_reason_are_unmapped_and_not_called_nothing(made: Made, tmp_path: Path) -> None:
    run = tmp_path / "run"
    score_run(made.bundle, made.prepared, run, threads=1, explaining=Records(asked=replace(ASKED, view="events")))
    flagged = [record for record in records_of(run) if record["inference"]["decision"] == "flagged"]
    unmapped = [record for record in flagged if record["checks"]["mapping"] == "fail"]
    assert unmapped and all(record["checks"]["told"] == "pass" and not record["reasons"] for record in unmapped)
    assert "  none: none is written for what raises this score." in list(as_text(unmapped[0]))


def test_groups_below_the_cut_off_are_refused_under_another_policys(made: Made, tmp_path: Path) -> None:
    below = made.bundle.reference.with_columns(group=pl.lit("near_cutoff_approved"))
    bundle, asked = replace(made.bundle, reference=below), replace(ASKED, group="near_cutoff_approved")
    score_run(bundle, made.prepared, tmp_path / "own", threads=1, explaining=Records(asked=asked))
    other = replace(bundle.policy, cutoff=0.05)
    with pytest.raises(ConfigError, match="near_cutoff_approved lies below the bundle's cut-off of 0.4, and the policy's is 0.05"):
        score_run(bundle, made.prepared, tmp_path / "other", threads=1, policy=other, explaining=Records(asked=asked))
    assert not (tmp_path / "other" / "manifest.json").exists()


def test_one_of_fifty_cases_is_compared_with_the_other_groups_and_with_rows(made: Made) -> None:
    records = records_of(made.run)
    others = set(made.bundle.reference["group"].unique()) - {ASKED.group}
    assert others and set(records[0]["stability"]) == {"jaccard", "noise", "groups", "agreement"}
    assert set(records[0]["stability"]["groups"]) == others
    assert all(set(record["stability"]) == {"jaccard", "noise"} for record in records[1:])


def test_a_single_record_is_compared_with_other_groups_where_its_place_in_its_shard_asks_for_it(tmp_path: Path) -> None:
    made = explained(tmp_path, asked=ASKED, shard_rows=5)
    run = opened(made.run)
    records = {f"s{n}": record_of(run, f"s{n}") for n in range(12)}
    assert [name for name, record in records.items() if record and "groups" in record["stability"]] == ["s0", "s5", "s10"]
    table = pl.read_parquet(made.run / "records" / "part-00001.parquet")
    first, second = (json.loads(text) for text in table["record"][:2])
    first["stability"] = {name: first["stability"][name] for name in ("jaccard", "noise")}
    second["stability"] |= {"groups": {}}
    lines = [line(sealed(record, record["prev_sha256"])).decode().strip() for record in (first, second)]
    write_parquet(table.with_columns(record=pl.Series([*lines, *table["record"][2:]])), made.run / "records" / "part-00001.parquet")
    for name in ("s5", "s6"):
        with pytest.raises(RunError, match=f"the record of {name}: comparisons with other groups .* one record of 50, from the first"):
            record_of(run, name)
    assert record_of(run, "s7") == records["s7"]


def test_the_table_holds_the_lines(made: Made) -> None:
    table, lines = pl.read_parquet(made.run / TABLE), (made.run / LINES).read_text().splitlines()
    assert table["record"].to_list() == lines
    assert table["sha256"].to_list() == [json.loads(text)["sha256"] for text in lines]
    assert table["sample_id"].to_list() == [json.loads(text)["sample_id"] for text in lines]


def test_two_runs_are_byte_for_byte_the_same(made: Made, tmp_path: Path) -> None:
    score_run(made.bundle, made.prepared, tmp_path / "run", threads=1, explaining=Records(asked=replace(ASKED, counterfactual=True)))
    assert contents(tmp_path / "run") == contents(made.run)


def test_the_network_runs_with_the_settings_threads_while_it_explains_and_is_replayed(made: Made, tmp_path: Path) -> None:
    seen, before = set[int](), torch.get_num_threads()
    handle = made.bundle.network.register_forward_pre_hook(lambda *_: seen.add(torch.get_num_threads()))
    cells = made.bundle.network.cells
    made.bundle.network.cells = lambda batch: seen.add(torch.get_num_threads()) or cells(batch)  # type: ignore[method-assign, func-returns-value]
    try:
        torch.set_num_threads(2)
        asked = replace(ASKED, counterfactual=True)
        score_run(made.bundle, made.prepared, tmp_path / "run", threads=3, explaining=Records(asked=asked))
        assert seen == {3} and torch.get_num_threads() == 2
        seen.clear()
        assert Replayer(made.bundle, verify_run(tmp_path / "run")).again(records_of(tmp_path / "run")[0], 0).stands
        assert seen == {3} and torch.get_num_threads() == 2
    finally:
        handle.remove()
        del made.bundle.network.cells
        torch.set_num_threads(before)


def test_records_are_written_as_they_come_few_at_a_time(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOGETHER", 5)
    out, there = tmp_path / "run", list[int]()
    body, flat = records_of(made.run)[4], module.flat
    monkeypatch.setattr(module, "flat", lambda records: there.append(len(records)) or flat(records))  # type: ignore[func-returns-value]

    def bodies() -> Iterator[dict[str, Any]]:
        for count in range(12):
            assert sum(there) == count // 5 * 5, "those before were written"
            yield body | {"sample_id": f"s{count}"}

    part = module._written(out, 0, "0" * 64, chained(bodies(), "0" * 64))
    lines = records_of(out)
    assert there == [5, 5, 2] and part.records == 12 and part.needs_human == 12 * bool(body["needs_human"])
    assert pl.read_parquet(out / TABLE).equals(flat(lines))
    with (out / LINES).open("rb") as file:
        assert len(list(checked(file, part.root, part.end, "x"))) == 12


def test_a_run_that_is_killed_among_its_records_goes_on_and_ends_the_same(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(name: str, resume: bool = False) -> None:
        score_run(made.bundle, made.prepared, tmp_path / name, threads=1, shard_rows=5, explaining=Records(asked=ASKED), resume=resume)

    run("whole")
    written, calls = module._written, []

    def dies(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return written(*arguments)

    monkeypatch.setattr(module, "_written", dies)
    with pytest.raises(KeyboardInterrupt):
        run("killed")
    killed = tmp_path / "killed"
    assert len((killed / EXPLAINED).read_bytes().splitlines()) == 1
    (killed / "records" / "part-00001.jsonl").write_text("half a li")  # what a kill may leave
    with (killed / EXPLAINED).open("ab") as file:
        file.write(b'{"number": 1, "rec')
    run("killed", resume=True)
    assert len(calls) == 4, "the first shard's records were kept"
    assert contents(killed) == contents(tmp_path / "whole")
    assert not (killed / EXPLAINED).exists()


def test_a_resume_that_asks_for_other_reasons_is_refused(made: Made) -> None:
    with pytest.raises(RunError, match="explain.view is features, asked for histories"):
        score_run(
            made.bundle,
            made.prepared,
            made.run,
            threads=1,
            explaining=Records(asked=replace(ASKED, counterfactual=True, view="histories")),
            resume=True,
        )


@pytest.mark.parametrize(("which", "kept"), [("all", 12), ("topk:3", 3), ("topk:99", 12), ("adverse", None)])
def test_the_scores_that_were_asked_for_are_explained(which: str, kept: int | None, tmp_path: Path) -> None:
    made = explained(tmp_path, asked=Asked(which=which, group="all_applicants"), shard_rows=5)
    manifest = verify_run(made.run)
    names = [record["sample_id"] for record in read_records(made.run, manifest)]
    scores = pl.concat([pl.read_parquet(path) for path in sorted((made.run / "scores").iterdir())])
    if which == "adverse":
        assert names == scores.filter(pl.col("score") >= 0.4)["sample_id"].to_list() and 0 < len(names) < 12
    else:
        assert set(names) == set(scores.sort("score", descending=True).head(kept or 0)["sample_id"])
        assert len(names) == kept
    assert manifest["records"]["count"] == len(names)


def test_ties_at_the_border_go_by_the_samples_order() -> None:
    chosen = picked(Asked(which="topk:3"), [np.array([0.5, 0.1, 0.5]), np.array([]), np.array([0.5, 0.9])], 0.5)
    assert [part.tolist() for part in chosen] == [[0, 2], [], [1]]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"which": "topk:0"}, "choose none, adverse, all, or topk:N"),
        ({"which": "some"}, "choose none, adverse, all, or topk:N"),
        ({"view": "pixels"}, "players 'pixels' is unknown"),
        ({"form": "sum"}, "form 'sum' is unknown"),
    ],
)
def test_what_cannot_be_explained_is_refused(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Asked(**asked)


def test_a_group_that_the_bundle_lacks_is_named_before_records_are_written(made: Made, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no group 'near_cutoff_approved'; it has all_applicants, portfolio"):
        score_run(
            made.bundle,
            made.prepared,
            tmp_path / "run",
            threads=1,
            explaining=Records(asked=Asked(which="all", group="near_cutoff_approved")),
        )
