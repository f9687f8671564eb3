"""Fairness tables, on predictions small enough to count."""

import json

import numpy as np
import polars as pl
import pytest

from trmfin.data.files import json_bytes
from trmfin.learn.fairness import fairness, flagged, grouped
from trmfin.learn.tables import fairness_parts, sections


def predictions(p: np.ndarray, y: np.ndarray, model: str = "trm", seed: int = 0, group: np.ndarray | None = None) -> pl.DataFrame:
    """One fold; a sample's id is its place."""
    n = len(p)
    whole = {"model": [model] * n, "seed": [seed] * n, "fold": [0] * n, "step": [1] * n}
    return pl.DataFrame(whole | {"sample_id": sample_ids(n), "y": y, "p": p, "group": np.arange(n) if group is None else group})


def sample_ids(n: int) -> list[str]:
    return [f"s{number:04}" for number in range(n)]


# 1,000 samples: 400 of "a" with 100 events, 600 of "b" with 120; of the 100 highest scores 60 are of "a", 30 of these events
SEX = ["a"] * 400 + ["b"] * 600
Y = np.repeat([1.0, 0, 1, 0], [100, 300, 120, 480])
TOP = np.repeat([1.0, 0, 1, 0, 1, 0, 1, 0], [30, 70, 30, 270, 20, 100, 20, 460])
P = np.where(TOP == 1, 0.8, 0.15) + np.linspace(0, 0.01, 1000)
SAMPLES = pl.DataFrame({"sample_id": sample_ids(1000), "sex": SEX})


def test_rates_by_group_are_counted() -> None:
    found = fairness(predictions(P, Y), SAMPLES, ("sex",))
    a, b = found["attributes"][0]["models"]["trm"]["groups"]
    assert (a["group"], a["rows"], a["base_rate"]) == ("a", 400, 0.25) and (b["group"], b["rows"], b["base_rate"]) == ("b", 600, 0.2)
    assert (a["flagged"], a["tpr"], a["fpr"]) == (60 / 400, 30 / 100, 30 / 300)
    assert (b["flagged"], b["tpr"], b["fpr"]) == (40 / 600, 20 / 120, 20 / 480)
    assert a["mean_score"] == pytest.approx(P[:400].mean()) and a["calibration"] == pytest.approx(P[:400].mean() / 0.25)
    assert a["auc"] == pytest.approx((P[:100, None] > P[None, 100:400]).mean()) and found["notes"] == []
    assert a["ks"] == pytest.approx(max(abs((P[:100] >= cut).mean() - (P[100:400] >= cut).mean()) for cut in P[:400]))


def test_gaps_compare_the_group_flagged_most_with_the_one_flagged_least() -> None:
    gaps = fairness(predictions(P, Y), SAMPLES, ("sex",))["attributes"][0]["models"]["trm"]
    a, b = 60 / 400, 40 / 600
    assert gaps["air"]["value"] == pytest.approx((1 - a) / (1 - b)) and gaps["parity"]["value"] == pytest.approx(a - b)
    assert gaps["opportunity"]["value"] == pytest.approx(30 / 100 - 20 / 120)
    for name in ("air", "parity", "opportunity"):
        assert (gaps[name]["most"], gaps[name]["least"]) == ("a", "b") and gaps[name]["low"] < gaps[name]["value"] < gaps[name]["high"]
    spread = (a * (1 - a) / 400 + b * (1 - b) / 600) ** 0.5
    assert gaps["parity"]["high"] - gaps["parity"]["low"] == pytest.approx(2 * 1.96 * spread, rel=0.15)


