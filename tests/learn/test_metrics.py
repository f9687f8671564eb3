import re

import numpy as np
import pytest
from scipy.stats import ks_2samp
from sklearn import metrics as sklearn_metrics

from trmfin.errors import DataError
from trmfin.learn import metrics
from trmfin.learn.intervals import fold_summary, resampled, student, summary

RANKING = (metrics.auc, metrics.gini, metrics.ks, metrics.average_precision, metrics.lift)
PROBABILITY = (metrics.brier, metrics.log_loss, metrics.expected_calibration_error)


def rows(seed: int, count: int = 400, levels: int = 12):
    """Labels and probabilities full of ties; levels: how many distinct probabilities."""
    random = np.random.default_rng(seed)
    p = random.integers(1, levels, count) / levels
    return (random.random(count) < p).astype(float), p


def bootstrap(metric, y, p, groups=None, draws=100, seed=0, against=None):
    """The interval of one metric, or of its difference from `against`."""
    members = np.arange(len(y)) if groups is None else np.asarray(groups)

    def value(weight):
        return [metric(y, p, weight=weight) - (0 if against is None else metric(y, against, weight=weight))]

    return resampled(value, members, draws, seed)[0]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (metrics.auc, sklearn_metrics.roc_auc_score),
        (metrics.average_precision, sklearn_metrics.average_precision_score),
        (metrics.brier, sklearn_metrics.brier_score_loss),
        (metrics.log_loss, sklearn_metrics.log_loss),
        (metrics.ks, lambda y, p: ks_2samp(p[y == 1], p[y == 0]).statistic),
    ],
)
def test_metric_equals_the_reference_also_with_ties(ours, theirs, seed):
    for levels in (3, 12, 100_000):
        y, p = rows(seed, levels=levels)
        assert ours(y, p) == pytest.approx(theirs(y, p), abs=1e-12)


@pytest.mark.parametrize("metric", RANKING + PROBABILITY)
def test_integer_weights_equal_repeated_rows(metric):
    y, p = rows(1, count=60)
    weight = np.random.default_rng(2).integers(0, 4, 60)
    assert metric(y, p, weight=weight) == pytest.approx(metric(np.repeat(y, weight), np.repeat(p, weight)), abs=1e-12)


@pytest.mark.parametrize("metric", RANKING + PROBABILITY)
def test_metric_does_not_depend_on_the_order_of_rows(metric):
    y, p = rows(3)
    shuffled = np.random.default_rng(0).permutation(y.size)
    assert metric(y[shuffled], p[shuffled]) == pytest.approx(metric(y, p), abs=1e-12)


def test_metrics_of_four_rows_by_hand():
    y, p = [0, 1, 0, 1], [0.1, 0.4, 0.4, 0.8]
    assert metrics.auc(y, p) == pytest.approx(3.5 / 4)  # pairs: 1, 1, 1 and a tie
    assert metrics.gini(y, p) == pytest.approx(0.75)
    assert metrics.ks(y, p) == pytest.approx(0.5)
    assert metrics.average_precision(y, p) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert metrics.brier(y, p) == pytest.approx((0.01 + 0.36 + 0.16 + 0.04) / 4)
    assert metrics.log_loss(y, p) == pytest.approx(-(np.log(0.9) + np.log(0.4) + np.log(0.6) + np.log(0.8)) / 4)


def test_worst_and_best_rankings_have_the_ends_of_the_range():
    y, p = np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.8, 0.9])
    assert [metrics.auc(y, p), metrics.gini(y, p), metrics.ks(y, p), metrics.average_precision(y, p)] == [1, 1, 1, 1]
    assert [metrics.auc(y, 1 - p), metrics.gini(y, 1 - p), metrics.ks(y, 1 - p)] == [0, -1, 1]
    assert [metrics.auc(y, p * 0), metrics.ks(y, p * 0), metrics.lift(y, p * 0)] == [0.5, 0, 1]


def test_lift_counts_a_cut_run_of_ties_in_proportion():
    y, p = [1, 1, 0, 0, 0, 0, 0, 0, 0, 0], [0.9] + [0.5] * 9
    assert metrics.lift(y, p, 0.1) == pytest.approx(5.0)  # one of two events in a tenth of the rows
    assert metrics.lift(y, p, 0.4) == pytest.approx((1 + 3 / 9) / 2 / 0.4)
    assert metrics.lift(y, p, 1.0) == pytest.approx(1.0)
    with pytest.raises(DataError, match="share is 0"):
        metrics.lift(y, p, 0)


def test_expected_cost_charges_both_errors_and_refuses_at_the_cutoff():
    y, p = [1, 1, 0, 0], [0.2, 0.5, 0.5, 0.1]
    assert metrics.decision_costs(y, p, 0.5, (10.0, 1.0)).tolist() == [10, 0, 1, 0]
    assert metrics.decision_costs(y, p, 0.51, (10.0, 1.0)).mean() == pytest.approx(20 / 4)
    with pytest.raises(DataError, match="costs >= 0"):
        metrics.decision_costs(y, p, 0.5, (-1.0, 1.0))


