"""The dense block against its layers one by one, and its dropout by row."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from omics_jax.nn.blocks import SLOPE, Block, RowInfo, dropout_by_row
from omics_jax.nn.noise import row_dropout

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(2, 3, (20, 6)), jnp.float32)
ROWS = RowInfo(jnp.asarray(RNG.random(20) < 0.7), jnp.arange(20, dtype=jnp.int32))
WIDTH = 4


def variables_of(block):
    return block.init(KEY, X, ROWS)


def trained(block, x, rows, key=KEY):
    """The output in training and the new statistics."""
    variables = variables_of(block)
    return block.apply(variables, x, rows, rngs={"dropout": key}, mutable=["batch_stats"])


def expected_without_dropout(variables, x, live):
    """In float64, with the statistics of the live rows."""
    kernel = np.asarray(variables["params"]["Dense_0"]["kernel"], np.float64)
    norm = variables["params"]["MaskedBatchNorm_0"]
    projected = np.asarray(x, np.float64) @ kernel
    mean, variance = projected[live].mean(axis=0), projected[live].var(axis=0)
    y = (projected - mean) / np.sqrt(variance + 1e-5)
    y = y * np.asarray(norm["scale"]) + np.asarray(norm["bias"])
    return np.where(y > 0, y, SLOPE * y)


def test_the_parameters_have_the_names_of_checkpoints():
    shapes = jax.tree.map(jnp.shape, variables_of(Block(WIDTH, 0.2)))
    norm = {"scale": (WIDTH,), "bias": (WIDTH,)}
    statistics = {"mean": (WIDTH,), "var": (WIDTH,)}
    assert shapes == {
        "params": {"Dense_0": {"kernel": (6, WIDTH)}, "MaskedBatchNorm_0": norm},
        "batch_stats": {"MaskedBatchNorm_0": statistics},
    }


def test_a_network_of_blocks_names_them_by_the_class():
    class Network(nn.Module):
        @nn.compact
        def __call__(self, x, rows):
            return Block(3, 0.0)(Block(WIDTH, 0.0)(x, rows), rows)

    params = Network().init(KEY, X, ROWS)["params"]
    assert set(params) == {"Block_0", "Block_1"}


def test_in_training_the_layers_follow_in_order():
    block = Block(WIDTH, 0.0)
    y, changed = trained(block, X, ROWS)
    live = np.asarray(ROWS.live)
    expected = expected_without_dropout(variables_of(block), X, live)
    assert_allclose(y[live], expected[live], rtol=1e-4, atol=1e-5)
    mean = changed["batch_stats"]["MaskedBatchNorm_0"]["mean"]
    assert np.all(np.asarray(mean) != 0)


def test_dropout_stands_between_the_norm_and_the_activation():
    rate = 0.5
    plain, _ = trained(Block(WIDTH, 0.0), X, ROWS)
    dropped, _ = trained(Block(WIDTH, rate), X, ROWS)
    kept = np.asarray(dropped) != 0
    assert 0 < kept.mean() < 1
    scaled = np.asarray(plain) / (1 - rate)
    assert_allclose(np.asarray(dropped)[kept], scaled[kept], rtol=1e-5)


def test_a_row_drops_the_same_units_in_any_order():
    everyone = RowInfo(jnp.ones(20, bool), ROWS.row)
    backwards = RowInfo(everyone.live, ROWS.row[::-1])
    y, _ = trained(Block(WIDTH, 0.5), X, everyone)
    reversed_y, _ = trained(Block(WIDTH, 0.5), X[::-1], backwards)
    assert_array_equal(np.asarray(y) == 0, np.asarray(reversed_y)[::-1] == 0)


def test_without_an_rng_nothing_is_dropped_and_the_statistics_stay():
    block = Block(WIDTH, 0.9)
    variables = variables_of(block)
    y, changed = block.apply(variables, X, ROWS, mutable=["batch_stats"])
    assert np.all(np.asarray(y)[np.asarray(ROWS.live)] != 0)
    jax.tree.map(assert_array_equal, changed["batch_stats"], variables["batch_stats"])


@pytest.mark.parametrize("padding", [1e6, jnp.nan])
def test_padding_rows_change_nothing(padding):
    padded = jnp.where(ROWS.live[:, None], X, padding)
    y, _ = trained(Block(WIDTH, 0.5), X, ROWS)
    of_padded, _ = trained(Block(WIDTH, 0.5), padded, ROWS)
    assert_array_equal(y, of_padded)


class Dropping(nn.Module):
    def __call__(self, x, rows):
        return dropout_by_row(self, x, rows, 0.3)


class FirstKey(nn.Module):
    def __call__(self):
        return self.make_rng("dropout")


def test_dropout_by_row_uses_the_key_that_the_module_draws():
    key = FirstKey().apply({}, rngs={"dropout": KEY})
    y = Dropping().apply({}, X, ROWS, rngs={"dropout": KEY})
    assert_array_equal(y, row_dropout(key, ROWS.row, X, 0.3))
    assert_array_equal(Dropping().apply({}, X, ROWS), X)
