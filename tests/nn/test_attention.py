"""The transformer encoder layer against PyTorch's numbers at formula weights; its invariances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from omics_jax.nn.attention import (
    ATTENTION_OUTPUT,
    ATTENTION_WEIGHTS,
    FEEDFORWARD_OUTPUT,
    HIDDEN_UNITS,
    encoder_layer,
    layer_norm,
    self_attention,
    sinusoidal_positions,
    transformer_parameters,
)
from omics_jax.nn.initial import draw

C, F, HEADS = 4, 3, 2
# torch 2.13, float64: TransformerEncoderLayer(4, 2, 3, batch_first=True, activation="gelu").eval()
# with the weights of `layer`, transposed, on `tokens`; first its self_attn alone.
ATTENDED = [
    [
        [-0.510455235, 0.19861476, 0.459274398, -0.316964715],
        [-0.510760378, 0.199051203, 0.459467075, -0.317450809],
        [-0.510818119, 0.199161738, 0.459496332, -0.317568883],
    ],
    [
        [-0.487172072, 0.269445978, 0.417738811, -0.377092669],
        [-0.486111217, 0.270588152, 0.41638363, -0.377885628],
        [-0.484822146, 0.271940368, 0.414746107, -0.378815873],
    ],
]
ENCODED = [
    [
        [2.625225051, -1.03025713, -0.864350309, 0.838101662],
        [1.306350576, -1.720665132, -0.348894918, 1.750499849],
        [-2.000568803, 0.007477142, 0.293834294, 0.525111186],
    ],
    [
        [-1.752331016, 0.609552411, 0.085678093, -0.073952047],
        [-1.1284143, 0.974539033, -0.183539134, -0.502386585],
        [-0.291942836, 1.099783876, -0.452932917, -0.760784528],
    ],
]


def wave(*shape, phase):
    """Weights in (-1/2, 1/2), the same in every library."""
    return 0.5 * np.sin(phase + 1.7 * np.arange(np.prod(shape))).reshape(shape)


def layer():
    shapes = {
        "query": (C, C),
        "key": (C, C),
        "value": (C, C),
        "output": (C, C),
        "wide": (C, F),
        "narrow": (F, C),
    }
    p = {
        name: {"kernel": wave(i, j, phase=k), "bias": wave(j, phase=k + 0.5)}
        for k, (name, (i, j)) in enumerate(shapes.items(), 1)
    }
    norm = lambda phase: {"scale": 1 + wave(C, phase=phase), "bias": wave(C, phase=phase + 0.5)}
    return jax.tree.map(jnp.asarray, {**p, "norm_1": norm(7), "norm_2": norm(8)})


def tokens():
    return jnp.asarray(4 * wave(2, 3, C, phase=9))


def test_attention_gives_the_numbers_of_pytorch(x64):
    assert_allclose(self_attention(layer(), tokens(), HEADS), ATTENDED, atol=2e-9)


def test_an_encoder_layer_gives_the_numbers_of_pytorch(x64):
    assert_allclose(encoder_layer(layer(), tokens(), HEADS), ENCODED, atol=2e-9)


def test_gradients_are_those_of_finite_differences(gradient_error):
    x = tokens()
    assert (
        gradient_error(lambda p: jnp.sum(encoder_layer(p, x, HEADS)[..., 0] ** 3), layer()) < 1e-6
    )


def test_rows_do_not_see_each_other_and_tokens_have_no_order(x64):
    p, x = layer(), tokens()
    whole = encoder_layer(p, x, HEADS)
    assert_array_equal(encoder_layer(p, x.at[1].add(3.0), HEADS)[0], whole[0])
    order = np.array([2, 0, 1])
    assert_allclose(encoder_layer(p, x[:, order], HEADS), whole[:, order], atol=1e-12)


def test_without_queries_attention_is_the_mean_of_all_tokens(x64):
    p = layer()
    p["query"] = jax.tree.map(jnp.zeros_like, p["query"])
    mean = tokens().mean(axis=1) @ p["value"]["kernel"] + p["value"]["bias"]
    expected = mean @ p["output"]["kernel"] + p["output"]["bias"]
    assert_allclose(
        self_attention(p, tokens(), HEADS), np.stack([expected] * 3, axis=1), atol=1e-12
    )


def test_a_layer_norm_has_mean_0_and_variance_1_whatever_the_scale():
    x = jnp.asarray(5 + 20 * np.random.default_rng(0).normal(size=(3, 2, 40)), jnp.float32)
    found = np.asarray(layer_norm({"scale": jnp.ones(40), "bias": jnp.zeros(40)}, x))
    assert_allclose(found.mean(axis=-1), 0, atol=1e-5)
    assert_allclose(found.var(axis=-1), 1, atol=1e-4)


def test_dropout_is_called_once_at_each_of_its_four_sites():
    shapes = {}

    def dropout(x, site):
        assert site not in shapes
        shapes[site] = x.shape
        return jnp.zeros_like(x)

    p = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), layer())
    x = jnp.asarray(tokens(), jnp.float32)
    found = encoder_layer(p, x, HEADS, dropout)
    assert shapes == {
        ATTENTION_WEIGHTS: (2, HEADS, 3, 3),
        ATTENTION_OUTPUT: (2, 3, C),
        HIDDEN_UNITS: (2, 3, F),
        FEEDFORWARD_OUTPUT: (2, 3, C),
    }
    # With everything dropped two norms of the tokens are left.
    assert_allclose(found, layer_norm(p["norm_2"], layer_norm(p["norm_1"], x)), atol=1e-6)


@pytest.mark.parametrize("channels", [6, 5], ids=["even", "odd"])
def test_positions_follow_their_formula(channels):
    found = sinusoidal_positions(7, channels)
    assert found.shape == (7, channels)
    for t in range(7):
        for k in range(channels):
            angle = t / 10000 ** (2 * (k // 2) / channels)
            assert found[t, k] == pytest.approx(np.cos(angle) if k % 2 else np.sin(angle), abs=1e-6)


@pytest.mark.parametrize(("channels", "expected"), [(512, 1_118_784), (64, 25_216)])
def test_a_layer_holds_the_parameters_of_pytorch(channels, expected):
    p = jax.eval_shape(lambda: draw(jax.random.key(0), transformer_parameters(channels, 64)))
    assert sum(leaf.size for leaf in jax.tree.leaves(p)) == expected


def test_a_layer_starts_with_norms_of_one_and_biases_of_zero():
    p = draw(jax.random.key(0), transformer_parameters(8, 16))
    for name, part in p.items():
        assert_array_equal(part["bias"], np.zeros_like(part["bias"]))
        if name.startswith("norm"):
            assert_array_equal(part["scale"], np.ones(8))
    assert 0.9 / 4 < np.abs(p["narrow"]["kernel"]).max() <= 1 / 4  # fan-in 16
    assert not np.any(p["query"]["kernel"] == p["key"]["kernel"])