def test_calibration_error_uses_bins_of_equal_mass():
    p = np.array([0.1, 0.2, 0.3, 0.4, 0.8, 0.9])
    y = np.array([0, 1, 0, 0, 1, 1])
    by_hand = (abs(0.3 - 1) + abs(0.7 - 0) + abs(1.7 - 2)) / 6  # three bins of two rows
    assert metrics.expected_calibration_error(y, p, bins=3) == pytest.approx(by_hand)
    y, p = rows(5, count=1500, levels=10**9)
    order = np.argsort(p)
    bins = zip(np.split(y[order], 15), np.split(p[order], 15), strict=True)
    assert metrics.expected_calibration_error(y, p) == pytest.approx(np.mean([abs(a.mean() - b.mean()) for a, b in bins]))


def test_calibration_error_never_splits_a_tie():
    y, p = np.array([1, 0, 0, 0, 1, 1]), np.array([0.5] * 6)
    assert metrics.expected_calibration_error(y, p) == pytest.approx(0.0)
    assert metrics.calibration_curve(y, p).rows.tolist() == [6.0]


def test_calibration_curve_holds_every_row_and_its_interval_the_observed_share():
    y, p = rows(6)
    curve = metrics.calibration_curve(y, p, bins=5)
    assert curve.rows.sum() == y.size and (np.diff(curve.predicted) > 0).all()
    assert ((curve.low <= curve.observed) & (curve.observed <= curve.high)).all()
    wilson = metrics.calibration_curve([1, 0, 0, 0], [0.5] * 4, bins=1)  # Wilson interval of 1 in 4
    assert (wilson.low[0], wilson.high[0]) == (pytest.approx(0.0456, abs=1e-4), pytest.approx(0.6994, abs=1e-4))


@pytest.mark.parametrize(
    ("y", "p", "says"),
    [
        ([0, 1], [0.1], "shapes y (2,), p (1,)"),
        ([[0, 1]], [[0.1, 0.2]], "shapes"),
        ([], [], "at least 1 row"),
        ([0, 2], [0.1, 0.2], "not 0 or 1 (first: row 1)"),
        ([0, np.nan], [0.1, 0.2], "y: 1 of 2 values are NaN"),
        ([0, 1], [0.1, np.inf], "p: 1 of 2 values are NaN or infinite, first at row 1"),
        (["a", "b"], [0.1, 0.2], "expected numbers"),
    ],
)
def test_bad_rows_are_named(y, p, says):
    for metric in RANKING + PROBABILITY:
        with pytest.raises(DataError, match=re.escape(says)):
            metric(y, p)


def test_one_class_only_says_which_metric_is_undefined():
    names = {metrics.auc: "auc", metrics.ks: "ks", metrics.average_precision: "average precision", metrics.lift: "lift"}
    for metric, name in names.items():
        with pytest.raises(DataError, match=f"metric {name}: undefined, no row has y = 1"):
            metric([0, 0], [0.1, 0.2])
        with pytest.raises(DataError, match="no row has y = 0"):
            metric([1, 1], [0.1, 0.2])
    assert metrics.brier([0, 0], [0.0, 0.0]) == 0


def test_log_odds_are_refused_where_probabilities_are_needed():
    for metric in PROBABILITY:
        with pytest.raises(DataError, match="not log-odds"):
            metric([0, 1], [-1.0, 2.0])
    assert metrics.auc([0, 1], [-1.0, 2.0]) == 1


def test_weights_are_checked():
    for weight, says in (([1.0], "one weight a row"), ([-1.0, 1.0], "expected weights >= 0"), ([0.0, 0.0], "all 2 weights are 0")):
        with pytest.raises(DataError, match=says):
            metrics.brier([0, 1], [0.1, 0.2], weight=weight)
    with pytest.raises(DataError, match="0 bins"):
        metrics.expected_calibration_error([0, 1], [0.1, 0.2], bins=0)


def test_bootstrap_is_seeded_and_holds_the_value():
    y, p = rows(7)
    first, again, other = (bootstrap(metrics.auc, y, p, draws=100, seed=seed) for seed in (0, 0, 1))
    assert first == again and first != other
    assert first.low < first.value < first.high and first.value == pytest.approx(metrics.auc(y, p))


def test_bootstrap_draws_rows_of_a_group_together():
    y, p = rows(8, count=100)
    repeated = bootstrap(metrics.auc, np.tile(y, 9), np.tile(p, 9), np.tile(np.arange(100), 9), draws=200)
    single = bootstrap(metrics.auc, y, p, draws=200)
    assert (repeated.low, repeated.high) == (pytest.approx(single.low), pytest.approx(single.high))
    assert bootstrap(metrics.auc, np.tile(y, 9), np.tile(p, 9), draws=200).low > single.low


