"""Masked dense layers against a dense layer whose matrix is masked by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omics_jax.nn import masked_dense, sparse
from omics_jax.nn.masked_dense import MaskedDense, soft_mask

INPUTS, OUTPUTS, ROWS = 9, 5, 4
# Output 0 has no input, so that an absent connection (0, 0) has a fan-in of 0.
ENDS = np.array([(0, 1), (3, 1), (8, 1), (2, 2), (3, 3), (4, 3), (5, 3), (6, 3), (7, 4)])
SIZES = (None, len(ENDS), len(ENDS) + 4)


def numbers(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


X, DY = numbers(0, ROWS, INPUTS), numbers(1, ROWS, OUTPUTS)


def dense_weights(weights):
    matrix = np.zeros((INPUTS, OUTPUTS), np.float32)
    matrix[ENDS[:, 0], ENDS[:, 1]] = weights[: len(ENDS)]
    return matrix


def pulled_back(layer, params, edges):
    """The layer's output of `X`, and the gradients of the parameters and of the input for `DY`."""

    def apply(params, x):
        return layer.apply({"params": params}, x, edges)

    y, pull_back = jax.vjp(apply, jax.tree.map(jnp.asarray, params), jnp.asarray(X))
    return y, *pull_back(jnp.asarray(DY))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("form", sparse.FORMS)
def test_a_hard_mask_is_the_dense_layer_with_zeros(form, size):
    edges = sparse.plan_edges(ENDS, INPUTS, OUTPUTS, size)
    weights, bias = numbers(2, size or len(ENDS)), numbers(3, OUTPUTS)
    layer = MaskedDense(OUTPUTS, "hard", form=form)
    y, gradient, dx = pulled_back(layer, {"weights": weights, "bias": bias}, edges)
    matrix = dense_weights(weights)
    np.testing.assert_allclose(y, X @ matrix + bias, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(dx, DY @ matrix.T, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(gradient["bias"], DY.sum(axis=0), rtol=1e-5, atol=1e-5)
    dense_gradient = (X.T @ DY)[ENDS[:, 0], ENDS[:, 1]]
    existing, absent = np.split(np.asarray(gradient["weights"]), [len(ENDS)])
    np.testing.assert_allclose(existing, dense_gradient, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(absent, 0)


@pytest.mark.parametrize("size", SIZES)
def test_a_soft_mask_is_1_at_the_edges_and_its_value_elsewhere(size):
    edges = sparse.plan_edges(ENDS, INPUTS, OUTPUTS, size)
    mask = np.full((INPUTS, OUTPUTS), 0.25, np.float32)
    mask[ENDS[:, 0], ENDS[:, 1]] = 1
    np.testing.assert_array_equal(soft_mask(edges, 0.25), mask)
    kernel, bias = numbers(4, INPUTS, OUTPUTS), numbers(5, OUTPUTS)
    layer = MaskedDense(OUTPUTS, "soft", softness=0.25)
    y, gradient, dx = pulled_back(layer, {"kernel": kernel, "bias": bias}, edges)
    np.testing.assert_allclose(y, X @ (kernel * mask) + bias, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(dx, DY @ (kernel * mask).T, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(gradient["kernel"], X.T @ DY * mask, rtol=1e-5, atol=1e-5)


def test_without_a_mask_it_is_flax_dense():
    import flax.linen as nn

    edges = sparse.plan_edges(ENDS, INPUTS, OUTPUTS)
    params = {"kernel": numbers(6, INPUTS, OUTPUTS), "bias": numbers(7, OUTPUTS)}
    expected = nn.Dense(OUTPUTS).apply({"params": params}, X)
    y = MaskedDense(OUTPUTS, "none").apply({"params": params}, jnp.asarray(X), edges)
    np.testing.assert_allclose(y, expected, rtol=1e-6)


def test_first_weights_are_bounded_by_the_inputs_that_a_unit_has_and_absent_ones_are_0():
    few, many = [(i, 1) for i in range(4)], [(i, 2) for i in range(400)]
    edges = sparse.plan_edges(np.array(few + many), 400, 3, size=410)
    layer = MaskedDense(3, "hard")
    params = layer.init(jax.random.key(0), jnp.zeros((1, 400)), edges)["params"]
    other = masked_dense.with_initial_weights(
        jax.random.key(1), {"layer": params, "dense": {"kernel": X}}, {"layer": edges}
    )
    assert other["dense"]["kernel"] is X and other["layer"]["bias"] is params["bias"]
    for weights in (params["weights"], other["layer"]["weights"]):
        weights = np.asarray(weights)
        assert 0.25 < np.abs(weights[:4]).max() / 3**0.5 <= 0.5
        assert 0.045 < np.abs(weights[4:404]).max() / 3**0.5 <= 0.0501
        np.testing.assert_array_equal(weights[404:], 0)


@pytest.mark.parametrize("size", SIZES)
def test_edges_survive_as_named_arrays(size):
    edges = sparse.plan_edges(ENDS, INPUTS, OUTPUTS, size)
    arrays = sparse.edge_arrays(edges)
    assert all(isinstance(array, np.ndarray) for array in arrays.values())
    again = sparse.edges_from(arrays)
    assert jax.tree.structure(again) == jax.tree.structure(edges)
    jax.tree.map(np.testing.assert_array_equal, again, edges)


@pytest.mark.parametrize("count", [len(ENDS), len(ENDS) - 1, len(ENDS) - 4])
def test_reversed_plans_of_one_size_have_one_shape_and_the_weights_in_order(count):
    """Also where a list fills the size: whether it does differs between folds."""
    ends, size = np.random.default_rng(count).permutation(ENDS)[:count], len(ENDS)
    back = sparse.reverse(sparse.plan_edges(ends, INPUTS, OUTPUTS, size), size)
    shapes = jax.tree.map(np.shape, sparse.plan_edges(ENDS[:3, ::-1], OUTPUTS, INPUTS, size))
    assert jax.tree.map(np.shape, back) == shapes
    np.testing.assert_array_equal(back.ends[:count], ends[:, ::-1])
