"""Decays, feature regression and time-gap embedding against their formulas in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal, assert_array_less

from omics_jax.nn.decay import (
    diagonal_decay,
    diagonal_parameters,
    feature_regression,
    temporal_decay,
    time_gap_embedding,
)
from omics_jax.nn.initial import draw

RANDOM = np.random.default_rng(0)
D, H = 4, 3
GAP = RANDOM.integers(0, 48, (6, D)).astype(np.float32)
GAPS = jnp.asarray(GAP)
MEDIAN_GAP = np.array([1.0, 6.0, 12.0, 2.5], np.float32)


def dense_of(inputs, outputs, scale):
    kernel = scale * RANDOM.normal(size=(inputs, outputs))
    bias = scale * RANDOM.normal(size=outputs)
    return {"kernel": kernel.astype(np.float32), "bias": bias.astype(np.float32)}


SQUARE = dense_of(D, D, 1.0)


def on_device(p):
    return jax.tree.map(jnp.asarray, p)


def test_decays_follow_their_formula():
    p = dense_of(D, H, 0.02)
    kernel, bias = p["kernel"], p["bias"]
    expected = np.empty((6, H))
    for n, j in np.ndindex(expected.shape):
        rate = GAP[n] @ kernel[:, j] + bias[j]
        expected[n, j] = np.exp(-max(0, rate))
    assert_allclose(temporal_decay(on_device(p), GAPS), expected, rtol=1e-5)
    scale = kernel[:, 0]
    bias = RANDOM.normal(size=D).astype(np.float32)
    expected = np.empty((6, D))
    for n, d in np.ndindex(expected.shape):
        rate = GAP[n, d] * scale[d] + bias[d]
        expected[n, d] = np.exp(-max(0, rate))
    q = on_device({"scale": scale, "bias": bias})
    assert_allclose(diagonal_decay(q, GAPS), expected, rtol=1e-5)


def test_decays_lie_above_0_and_reach_at_most_1():
    p = dense_of(D, 50, 0.1)
    q = {"scale": jnp.array([-1.0, 0.0, 0.5, 1.0]), "bias": jnp.zeros(D)}
    for gamma in (temporal_decay(on_device(p), GAPS), diagonal_decay(q, GAPS)):
        assert np.all(gamma > 0)
        assert np.all(gamma <= 1)
        assert np.any(gamma == 1)
        assert np.any(gamma < 0.9)


def test_nothing_has_faded_at_once_under_the_first_biases():
    q = draw(jax.random.key(0), diagonal_parameters(D))
    assert np.abs(q["scale"]).max() <= 0.5
    assert np.ptp(q["scale"]) > 0
    no_gap = jnp.zeros((2, D))
    assert_array_equal(diagonal_decay(q, no_gap), np.ones((2, D)))


def test_each_variable_fades_by_its_own_gap_alone():
    q = {"scale": jnp.linspace(0.1, 0.4, D), "bias": jnp.full(D, 0.1)}
    decay_of_row = lambda gap: diagonal_decay(q, gap[None])[0]
    slope = jax.jacobian(decay_of_row)(jnp.asarray(GAP[0] / 10))
    is_own = np.eye(D, dtype=bool)
    assert np.all((np.asarray(slope) != 0) == is_own)


def test_a_variable_is_estimated_from_all_others_and_never_from_itself():
    x = RANDOM.normal(size=(5, D))
    x = jnp.asarray(x, jnp.float32)
    kernel, bias = SQUARE["kernel"], SQUARE["bias"]
    expected = np.empty((5, D))
    for n, j in np.ndindex(expected.shape):
        others = [i for i in range(D) if i != j]
        from_others = [x[n, i] * kernel[i, j] for i in others]
        expected[n, j] = sum(from_others) + bias[j]
    assert_allclose(feature_regression(on_device(SQUARE), x), expected, atol=1e-5)

    def of_row(row):
        return feature_regression(on_device(SQUARE), row[None])[0]

    jacobian = jax.jacobian(of_row)(x[0])
    assert_array_equal(np.diag(jacobian), np.zeros(D))

    def loss(p):
        return jnp.sum(feature_regression(p, x) ** 2)

    gradient = jax.grad(loss)(on_device(SQUARE))["kernel"]
    is_own = np.eye(D, dtype=bool)
    assert np.all((np.asarray(gradient) == 0) == is_own)


def test_the_embedding_follows_its_formula():
    kernel, bias = SQUARE["kernel"], SQUARE["bias"]
    expected = np.empty_like(GAP)
    for n, d in np.ndindex(expected.shape):
        excess = GAP[n] - MEDIAN_GAP
        inner = excess @ kernel[:, d] / 20 + bias[d] / 20
        size = abs(inner)
        signed = np.sign(excess[d]) * size
        expected[n, d] = (1 - np.tanh(signed)) / 2
    p = {name: leaf / 20 for name, leaf in SQUARE.items()}
    assert_allclose(
        time_gap_embedding(on_device(p), GAPS, jnp.asarray(MEDIAN_GAP)),
        expected,
        atol=1e-6,
    )


def test_the_median_gap_is_half_a_shorter_one_more_and_a_longer_one_less():
    p, median_gap = on_device(SQUARE), jnp.asarray(MEDIAN_GAP)

    def found(gap):
        row = jnp.asarray(gap)[None]
        return np.asarray(time_gap_embedding(p, row, median_gap))

    assert_array_equal(found(MEDIAN_GAP), np.full((1, D), 0.5))  # whatever the bias
    assert_array_less(0.5, found(0.9 * MEDIAN_GAP))
    assert_array_less(found(1.1 * MEDIAN_GAP), 0.5)


@pytest.mark.parametrize("layer", [temporal_decay, diagonal_decay, feature_regression, "embedding"])
def test_stacked_parameters_are_two_directions_at_once(layer):
    if layer == "embedding":
        layer = lambda p, gap: time_gap_embedding(p, gap, jnp.asarray(MEDIAN_GAP))
    p = []
    for k in (0, 1):
        scale = np.linspace(0, 0.1 + k, D, dtype=np.float32)
        p.append(on_device({**dense_of(D, D, 0.05), "scale": scale}))
    gaps = jnp.stack([GAP, GAP[::-1]])
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *p)
    both = layer(stacked, gaps)
    for k in (0, 1):
        alone = layer(p[k], gaps[k])
        assert_allclose(both[k], alone, atol=1e-6)
