"""Piecewise-linear encoding against numpy: monotone, bounded, and blind to unknown values."""

import jax
import jax.numpy as jnp
import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from omics_jax.nn import piecewise

N, BINS = 400, 4
RNG = np.random.default_rng(0)
FEATURES = [
    RNG.normal(size=N),
    RNG.exponential(size=N) * 1e3,
    np.repeat([0.0, 1.0], N // 2),
    RNG.normal(size=N),  # never known
]
X = np.stack(FEATURES, axis=1).astype(np.float32)
KNOWN = RNG.random(X.shape) < 0.7
KNOWN[:, 3] = False
FITTED = piecewise.fit_encoding(X, KNOWN, BINS)


def encode(x):
    fitted = jax.tree.map(jnp.asarray, FITTED)
    code = piecewise.encode(jnp.asarray(x), jnp.asarray(KNOWN), **fitted)
    return np.asarray(code)


def positions_of(x, knots):
    return np.asarray(piecewise.positions(jnp.asarray(x), jnp.asarray(knots)))


def test_knots_are_quantiles_of_the_known_values():
    for feature in range(3):
        known_values = X[KNOWN[:, feature], feature]
        expected = np.quantile(known_values, [0, 0.25, 0.5, 0.75, 1])
        assert_allclose(FITTED["knots"][feature], expected, rtol=1e-6)
    assert_array_equal(FITTED["knots"][3], np.zeros(BINS + 1))


def test_positions_are_those_of_interpolation():
    """Summed over bins of some width they are the value's rank among the knots, interpolated."""
    knots = FITTED["knots"][:2]
    found = positions_of(X[:, :2], knots)
    for feature in range(2):
        expected = np.interp(X[:, feature], knots[feature], np.arange(BINS + 1))
        rank = found[:, feature].sum(axis=-1)
        assert_allclose(rank, expected, rtol=1e-4, atol=1e-4)
    full_before = np.diff(found, axis=-1) <= 0
    assert full_before.all()
    assert found.min() == 0
    assert found.max() == 1


def test_a_bin_without_width_and_values_beyond_the_knots_are_finite():
    far = np.array([[-1e30, 1e30, 5.0, 1e30]], np.float32)
    found = positions_of(far, FITTED["knots"])[0]
    assert_array_equal(found[0], np.zeros(BINS))
    assert_array_equal(found[1], np.ones(BINS))
    assert sorted(found[2]) == [0, 0, 0, 1]  # of 0 and 1 alone there is one bin
    assert_array_equal(found[3], np.zeros(BINS))


def test_the_encoding_is_standard_on_the_rows_it_was_fitted_to():
    code = encode(X)
    assert_array_equal(code[~KNOWN], 0)
    assert_allclose(code.mean(axis=0), np.zeros(code.shape[1:]), atol=1e-5)
    wide = FITTED["sd"] > piecewise.MINIMUM_SD
    assert_allclose(code.std(axis=0)[wide], 1, rtol=1e-4)
    assert wide.sum() == 2 * BINS + 1


def test_unknown_values_are_never_read():
    spoiled = np.where(KNOWN, X, np.nan)
    fitted = piecewise.fit_encoding(spoiled, KNOWN, BINS)
    for name, expected in FITTED.items():
        assert_array_equal(fitted[name], expected)
    assert_array_equal(encode(spoiled), encode(X))
