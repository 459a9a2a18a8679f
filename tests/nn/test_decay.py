"""Decays, the regression without a diagonal and the embedding of gaps, against their formulas in
numpy.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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
USUAL = np.array([1.0, 6.0, 12.0, 2.5], np.float32)


def dense_of(inputs, outputs, scale):
    kernel, bias = (
        scale * RANDOM.normal(size=(inputs, outputs)),
        scale * RANDOM.normal(size=outputs),
    )
    return {"kernel": kernel.astype(np.float32), "bias": bias.astype(np.float32)}


SQUARE = dense_of(D, D, 1.0)


def on_device(p):
    return jax.tree.map(jnp.asarray, p)


def test_decays_follow_their_formula():
    p = dense_of(D, H, 0.02)
    expected = [
        [np.exp(-max(0, GAP[n] @ p["kernel"][:, j] + p["bias"][j])) for j in range(H)]
        for n in range(6)
    ]
    np.testing.assert_allclose(temporal_decay(on_device(p), jnp.asarray(GAP)), expected, rtol=1e-5)
    q = {"scale": p["kernel"][:, 0], "bias": RANDOM.normal(size=D).astype(np.float32)}
    expected = [
        [np.exp(-max(0, GAP[n, d] * q["scale"][d] + q["bias"][d])) for d in range(D)]
        for n in range(6)
    ]
    np.testing.assert_allclose(diagonal_decay(on_device(q), jnp.asarray(GAP)), expected, rtol=1e-5)


def test_decays_lie_above_0_and_reach_at_most_1():
    p, q = dense_of(D, 50, 0.1), {"scale": jnp.array([-1.0, 0.0, 0.5, 1.0]), "bias": jnp.zeros(D)}
    for gamma in (
        temporal_decay(on_device(p), jnp.asarray(GAP)),
        diagonal_decay(q, jnp.asarray(GAP)),
    ):
        assert (
            np.all(gamma > 0) and np.all(gamma <= 1) and np.any(gamma == 1) and np.any(gamma < 0.9)
        )


def test_nothing_has_faded_at_once_under_the_first_biases():
    q = draw(jax.random.key(0), diagonal_parameters(D))
    assert np.abs(q["scale"]).max() <= 0.5 and np.ptp(q["scale"]) > 0
    np.testing.assert_array_equal(diagonal_decay(q, jnp.zeros((2, D))), np.ones((2, D)))


def test_each_variable_fades_by_its_own_gap_alone():
    q = {"scale": jnp.linspace(0.1, 0.4, D), "bias": jnp.full(D, 0.1)}
    slope = jax.jacobian(lambda gap: diagonal_decay(q, gap[None])[0])(jnp.asarray(GAP[0] / 10))
    assert np.all((np.asarray(slope) != 0) == np.eye(D, dtype=bool))


def test_a_variable_is_estimated_from_all_others_and_never_from_itself():
    x = jnp.asarray(RANDOM.normal(size=(5, D)), jnp.float32)
    expected = [
        [
            sum(x[n, i] * SQUARE["kernel"][i, j] for i in range(D) if i != j) + SQUARE["bias"][j]
            for j in range(D)
        ]
        for n in range(5)
    ]
    np.testing.assert_allclose(feature_regression(on_device(SQUARE), x), expected, atol=1e-5)
    of_x = jax.jacobian(lambda row: feature_regression(on_device(SQUARE), row[None])[0])(x[0])
    np.testing.assert_array_equal(np.diag(of_x), np.zeros(D))
    of_p = jax.grad(lambda p: jnp.sum(feature_regression(p, x) ** 2))(on_device(SQUARE))["kernel"]
    assert np.all((np.asarray(of_p) == 0) == np.eye(D, dtype=bool))


def test_the_embedding_follows_its_formula():
    expected = np.empty_like(GAP)
    for n in range(6):
        excess = GAP[n] - USUAL
        for d in range(D):
            inner = abs(excess @ SQUARE["kernel"][:, d] / 20 + SQUARE["bias"][d] / 20)
            expected[n, d] = (1 - np.tanh(np.sign(excess[d]) * inner)) / 2
    p = {name: leaf / 20 for name, leaf in SQUARE.items()}
    np.testing.assert_allclose(
        time_gap_embedding(on_device(p), jnp.asarray(GAP), jnp.asarray(USUAL)), expected, atol=1e-6
    )


def test_the_usual_gap_is_half_a_shorter_one_more_and_a_longer_one_less():
    p, usual = on_device(SQUARE), jnp.asarray(USUAL)
    found = lambda gap: np.asarray(time_gap_embedding(p, jnp.asarray(gap)[None], usual))
    np.testing.assert_array_equal(found(USUAL), np.full((1, D), 0.5))  # whatever the bias
    np.testing.assert_array_less(0.5, found(0.9 * USUAL))
    np.testing.assert_array_less(found(1.1 * USUAL), 0.5)


@pytest.mark.parametrize("layer", [temporal_decay, diagonal_decay, feature_regression, "embedding"])
def test_stacked_parameters_are_two_directions_at_once(layer):
    layer = (
        (lambda p, gap: time_gap_embedding(p, gap, jnp.asarray(USUAL)))
        if layer == "embedding"
        else layer
    )
    p = [
        on_device({**dense_of(D, D, 0.05), "scale": np.linspace(0, 0.1 + k, D, dtype=np.float32)})
        for k in (0, 1)
    ]
    gaps = jnp.stack([GAP, GAP[::-1]])
    both = layer(jax.tree.map(lambda *leaves: jnp.stack(leaves), *p), gaps)
    for k in (0, 1):
        np.testing.assert_allclose(both[k], layer(p[k], gaps[k]), atol=1e-6)
