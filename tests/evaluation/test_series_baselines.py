"""Imputers against plain loops over patients, variables and steps, and the promises they share."""

import inspect

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from omics_jax.evaluation import series_baselines
from omics_jax.evaluation.series_baselines import IMPUTERS

imputers = pytest.mark.parametrize("name", IMPUTERS)


def cohort(n=7, steps=11, width=4, observed=0.3, seed=0):
    """values, mask, hours: irregular hours, some shared by two steps.

    A patient and a variable have no observations. Unobserved cells hold nan, which any reading of
    them would spread.
    """
    random = np.random.default_rng(seed)
    mask = random.random((n, steps, width)) < observed
    mask[0], mask[:, :, -1] = False, False
    values = np.where(mask, random.normal(3.0, 2.0, mask.shape), np.nan)
    hours = np.cumsum(random.integers(0, 4, (n, steps)), axis=1)
    return values.astype(np.float32), mask, hours.astype(np.float32)


def series_of(*steps):
    """One patient and one variable."""
    return np.array(steps)[None, :, None]


def training_mean(values, mask, d):
    observed = mask[:, :, d]
    seen = values[observed, d].astype(np.float64)
    if not len(seen):
        return 0.0
    return seen.mean()


def last_or_next(times, seen, t, at):
    before = [i for i in at if i <= t]
    if before:
        return seen[before[-1]]
    return seen[at[0]]


def straight_line(times, seen, t, at):
    before = [i for i in at if i <= t]
    after = [i for i in at if i >= t]
    if not before:
        return seen[after[0]]
    a = before[-1]
    if not after or times[after[0]] == times[a]:
        return seen[a]
    b = after[0]
    share = (times[t] - times[a]) / (times[b] - times[a])
    return seen[a] + (seen[b] - seen[a]) * share


def nearest_five(times, seen, t, at):
    # Nearest in time; of equally near ones those before first, and each side by steps outwards.
    def gap(i):
        return abs(times[i] - times[t])

    nearest = sorted(at, key=lambda i: (gap(i), i > t, abs(i - t)))[:5]
    weights = [1 / (1 + gap(i)) for i in nearest]
    return np.average(seen[nearest], weights=weights)


ORACLES = {"locf": last_or_next, "linear": straight_line, "knn": nearest_five, "mean": None}


def brute_force(name, train_values, train_mask, values, mask, hours):
    values, hours = values.astype(np.float64), hours.astype(np.float64)
    filled = values.copy()
    for i, t, d in np.argwhere(~mask):
        at = list(np.flatnonzero(mask[i, :, d]))
        if not at or name == "mean":
            filled[i, t, d] = training_mean(train_values, train_mask, d)
        else:
            filled[i, t, d] = ORACLES[name](hours[i], values[i, :, d], t, at)
    return filled


@imputers
@pytest.mark.parametrize("observed", [0.05, 0.3, 0.8])
@pytest.mark.parametrize("seed", range(3))
def test_each_imputer_is_its_brute_force(name, observed, seed):
    train_values, train_mask, _ = cohort(12, 6, 4, 0.5, seed=seed + 10)
    test = cohort(observed=observed, seed=seed)
    expected = brute_force(name, train_values, train_mask, *test)
    found = IMPUTERS[name](train_values, train_mask, *test)
    assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@imputers
def test_observed_cells_come_back_bit_for_bit(name):
    values, mask, hours = cohort()
    imputed = IMPUTERS[name](values, mask, values, mask, hours)
    assert imputed.dtype == values.dtype and np.isfinite(imputed).all()
    assert_array_equal(imputed[mask], values[mask])


@imputers
def test_a_patient_is_imputed_from_its_own_rows_and_the_training_mean(name):
    values, mask, hours = cohort()

    def impute(rows):
        return IMPUTERS[name](values, mask, values[rows], mask[rows], hours[rows])

    together = impute(slice(None))
    for i in range(len(values)):
        assert_array_equal(impute([i])[0], together[i])
    assert impute(slice(0)).shape == (0, 11, 4)


@imputers
def test_arguments_are_not_written_to(name):
    values, mask, hours = cohort()
    arguments = (values, mask, hours)
    copies = [part.copy() for part in arguments]
    IMPUTERS[name](values, mask, values, mask, hours)
    for part, copy in zip(arguments, copies, strict=True):
        assert_array_equal(part, copy)


@pytest.mark.parametrize("name", ["locf", "linear", "knn"])
def test_a_constant_variable_is_imputed_by_its_constant(name):
    values, mask, hours = cohort(observed=0.5)
    values[mask] = 4.25
    imputed = IMPUTERS[name](values, mask, values, mask, hours)
    assert_allclose(imputed[:, :, :-1], 4.25, rtol=1e-6)


def test_a_straight_line_in_hours_is_found_and_not_one_in_steps():
    hours = np.array([[0.0, 1.0, 5.0, 6.0]])
    mask = series_of(True, False, False, True)
    line = 10 + 2 * hours[:, :, None]
    values = np.where(mask, line, 0.0)
    found = series_baselines.linear(values, mask, values, mask, hours)
    assert_allclose(found[0, :, 0], [10, 12, 20, 22])


def test_neighbours_are_weighted_by_hours():
    """At hour 1: observations at hours 0, 3 and 4 weigh 1/2, 1/3 and 1/4."""
    hours = np.array([[0.0, 1.0, 3.0, 4.0]])
    mask = series_of(True, False, True, True)
    values = series_of(6.0, np.nan, 12.0, 24.0)

    def impute(k):
        return series_baselines.knn(values, mask, values, mask, hours, k)[0, 1, 0]

    mean_of_two = (3 + 4) / (1 / 2 + 1 / 3)
    mean_of_three = (3 + 4 + 6) / (1 / 2 + 1 / 3 + 1 / 4)
    assert impute(1) == pytest.approx(6.0)
    assert impute(2) == pytest.approx(mean_of_two)
    assert impute(3) == impute(9) == pytest.approx(mean_of_three)


@pytest.mark.parametrize("name", ["linear", "knn"])
def test_falling_hours_are_refused(name):
    values, mask, hours = cohort()
    hours[2, 5] = hours[2, 4] - 1
    with pytest.raises(ValueError, match="the hours of row 2 fall from"):
        IMPUTERS[name](values, mask, values, mask, hours)


def test_a_mean_over_no_neighbours_is_refused():
    values, mask, hours = cohort()
    with pytest.raises(ValueError, match="k of at least 1, not 0"):
        series_baselines.knn(values, mask, values, mask, hours, 0)


@imputers
def test_imputers_share_their_arguments(name):
    names = list(inspect.signature(IMPUTERS[name]).parameters)
    assert names[:5] == ["train_values", "train_mask", "values", "mask", "hours"]
