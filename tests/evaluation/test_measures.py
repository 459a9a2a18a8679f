"""Bounds and better sides of metrics, and intervals that stay within the bounds."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from numpy.testing import assert_allclose

from omics_jax.evaluation import comparisons
from omics_jax.evaluation.measures import MEASURES, Measure, better_sides, measure_of

# Scores of three folds of a small study, with as many test as training rows.
ACCURACY = np.array([0.175, 0.15, 0.4])
C_INDEX = np.array([0.277372, 0.431507, 0.177778])


@pytest.mark.parametrize(
    ("metric", "measure"),
    [
        ("auroc", "auroc"),
        ("validation_hard_label_auroc", "hard_label_auroc"),
        ("OS_c_index", "c_index"),
        ("OS_c_index_uno_complete", "c_index_uno"),
        ("OS_c_index_within", "c_index_within"),
        ("mae_10", "mae"),
        ("mre_units_given", "mre_units"),
        ("mirna_pearson", "pearson"),
        # The name of a task may be that of a measure: what is behind it counts.
        ("accuracy_rmse", "rmse"),
        ("my_auroc_r2_complete", "r2"),
        ("rho_pred_centred", "rho_pred_centred"),
        ("OS_d_calibration_p", "d_calibration_p"),
    ],
)
def test_the_name_of_a_metric_leads_to_its_measure(metric, measure):
    assert measure_of(metric) is MEASURES[measure]


def test_a_name_without_a_measure_has_no_bounds_and_no_side():
    assert measure_of("a_new_score") == measure_of("") == Measure()
    assert better_sides(["a_new_score", "calibration_slope", "OS_ibs", "r2"]) == {
        "OS_ibs": "lower",
        "r2": "higher",
    }


def plain(values, ratio):
    """m, h and the ends of the corrected t interval m -+ h by scipy."""
    count = len(values)
    error = np.sqrt((1 / count + ratio) * np.var(values, ddof=1))
    return np.mean(values), scipy.stats.t.ppf(0.975, count - 1) * error


@pytest.mark.parametrize("values", [ACCURACY, C_INDEX])
def test_a_share_has_the_interval_of_its_logit(values):
    """The corrected interval of these leaves 0 to 1; that of the logit is within."""
    mean, half = plain(values, 1.0)
    assert mean - half < 0
    logit = np.log(mean / (1 - mean))
    expected = 1 / (1 + np.exp(-(logit + np.array([-1, 1]) * half / (mean * (1 - mean)))))
    summary = comparisons.summarize(values, 1.0, measure_of("accuracy"))
    assert_allclose(summary["ci95"], expected, rtol=1e-12)
    assert 0 < summary["ci95"][0] < mean < summary["ci95"][1] < 1
    assert summary["ci_method"] == (
        "corrected resampled t (Nadeau-Bengio) on the logit scale, n_test/n_train = 1"
    )


def test_a_correlation_has_the_interval_of_fishers_z():
    values = np.array([0.91, 0.99, 0.97, 0.995])
    mean, half = plain(values, 0.25)
    expected = np.tanh(np.arctanh(mean) + np.array([-1, 1]) * half / (1 - mean**2))
    assert_allclose(
        comparisons.corrected_interval(values, 0.25, measure_of("pearson")), expected, rtol=1e-9
    )
    assert mean + half > 1 > expected[1]


def test_beyond_one_bound_the_interval_is_cut_off():
    errors = np.array([0.2, 0.3, 1.5])
    mean, half = plain(errors, 0.5)
    assert mean - half < 0
    summary = comparisons.summarize(errors, 0.5, measure_of("rmse"))
    assert_allclose(summary["ci95"], (0, mean + half))
    assert summary["ci_method"].endswith("n_test/n_train = 0.5, cut off at 0")
    summary = comparisons.summarize(1 - errors, 0.5, measure_of("age_r2"))
    assert_allclose(summary["ci95"], (1 - mean - half, 1))
    assert summary["ci_method"].endswith("n_test/n_train = 0.5, cut off at 1")


def test_an_error_that_is_far_from_0_keeps_its_interval():
    errors = np.array([1.2, 1.3, 1.5])
    summary = comparisons.summarize(errors, 0.5, measure_of("rmse"))
    assert summary["ci95"] == list(comparisons.corrected_resampled_t(errors, 0.5).ci95)
    assert summary["ci_method"] == "corrected resampled t (Nadeau-Bengio), n_test/n_train = 0.5"


def test_without_bounds_it_is_the_corrected_interval_itself():
    values = np.array([0.9, 1.4, 1.1])
    expected = comparisons.corrected_resampled_t(values, 0.5).ci95
    measure = measure_of("calibration_slope")
    assert comparisons.corrected_interval(values, 0.5, measure) == expected


@pytest.mark.parametrize("measure", sorted(set(MEASURES.values())), ids=str)
def test_no_interval_leaves_what_a_score_can_be(measure):
    random = np.random.default_rng(0)
    low, high = max(measure.low, -3), min(measure.high, 3)
    for count in (2, 3, 5, 10):
        for _ in range(50):
            # Some of them lie on a bound, and some are all alike.
            values = np.clip(random.normal(high, random.choice([0, 0.02, 1]), count), low, high)
            interval = comparisons.corrected_interval(values, random.random(), measure)
            if measure.is_p:
                assert np.isnan(interval).all()
                continue
            assert measure.low <= interval[0] <= values.mean() + 1e-12, values
            assert values.mean() - 1e-12 <= interval[1] <= measure.high, values


def test_scores_that_are_all_on_a_bound_have_an_interval_of_no_width():
    for value in (0.0, 1.0):
        summary = comparisons.summarize(np.full(4, value), 0.5, measure_of("auroc"))
        assert summary["ci95"] == [value, value]


def test_an_error_that_is_nearly_0_has_an_interval():
    summary = comparisons.summarize(np.array([1e-16, 0, 3e-16]), 0.5, measure_of("brier"))
    assert 0 <= summary["ci95"][0] < summary["mean"] < summary["ci95"][1] < 1


def test_a_mean_beyond_what_a_score_can_be_has_no_interval():
    """Censoring weights can bring an estimated Brier score above 1."""
    summary = comparisons.summarize(np.array([1.2, 1.0, 1.1]), 0.5, measure_of("OS_ibs"))
    assert np.isnan(summary["ci95"]).all()
    assert summary["ci_method"] == "none, a mean outside of what the score can be"


def test_p_values_have_no_interval_but_a_p_value_of_all():
    p = np.array([0.02, 0.3, 0.16])
    summary = comparisons.summarize(p, 1.0, measure_of("OS_d_calibration_p"))
    assert np.isnan(summary["ci95"]).all() and summary["ci_method"].startswith("none, p-values")
    assert summary["p_combined"] == pytest.approx(2 * 0.16)
    assert comparisons.summarize(p + 0.5, 1.0, measure_of("x_d_calibration_p"))["p_combined"] == 1
    alone = comparisons.summarize(p[:1], 1.0, measure_of("d_calibration_p"))
    assert alone["p_combined"] == 0.02
    assert np.isnan(comparisons.summarize(p[:0], 1.0, measure_of("d_calibration_p"))["p_combined"])


def test_twice_the_mean_of_dependent_p_values_keeps_its_level():
    """Also where the splits' p-values are one and the same, or opposites."""
    first = np.random.default_rng(1).random(20_000)
    for second in (first, 1 - first, np.random.default_rng(2).random(20_000)):
        combined = np.minimum(1, first + second)
        for level in (0.01, 0.05, 0.2):
            assert (combined <= level).mean() <= level + 3 * np.sqrt(level / 20_000)


def scored(a, b, metric):
    """Scores of two models over folds."""
    rows = [
        {"model": model, "fold": fold, "value": value}
        for model, values in (("a", a), ("b", b))
        for fold, value in enumerate(values)
    ]
    place = {"arm": "x", "group": "all", "repeat": 0, "metric": metric, "n_train": 20, "n_test": 20}
    return pd.DataFrame(rows).assign(**place)


@pytest.mark.parametrize(("metric", "most"), [("auroc", 1), ("pearson", 2), ("rmse", np.inf)])
def test_a_difference_is_cut_off_where_none_can_lie(metric, most):
    a, b = np.array([0.95, 0.99, 0.6]), np.array([0.1, 0.4, 0.3])
    (test,) = comparisons.compare(scored(a, b, metric), "a", "b", metric)
    low, high = comparisons.corrected_resampled_t(a - b, 1.0).ci95
    assert high > 1
    assert test["ci95"] == [low, min(high, most)]
    # The interval holds 0 exactly where the test shows no difference.
    assert (test["ci95"][0] <= 0) == (test["p"] >= 0.05)
