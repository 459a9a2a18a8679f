"""Brier scores and calibration of survival curves against scikit-survival, lifelines, scipy and
planted truth.
"""

import numpy as np
import pytest
import scipy.stats
import sksurv.metrics
from lifelines import KaplanMeierFitter
from numpy.testing import assert_allclose, assert_array_equal
from survival_rows import exponential, structured, tied, training

from omics_jax.errors import UserError
from omics_jax.evaluation import survival
from omics_jax.evaluation.follow_up import FollowUpWarning, kaplan_meier_at

TIMES = np.array([1.5, 3.0, 5.5, 9.0, 11.0])


def curves(risk, times):
    """(n, m) exponential curves whose hazard rises with the risk."""
    return np.exp(-0.03 * np.exp(0.2 * risk)[:, None] * times)


@pytest.mark.parametrize("seed", range(3))
def test_brier_scores_are_scikit_survivals(seed):
    times, events, risk = tied(seed=seed)
    train, test, predicted = training(), (times, events), curves(risk, TIMES)
    expected = sksurv.metrics.brier_score(structured(train), structured(test), predicted, TIMES)[1]
    assert_allclose(survival.brier_score(train, test, predicted, TIMES), expected, rtol=1e-10)
    expected = sksurv.metrics.integrated_brier_score(
        structured(train), structured(test), predicted, TIMES
    )
    assert survival.integrated_brier_score(train, test, predicted, TIMES) == pytest.approx(
        expected, rel=1e-10
    )


def test_brier_score_without_censoring_is_the_mean_squared_error():
    times, _, risk = tied()
    outcome, predicted = (times, np.ones(len(times))), curves(risk, TIMES)
    expected = (((times[:, None] > TIMES) - predicted) ** 2).mean(axis=0)
    assert_allclose(survival.brier_score(outcome, outcome, predicted, TIMES), expected, rtol=1e-12)


def test_brier_score_of_kaplan_meier_is_its_variance():
    """S (1 - S), since weighted by 1 / G the shares of dead and alive rows are 1 - S and S where no
    times tie.
    """
    times, events, _ = exponential()
    at = np.quantile(times, [0.1, 0.4, 0.7, 0.9])
    s = kaplan_meier_at(times, events, at)
    found = survival.brier_score((times, events), (times, events), np.tile(s, (len(times), 1)), at)
    assert_allclose(found, s * (1 - s), rtol=1e-10)


def test_brier_score_does_not_depend_on_the_order_of_rows():
    times, events, risk = tied()
    order = np.random.default_rng(1).permutation(len(times))
    found = survival.brier_score(
        training(), (times[order], events[order]), curves(risk[order], TIMES), TIMES
    )
    expected = survival.brier_score(training(), (times, events), curves(risk, TIMES), TIMES)
    assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize(
    "measure, expect",
    [(survival.brier_score, lambda s: s[[0, 1, 2, 2]]), (survival.integrated_brier_score, None)],
)
def test_times_after_the_end_of_training_are_scored_at_the_end(measure, expect):
    times, events, hazard = exponential()
    test, late, early = (
        (4 * times, events),
        np.array([5.0, 11.0, 15.0, 30.0]),
        np.array([5.0, 11.0, 13.0]),
    )
    predicted = np.exp(-hazard[:, None] / 4 * late)
    at_the_end = np.column_stack([predicted[:, :2], (predicted[:, 1] + predicted[:, 2]) / 2])
    expected = measure(training(), test, at_the_end, early)
    with pytest.warns(
        FollowUpWarning, match="2 of 4 times of evaluation .* are clipped to 13"
    ) as caught:
        found = measure(training(), test, predicted, late)
    assert len(caught) == 1
    assert_allclose(found, expected if expect is None else expect(expected), rtol=1e-12)


def test_training_that_ends_in_a_censoring_gives_finite_scores_up_to_it():
    """G is 0 from 13 on; events there carry no weight in scores at earlier times."""
    times, events, risk = tied()
    times[:5], events[:5] = 13.5, True
    train = (training()[0], np.append(training()[1][:-1], False))
    predicted = curves(risk, TIMES)
    expected = survival.brier_score(training(), (times, events), predicted, TIMES)
    assert_array_equal(survival.brier_score(train, (times, events), predicted, TIMES), expected)
    with pytest.warns(FollowUpWarning, match="1 of 2 times"):
        assert np.isfinite(
            survival.brier_score(train, (times, events), predicted[:, :2], np.array([9.0, 13.0]))
        ).all()


def test_scores_where_all_times_are_after_the_end_are_that_at_the_end():
    times, events, risk = tied()
    predicted = curves(risk, np.array([26.0, 39.0]))
    expected = survival.brier_score(
        training(), (times, events), (1 + predicted[:, :1]) / 2, np.array([13.0])
    )
    with pytest.warns(FollowUpWarning, match="2 of 2 times"):
        found = survival.integrated_brier_score(
            training(), (times, events), predicted, np.array([26.0, 39.0])
        )
    assert found == pytest.approx(expected[0], rel=1e-12)


