"""Stability of repeated selections and overlaps of sets, against values worked out by hand."""

from itertools import combinations
from math import comb, isnan

import numpy as np
import pytest

from omics_jax.evaluation.selections import largest, nogueira_stability, set_overlap


def test_the_stability_of_three_selections_by_hand():
    """Shares 1, 2/3, 1/3, 0; mean variance (0 + 1/3 + 1/3 + 0) / 4; chance 1/2 x 1/2."""
    selected = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0]], bool)
    found = nogueira_stability(selected)
    assert found.index == pytest.approx(1 - (1 / 6) / (1 / 4))  # 1/3
    # All k_i are k, so that the last term of phi_i is the same in all and drops out of v.
    own = np.array([5 / 3, 5 / 3, 4 / 3]) / 4 / (1 / 4)
    variance = 4 / 9 * ((own - own.mean()) ** 2).sum()
    assert variance == pytest.approx(4 / 9 * (2 / 27))
    half = 1.959963984540054 * variance**0.5
    assert (found.low, found.high) == pytest.approx((1 / 3 - half, 1 / 3 + half))


def test_sizes_that_differ_enter_the_interval():
    """phi_i by the formula of theorem 7 of the paper, written out for {0}, {0, 1} of 3 features."""
    found = nogueira_stability(np.array([[1, 0, 0], [1, 1, 0]], bool))
    chance = 1 / 2 * 1 / 2
    index = 1 - (0 + 1 / 2 + 0) / 3 / chance
    assert found.index == pytest.approx(index) == pytest.approx(1 / 3)
    phi = [
        (1 / 3 - 1 * 1.5 / 9 + index / 2 * (2 * 1.5 * 1 / 9 - 1 / 3 - 1.5 / 3 + 1)) / chance,
        (1.5 / 3 - 2 * 1.5 / 9 + index / 2 * (2 * 1.5 * 2 / 9 - 2 / 3 - 1.5 / 3 + 1)) / chance,
    ]
    half = 1.959963984540054 * (4 / 4 * ((phi[0] - phi[1]) ** 2 / 2)) ** 0.5
    assert found.high - found.index == pytest.approx(half)


def test_equal_selections_are_stable_and_random_ones_are_not():
    same = np.tile(np.arange(20) < 5, (6, 1))
    assert nogueira_stability(same) == (1.0, 1.0, 1.0)
    random = np.random.default_rng(0)
    indices = [
        nogueira_stability(largest(random.normal(size=(30, 40)), 10)).index for _ in range(100)
    ]
    assert abs(np.mean(indices)) < 0.01


@pytest.mark.parametrize("selected", [np.ones((4, 3)), np.zeros((4, 3)), np.eye(3)[:1]])
def test_where_nothing_is_chosen_there_is_no_stability(selected):
    assert all(isnan(value) for value in nogueira_stability(selected.astype(bool)))


def test_the_largest_of_ties_are_the_first_and_nan_is_none():
    found = largest(np.array([[1.0, 2.0, 2.0, 2.0], [np.nan, 1.0, np.nan, np.nan]]), 2)
    assert found.tolist() == [[False, True, True, False], [False, True, False, False]]


def test_the_overlap_of_two_sets_by_counting():
    """All sets of 3 among 7 against {0, 1, 2, 3}: those that share 2 or more, counted."""
    first, second = np.arange(7) < 4, np.isin(np.arange(7), [0, 1, 6])
    shared = [len({0, 1, 2, 3} & set(chosen)) for chosen in combinations(range(7), 3)]
    found = set_overlap(first, second)
    assert (found.shared, found.expected) == (2, pytest.approx(12 / 7))
    assert found.p == pytest.approx(sum(count >= 2 for count in shared) / comb(7, 3))
    assert set_overlap(first, np.zeros(7, bool)) == (0, 0.0, 1.0)
