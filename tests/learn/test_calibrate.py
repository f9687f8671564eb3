import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trmfin.errors import BundleError, DataError
from trmfin.learn.calibrate import SMALLEST_SLOPE, Calibration, _fitted, cross_fitted, fit_calibration, probability
from trmfin.learn.metrics import auc, log_loss

slope, intercept = st.floats(SMALLEST_SLOPE, 20), st.floats(-10, 10)
calibrations = st.one_of(
    st.just(Calibration(kind="identity", parameters=((),))),
    st.builds(lambda *p: Calibration(kind="platt", parameters=(p,)), slope, intercept),
    st.builds(lambda *p: Calibration(kind="beta", parameters=(p,)), slope, slope, intercept),
)


def drawn(seed: int, count: int = 4000):
    """Calibrated log-odds, and labels that follow them."""
    random = np.random.default_rng(seed)
    log_odds = random.normal(-1.3, 1.2, count)
    return log_odds, (random.random(count) < probability(log_odds)).astype(float)


@given(calibrations, st.lists(st.floats(-60, 60).map(lambda value: round(value, 8)), min_size=2, unique=True))
def test_calibrated_log_odds_increase_strictly_with_the_raw_ones(calibration, raw):
    applied = calibration.apply(np.sort(raw)[:, None])[:, 0]
    assert np.isfinite(applied).all() and (np.diff(applied) > 0).all()


@given(calibrations)
def test_calibration_survives_json_exactly(calibration):
    assert Calibration.from_json(json.loads(json.dumps(calibration.to_json()))) == calibration


def test_beta_equals_its_formula_and_platt_a_line():
    raw = np.array([[-2.0], [0.0], [3.0]])
    p = 1 / (1 + np.exp(-raw))
    beta = Calibration(kind="beta", parameters=((0.5, 2.0, 0.3),)).apply(raw)
    np.testing.assert_allclose(beta, 0.5 * np.log(p) - 2.0 * np.log(1 - p) + 0.3, rtol=1e-12)
    np.testing.assert_allclose(Calibration(kind="platt", parameters=((2.0, -1.0),)).apply(raw), 2 * raw - 1, rtol=1e-12)


def test_each_step_has_its_own_parameters_and_later_steps_the_last_ones():
    calibration = Calibration(kind="platt", parameters=((1.0, 0.0), (2.0, 1.0)))
    assert calibration.apply([[3.0, 3.0, 3.0, 3.0]]).tolist() == [[3.0, 7.0, 7.0, 7.0]]


def test_steps_that_were_not_run_stay_absent():
    for calibration in (Calibration(kind="beta", parameters=((1.0, 2.0, 0.0),)), Calibration(kind="identity", parameters=((),))):
        assert np.isnan(calibration.apply([[1.0, np.nan]])).tolist() == [[False, True]]


def test_scores_of_one_row_do_not_depend_on_the_others():
    raw = np.random.default_rng(0).normal(0, 5, (50, 3))
    calibration = fit_calibration(raw, drawn(0, 50)[1])
    assert (calibration.apply(raw[7:8]) == calibration.apply(raw)[7:8]).all()


@pytest.mark.parametrize("seed", range(3))
def test_calibrating_calibrated_log_odds_changes_little(seed):
    log_odds, y = drawn(seed)
    applied = fit_calibration(log_odds[:, None], y, seed=seed).apply(log_odds[:, None])[:, 0]
    assert np.abs(probability(applied) - probability(log_odds)).mean() < 0.012


@pytest.mark.parametrize(("kind", "truth"), [("platt", (0.4, -1.0)), ("beta", (0.4, 2.0, -1.0))])
def test_the_kind_and_the_parameters_of_distorted_log_odds_are_found(kind, truth):
    random = np.random.default_rng(6)
    raw = random.normal(0, 2, (20_000, 1))
    chances = probability(Calibration(kind=kind, parameters=(truth,)).apply(raw)[:, 0])
    y = (random.random(20_000) < chances).astype(float)
    calibration = fit_calibration(raw, y)
    applied = probability(calibration.apply(raw)[:, 0])
    assert calibration.kind == kind and calibration.parameters[0] == pytest.approx(truth, abs=0.15)
    assert log_loss(y, applied) <= log_loss(y, chances) + 1e-6
    assert applied.mean() == pytest.approx(y.mean(), abs=1e-6)  # the intercept makes the mean right
    assert auc(y, applied) == auc(y, raw[:, 0])