def test_survival_at_own_time_is_interpolated_in_every_row():
    times, _, risk = tied()
    grid = np.array([2.0, 3.0, 7.0, 11.0])
    predicted = curves(risk, grid)
    expected = [np.interp(t, [0, *grid], [1, *s]) for t, s in zip(times, predicted, strict=True)]
    assert_allclose(survival.survival_at_own_time(predicted, grid, times), expected, rtol=1e-12)
    with_zero = survival.survival_at_own_time(
        np.insert(predicted, 0, 1, axis=1), np.insert(grid, 0, 0), times
    )
    assert_allclose(with_zero, expected, rtol=1e-12)


def test_median_survival_is_where_the_curve_passes_one_half():
    grid = np.array([2.0, 3.0, 7.0, 11.0])
    predicted = np.array(
        [[0.9, 0.7, 0.3, 0.1], [0.2, 0.1, 0.1, 0.0], [1.0, 0.5, 0.5, 0.5], [0.9, 0.8, 0.7, 0.51]]
    )
    assert_allclose(survival.median_survival(predicted, grid), [5, 1.25, 3, np.inf], rtol=1e-12)
    assert survival.median_survival(np.array([[0.4, 0.3]]), np.array([0.0, 1.0]))[0] == 0.0


def test_median_survival_of_exponential_curves_is_log_2_over_the_hazard():
    hazard, grid = exponential()[2], np.linspace(0, 30, 30_001)
    found = survival.median_survival(np.exp(-hazard[:50, None] * grid), grid)
    assert_allclose(found, np.log(2) / hazard[:50], rtol=1e-5)


def test_d_calibration_by_hand():
    """Events at .1, .6 and 1; censored at .3 (all of it in bin 0), at .8 (5/8 and 3/8) and at 0
    (bin 0).
    """
    found = survival.d_calibration(
        np.array([0.1, 0.6, 1.0, 0.3, 0.8, 0.0]), np.array([1, 1, 1, 0, 0, 0]), bins=2
    )
    assert_allclose(found.counts, [1 + 1 + 5 / 8 + 1, 2 + 3 / 8], rtol=1e-12)
    assert found.statistic == pytest.approx(2 * 0.625**2 / 3, rel=1e-12)
    assert found.p == pytest.approx(scipy.stats.chi2.sf(found.statistic, 1), rel=1e-12)


def test_d_calibration_without_censoring_is_pearsons_test():
    probability = np.random.default_rng(0).beta(1.2, 1.0, 300)
    counts = np.histogram(probability, bins=10, range=(0, 1))[0]
    found = survival.d_calibration(probability, np.ones(300))
    assert_array_equal(found.counts, counts)
    assert_allclose(found[:2], scipy.stats.chisquare(counts), rtol=1e-12)


@pytest.mark.parametrize("censored", [False, True])
@pytest.mark.parametrize("factor, calibrated", [(1.0, True), (1.5, False), (0.5, False)])
def test_d_calibration_holds_for_the_true_curves_alone(censored, factor, calibrated):
    times, events, hazard = exponential(2000, censored=censored)
    found = survival.d_calibration(np.exp(-factor * hazard * times), events)
    assert found.counts.sum() == pytest.approx(2000)
    assert found.p > 0.1 if calibrated else found.p < 1e-6


def test_calibration_observes_kaplan_meier_in_quantile_groups():
    times, events, hazard = exponential()
    predicted = np.exp(-hazard * 2.0)
    found = survival.calibration_at(times, events, predicted, 2.0, groups=4)
    order = np.argsort(predicted).reshape(4, 100)
    for i, rows in enumerate(order):
        fitted = KaplanMeierFitter().fit(times[rows], events[rows])
        s = float(fitted.survival_function_at_times(2.0).iloc[0])
        upper = float(fitted.confidence_interval_survival_function_.loc[:2.0].iloc[-1, 1])
        greenwood = (
            np.log(np.log(upper) / np.log(s)) * np.log(s) / scipy.stats.norm.ppf(0.975)
        ) ** 2
        z2 = scipy.stats.norm.ppf(0.975) ** 2
        for bound in (
            found["low"][i],
            found["high"][i],
        ):  # the roots of (S - b)^2 = z^2 b (1 - b) / n'
            size = (1 - s) / (s * greenwood)
            assert (s - bound) ** 2 == pytest.approx(z2 * bound * (1 - bound) / size, rel=1e-8)
        assert found["low"][i] < s < found["high"][i]
        assert_allclose([found["x"][i], found["y"][i]], [predicted[rows].mean(), s], rtol=1e-10)
    assert_array_equal(found["count"], [100] * 4)


