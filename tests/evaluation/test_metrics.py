"""Metrics against scipy and scikit-learn row by row, by brute force, and at the edges that data
have.
"""

import inspect

import numpy as np
import pytest
import scipy.stats
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import root_mean_squared_error

from omics_jax.errors import UserError
from omics_jax.evaluation import metrics

ROW_METRICS = {
    "pearson": metrics.pearson_rows,
    "spearman": metrics.spearman_rows,
    "recall": lambda a, b, mask=None: metrics.top_change_recall(a, b, 5, mask),
}
ORACLES = {
    "pearson": lambda a, b: scipy.stats.pearsonr(a, b).statistic,
    "spearman": lambda a, b: scipy.stats.spearmanr(a, b).statistic,
    "recall": lambda a, b: len({*np.argsort(-abs(a))[:5]} & {*np.argsort(-abs(b))[:5]}) / 5,
}
row_metrics = pytest.mark.parametrize("name", ROW_METRICS)


@pytest.fixture
def profiles():
    """Predicted and observed (12, 30), correlated, and a mask that hides about a third."""
    random = np.random.default_rng(0)
    observed = random.normal(7.0, 2.0, (12, 30))
    predicted = observed + random.normal(0.0, 1.5, (12, 30))
    return predicted, observed, random.random((12, 30)) < 0.65


@row_metrics
def test_each_row_agrees_with_its_oracle(name, profiles):
    predicted, observed, _ = profiles
    expected = [ORACLES[name](p, o) for p, o in zip(predicted, observed, strict=True)]
    assert_allclose(ROW_METRICS[name](predicted, observed), expected, rtol=1e-12)


@row_metrics
@pytest.mark.parametrize("hidden", [0.0, 1e9, np.nan, np.inf])
def test_masked_cells_are_left_out_and_never_read(name, profiles, hidden):
    predicted, observed, mask = profiles
    expected = [
        ORACLES[name](p[m], o[m]) for p, o, m in zip(predicted, observed, mask, strict=True)
    ]
    scores = ROW_METRICS[name](
        np.where(mask, predicted, hidden), np.where(mask, observed, hidden), mask
    )
    assert_allclose(scores, expected, rtol=1e-12)


@row_metrics
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_a_non_finite_observed_cell_makes_its_row_nan_and_no_other(name, profiles, value, side):
    pair = [profile.copy() for profile in profiles[:2]]
    pair[side][3, 4] = value
    scores, clean = ROW_METRICS[name](*pair), ROW_METRICS[name](*profiles[:2])
    assert np.isnan(scores[3])
    assert_array_equal(np.delete(scores, 3), np.delete(clean, 3))


@row_metrics
def test_single_precision_is_computed_in_double(name, profiles):
    predicted, observed = (profile.astype(np.float32) for profile in profiles[:2])
    scores = ROW_METRICS[name](predicted, observed)
    assert scores.dtype == np.float64
    assert_array_equal(
        scores, ROW_METRICS[name](predicted.astype(np.float64), observed.astype(np.float64))
    )


@row_metrics
def test_no_rows_give_no_scores(name):
    assert ROW_METRICS[name](np.empty((0, 30)), np.empty((0, 30))).shape == (0,)


@pytest.mark.parametrize("metric", [metrics.spearman_rows, metrics.rmse])
def test_shapes_that_would_broadcast_are_refused(metric, profiles):
    # Unwrapped, because under the tests' shape checks the call would not reach the function's own.
    with pytest.raises(ValueError, match="one shape"):
        inspect.unwrap(metric)(profiles[0], profiles[1][:1])
    with pytest.raises(ValueError, match="one shape"):
        inspect.unwrap(metric)(*profiles[:2], profiles[2][:, :1])


@pytest.mark.parametrize("levels", [2, 3, 6])
def test_spearman_averages_ties(levels):
    a, b = np.random.default_rng(levels).integers(levels, size=(2, 20, 40)).astype(float)
    expected = [
        scipy.stats.spearmanr(row_a, row_b).statistic for row_a, row_b in zip(a, b, strict=True)
    ]
    assert_allclose(metrics.spearman_rows(a, b), expected, rtol=1e-12)


def test_spearman_ignores_monotone_transformations(profiles):
    predicted, observed, mask = profiles
    assert_allclose(
        metrics.spearman_rows(np.exp(predicted), observed**3, mask),
        metrics.spearman_rows(predicted, observed, mask),
        rtol=1e-12,
    )


@pytest.mark.parametrize("correlation", [metrics.pearson_rows, metrics.spearman_rows])
@pytest.mark.parametrize("constant", [0.0, 0.1, -7.3e5])
def test_a_constant_side_has_no_association(correlation, constant, profiles):
    observed = profiles[1]
    flat = np.full_like(observed, constant)
    assert_array_equal(correlation(flat, observed), 0.0)
    assert_array_equal(correlation(observed, flat), 0.0)


