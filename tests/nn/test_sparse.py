"""Static-sparse layers against the dense twin: values, gradients, plans, replicates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omics_jax.nn import sparse


def random_edges(rng, inputs, outputs, share):
    """Connections with very unequal numbers per unit; some units have none."""
    chance = share * 2 * rng.random(outputs) ** 3
    chance[0] = 0.0
    if outputs > 2:
        chance[1] = 1.0
    output, source = np.nonzero(rng.random((outputs, inputs)) < chance[:, None])
    ends = np.stack([source, output], axis=1)
    return rng.permutation(ends)


def dense_of(weights, ends, inputs, outputs):
    matrix = np.zeros((outputs, inputs))
    matrix[ends[:, 1], ends[:, 0]] = weights
    return matrix


SIZES = [(40, 17, 0.2, 5), (7, 3, 0.5, 1), (300, 90, 0.05, 33), (64, 64, 0.9, 8), (5, 4, 0.0, 3)]


def assert_is_the_dense_layer(ends, edges, n, form="sparse"):
    """Values and both gradients. edges: the plan of the ends, perhaps with room for more."""
    inputs, outputs = len(edges.fan_out), len(edges.fan_in)
    rng = np.random.default_rng(inputs)
    weights = rng.normal(size=len(edges.ends)).astype(np.float32)
    x = rng.normal(size=(inputs, n)).astype(np.float32)
    dy = rng.normal(size=(outputs, n)).astype(np.float32)
    layer = jax.jit(lambda w, x: sparse.sparse_linear(w, edges, x, form))
    y, pull_back = jax.vjp(layer, weights, x)
    dw, dx = pull_back(dy)
    matrix = dense_of(weights[: len(ends)], ends, inputs, outputs)
    np.testing.assert_allclose(y, matrix @ x, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(dx, matrix.T @ dy, rtol=1e-5, atol=1e-5)
    of_pairs = (dy @ x.T)[ends[:, 1], ends[:, 0]]
    np.testing.assert_allclose(dw[: len(ends)], of_pairs, rtol=1e-5, atol=1e-5)
    assert not dw[len(ends) :].any()


@pytest.mark.parametrize("form", ["sparse", "dense"])
@pytest.mark.parametrize(("inputs", "outputs", "share", "n"), SIZES)
def test_values_and_gradients_equal_the_dense_layer(inputs, outputs, share, n, form):
    ends = random_edges(np.random.default_rng(inputs), inputs, outputs, share)
    assert_is_the_dense_layer(ends, sparse.plan_edges(ends, inputs, outputs), n, form)


FEW = np.array([(4, 0), (2, 1), (4, 3), (0, 4), (1, 5), (1, 7)])  # of 5 inputs to 8 outputs


@pytest.mark.parametrize("size", [None, 6, 7, 30])
@pytest.mark.parametrize("doubled", [False, True])
def test_outputs_with_one_input_or_none(size, doubled):
    """As many chunks as units are one of each; a unit with none must not lend its place."""
    ends = np.concatenate([FEW, [(3, 5)]]) if doubled else FEW
    if size is not None and size < len(ends):
        size = len(ends)
    edges = sparse.plan_edges(ends, 5, 8, size)
    assert_is_the_dense_layer(ends, edges, 6)
    assert_is_the_dense_layer(ends[:, ::-1], sparse.reverse(edges, size), 6)


def test_several_blocks_give_the_values_of_one(monkeypatch):
    rng = np.random.default_rng(1)
    ends = random_edges(rng, 200, 50, 0.3)
    edges = sparse.plan_edges(ends, 200, 50)
    weights, x = rng.normal(size=len(ends)), rng.normal(size=(200, 6))

    def value_and_gradients():
        def loss(w, x):
            return jnp.sum(jnp.sin(sparse.sparse_linear(w, edges, x, "sparse")))

        return jax.value_and_grad(loss, (0, 1))(jnp.asarray(weights), jnp.asarray(x))

    expected = value_and_gradients()
    monkeypatch.setattr(sparse, "BLOCK_CELLS", 7 * 16 * 6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
        value_and_gradients(),
        expected,
    )


def test_a_plan_holds_every_edge_once_and_ascending_targets():
    rng = np.random.default_rng(2)
    ends = random_edges(rng, 300, 40, 0.2)
    edges = sparse.plan_edges(ends, 300, 40)
    for chunks, own, other in ((edges.by_output, 1, 0), (edges.by_input, 0, 1)):
        real = chunks.edge < len(ends)
        target = np.broadcast_to(chunks.target[:, None], chunks.edge.shape)[real]
        assert sorted(chunks.edge[real]) == list(range(len(ends)))
        np.testing.assert_array_equal(target, ends[chunks.edge[real], own])
        np.testing.assert_array_equal(chunks.source[real], ends[chunks.edge[real], other])
        assert (np.diff(chunks.target) >= 0).all()
    np.testing.assert_array_equal(
        edges.by_output.edge.reshape(-1)[edges.place], np.arange(len(ends))
    )
    np.testing.assert_array_equal(edges.fan_in, np.bincount(ends[:, 1], minlength=40))
    np.testing.assert_array_equal(edges.fan_out, np.bincount(ends[:, 0], minlength=300))


def test_a_unit_with_very_many_inputs_costs_no_padding_of_the_others():
    hub = np.stack([np.arange(10_000), np.zeros(10_000, int)], axis=1)
    single = np.stack([np.arange(5_000), np.arange(1, 5_001)], axis=1)
    edges = sparse.plan_edges(np.concatenate([hub, single]), 10_000, 5_001)
    assert edges.by_output.edge.size <= 2 * 15_000


def test_reverse_is_the_transpose():
    rng = np.random.default_rng(3)
    ends = random_edges(rng, 30, 12, 0.4)
    edges = sparse.plan_edges(ends, 30, 12)
    weights = jnp.asarray(rng.normal(size=len(ends)))
    y = jnp.asarray(rng.normal(size=(12, 4)))
    decoded = sparse.sparse_linear(weights, sparse.reverse(edges), y, "sparse")
    expected = dense_of(weights, ends, 30, 12).T @ y
    np.testing.assert_allclose(decoded, expected, rtol=1e-5, atol=1e-5)


def test_initial_weights_are_bounded_by_the_fan_in_a_unit_really_has():
    few = [(i, 0) for i in range(4)]
    many = [(i, 1) for i in range(400)]
    edges = sparse.plan_edges(np.array(few + many), 400, 2)
    weights = np.asarray(sparse.initial_weights(jax.random.key(0), edges))
    assert 0.25 < np.abs(weights[:4]).max() / 3**0.5 <= 0.5
    assert 0.045 < np.abs(weights[4:]).max() / 3**0.5 <= 0.0501
    assert len(weights) == 404


@pytest.mark.optimised  # as users run it: else products are fused with sums in one program only
def test_replicates_by_map_and_by_vmap_equal_each_alone():
    rng = np.random.default_rng(4)
    ends = random_edges(rng, 25, 9, 0.4)
    edges = sparse.plan_edges(ends, 25, 9)
    weights = jnp.asarray(rng.normal(size=(3, len(ends))), jnp.float32)
    x = jnp.asarray(rng.normal(size=(3, 25, 7)), jnp.float32)

    @jax.jit
    def gradient(w, x):
        return jax.grad(lambda w: jnp.sum(sparse.sparse_linear(w, edges, x, "sparse") ** 2))(w)

    alone = np.stack([gradient(w, rows) for w, rows in zip(weights, x, strict=True)])
    mapped = jax.lax.map(lambda args: gradient(*args), (weights, x))
    together = jax.vmap(gradient)(weights, x)
    np.testing.assert_allclose(mapped, alone, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-5)


def test_index_arrays_are_arguments_and_no_dense_array_is_made():
    rng = np.random.default_rng(5)
    inputs, outputs = 3_000, 700
    ends = np.stack([np.arange(inputs), rng.integers(0, outputs, inputs)], axis=1)
    edges = sparse.plan_edges(ends, inputs, outputs)
    weights, x = jnp.zeros(inputs), jnp.zeros((inputs, 2))

    def loss(w, edges, x):
        return jnp.sum(sparse.sparse_linear(w, edges, x, "sparse") ** 2)

    program = jax.make_jaxpr(jax.grad(loss))(weights, edges, x)
    assert sum(np.size(constant) for constant in program.consts) < 100
    biggest = max(
        np.prod(variable.aval.shape, dtype=int)
        for equation in program.jaxpr.eqns
        for variable in equation.outvars
        if hasattr(variable.aval, "shape")
    )
    assert biggest < inputs * outputs / 50


def test_auto_is_dense_for_many_edges_only():
    full = np.stack(np.meshgrid(np.arange(10), np.arange(4)), axis=-1).reshape(-1, 2)
    assert sparse.choose_form("auto", sparse.plan_edges(full, 10, 4)) == "dense"
    assert sparse.choose_form("auto", sparse.plan_edges(full[:2], 10, 4)) == "sparse"
    assert sparse.choose_form("sparse", sparse.plan_edges(full, 10, 4)) == "sparse"


@pytest.mark.parametrize("form", ["sparse", "dense"])
def test_plans_of_one_size_have_equal_shapes_and_the_values_of_their_own(form):
    rng = np.random.default_rng(6)
    lists = [random_edges(rng, 30, 12, share) for share in (0.1, 0.5)]
    size = 10 + max(len(ends) for ends in lists)
    plans = [sparse.plan_edges(ends, 30, 12, size) for ends in lists]
    shapes = [jax.tree.map(np.shape, plan) for plan in plans]
    assert shapes[0] == shapes[1]
    x = jnp.asarray(rng.normal(size=(30, 5)))
    weights = jnp.asarray(rng.normal(size=size))
    for ends, plan in zip(lists, plans, strict=True):

        def loss(w, plan):
            return jnp.sum(jnp.sin(sparse.sparse_linear(w, plan, x, form)))

        own = sparse.plan_edges(ends, 30, 12)
        value, gradient = jax.value_and_grad(loss)(weights, plan)
        expected, own_gradient = jax.value_and_grad(loss)(weights[: len(ends)], own)
        assert float(value) == pytest.approx(float(expected), rel=1e-5)
        np.testing.assert_allclose(gradient[: len(ends)], own_gradient, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(gradient[len(ends) :], 0)
        back = sparse.reverse(plan)
        np.testing.assert_allclose(
            sparse.sparse_linear(weights, back, jnp.ones((12, 2)), form),
            dense_of(weights[: len(ends)], ends, 30, 12).T @ np.ones((12, 2)),
            rtol=1e-5,
            atol=1e-5,
        )


def test_more_connections_than_the_size_are_refused():
    with pytest.raises(ValueError, match="2 connections are more than the size of 1"):
        sparse.plan_edges(np.array([(0, 0), (1, 0)]), 2, 1, size=1)


@pytest.mark.parametrize("ends", [[(0, 0), (0, 0)], [(5, 0)], [(0, 2)], [(-1, 0)]])
def test_impossible_connections_are_refused(ends):
    with pytest.raises(ValueError, match="connection"):
        sparse.plan_edges(np.array(ends), 5, 2)
