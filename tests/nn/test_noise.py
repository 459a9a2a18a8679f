"""Row-keyed noise: what a row gets depends on the row alone, and has the distribution it should."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from omics_jax.nn.noise import row_dropout, row_keys, row_normal

KEY = jax.random.key(3)
ROWS = jnp.arange(40, dtype=jnp.int32)
MANY_ROWS = jnp.arange(4000, dtype=jnp.int32)
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(40, 7)), jnp.float32)
BACKWARDS = list(range(39, -1, -1))
CHOICES = [[5], [39, 0, 7], [7, 7, 1], BACKWARDS]
DRAWS = {
    "normal": lambda key, rows, x: row_normal(key, rows, (7,)),
    "normal of rank 2": lambda key, rows, x: row_normal(key, rows, (3, 2)),
    "dropout": lambda key, rows, x: row_dropout(key, rows, x, 0.4),
}


@pytest.mark.slow
@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
@pytest.mark.parametrize("chosen", CHOICES, ids=str)
def test_a_row_gets_the_same_whoever_stands_beside_it(draw, chosen):
    chosen = np.array(chosen)
    rows, x = ROWS[chosen], X[chosen]
    alone = draw(KEY, rows, x)
    assert_array_equal(alone, draw(KEY, ROWS, X)[chosen])
    assert_array_equal(alone, jax.jit(draw)(KEY, rows, x))


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_other_keys_and_other_rows_get_other_noise(draw):
    same = jnp.ones((40, 7))
    out = draw(KEY, ROWS, same)
    by_row = np.asarray(out).reshape(40, -1)
    assert len(np.unique(by_row, axis=0)) > 30
    other_key = draw(jax.random.key(4), ROWS, same)
    assert (np.asarray(other_key) != np.asarray(out)).any()


def test_raw_keys_and_typed_keys_agree():
    raw = jax.random.key_data(KEY)
    assert row_keys(KEY, ROWS).shape == (40,)
    assert row_keys(raw, ROWS).shape == (40, 2)
    typed_draws = row_normal(KEY, ROWS, (2,))
    assert_array_equal(row_normal(raw, ROWS, (2,)), typed_draws)


def test_normal_draws_are_standard_and_independent_between_rows():
    draws = np.asarray(row_normal(KEY, MANY_ROWS, (5,)))
    assert draws.shape == (4000, 5)
    error = 1 / np.sqrt(4000)
    assert np.abs(draws.mean(0)).max() < 4 * error
    excess = draws.std(0) - 1
    assert np.abs(excess).max() < 4 / np.sqrt(8000)
    first = draws[:, 0]
    correlations = np.corrcoef(first[:-1], first[1:])
    assert abs(correlations[0, 1]) < 4 * error


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_zeroes_its_share_and_scales_the_rest(rate):
    x = jnp.full((500, 20), 3.0)
    out = np.asarray(row_dropout(KEY, MANY_ROWS[:500], x, rate))
    kept = out != 0
    rounded = np.round(rate * 2**16) / 2**16
    assert_allclose(out[kept], 3 / (1 - rounded), rtol=1e-6)
    variance = rate * (1 - rate)
    error = np.sqrt(variance / out.size)
    excess = kept.mean() - (1 - rate)
    assert abs(excess) < 4 * error


@pytest.mark.parametrize("shape", [(7,), (3, 3), (1,)], ids=str)
def test_dropped_entries_of_a_row_are_independent(shape):
    ones = jnp.ones((4000, *shape))
    out = np.asarray(row_dropout(KEY, MANY_ROWS, ones, 0.3))
    kept = (out != 0).reshape(4000, -1).astype(float)
    excess = kept.mean(0) - 0.7
    error = np.sqrt(0.21 / 4000)
    assert np.abs(excess).max() < 4 * error
    entries = kept.shape[1]
    if entries > 1:
        correlations = np.corrcoef(kept.T)
        off_diagonal = correlations[~np.eye(entries, dtype=bool)]
        assert np.abs(off_diagonal).max() < 4.5 / np.sqrt(4000)


@pytest.mark.parametrize("rate", [0, 0.0, jnp.float32(0)], ids=["int", "float", "array"])
def test_rate_zero_is_the_identity(rate):
    assert_array_equal(row_dropout(KEY, ROWS, X, rate), X)
    traced = jax.jit(row_dropout)(KEY, ROWS, X, float(rate))
    assert_array_equal(traced, X)


def test_a_traced_rate_equals_the_same_rate_given_as_a_number():
    drop = jax.vmap(lambda rate: row_dropout(KEY, ROWS, X, rate))
    traced = drop(jnp.float32([0.0, 0.25]))
    assert_array_equal(traced[0], X)
    assert_allclose(traced[1], row_dropout(KEY, ROWS, X, 0.25), rtol=1e-6)


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, float("nan")])
def test_a_rate_that_is_no_probability_below_one_is_refused(rate):
    with pytest.raises(ValueError, match="dropout rate"):
        row_dropout(KEY, ROWS, X, rate)


def test_dropout_gradient_matches_finite_differences(gradient_error):
    rng = np.random.default_rng(1)
    weights = jnp.asarray(rng.normal(size=X.shape))

    def loss(x):
        dropped = row_dropout(KEY, ROWS, x, 0.4)
        return jnp.sum(weights * jnp.sin(dropped))

    assert gradient_error(loss, X) <= 1e-6
