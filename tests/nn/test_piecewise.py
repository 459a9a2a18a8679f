"""Piecewise-linear encoding against numpy, and what it must keep: monotony, bounds, nothing of the
unknown.
"""

import jax.numpy as jnp
import numpy as np

from omics_jax.nn import piecewise

N, BINS = 400, 4
RNG = np.random.default_rng(0)
X = np.stack(
    [
        RNG.normal(size=N),
        RNG.exponential(size=N) * 1e3,
        np.repeat([0.0, 1.0], N // 2),
        RNG.normal(size=N),
    ],
    1,
)
X = X.astype(np.float32)
KNOWN = RNG.random(X.shape) < 0.7
KNOWN[:, 3] = False
FITTED = piecewise.fit_encoding(X, KNOWN, BINS)


def encode(x):
    fitted = {name: jnp.asarray(values) for name, values in FITTED.items()}
    return np.asarray(piecewise.encode(jnp.asarray(x), jnp.asarray(KNOWN), **fitted))


def test_knots_are_quantiles_of_the_known_values():
    for feature in range(3):
        expected = np.quantile(X[KNOWN[:, feature], feature], [0, 0.25, 0.5, 0.75, 1])
        np.testing.assert_allclose(FITTED["knots"][feature], expected, rtol=1e-6)
    np.testing.assert_array_equal(FITTED["knots"][3], np.zeros(BINS + 1))


def test_positions_are_those_of_interpolation():
    """Summed over bins they rank a value among the knots, as numpy's interpolation does where all
    bins have width.
    """
    found = np.asarray(piecewise.positions(jnp.asarray(X[:, :2]), jnp.asarray(FITTED["knots"][:2])))
    for feature in range(2):
        expected = np.interp(X[:, feature], FITTED["knots"][feature], np.arange(BINS + 1))
        np.testing.assert_allclose(found[:, feature].sum(axis=-1), expected, rtol=1e-4, atol=1e-4)
    full_before = np.diff(found, axis=-1) <= 0
    assert full_before.all() and found.min() == 0 and found.max() == 1


def test_a_bin_without_width_and_values_beyond_the_knots_are_finite():
    far = jnp.array([[-1e30, 1e30, 5.0, 1e30]], jnp.float32)
    found = np.asarray(piecewise.positions(far, jnp.asarray(FITTED["knots"])))[0]
    np.testing.assert_array_equal(found[0], np.zeros(BINS))
    np.testing.assert_array_equal(found[1], np.ones(BINS))
    assert sorted(found[2]) == [0, 0, 0, 1]  # of 0 and 1 alone there is one bin
    np.testing.assert_array_equal(found[3], np.zeros(BINS))


def test_the_encoding_is_standard_on_the_rows_it_was_fitted_to():
    code = encode(X)
    np.testing.assert_array_equal(code[~KNOWN], 0)
    np.testing.assert_allclose(code.mean(axis=0), np.zeros(code.shape[1:]), atol=1e-5)
    wide = FITTED["sd"] > piecewise.MINIMUM_SD
    np.testing.assert_allclose(code.std(axis=0)[wide], 1, rtol=1e-4)
    assert wide.sum() == 2 * BINS + 1


def test_unknown_values_are_never_read():
    spoiled = np.where(KNOWN, X, np.nan)
    for name, expected in FITTED.items():
        np.testing.assert_array_equal(piecewise.fit_encoding(spoiled, KNOWN, BINS)[name], expected)
    np.testing.assert_array_equal(encode(spoiled), encode(X))
