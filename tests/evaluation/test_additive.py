"""Outcomes drawn anew from additive models: single features' effects stay, those of pairs do not.

Oracles are numpy's polynomials, least squares, frequencies, enumeration, and lifelines. Bounds are
four standard errors of the draws, and what shrinkage may take where that is said.
"""

import warnings
from functools import cache
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter
from numpy.polynomial.hermite_e import hermeval
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, softmax
from scipy.stats import chisquare

from omics_jax.evaluation import additive
from omics_jax.evaluation.additive import (
    class_probabilities,
    class_sampler,
    cubic_basis,
    deal_by_risk,
    number_sampler,
    survival_sampler,
)


def normal(rows, features, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, features))


def draws_of(sampler, count, seed=7):
    return [sampler(np.random.default_rng((seed, number))) for number in range(count)]


# --- the basis ------------------------------------------------------------------------------------


def test_the_basis_holds_hermite_polynomials_of_every_feature():
    x = normal(50, 3) * [1, 10, 0.1] + [0, 5, -2]
    x[0, 1] += 1000  # beyond what is cut off
    z = ((x - x.mean(axis=0)) / x.std(axis=0)).clip(-additive.FARTHEST, additive.FARTHEST)
    assert (np.abs(z[:, 1]) == additive.FARTHEST).sum() == 1
    of_degree = [hermeval(z, np.eye(4)[k]) / np.sqrt(size) for k, size in ((1, 1), (2, 2), (3, 6))]
    assert_allclose(cubic_basis(x), np.concatenate(of_degree, axis=1), rtol=1e-9, atol=1e-12)