def test_intervals_draw_rows_of_one_client_together() -> None:
    whole, again = SAMPLES, SAMPLES.with_columns(sample_id=pl.format("again {}", "sample_id"))
    once = predictions(P, Y)
    twice = pl.concat([once, once.with_columns(sample_id=pl.format("again {}", "sample_id"), fold=pl.lit(1, pl.Int64))])
    alone = fairness(once, whole, ("sex",))["attributes"][0]["models"]["trm"]
    both = fairness(twice, pl.concat([whole, again]), ("sex",))["attributes"][0]["models"]["trm"]
    assert [both["air"][key] for key in ("value", "low", "high")] == pytest.approx([alone["air"][key] for key in ("value", "low", "high")])
    assert both["groups"][0]["rows"] == 800


def test_small_groups_are_merged_and_it_is_said() -> None:
    kinds = np.array(["x"] * 500 + ["y"] * 380 + ["u"] * 60 + ["v"] * 60)[np.random.default_rng(0).permutation(1000)]
    found = fairness(predictions(P, Y), SAMPLES.with_columns(kind=pl.Series(kinds)), ("kind",))
    assert [(line["group"], line["rows"]) for line in found["attributes"][0]["models"]["trm"]["groups"]] == [
        ("x", 500),
        ("y", 380),
        ("other", 120),
    ]
    u, v = (int(Y[kinds == kind].sum()) for kind in "uv")
    said = f"kind: 'other' is u (60 rows, {u} events), v (60 rows, {v} events), each with fewer than 100 rows, 20 events or 20 non-events."
    assert found["notes"] == [said]


def test_a_merged_or_unknown_group_that_is_still_small_has_no_rates_and_is_in_no_gap() -> None:
    kinds = pl.Series([None] * 30 + ["x"] * 470 + ["y"] * 480 + ["z"] * 20)
    found = fairness(predictions(P, Y), SAMPLES.with_columns(kind=kinds), ("kind",))
    model = found["attributes"][0]["models"]["trm"]
    assert model["groups"][2:] == [{"group": "other", "rows": 20}, {"group": "unknown", "rows": 30}]
    assert {model[gap][end] for gap in ("air", "parity", "opportunity") for end in ("most", "least")} == {"x", "y"}
    assert [note.split(" has ")[0] for note in found["notes"][1:]] == ["kind: 'other'", "kind: 'unknown'"]


def test_where_one_group_is_left_there_is_no_gap() -> None:
    found = fairness(predictions(P, Y), SAMPLES.with_columns(kind=pl.lit("x")), ("kind",))
    assert set(found["attributes"][0]["models"]["trm"]) == {"groups"}
    assert "AIR" not in "".join(fairness_parts(found))


def test_ages_are_put_into_bands_and_codes_stay_as_they_are() -> None:
    ages = pl.Series("age", [24, 25, 34, 35, 44, 45, 54, 55, 80, 21, 22, None])
    bands = ["under 25", "25-34", "25-34", "35-44", "35-44", "45-54", "45-54", *["55 and over"] * 2, *["under 25"] * 2, "unknown"]
    assert grouped(ages).to_list() == bands
    assert grouped(ages.cast(pl.Float64).fill_null(float("nan")))[-1] == "unknown"
    assert grouped(ages.rename("postcode"))[:2].to_list() == ["24", "25"]
    assert grouped(pl.Series("age", [1, 2, 3])).to_list() == ["1", "2", "3"]


def test_bands_stand_in_the_order_of_ages_and_codes_in_the_order_of_codes() -> None:
    random = np.random.default_rng(0).permutation(1000)
    samples = SAMPLES.with_columns(age=pl.Series(20 + random % 50), code=pl.Series(random % 3 + 9))
    age, code = fairness(predictions(P, Y), samples, ("age", "code"))["attributes"]
    assert [line["group"] for line in age["models"]["trm"]["groups"]] == ["under 25", "25-34", "35-44", "45-54", "55 and over"]
    assert [line["group"] for line in code["models"]["trm"]["groups"]] == ["9", "10", "11"]