@pytest.mark.parametrize("correlation", [metrics.pearson_rows, metrics.spearman_rows])
def test_fewer_than_three_cells_have_no_correlation(correlation, profiles):
    predicted, observed, _ = profiles
    mask = np.arange(30) < np.arange(12)[:, None]
    assert_array_equal(np.isnan(correlation(predicted, observed, mask)), np.arange(12) < 3)


def test_a_perfect_correlation_is_exactly_one():
    x = np.random.default_rng(1).normal(size=(200, 978))
    scores = metrics.pearson_rows(x, 3.0 * x + 1.0)
    assert (scores <= 1.0).all() and scores.min() > 1 - 1e-12


def test_rmse_pools_cells_and_not_rows(profiles):
    predicted, observed, mask = profiles
    expected = root_mean_squared_error(observed[mask], predicted[mask])
    assert metrics.rmse(predicted, observed, mask) == pytest.approx(expected, rel=1e-12)
    assert np.isnan(metrics.rmse(predicted, observed, np.zeros_like(mask)))
    assert np.isnan(metrics.rmse(predicted * np.nan, observed))


def tie_broken_recall(predicted, observed, k, mask, draws, random):
    """Mean recall of one row when ties on both sides are broken anew at random each time."""
    cells = np.flatnonzero(mask)
    top = lambda side: cells[np.lexsort((random.random(len(cells)), -np.abs(side[cells])))][:k]
    return np.mean([len(np.intersect1d(top(predicted), top(observed))) / k for _ in range(draws)])


@pytest.mark.parametrize("k", [1, 4, 7])
def test_recall_under_ties_is_the_mean_over_random_tie_breaking(k):
    random = np.random.default_rng(k)
    predicted, observed = random.integers(-3, 4, size=(2, 4, 16)).astype(float)
    mask = random.random((4, 16)) < 0.8
    draws = 3000
    expected = [
        tie_broken_recall(p, o, k, m, draws, random)
        for p, o, m in zip(predicted, observed, mask, strict=True)
    ]
    scores = metrics.top_change_recall(predicted, observed, k, mask)
    assert_allclose(scores, expected, atol=4 * 0.5 / np.sqrt(draws))


def test_no_change_recalls_what_chance_does(profiles):
    change = profiles[1]
    assert_allclose(metrics.top_change_recall(0.0 * change, change, 6), 6 / 30, rtol=1e-12)
    assert metrics.top_change_recall(-change, change, 6) == pytest.approx(1.0)


def test_recall_needs_more_genes_than_k(profiles):
    predicted, observed, mask = profiles
    mask[0] = np.arange(30) < 6
    assert np.isnan(metrics.top_change_recall(predicted, observed, 6, mask)[0])
    for k in (0, 30):
        with pytest.raises(UserError, match=f"k = {k} most changed genes needs 1 <= k < 30"):
            metrics.top_change_recall(predicted, observed, k)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95])
def test_coverage_counts_cells_inside_the_central_interval(level, profiles):
    mean, observed, mask = profiles
    sd = np.random.default_rng(2).uniform(0.5, 2.0, mean.shape)
    low, high = scipy.stats.norm.interval(level, mean, sd)
    inside = (low <= observed) & (observed <= high)
    assert metrics.interval_coverage(mean, sd, observed, level) == inside.mean()
    assert metrics.interval_coverage(mean, sd, observed, level, mask) == inside[mask].mean()


def test_a_calibrated_prediction_is_covered_at_its_level():
    random = np.random.default_rng(3)
    mean, sd = random.normal(size=(200, 200)), random.uniform(0.1, 3.0, (200, 200))
    coverage = metrics.interval_coverage(mean, sd, random.normal(mean, sd), 0.9)
    assert abs(coverage - 0.9) < 4 * np.sqrt(0.09 / 40_000)


def test_coverage_of_nothing_or_of_a_broken_prediction_is_nan(profiles):
    mean, observed, mask = profiles
    assert np.isnan(
        metrics.interval_coverage(mean, np.ones_like(mean), observed, mask=np.zeros_like(mask))
    )
    assert np.isnan(metrics.interval_coverage(mean * np.nan, np.ones_like(mean), observed))


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_a_level_outside_0_to_1_is_refused(level, profiles):
    with pytest.raises(ValueError, match="level"):
        metrics.interval_coverage(profiles[0], np.ones((12, 30)), profiles[1], level)


def test_a_sd_that_is_read_must_be_positive(profiles):
    mean, observed, _ = profiles
    sd, mask = np.ones_like(mean), np.ones(mean.shape, dtype=bool)
    sd[2, 5] = 0.0
    with pytest.raises(ValueError, match="row 2, column 5 has 0.0"):
        metrics.interval_coverage(mean, sd, observed)
    mask[2, 5] = False
    assert np.isfinite(metrics.interval_coverage(mean, sd, observed, mask=mask))