def test_calibration_without_censoring_has_wilsons_intervals():
    """Also where all or none of a group survive."""
    times, predicted = (
        np.repeat([1.0, 9.0, 1.0, 9.0], [20, 5, 15, 20]),
        np.repeat([0.1, 0.4, 0.4, 0.8], [20, 5, 15, 20]),
    )
    found = survival.calibration_at(times, np.ones(60), predicted, 5.0, groups=3)
    for i, (alive, count) in enumerate([(0, 20), (5, 20), (20, 20)]):
        interval = scipy.stats.binomtest(alive, count).proportion_ci(0.95, method="wilson")
        expected = [alive / count, interval.low, interval.high, count]
        assert_allclose([found[c][i] for c in ("y", "low", "high", "count")], expected, atol=1e-12)


def test_calibration_at_a_time_of_events_and_censorings():
    """At 5, group 1 has lost one of four, with an event before a censoring; of group 2 two are
    left, all alive.
    """
    times, events = (
        np.array([5.0, 5.0, 9.0, 9.0, 2.0, 3.0, 5.0, 5.0]),
        np.array([1, 0, 1, 0, 0, 0, 0, 0]),
    )
    found = survival.calibration_at(times, events, np.repeat([0.6, 0.9], 4), 5.0, groups=2)
    for i, (alive, count) in enumerate([(3, 4), (2, 2)]):
        interval = scipy.stats.binomtest(alive, count).proportion_ci(0.95, method="wilson")
        expected = [alive / count, interval.low, interval.high]
        assert_allclose([found[c][i] for c in ("y", "low", "high")], expected, atol=1e-12)


@pytest.mark.parametrize(
    "factor, least, most", [(1.0, 44, 50), (2.0, 0, 10)], ids=["true", "wrong"]
)
def test_intervals_hold_the_true_curves_and_not_wrong_ones(factor, least, most):
    """Of 50 groups 47.5 (sd 1.5) are expected to."""
    inside = 0
    for seed in range(5):
        times, events, hazard = exponential(1000, seed)
        found = survival.calibration_at(times, events, np.exp(-factor * hazard * 2.0), 2.0)
        inside += ((found["low"] <= found["x"]) & (found["x"] <= found["high"])).sum()
    assert least <= inside <= most


def test_calibration_is_nan_where_nobody_was_followed_so_long():
    times, events = np.array([1.0, 2.0, 8.0, 9.0]), np.array([1, 0, 0, 1])
    found = survival.calibration_at(times, events, np.array([0.2, 0.2, 0.7, 0.7]), 5.0, groups=2)
    assert np.isnan([found[c][0] for c in ("y", "low", "high")]).all()
    assert found["y"][1] == 1.0 and 0 < found["low"][1] < found["high"][1] == 1.0


def test_float32_sums_just_above_1_are_probabilities():
    probability = np.array([1.0000001, 0.4], dtype=np.float32)
    assert survival.d_calibration(probability, np.ones(2), bins=2).counts.tolist() == [1, 1]


TWO, HALF = np.array([1.0, 2.0]), np.full((2, 2), 0.5)
DEAD = (TWO, np.ones(2))


@pytest.mark.parametrize(
    "call, error, sentence",
    [
        (
            lambda: survival.brier_score(training(), DEAD, HALF * 3, TWO),
            ValueError,
            "row 0 has a survival .* of 1.5",
        ),
        (
            lambda: survival.brier_score(training(), DEAD, HALF * np.nan, TWO),
            ValueError,
            "of nan, outside",
        ),
        (
            lambda: survival.brier_score(training(), DEAD, HALF, TWO[::-1]),
            ValueError,
            "rise strictly",
        ),
        (
            lambda: survival.integrated_brier_score(training(), DEAD, HALF[:, :1], TWO[:1]),
            ValueError,
            "2 times, not 1",
        ),
        (
            lambda: survival.median_survival(HALF[:, :1], np.zeros(1)),
            ValueError,
            "needs a time after 0",
        ),
        (
            lambda: survival.d_calibration(HALF[0], np.zeros(2)),
            UserError,
            "none of 2 rows has an event",
        ),
        (
            lambda: survival.d_calibration(HALF[0], np.ones(2), bins=1),
            ValueError,
            "at least 2 bins, not 1",
        ),
        (lambda: survival.calibration_at(*DEAD, HALF[0] * -1, 1.0), ValueError, "of -0.5, outside"),
        (
            lambda: survival.calibration_at(TWO, np.zeros(2), HALF[0], 3.0),
            UserError,
            "2 rows was followed to time 3",
        ),
    ],
)
def test_what_cannot_be_computed_is_refused_in_words(call, error, sentence):
    with pytest.raises(error, match=sentence):
        call()