def test_the_basis_of_normal_values_is_uncorrelated():
    """The s.d. of a correlation of two cubes of normal values is 0.04 among 20,000 rows."""
    correlation = np.corrcoef(cubic_basis(normal(20_000, 2)).T)
    assert_allclose(correlation, np.eye(6), atol=0.1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_feature_that_does_not_vary_is_0(dtype):
    x = np.insert(normal(41, 2), 1, 5.1, axis=1).astype(dtype)
    basis = cubic_basis(x)
    assert not basis[:, 1::3].any() and basis[:, 0::3].any(axis=0).all()


# --- numbers --------------------------------------------------------------------------------------


def test_draws_of_a_number_keep_curves_and_no_product():
    """y = x_0 + 0.7 x_0^2 + x_1 x_2 + noise, and features that matter to nothing."""
    x, noise = normal(1000, 8), normal(1000, 1, seed=1)[:, 0]
    product = x[:, 1] * x[:, 2]
    y = x[:, 0] + 0.7 * x[:, 0] ** 2 + product + 0.5 * noise
    design = np.stack([np.ones(1000), x[:, 0], x[:, 0] ** 2, x[:, 1], x[:, 2], product], axis=1)

    def coefficients(outcome):
        return np.linalg.lstsq(design, outcome, rcond=None)[0]

    drawn = draws_of(number_sampler(x, y), 40)
    found = np.stack([coefficients(outcome) for outcome in drawn])
    mean, error = found.mean(axis=0), found.std(axis=0, ddof=1) / np.sqrt(40)
    assert (error < 0.01).all()
    observed = coefficients(y)
    assert_allclose(observed[[1, 2, 5]], [1, 0.7, 1], atol=0.06)
    # Shrinkage may take a twentieth of an effect.
    assert (mean[1:3] > 0.95 * observed[1:3] - 4 * error[1:3]).all()
    assert (mean[1:3] < observed[1:3] + 4 * error[1:3]).all()
    assert abs(mean[5]) < 0.02 + 4 * error[5]
    # The spread stays, and so do the residuals' distances from each other.
    assert_allclose([outcome.std() for outcome in drawn], y.std(), rtol=0.1)
    assert_allclose([outcome.mean() for outcome in drawn], y.mean(), atol=1e-9)
    assert len({outcome.tobytes() for outcome in drawn}) == 40


def test_a_number_that_depends_on_nothing_is_permuted():
    """Ridge regression leaves next to nothing of features without effects."""
    x, y = normal(300, 20), normal(300, 1, seed=1)[:, 0]
    (drawn,) = draws_of(number_sampler(x, y), 1)
    assert_allclose(np.sort(drawn), np.sort(y), atol=0.5)
    assert abs(np.corrcoef(drawn, y)[0, 1]) < 4 / np.sqrt(300)


def test_predictions_are_of_rows_that_were_not_fitted():
    """As many columns as rows: fitted to its own rows, a model would return the noise."""
    x, y = normal(60, 30), normal(60, 1, seed=1)[:, 0]
    fitted = additive._ridge_out_of_fold(cubic_basis(x), y)
    assert np.corrcoef(fitted, y)[0, 1] < 0.4
    changed = y.copy()
    changed[7] += 100
    other = additive._ridge_out_of_fold(cubic_basis(x), changed)
    (own,) = (test for _, test in additive._folds(60) if 7 in test)
    assert_array_equal(other[own], fitted[own])
    assert (np.delete(other, own) != np.delete(fitted, own)).all()


# --- classes --------------------------------------------------------------------------------------


@cache
def of_classes(rows=1500):
    """x, codes of two classes: log-odds 2 sign(x_0 x_1) + 1.5 x_2 + (x_3^2 - 1)."""
    x = normal(rows, 6)
    odds = 2 * np.sign(x[:, 0] * x[:, 1]) + 1.5 * x[:, 2] + x[:, 3] ** 2 - 1
    return x, (np.random.default_rng(1).random(rows) < expit(odds)).astype(int)


def test_draws_of_a_class_keep_frequencies_by_a_feature_and_none_by_a_product():
    x, codes = of_classes()
    drawn = np.mean(draws_of(class_sampler(x, codes, 2), 30), axis=0)
    # The error of a difference of two frequencies in half of the rows each, over all draws.
    error = 1 / np.sqrt(len(x) * 30)

    def difference(frequencies, split):
        return frequencies[split].mean() - frequencies[~split].mean()

    for split in (x[:, 2] > 0, np.abs(x[:, 3]) > 1):
        observed = difference(codes, split)
        assert observed > 0.2
        assert_allclose(difference(drawn, split), observed, atol=0.15 * observed + 4 * error)
    together = x[:, 0] * x[:, 1] > 0
    assert difference(codes, together) > 0.4
    assert abs(difference(drawn, together)) < 0.04 + 4 * error
    assert_allclose(drawn.mean(), codes.mean(), atol=0.01 + 4 * error)


def test_probabilities_of_classes_are_calibrated():
    """Three classes with additive log-odds, one of them curved."""
    x = normal(2000, 5)
    odds = np.stack([2 * x[:, 0], x[:, 1] ** 2 - 1, np.zeros(2000)], axis=1)
    truth = softmax(odds, axis=1)
    codes = (np.random.default_rng(2).random((2000, 1)) > truth.cumsum(axis=1)).sum(axis=1)
    found = class_probabilities(x, codes, 3)
    assert_allclose(found.sum(axis=1), 1)
    for k in range(3):
        for rows in np.array_split(np.argsort(found[:, k]), 5):
            expected = found[rows, k]
            error = np.sqrt((expected * (1 - expected)).sum()) / len(rows)
            assert abs((codes[rows] == k).mean() - expected.mean()) < 4 * error
    own = np.arange(2000), codes
    assert -np.log(found[own]).mean() < -np.log(truth[own]).mean() + 0.02


def test_classes_that_depend_on_nothing_have_their_frequencies():
    x, codes = normal(300, 20), np.random.default_rng(1).integers(0, 3, 300)
    found = class_probabilities(x, codes, 3)
    assert_allclose(found, np.tile(np.bincount(codes) / 300, (300, 1)), atol=0.05)


def test_draws_have_the_probabilities_of_their_rows(monkeypatch):
    probabilities = np.array([[0.2, 0.0, 0.8], [1.0, 0.0, 0.0], [0.1, 0.6, 0.3]])
    monkeypatch.setattr(additive, "class_probabilities", lambda *_: probabilities)
    sampler = class_sampler(np.zeros((3, 1)), np.zeros(3, int), 3)
    drawn = np.stack(draws_of(sampler, 4000))
    for row, expected in enumerate(probabilities):
        found = np.bincount(drawn[:, row], minlength=3) / 4000
        error = np.sqrt(expected * (1 - expected) / 4000)
        assert (np.abs(found - expected) <= 4 * error).all()


# --- survival -------------------------------------------------------------------------------------


def test_what_is_dealt_are_the_observed_times_and_events():
    rng = np.random.default_rng(0)
    times, events = rng.exponential(size=50).round(1), rng.random(50) < 0.6
    dealt = deal_by_risk(rng, rng.normal(size=50), times, events)
    assert_array_equal(np.sort(dealt), np.arange(50))


def test_without_risk_all_orders_are_equally_likely():
    """Of three rows, one of them censored."""
    times, events = np.array([3.0, 1.0, 2.0]), np.array([1, 1, 0])
    rng = np.random.default_rng(0)
    dealt = [tuple(deal_by_risk(rng, np.zeros(3), times, events).tolist()) for _ in range(3000)]
    counts = [dealt.count(order) for order in permutations(range(3))]
    assert sum(counts) == 3000 and chisquare(counts).pvalue > 1e-3


def test_an_event_falls_on_a_row_by_its_share_of_the_hazard():
    """The first on any row, the second on one of those left; a censored time on all alike."""
    risk, times = np.log([1.0, 2.0, 4.0, 8.0]), np.array([2.0, 4.0, 1.0, 3.0])
    first, second, count = 2, 0, 4000  # places of the two earliest times
    rng = np.random.default_rng(0)
    dealt = np.stack([deal_by_risk(rng, risk, times, np.ones(4)) for _ in range(count)])
    rows = np.argmax(dealt == first, axis=1), np.argmax(dealt == second, axis=1)
    share = np.exp(risk) / np.exp(risk).sum()
    assert_frequencies(rows[0], share)
    for row in range(4):
        left = np.where(np.arange(4) == row, 0, np.exp(risk))
        assert_frequencies(rows[1][rows[0] == row], left / left.sum())

    events = np.where(np.arange(4) == first, 0, 1)
    dealt = np.stack([deal_by_risk(rng, risk, times, events) for _ in range(count)])
    assert_frequencies(np.argmax(dealt == first, axis=1), np.full(4, 0.25))


def assert_frequencies(rows, expected):
    found = np.bincount(rows, minlength=len(expected)) / len(rows)
    assert (np.abs(found - expected) <= 4 * np.sqrt(expected * (1 - expected) / len(rows))).all()


def test_of_one_time_events_come_first():
    dealt = deal_by_risk(
        np.random.default_rng(0), np.array([50.0, 0, 0]), np.array([1.0, 1, 2]), np.array([0, 1, 1])
    )
    assert dealt[0] == 1


def test_hazards_that_are_far_apart_are_dealt():
    """exp(-2000) is 0 in double precision, and so is the sum over the rows left."""
    risk = np.array([-2000.0, 0.0, -4000.0])
    dealt = deal_by_risk(np.random.default_rng(0), risk, np.array([1.0, 2, 3]), np.ones(3))
    assert dealt.tolist() == [1, 0, 2]


@cache
def followed(rows=800):
    """x, times, events: log-hazard x_0 + 0.5 (x_1^2 - 1) + x_2 x_3, about a third censored."""
    x, rng = normal(rows, 6), np.random.default_rng(1)
    risk = x[:, 0] + 0.5 * (x[:, 1] ** 2 - 1) + x[:, 2] * x[:, 3]
    death, censoring = rng.exponential(np.exp(-risk)), rng.exponential(2.0, rows)
    return x, np.minimum(death, censoring), death <= censoring


def test_draws_of_survival_keep_the_slopes_of_features_and_of_no_product():
    """Beside the data without the product: one that a Cox model does not hold dilutes the others'
    slopes.
    """
    x, times, events = followed()

    def slopes(times, events):
        columns = {"line": x[:, 0], "curve": x[:, 1] ** 2, "product": x[:, 2] * x[:, 3]}
        frame = pd.DataFrame(columns).assign(time=times, event=events)
        marginal = CoxPHFitter().fit(frame.drop(columns="product"), "time", "event")
        return [*marginal.params_, CoxPHFitter().fit(frame, "time", "event").params_["product"]]

    found = np.array([slopes(*drawn) for drawn in draws_of(survival_sampler(x, times, events), 8)])
    mean, error = found.mean(axis=0), found.std(axis=0, ddof=1) / np.sqrt(8)
    observed = slopes(times, events)
    assert observed[2] > 0.8
    assert (mean[:2] > 0.85 * np.array(observed[:2]) - 4 * error[:2]).all()
    assert (mean[:2] < 1.1 * np.array(observed[:2]) + 4 * error[:2]).all()
    assert abs(mean[2]) < 0.05 + 4 * error[2]


def test_a_direction_that_points_the_wrong_way_is_no_risk():
    x, times, events = followed()
    assert not additive._cox_risk(-x[:, 0], times, events).any()
    found = additive._cox_risk(3 * x[:, 0] + 5, times, events)
    slope, intercept = np.polyfit(x[:, 0], found, 1)
    assert_allclose(found, slope * x[:, 0] + intercept, atol=1e-9)
    frame = pd.DataFrame({"x": x[:, 0], "time": times, "event": events})
    assert_allclose(slope, CoxPHFitter().fit(frame, "time", "event").params_["x"], rtol=0.03)


def test_times_that_a_feature_decides_can_be_drawn():
    """Cox's slope is infinite; the penalty makes an end of it."""
    x = normal(1000, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ((times, events),) = draws_of(survival_sampler(x, np.exp(-x[:, 0]), np.ones(1000)), 1)
    assert_allclose(np.sort(times), np.sort(np.exp(-x[:, 0])))
    assert np.corrcoef(np.log(times), x[:, 0])[0, 1] < -0.8


# --- the edges of what can be drawn ---------------------------------------------------------------

X = normal(40, 3)
PLAIN = np.arange(40) % 2


def times_of(rows):
    return 1.0 + np.arange(rows) % 17


@pytest.mark.parametrize("x", [X, np.ones_like(X)], ids=["features", "features that are constant"])
@pytest.mark.parametrize("rows", [1, 2, 3, 40])
def test_few_rows_and_outcomes_without_a_choice(x, rows):
    """One row, one value, one class, no event, one event, one time: what can be drawn is drawn."""
    x, ones = x[:rows], np.ones(rows)
    one_event = np.arange(rows) == rows // 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for values in (7 * ones, X[:rows, 0]):
            (drawn,) = draws_of(number_sampler(x, values), 1)
            assert np.isfinite(drawn).all() and abs(drawn.mean() - values.mean()) < 1e-9
        for codes in (0 * PLAIN[:rows], PLAIN[:rows], one_event.astype(int)):
            (drawn,) = draws_of(class_sampler(x, codes, 3), 1)
            assert set(drawn.tolist()) <= set(codes.tolist())
        for times, events in (
            (times_of(rows), PLAIN[:rows]),
            (times_of(rows), 0 * ones),
            (times_of(rows), ones),
            (times_of(rows), one_event),
            (ones, PLAIN[:rows]),
        ):
            (drawn,) = draws_of(survival_sampler(x, times, events), 1)
            pairs = (sorted(zip(*pair, strict=True)) for pair in (drawn, (times, events)))
            assert next(pairs) == next(pairs)


def test_a_class_with_one_member_is_drawn_rarely():
    codes = PLAIN.copy()
    codes[3] = 2
    found = class_probabilities(X, codes, 3)
    assert_allclose(found.sum(axis=1), 1)
    assert (found[:, 2] <= 0.1).all()


def test_one_generator_gives_one_draw():
    x, times, events = followed()
    for sampler in (
        number_sampler(x, times),
        class_sampler(x, events.astype(int), 2),
        survival_sampler(x, times, events),
    ):
        one, same, other = (sampler(np.random.default_rng(seed)) for seed in (1, 1, 2))
        assert_array_equal(one, same)
        assert (np.asarray(one) != np.asarray(other)).any()
