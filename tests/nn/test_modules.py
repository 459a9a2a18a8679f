"""Modules among other variables: drawn together, and applied by name with or without training."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import normal
from trees import leaves_differ

from omics_jax.nn.blocks import Block, RowInfo
from omics_jax.nn.initial import draw, lecun_parameters
from omics_jax.nn.modules import apply_module, init_modules

ROWS = RowInfo(live=jnp.arange(6) < 5, row=jnp.arange(6))
X = normal(0, 6, 3)
ENCODER, HEAD = Block(4, dropout=0.5), nn.Dense(2)
MODULES = {"encoder": (ENCODER, X, ROWS), "head": (HEAD, jnp.zeros((6, 4)))}


class Scaled(nn.Module):
    """A layer with a second way to be applied."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(2)(x)

    def doubled(self, x):
        return self(2 * x)


@pytest.fixture(scope="module")
def variables():
    return init_modules(jax.random.key(1), MODULES)


def test_modules_are_drawn_in_one_call_of_the_generator(variables):
    """The parameters are those of `lecun` over the tree of all modules, none drawn by itself."""
    key = jax.random.key(1)
    shapes = {
        name: jax.eval_shape(module.init, key, *arguments)["params"]
        for name, (module, *arguments) in MODULES.items()
    }
    expected = draw(key, lecun_parameters(shapes))
    jax.tree.map(np.testing.assert_array_equal, variables["params"], expected)
    assert variables.keys() == {"params", "batch_stats"}
    assert variables["params"]["encoder"]["Dense_0"]["kernel"].shape == (3, 4)
    assert variables["params"]["head"]["kernel"].shape == (4, 2)


def test_a_module_does_not_have_the_numbers_of_another(variables):
    two_alike = {"a": (HEAD, X), "b": (HEAD, X)}
    twice = init_modules(jax.random.key(1), two_alike)["params"]
    assert not np.array_equal(twice["a"]["kernel"], twice["b"]["kernel"])
    other = init_modules(jax.random.key(2), MODULES)["params"]
    kernel = variables["params"]["head"]["kernel"]
    assert not np.array_equal(other["head"]["kernel"], kernel)


def test_statistics_start_at_mean_0_and_variance_1(variables):
    (norm,) = variables["batch_stats"]["encoder"].values()
    assert norm.keys() == {"mean", "var"}
    np.testing.assert_array_equal(norm["mean"], np.zeros(4, np.float32))
    np.testing.assert_array_equal(norm["var"], np.ones(4, np.float32))
    assert variables["batch_stats"]["head"] == {}


def test_without_a_key_a_module_is_deterministic_and_its_statistics_stay(variables):
    output, stats = apply_module(ENCODER, "encoder", variables, None, X, ROWS)
    assert stats == {}
    dense = variables["params"]["encoder"]["Dense_0"]["kernel"]
    normalized = X[:5] @ dense / np.sqrt(1 + 1e-5)
    expected = nn.leaky_relu(normalized, 0.2)
    np.testing.assert_allclose(output[:5], expected, rtol=1e-4, atol=1e-6)
    again, _ = apply_module(ENCODER, "encoder", variables, None, X, ROWS)
    np.testing.assert_array_equal(output, again)


def test_with_a_key_a_module_drops_and_returns_its_new_statistics(variables):
    key = jax.random.key(3)
    output, stats = apply_module(ENCODER, "encoder", variables, key, X, ROWS)
    assert stats.keys() == {"encoder"}
    assert all(leaves_differ(variables["batch_stats"]["encoder"], stats["encoder"]))
    assert (np.asarray(output)[:5] == 0).any()
    again, _ = apply_module(ENCODER, "encoder", variables, key, X, ROWS)
    np.testing.assert_array_equal(output, again)
    other, _ = apply_module(ENCODER, "encoder", variables, jax.random.key(4), X, ROWS)
    assert not np.array_equal(output, other)


def test_a_module_without_statistics_returns_none_that_moved(variables):
    z = jnp.ones((6, 4))
    output, stats = apply_module(HEAD, "head", variables, jax.random.key(0), z)
    assert stats == {"head": {}}
    np.testing.assert_array_equal(output, apply_module(HEAD, "head", variables, None, z)[0])


def test_a_module_is_applied_by_the_method_asked_for():
    made = init_modules(jax.random.key(0), {"scaled": (Scaled(), X)})
    plain, _ = apply_module(Scaled(), "scaled", made, None, 2 * X)
    doubled, _ = apply_module(Scaled(), "scaled", made, None, X, method=Scaled.doubled)
    np.testing.assert_allclose(doubled, plain, rtol=1e-6)


def test_a_module_without_norms_is_applied_from_a_file_that_names_no_empty_collection(variables):
    stored = {**variables, "batch_stats": {"encoder": variables["batch_stats"]["encoder"]}}
    z = jnp.ones((6, 4))
    output, stats = apply_module(MODULES["head"][0], "head", stored, None, z)
    np.testing.assert_array_equal(
        output, apply_module(MODULES["head"][0], "head", variables, None, z)[0]
    )
    assert stats == {}