def test_the_riskiest_share_is_flagged_whatever_the_scores_and_ties_count_in_proportion() -> None:
    assert flagged(np.linspace(0, 0.01, 20)).tolist() == [0.0] * 18 + [1.0] * 2
    tied = flagged(np.array([0.9, 0.5, 0.5, 0.5, *[0.1] * 16]))
    assert tied.tolist() == pytest.approx([1, 1 / 3, 1 / 3, 1 / 3, *[0] * 16])
    assert flagged(np.full(7, 0.3)).tolist() == pytest.approx([0.1] * 7)


def test_the_two_models_stand_side_by_side_and_seeds_are_averaged() -> None:
    frames = [predictions(p, Y, model=model) for model, p in (("trm", P), ("lightgbm", P[::-1]), ("gru", P))]
    found = fairness(pl.concat([*frames, predictions(P[::-1], Y, seed=1)]), SAMPLES, ("sex",))
    models = found["attributes"][0]["models"]
    assert list(models) == ["trm", "lightgbm"] and models["trm"]["groups"][0]["rows"] == 400
    alone = [fairness(frame, SAMPLES, ("sex",))["attributes"][0]["models"] for frame in frames[:2]]
    expected = np.mean([alone[0]["trm"]["groups"][0]["flagged"], alone[1]["lightgbm"]["groups"][0]["flagged"]])
    assert models["trm"]["groups"][0]["flagged"] == pytest.approx(expected)
    table, gaps = fairness_parts(found)
    assert table.splitlines()[2].startswith("| a | 400 | 0.2500 | trm | ") and table.splitlines()[3].startswith(
        "| a | 400 | 0.2500 | lightgbm | "
    )
    assert gaps.splitlines()[2].startswith("| sex | trm | ") and len(gaps.splitlines()) == 4
    assert fairness_parts(json.loads(json_bytes(found))) == [table, gaps]
    for group in (*models["trm"]["groups"], *models["lightgbm"]["groups"]):
        del group["ks"]  # as in a report of before it was measured
    older = fairness_parts(found)[0].splitlines()
    assert "KS" in table.splitlines()[0] and "KS" not in older[0] and len({line.count(" |") for line in older}) == 1


def test_a_column_that_the_samples_lack_is_said_and_nothing_protected_gives_no_tables() -> None:
    found = fairness(predictions(P, Y), SAMPLES.with_columns(blank=pl.lit(None, pl.String)), ("age", "blank"))
    assert found["attributes"] == [] and found["notes"] == [
        f"{name}: not known of any sample, so there is no table." for name in ("age", "blank")
    ]
    assert sections({"fairness": found}) == ["\n".join(f"- {note}" for note in found["notes"])]
    assert fairness(predictions(P, Y), SAMPLES, ()) is None and sections({"fairness": None}) == []


def test_a_policys_cut_off_flags_in_place_of_a_share() -> None:
    by_share, by_policy = fairness(predictions(P, Y), SAMPLES, ("sex",)), fairness(predictions(P, Y), SAMPLES, ("sex",), 0.5)
    assert by_policy == by_share | {"cutoff": 0.5, "flagged_share": 0.1}, "a hundred scores are above one half"
    half = fairness(predictions(P, Y), SAMPLES, ("sex",), float(np.median(P)))
    a, b = half["attributes"][0]["models"]["trm"]["groups"]
    assert half["flagged_share"] == 0.5 and a["flagged"] * 400 + b["flagged"] * 600 == pytest.approx(500)
    assert fairness(predictions(P, Y), SAMPLES, ("sex",), 0.99)["attributes"][0]["models"]["trm"]["air"]["value"] == 1, "nobody is flagged"


def test_where_all_are_flagged_there_is_no_ratio_of_those_who_are_not() -> None:
    found = fairness(predictions(P, Y), SAMPLES, ("sex",), 0.0)
    gaps = found["attributes"][0]["models"]["trm"]
    assert "air" not in gaps and gaps["parity"]["value"] == 0
    assert found["notes"] == ["sex: every row of trm is flagged, so that AIR is undefined."]
    assert "| sex | trm | undefined |" in "\n".join(fairness_parts(found))
