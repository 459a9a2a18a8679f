"""Row-keyed noise: what a row gets depends on the row alone, and has the distribution it should."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omics_jax.nn.noise import row_dropout, row_keys, row_normal

KEY = jax.random.key(3)
ROWS = jnp.arange(40, dtype=jnp.int32)
X = jnp.asarray(np.random.default_rng(0).normal(size=(40, 7)), jnp.float32)
DRAWS = {
    "normal": lambda key, rows, x: row_normal(key, rows, (7,)),
    "normal of rank 2": lambda key, rows, x: row_normal(key, rows, (3, 2)),
    "dropout": lambda key, rows, x: row_dropout(key, rows, x, 0.4),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
@pytest.mark.parametrize("chosen", [[5], [39, 0, 7], [7, 7, 1], list(range(39, -1, -1))], ids=str)
def test_a_row_gets_the_same_whoever_stands_beside_it(draw, chosen):
    chosen = np.array(chosen)
    alone = draw(KEY, ROWS[chosen], X[chosen])
    np.testing.assert_array_equal(alone, draw(KEY, ROWS, X)[chosen])
    np.testing.assert_array_equal(alone, jax.jit(draw)(KEY, ROWS[chosen], X[chosen]))


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_other_keys_and_other_rows_get_other_noise(draw):
    same = jnp.ones((40, 7))
    out = np.asarray(draw(KEY, ROWS, same)).reshape(40, -1)
    assert len(np.unique(out, axis=0)) > 30
    assert (np.asarray(draw(jax.random.key(4), ROWS, same)).reshape(40, -1) != out).any()


def test_raw_keys_and_typed_keys_agree():
    raw = jax.random.key_data(KEY)
    assert row_keys(KEY, ROWS).shape == (40,) and row_keys(raw, ROWS).shape == (40, 2)
    np.testing.assert_array_equal(row_normal(raw, ROWS, (2,)), row_normal(KEY, ROWS, (2,)))


def test_normal_draws_are_standard_and_independent_between_rows():
    draws = np.asarray(row_normal(KEY, jnp.arange(4000, dtype=jnp.int32), (5,)))
    assert draws.shape == (4000, 5)
    assert np.abs(draws.mean(0)).max() < 4 / np.sqrt(4000)
    assert np.abs(draws.std(0) - 1).max() < 4 / np.sqrt(8000)
    assert abs(np.corrcoef(draws[:-1, 0], draws[1:, 0])[0, 1]) < 4 / np.sqrt(4000)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_zeroes_its_share_and_scales_the_rest(rate):
    x = jnp.full((500, 20), 3.0)
    out = np.asarray(row_dropout(KEY, jnp.arange(500, dtype=jnp.int32), x, rate))
    kept = out != 0
    sixteenth_bits = np.round(rate * 2**16) / 2**16
    np.testing.assert_allclose(out[kept], 3 / (1 - sixteenth_bits), rtol=1e-6)
    assert abs(kept.mean() - (1 - rate)) < 4 * np.sqrt(rate * (1 - rate) / out.size)


@pytest.mark.parametrize("shape", [(7,), (3, 3), (1,)], ids=str)
def test_dropped_entries_of_a_row_are_independent(shape):
    kept = (
        np.asarray(
            row_dropout(KEY, jnp.arange(4000, dtype=jnp.int32), jnp.ones((4000, *shape)), 0.3)
        )
        != 0
    )
    flat = kept.reshape(4000, -1).astype(float)
    assert np.abs(flat.mean(0) - 0.7).max() < 4 * np.sqrt(0.21 / 4000)
    off_diagonal = (
        np.corrcoef(flat.T)[~np.eye(flat.shape[1], dtype=bool)]
        if flat.shape[1] > 1
        else np.zeros(1)
    )
    assert np.abs(off_diagonal).max() < 4.5 / np.sqrt(4000)


@pytest.mark.parametrize("rate", [0, 0.0, jnp.float32(0)], ids=["int", "float", "array"])
def test_rate_zero_is_the_identity(rate):
    np.testing.assert_array_equal(row_dropout(KEY, ROWS, X, rate), X)
    np.testing.assert_array_equal(jax.jit(row_dropout)(KEY, ROWS, X, float(rate)), X)


def test_a_traced_rate_equals_the_same_rate_given_as_a_number():
    traced = jax.vmap(lambda rate: row_dropout(KEY, ROWS, X, rate))(jnp.float32([0.0, 0.25]))
    np.testing.assert_array_equal(traced[0], X)
    np.testing.assert_allclose(traced[1], row_dropout(KEY, ROWS, X, 0.25), rtol=1e-6)


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, float("nan")])
def test_a_rate_that_is_no_probability_below_one_is_refused(rate):
    with pytest.raises(ValueError, match="dropout rate"):
        row_dropout(KEY, ROWS, X, rate)


def test_dropout_gradient_matches_finite_differences(gradient_error):
    weights = jnp.asarray(np.random.default_rng(1).normal(size=X.shape))
    assert (
        gradient_error(lambda x: jnp.sum(weights * jnp.sin(row_dropout(KEY, ROWS, x, 0.4))), X)
        <= 1e-6
    )