def test_bootstrap_of_a_mean_has_the_known_width():
    y = (np.arange(1000) < 300).astype(float)
    interval = bootstrap(metrics.brier, y, np.zeros(1000), draws=2000)
    assert (interval.high - interval.low) / 2 == pytest.approx(1.96 * (0.3 * 0.7 / 1000) ** 0.5, rel=0.06)


def test_groups_may_be_names():
    y, p = rows(9, count=50)
    numbers = np.arange(50) // 2
    names = np.array([f"client {number:02}" for number in numbers], dtype=object)
    assert summary(y, p, names, draws=20) == summary(y, p, numbers, draws=20)


def test_draws_of_one_class_are_left_out_until_they_are_half():
    y, p = [0, 0, 0, 0, 0, 0, 1, 1], np.linspace(0.1, 0.8, 8)
    assert bootstrap(metrics.auc, y, p, draws=50).value == 1
    with pytest.raises(DataError, match="undefined in .* of 50 draws of 2 groups"):
        bootstrap(metrics.auc, [0, 1], [0.1, 0.2], draws=50)


def test_paired_difference_is_narrower_than_the_models_and_zero_with_itself():
    y, p = rows(10, count=600)
    other = np.clip(p + np.random.default_rng(0).normal(0, 0.02, p.size), 0, 1)
    pair, alone = bootstrap(metrics.auc, y, p, draws=100, against=other), bootstrap(metrics.auc, y, p, draws=100)
    assert pair.value == pytest.approx(metrics.auc(y, p) - metrics.auc(y, other))
    assert pair.high - pair.low < (alone.high - alone.low) / 2
    itself = bootstrap(metrics.auc, y, p, draws=20, against=p)
    assert (itself.value, itself.low, itself.high) == (0, 0, 0)


def test_summary_equals_each_metric_and_its_own_bootstrap():
    y, p = rows(11)
    groups = np.arange(y.size) // 3
    whole = summary(y, p, groups, draws=40, seed=5)
    assert list(whole) == ["auc", "gini", "ks", "ap", "brier", "log_loss", "ece", "lift_10"]
    for name, metric in zip(whole, (*RANKING[:4], *PROBABILITY, metrics.lift), strict=True):
        assert whole[name] == pytest.approx(bootstrap(metric, y, p, groups, draws=40, seed=5).to_json(), abs=1e-12)


def test_means_over_folds_have_both_intervals():
    y, p = rows(12, count=500)
    folds = np.arange(500) % 5
    mean = fold_summary(y, p, folds, draws=50)["auc"]
    each = [metrics.auc(y[folds == fold], p[folds == fold]) for fold in range(5)]
    assert mean["folds"] == pytest.approx(each) and mean["mean"] == pytest.approx(np.mean(each))
    assert mean["low"] < mean["mean"] < mean["high"]
    assert mean["t_high"] - mean["mean"] == pytest.approx(2.7764 * np.std(each, ddof=1) / 5**0.5, rel=1e-3)
    one = fold_summary(y, p, np.zeros(500), draws=50)["auc"]
    assert "t_low" not in one and one["low"] == pytest.approx(bootstrap(metrics.auc, y, p, draws=50).low)


def test_paired_folds_are_differences_fold_by_fold():
    y, p = rows(13, count=300)
    other, folds = p[::-1].copy(), np.arange(300) % 3
    pair = fold_summary(y, p, folds, draws=30, against=other)["brier"]
    each = [metrics.brier(y[part], p[part]) - metrics.brier(y[part], other[part]) for part in (folds == fold for fold in range(3))]
    assert pair["folds"] == pytest.approx(each)
    assert summary(y, p, draws=30, against=other)["brier"]["value"] == pytest.approx(metrics.brier(y, p) - metrics.brier(y, other))


def test_any_statistic_of_weighted_rows_has_an_interval():
    members = np.arange(200) // 2
    value = np.sin(np.arange(200.0))
    (mean,) = resampled(lambda weight: [float(weight @ value / weight.sum())], members, draws=100)
    assert mean.low < mean.value < mean.high and mean.value == pytest.approx(value.mean())


def test_student_quantiles_equal_scipy():
    from scipy.stats import t

    assert [student(k) for k in range(1, 200)] == pytest.approx([t.ppf(0.975, k) for k in range(1, 200)], abs=1e-4)


def test_interval_names_wrong_shapes():
    for y, p, groups in (([0, 1], [0.1], None), ([0, 1], [0.1, 0.2], [1]), ([], [], None)):
        with pytest.raises(DataError, match="interval: y has shape"):
            summary(y, p, groups)
    with pytest.raises(DataError, match="expected one fold a row"):
        fold_summary([0, 1], [0.1, 0.2], [0])
    with pytest.raises(DataError, match="0 draws"):
        summary([0, 1], [0.1, 0.2], draws=0)