def test_fit_is_the_same_for_the_same_rows_and_seed():
    log_odds, y = drawn(5, 300)
    raw = np.column_stack([log_odds, 2 * log_odds])
    assert fit_calibration(raw, y, seed=3) == fit_calibration(raw, y, seed=3)
    assert len(fit_calibration(raw, y).parameters) == 2


@pytest.mark.parametrize("scale", [1e-3, 1.0, 60.0])
def test_separable_reversed_and_certain_log_odds_still_give_a_finite_increasing_map(scale):
    sign = np.where(np.arange(40) % 2, 1.0, -1.0)
    for y in (sign > 0, sign < 0, (sign > 0) ^ (np.arange(40) < 4)):
        calibration = fit_calibration((scale * sign)[:, None], y)
        assert np.isfinite(calibration.apply([[-60.0], [60.0]])).all() and np.diff(calibration.apply([[-60.0], [60.0]])[:, 0]) > 0


def test_probability_is_exact_in_the_tails():
    assert probability([-700.0, 0.0, 700.0]).tolist() == [np.exp(-700.0), 0.5, 1.0]
    assert np.isnan(probability(np.nan))


@pytest.mark.parametrize(
    ("logits", "y", "says"),
    [
        ([0.0, 1.0], [0, 1], "shape (2,)"),
        ([[0.0], [1.0]], [0, 1, 1], "y (3,)"),
        ([[0.0], [np.nan], [1.0], [1.0]], [0, 0, 1, 1], "1 of 4 log-odds are NaN"),
        ([[0.0], [1.0], [1.0], [1.0]], [0, 0, 1, np.nan], "1 of 4 labels are not 0 or 1"),
        ([[0.0], [1.0], [2.0]], [0, 0, 1], "1 events in 3 rows; at least 2"),
    ],
)
def test_unusable_validation_rows_are_named(logits, y, says):
    with pytest.raises(DataError, match=re.escape(says)):
        fit_calibration(logits, y)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"kind": "isotonic"},
        {"kind": ["platt"]},
        {"parameters": []},
        {"parameters": [[1.0]]},
        {"parameters": [["1", 0.0]]},
        {"parameters": [[0.0, 1.0]]},
        {"parameters": [[float("nan"), 1.0]]},
        {"parameters": "12"},
        {"extra": 1},
    ],
)
def test_damaged_calibration_is_refused(change):
    data = Calibration(kind="platt", parameters=((1.0, 0.0),)).to_json()
    assert Calibration.from_json(json.loads(json.dumps(data))).kind == "platt"
    with pytest.raises(BundleError, match="calibration"):
        Calibration.from_json(json.loads(json.dumps(data)) | change)


def test_log_odds_of_a_wrong_shape_are_refused():
    for raw in ([1.0], [[]]):
        with pytest.raises(DataError, match="expected \\(samples, steps\\)"):
            Calibration(kind="identity", parameters=((),)).apply(raw)


def test_a_calibration_flatters_the_rows_it_was_fitted_on_and_cross_fitting_does_not() -> None:
    random = np.random.default_rng(0)
    raw, y = random.normal(size=(40, 2)), (random.random(40) < 0.5).astype(float)
    crossed = cross_fitted("beta", raw, y)
    inside = Calibration(kind="beta", parameters=tuple(_fitted("beta", step, y) for step in raw.T)).apply(raw)
    assert crossed.shape == (40, 2)
    assert all(log_loss(y, probability(crossed[:, k])) > log_loss(y, probability(inside[:, k])) for k in range(2))
    assert np.array_equal(cross_fitted("identity", raw, y), raw)
