"""Every number of a report can be computed again from the predictions."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from tests.learn.tiny import few_draws
from trmfin.data.files import json_bytes
from trmfin.errors import DataError
from trmfin.learn import report
from trmfin.learn.policy import Costs
from trmfin.learn.tables import halting_table, markdown, model_table
from trmfin.learn.tables import scarcity_table as few_labels_table

N = 400
LIBRARIES = {"torch": "2.0", "numpy": "2.4", "lightgbm": None}
MAKER = {"trmfin": "9.9", "commit": "abcdef0123456789", "dirty": True, "libraries": LIBRARIES, "machine": "m1", "cores": 2}


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    with few_draws():
        yield


@dataclass(frozen=True, kw_only=True)
class Truth:
    chance: np.ndarray  # (N,) the oracle's
    y: np.ndarray  # (N,)

    @property
    def frame(self) -> pl.DataFrame:
        return pl.DataFrame({"sample_id": [f"s{i:03}" for i in range(N)], "target": ["bad"] * N, "probability": self.chance})


def truth() -> Truth:
    random = np.random.default_rng(0)
    chance = random.beta(1, 2, N)
    return Truth(chance=chance, y=(random.random(N) < chance).astype(float))


def predictions(model: str, *steps: np.ndarray, seed: int = 0, labels: int = 0, draw: int = 0, seconds: float = 2.0) -> pl.DataFrame:
    """steps: probabilities (N,) at each step; the first half of the samples is fold 0."""
    parts = []
    for number, p in enumerate(steps, start=1):
        whole = {"model": model, "seed": seed, "labels": labels, "draw": draw, "step": number, "seconds": seconds}
        ids = {
            "sample_id": truth().frame["sample_id"],
            "fold": np.arange(N) // (N // 2),
            "y": truth().y,
            "p": p,
            "group": np.arange(N) // 2,
        }
        parts.append(pl.DataFrame(ids).with_columns(**{name: pl.lit(value) for name, value in whole.items()}))
    return pl.concat(parts)


def blurred_odds(amount: float, seed: int = 1) -> np.ndarray:
    return np.log(truth().chance) - np.log1p(-truth().chance) + np.random.default_rng(seed).normal(0, amount, N)


def blurred(amount: float, seed: int = 1) -> np.ndarray:
    return 1 / (1 + np.exp(-blurred_odds(amount, seed)))


@pytest.fixture(scope="module")
def two() -> pl.DataFrame:
    return pl.concat([predictions("trm", blurred(2), blurred(1)), predictions("logistic", blurred(1.5, seed=2))])


def halves(metric, p: np.ndarray) -> list[float]:
    return [metric(truth().y[part], p[part]) for part in (slice(0, N // 2), slice(N // 2, N))]


def test_metrics_are_those_of_the_last_step_fold_by_fold(two: pl.DataFrame) -> None:
    found = report.models(two)
    assert list(found) == ["logistic", "trm"]
    for name, p in (("trm", blurred(1)), ("logistic", blurred(1.5, seed=2))):
        for key, metric in (("auc", roc_auc_score), ("log_loss", log_loss)):
            assert found[name][key]["folds"] == pytest.approx(halves(metric, p))
            assert found[name][key]["mean"] == pytest.approx(np.mean(halves(metric, p)))
            assert found[name][key]["low"] < found[name][key]["mean"] < found[name][key]["high"]
        assert found[name]["pooled"]["auc"]["value"] == pytest.approx(roc_auc_score(truth().y, p))
        assert found[name]["seconds"] == {"median": 2.0, "most": 2.0}


def test_metrics_of_several_seeds_are_averaged() -> None:
    one, other = predictions("trm", blurred(1)), predictions("trm", blurred(2, seed=3), seed=1, seconds=4.0)
    both = report.models(pl.concat([one, other]))["trm"]
    alone = [report.models(frame)["trm"] for frame in (one, other)]
    assert both["auc"]["folds"] == pytest.approx(np.mean([a["auc"]["folds"] for a in alone], axis=0))
    assert both["pooled"]["ece"]["value"] == pytest.approx(np.mean([a["pooled"]["ece"]["value"] for a in alone]))
    assert both["seconds"]["median"] == 3.0
    assert both["ap"]["seeds"] == [each["ap"]["mean"] for each in alone] and "seeds" not in alone[0]["ap"]
    words = " ".join(f"{value:.4f}" for value in both["ap"]["seeds"])
    assert f"| {words} |" in model_table({"trm": both}) and "seed by seed" not in model_table({"trm": alone[0]})


def test_differences_are_paired_on_the_same_rows(two: pl.DataFrame) -> None:
    found = report.differences(two)
    assert list(found) == ["logistic"]
    expected = np.subtract(halves(roc_auc_score, blurred(1)), halves(roc_auc_score, blurred(1.5, seed=2)))
    assert found["logistic"]["auc"]["folds"] == pytest.approx(expected)
    shuffled = report.differences(two.sample(fraction=1.0, shuffle=True, seed=1))
    assert shuffled == found


def test_a_model_differs_from_itself_by_nothing() -> None:
    same = pl.concat([predictions("trm", blurred(1)), predictions("copy", blurred(1))])
    assert report.differences(same)["copy"]["log_loss"]["mean"] == report.differences(same)["copy"]["auc"]["high"] == 0


def test_differences_and_gaps_are_averaged_over_seeds() -> None:
    alone = [
        pl.concat([predictions("trm", blurred(1, noise), seed=seed), predictions("logistic", blurred(2, noise), seed=seed)])
        for seed, noise in enumerate((1, 5))
    ]
    together = pl.concat(alone)
    folds = [report.differences(frame)["logistic"]["auc"]["folds"] for frame in alone]
    assert report.differences(together)["logistic"]["auc"]["folds"] == pytest.approx(np.mean(folds, axis=0))
    folds = [report.gaps_closed(frame, truth().frame)["trm"]["folds"] for frame in alone]
    assert report.gaps_closed(together, truth().frame)["trm"]["folds"] == pytest.approx(np.mean(folds, axis=0))


def test_models_that_were_not_tested_on_the_same_rows_are_not_compared(two: pl.DataFrame) -> None:
    fewer = two.filter((pl.col("model") == "trm") | (pl.col("sample_id") != "s003"))
    for numbers in (report.models, report.differences):
        with pytest.raises(DataError, match="trm, seed 0, has 400 test rows that are not the 399 of logistic"):
            numbers(fewer)


def test_a_truth_that_knows_some_tested_samples_only_is_refused(two: pl.DataFrame) -> None:
    with pytest.raises(DataError, match="truth: 3 of 400 tested samples have none"):
        report.gaps_closed(two, truth().frame[3:])


def test_decisions_cost_what_events_let_through_and_non_events_flagged_cost(two: pl.DataFrame) -> None:
    found = report.expected_costs(two, Costs(false_negative=4, false_positive=1))
    y, p = truth().y, blurred(1)
    assert (found["flag_none"], found["flag_all"]) == (pytest.approx(4 * y.mean()), pytest.approx(1 - y.mean()))
    trm = found["models"]["trm"]
    assert trm["value"] == pytest.approx((4 * (y * (p < 0.2)).sum() + ((1 - y) * (p >= 0.2)).sum()) / N)
    assert trm["flagged"] == pytest.approx((p >= 0.2).mean()) and trm["low"] < trm["value"] < trm["high"]
    sure = report.expected_costs(predictions("trm", y), Costs())
    assert sure["models"]["trm"]["value"] == 0


def test_what_the_tables_leave_out_is_said(two: pl.DataFrame) -> None:
    assert report.notes(two, two.filter(pl.col("model") == "trm"), N + 1) == [
        "1 of 401 samples are not tested: their target is unknown, or no test window holds them.",
        "Not trained on few labels: logistic.",
    ]
    seeds = pl.concat([two, two.with_columns(seed=pl.lit(1))])
    assert report.notes(seeds, two, N) == ["Runs on few labels have seed 0 alone; their draws of labels differ instead."]
    assert report.notes(two, None, N) == []


def test_each_recursion_step_has_its_line(two: pl.DataFrame) -> None:
    found = report.steps(two)
    assert [line["step"] for line in found] == [1, 2]
    assert [line["auc"] for line in found] == pytest.approx([np.mean(halves(roc_auc_score, blurred(amount))) for amount in (2, 1)])


def test_halting_at_epsilon_0_saves_nothing_and_costs_nothing(two: pl.DataFrame) -> None:
    first = report.halting(two)[0]
    last = report.steps(two)[-1]
    assert (first["epsilon"], first["steps_saved"]) == (0, 0)
    assert (first["auc"], first["log_loss"]) == (pytest.approx(last["auc"]), pytest.approx(last["log_loss"]))


def test_halting_saves_the_steps_after_one_that_moved_a_sample_by_less_than_epsilon() -> None:
    odds = np.zeros((4, N)) + np.linspace(-1, 1, N)
    odds[1] += 0.015  # step 2 moves all by .015, step 3 moves half of them by .5, step 4 nobody
    odds[2:] = odds[1] + 0.5 * (np.arange(N) % 2)
    found = {line["epsilon"]: line for line in report.halting(predictions("trm", *(1 / (1 + np.exp(-odds)))))}
    assert found[0.01]["steps_saved"] == pytest.approx(0.5 * 1 / 4)  # halves stop after step 3 and after step 4
    assert found[0.02]["steps_saved"] == pytest.approx(2 / 4)  # all stop after step 2
    assert found[0.02]["auc"] == pytest.approx(np.mean(halves(roc_auc_score, odds[1])))
    assert found[0.02]["log_loss"] == pytest.approx(np.mean(halves(log_loss, 1 / (1 + np.exp(-odds[1])))))


def test_one_epsilon_is_marked_the_largest_that_costs_no_more_than_a_thousandth_of_auc() -> None:
    """Step 2 moves all by .015 and step 3 makes half of the ranking right: from .02 on it is never taken."""
    odds = np.stack([blurred_odds(1), blurred_odds(1) + 0.015, blurred_odds(0)])
    lines = report.halting(predictions("trm", *(1 / (1 + np.exp(-odds)))))
    assert [line["epsilon"] for line in lines if line["cheapest"]] == [0.01]
    assert "| 0.01 | " in (table := halting_table(lines)) and table.count("◄") == 1


def test_a_model_of_one_step_and_one_of_certain_answers_have_a_halting_table() -> None:
    once = report.halting(predictions("trm", blurred(1)))
    assert all(line["steps_saved"] == 0 and line["auc"] == once[0]["auc"] for line in once)
    sure = report.halting(predictions("trm", truth().y, truth().y))
    assert [line["steps_saved"] for line in sure] == [0.0] * 7


def test_the_oracle_closes_the_whole_gap_and_the_base_rate_none_of_it() -> None:
    prior = np.repeat([truth().y[: N // 2].mean(), truth().y[N // 2 :].mean()], N // 2)
    both = pl.concat([predictions("oracle", truth().chance), predictions("prior", prior), predictions("trm", blurred(0.5))])
    found = report.gaps_closed(both, truth().frame)
    assert found["oracle"]["folds"] == pytest.approx([1, 1]) and found["prior"]["mean"] == pytest.approx(0)
    assert 0 < found["trm"]["mean"] < 1 and not any(entry["alarm"] for entry in found.values())


def test_a_model_that_beats_the_oracle_raises_the_leak_alarm() -> None:
    leaked = np.clip(truth().chance + 0.3 * (truth().y - truth().chance), 0, 1)
    found = report.gaps_closed(pl.concat([predictions("trm", leaked), predictions("fair", blurred(0.5))]), truth().frame)
    assert found["trm"]["alarm"] and found["trm"]["mean"] > 1 and not found["fair"]["alarm"]


def drawn(model: str, amounts: tuple[float, ...], seed: int = 1) -> pl.DataFrame:
    """Predictions with 300 labels: draw by draw with so much noise, tested on the folds in turn."""
    parts = [predictions(model, blurred(amount, seed), labels=300, draw=number) for number, amount in enumerate(amounts)]
    return pl.concat([part.filter(pl.col("fold") == number % 2) for number, part in enumerate(parts)])


def by_draw(metric, amounts: tuple[float, ...], seed: int = 1) -> list[float]:
    return [halves(metric, blurred(amount, seed))[number % 2] for number, amount in enumerate(amounts)]


def test_few_labels_are_averaged_over_draws_with_a_t_interval() -> None:
    found = report.scarcity(drawn("trm", (1, 2, 3)))
    values = by_draw(roc_auc_score, (1, 2, 3))
    assert (found[0]["model"], found[0]["labels"], found[0]["draws"]) == ("trm", 300, 3)
    assert found[0]["auc"]["mean"] == pytest.approx(np.mean(values))
    assert found[0]["auc"]["high"] - found[0]["auc"]["mean"] == pytest.approx(4.3027 * np.std(values, ddof=1) / 3**0.5)


def test_trm_is_compared_with_each_challenger_on_the_same_draws() -> None:
    mine, theirs = (1, 1, 3), (2, 2, 0.5)  # ahead on two draws, far behind on one
    rows = report.scarcity(pl.concat([drawn("gru", theirs, seed=2), drawn("trm", mine)]).sample(fraction=1.0, shuffle=True, seed=1))
    assert [row["model"] for row in rows] == ["gru", "trm"] and "less" not in rows[1]
    for key, metric in (("auc", roc_auc_score), ("log_loss", log_loss)):
        less, found = np.subtract(by_draw(metric, mine), by_draw(metric, theirs, seed=2)), rows[0]["less"][key]
        assert found["mean"] == pytest.approx(less.mean()) and found["ahead"] == 2
        assert found["mean"] - found["low"] == pytest.approx(4.3027 * np.std(less, ddof=1) / 3**0.5)
    line, auc = few_labels_table(rows).splitlines()[2], rows[0]["less"]["auc"]
    interval = f"{auc['mean']:+.4f} [{auc['low']:+.4f}, {auc['high']:+.4f}]"
    assert line.startswith("| 300 | gru | 3 | ") and f"| {interval}, ahead on 2 of 3 |" in line


def test_trm_is_ahead_of_nobody_who_answers_the_same() -> None:
    (row, _) = report.scarcity(pl.concat([drawn("copy", (1, 2)), drawn("trm", (1, 2))]))
    assert row["less"]["auc"] == row["less"]["log_loss"] == {"mean": 0, "low": 0, "high": 0, "ahead": 0}


def test_models_that_have_not_the_same_draws_are_not_compared() -> None:
    with pytest.raises(DataError, match="300 labels: gru has 2 draws that are not the model's 3"):
        report.scarcity(pl.concat([drawn("gru", (1, 1)), drawn("trm", (1, 1, 1))]))


def test_few_labels_stand_by_their_number_then_by_model() -> None:
    more = drawn("gru", (1,)).with_columns(labels=pl.lit(1000, pl.Int32))
    fewer = [drawn(model, (1,)).with_columns(labels=pl.lit(300, pl.Int32)) for model in ("trm", "gru")]
    assert [(row["labels"], row["model"]) for row in report.scarcity(pl.concat([more, *fewer]))] == [
        (300, "gru"),
        (300, "trm"),
        (1000, "gru"),
    ]


def test_models_that_other_code_made_are_one_line_of_warning() -> None:
    other = MAKER | {"commit": "", "dirty": None, "libraries": {"torch": "2.1", "lightgbm": None}}
    assert report.strangers([MAKER | {"models": 4}], MAKER) == []
    assert report.strangers([MAKER | {"models": 4}, other | {"models": 2}, {"models": 1}], MAKER) == [
        "WARNING: 3 of 7 models were made by other code than this report's, or on another machine: "
        "2 by trmfin 9.9, no known commit, torch 2.1, on 2 cores (m1); 1 by unknown code."
    ]


def test_the_report_for_people_says_the_same_numbers(two: pl.DataFrame) -> None:
    gaps = report.gaps_closed(two, truth().frame)
    whole = {
        "task": "notes",
        "protocol": {"words": "2 folds"},
        "command": "evaluate",
        "made_by": MAKER,
        "notes": ["Nothing else.", "Or so."],
        "windows": ["fold 1", "fold 2"],
        "models": report.models(two),
        "differences": report.differences(two),
        "steps": report.steps(two),
        "halting": report.halting(two),
        "costs": report.expected_costs(two, Costs()),
        "gaps_closed": gaps,
        "scarcity": report.scarcity(predictions("trm", blurred(1), labels=30)),
    }
    text = markdown(whole)
    mean = whole["models"]["trm"]["auc"]["mean"]
    assert f"| trm | {mean:.4f} [" in text and f"{gaps['trm']['mean']:.1%}" in text and "| 0.05 |" in text
    mean, pooled = whole["models"]["trm"]["ece"]["mean"], whole["models"]["trm"]["pooled"]["ece"]
    assert f"| {mean:.4f} |" in text and f"| {pooled['value']:.4f} [{pooled['low']:.4f}, {pooled['high']:.4f}] |" in text
    assert f"{whole['differences']['logistic']['auc']['mean']:+.4f}" in text
    assert "\n- Nothing else.\n- Or so.\n" in text
    assert "\nMade by trmfin 9.9, commit abcdef012345 with uncommitted changes, numpy 2.4, torch 2.0, on 2 cores (m1).\n" in text
    cost, lift = whole["costs"]["models"]["trm"], whole["models"]["trm"]["lift_10"]
    assert f"| trm | {cost['value']:.4f} [{cost['low']:.4f}, " in text and f"| {lift['mean']:.4f} [" in text
    assert f"| flag none | {whole['costs']['flag_none']:.4f} |" in text
    blocks = text.split("\n\n")
    for block, after in zip(blocks, [*blocks[1:], ""], strict=True):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1
        if block.startswith("## "):  # a paragraph that says how to read it stands over every table
            assert after[0].isupper() and "{" not in after, block
    assert [block for block in blocks if block.startswith("## ")] == [
        "## Models",
        "## TRM less each challenger",
        "## Expected cost of decisions",
        "## At each supervision step",
        "## Early halting",
        "## Share of the gap to the oracle that is closed",
        "## Few labels",
    ]
    assert "where scores of 0.1667 or more are flagged, an event that is let through costs 5 and" in text
    assert "| 30 | trm |" in few_labels_table(whole["scarcity"])
    assert markdown(json.loads(json_bytes(whole))) == text


def test_one_draw_of_few_labels_has_no_interval() -> None:
    (row,) = report.scarcity(predictions("trm", blurred(1), labels=30).filter(pl.col("fold") == 0))
    assert set(row["auc"]) == {"mean"} and f"| 1 | {row['auc']['mean']:.4f} | " in few_labels_table([row])
