"""PCGrad against its algorithm in loops, and against gradients of each task by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from omics_jax.nn.collective import device_axis
from omics_jax.training.pcgrad import (
    ORDERS,
    conflict_free_copies,
    pcgrad,
    projection_weights,
    visits,
)

KEY = jax.random.key(7)


def project(gradients, order):
    """Algorithm 1 of Yu et al. 2020, by loops; order: row i, the tasks that task i meets."""
    g = np.asarray(gradients, np.float64)
    total = np.zeros(g.shape[1])
    for i in range(len(g)):
        mine = g[i].copy()
        for j in order[i]:
            if j != i and mine @ g[j] < 0:
                mine -= mine @ g[j] / (g[j] @ g[j]) * g[j]
        total += mine
    return total


def combined(gradients, order="fresh", key=KEY):
    """What the balance makes of the gradients (T, p), as two arrays of parameters."""
    g = np.array(gradients, np.float32)
    leaves = [jnp.asarray(g[:, :1]), jnp.asarray(g[:, 1:].reshape(len(g), -1, 1))]
    balance = pcgrad(toy.heads_tasks, order)
    first, second = balance.combine(leaves, jnp.zeros(len(g)), (), key)[0]
    assert first.shape == (1,) and second.shape == (g.shape[1] - 1, 1)
    return np.concatenate([first, second[:, 0]])


@pytest.mark.parametrize(
    ("gradients", "expected"),
    [
        (([1, 0, 0], [0, 2, 0]), [1, 2, 0]),  # orthogonal: the sum
        (([1, 2, 3], [1, 0, 1]), [2, 2, 4]),  # agreeing: the sum
        (([1, -2, 3], [-1, 2, -3]), [0, 0, 0]),  # opposite: nothing
        (([1, -2, 3], [-5, 10, -15]), [0, 0, 0]),
        (([1, 0, 0], [-1, 1, 0]), [0.5, 1.5, 0]),
        (([1, 0, 0], [0, 0, 0]), [1, 0, 0]),  # a task without a gradient
    ],
)
def test_two_tasks(gradients, expected):
    np.testing.assert_allclose(combined(gradients), expected, atol=1e-6)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("tasks", [3, 5])
def test_several_tasks_by_loops(tasks, order):
    rng = np.random.default_rng(tasks)
    for step in range(5):
        key = jax.random.fold_in(KEY, step)
        gradients = rng.normal(size=(tasks, 7))
        expected = project(gradients, np.asarray(visits(key, tasks, order)))
        np.testing.assert_allclose(combined(gradients, order, key), expected, atol=1e-5)


def test_the_order_of_visits_matters_and_is_read_by_row():
    """Three gradients of which task 0 conflicts with both others, which agree."""
    g = np.array([[1.0, 0.2, 0], [-1, 1, 0.5], [-1, 0.3, -1]])
    results = []
    for own in ([1, 2, 0], [2, 1, 0]):
        order = np.array([own, [0, 2, 1], [0, 1, 2]])
        weights = projection_weights(jnp.asarray(g @ g.T), jnp.asarray(order))
        np.testing.assert_allclose(weights @ g, project(g, order), atol=1e-5)
        results.append(weights @ g)
    assert np.abs(results[0] - results[1]).max() > 1e-2


def test_fresh_orders_differ_among_tasks_and_a_shared_one_does_not():
    """Every order is a permutation, and another one in another step."""
    for order in ORDERS:
        rows = [np.asarray(visits(jax.random.fold_in(KEY, step), 6, order)) for step in range(2)]
        np.testing.assert_array_equal(np.sort(rows[0], axis=1), np.tile(np.arange(6), (6, 1)))
        assert (rows[0] != rows[1]).any()
        assert len(np.unique(rows[0], axis=0)) == {"fresh": 6, "shared": 1}[order]


def test_another_order_is_an_error():
    with pytest.raises(ValueError, match="the order of PCGrad is one of fresh, shared, not 'any'"):
        pcgrad(toy.heads_tasks, "any")
    with pytest.raises(ValueError, match="not 'any'"):
        conflict_free_copies(jnp.zeros((2, 2)), KEY, 2, "any")


# At the embedding

ROWS, INPUTS, CHANNELS, TASKS = 6, 5, 4, 3
RANDOM = np.random.default_rng(2)
ENCODER, X = RANDOM.normal(size=(INPUTS, CHANNELS)), RANDOM.normal(size=(ROWS, INPUTS))
HEADS, Y = RANDOM.normal(size=(TASKS, CHANNELS)), RANDOM.normal(size=(ROWS, TASKS))


def losses_of_copies(encoder, heads, x, y, key, order):
    """The summed squared errors (T,) of linear heads, each on its copy of tanh(x W)."""
    copies = conflict_free_copies(jnp.tanh(x @ encoder), key, TASKS, order)
    return jnp.sum((jnp.einsum("knd,kd->kn", copies, heads) - y.T) ** 2, axis=1)


@pytest.mark.parametrize("order", ORDERS)
def test_gradients_of_the_embedding_are_projected_and_those_of_heads_are_not(order):
    """2 (z . h_k - y_k) h_k of every row, projected as one vector and pulled back, by numpy."""
    z = np.tanh(X @ ENCODER)
    residual = 2 * (z @ HEADS.T - Y)
    of_z = np.stack([np.outer(residual[:, k], HEADS[k]).ravel() for k in range(TASKS)])
    expected = project(of_z, np.asarray(visits(KEY, TASKS, order))).reshape(z.shape)
    assert np.abs(expected - of_z.sum(axis=0).reshape(z.shape)).max() > 0.1  # they conflict

    def total(encoder, heads):
        return jnp.sum(losses_of_copies(encoder, heads, X, Y, KEY, order))

    value, (of_encoder, of_heads) = jax.value_and_grad(total, (0, 1))(ENCODER, HEADS)
    assert float(value) == pytest.approx(np.sum((z @ HEADS.T - Y) ** 2), rel=1e-5)
    np.testing.assert_allclose(of_encoder, X.T @ (expected * (1 - z**2)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(of_heads, residual.T @ z, rtol=1e-4, atol=1e-5)


def test_rows_on_several_devices_are_projected_together():
    """Two parts of the rows under one device axis: their gradients add up to that of all rows."""

    def gradient(x, y):
        with device_axis("device"):
            return jax.grad(
                lambda encoder: jnp.sum(losses_of_copies(encoder, HEADS, x, y, KEY, "fresh"))
            )(jnp.asarray(ENCODER))

    halves = (np.stack(np.split(part, 2)) for part in (X, Y))
    of_halves = jax.vmap(gradient, axis_name="device")(*halves)
    whole = jax.grad(lambda encoder: jnp.sum(losses_of_copies(encoder, HEADS, X, Y, KEY, "fresh")))(
        jnp.asarray(ENCODER)
    )
    np.testing.assert_allclose(of_halves.sum(axis=0), whole, rtol=1e-4, atol=1e-5)
