"""Recurrent cells against PyTorch's numbers at formula weights, and the loop over time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from omics_jax.nn.initial import Constant, Uniform, draw
from omics_jax.nn.recurrent import (
    dense,
    dense_parameters,
    gru_cell,
    gru_parameters,
    hidden_of,
    lstm_cell,
    lstm_parameters,
    run_over_time,
)

INPUTS, HIDDEN = 3, 2
# torch 2.13, float64: LSTMCell(3, 2) and GRUCell(3, 2), weight_ih = wave(3, g * 2, phase=1).T and
# so on as in `cell`.
LSTM_H = [[0.139143262, 0.291482871], [-0.526739467, -0.122045355]]
LSTM_C = [[0.16289434, 0.449837178], [-0.85109661, -0.284711234]]
GRU_H = [[-0.385289713, 0.422382206], [-0.185470086, -0.969157437]]


def wave(*shape, phase):
    """Weights in (-1/2, 1/2), the same in every library."""
    angles = phase + 1.7 * np.arange(np.prod(shape))
    return 0.5 * np.sin(angles).reshape(shape)


def cell(gates, turn=0.0):
    wide = gates * HIDDEN
    shapes = {
        "input": (INPUTS, wide),
        "hidden": (HIDDEN, wide),
        "input_bias": (wide,),
        "hidden_bias": (wide,),
    }
    weights = {}
    for k, (name, shape) in enumerate(shapes.items(), start=1):
        weights[name] = jnp.asarray(wave(*shape, phase=k + turn))
    return weights


def inputs():
    """x (2, 3), h (2, 2), c (2, 2)."""
    widths_and_phases = ((INPUTS, 5), (HIDDEN, 6), (HIDDEN, 7))
    return (jnp.asarray(2 * wave(2, width, phase=p)) for width, p in widths_and_phases)


def test_an_lstm_cell_gives_the_numbers_of_pytorch(x64):
    x, h, c = inputs()
    h, c = lstm_cell(cell(4), (h, c), x)
    assert_allclose(h, LSTM_H, atol=2e-9)
    assert_allclose(c, LSTM_C, atol=2e-9)


def test_a_gru_cell_gives_the_numbers_of_pytorch(x64):
    x, h, _ = inputs()
    assert_allclose(gru_cell(cell(3), h, x), GRU_H, atol=2e-9)


def stack(one, two):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), one, two)


def test_stacked_parameters_are_two_networks_at_once(x64):
    x, h, c = inputs()
    both_x = jnp.stack([x, -x])
    one, two = (h, c), (c, h)
    p, q = cell(4), cell(4, 0.3)
    found = lstm_cell(stack(p, q), stack(one, two), both_x)
    alone = stack(lstm_cell(p, one, x), lstm_cell(q, two, -x))
    for stacked, expected in zip(found, alone, strict=True):
        assert_allclose(stacked, expected, atol=1e-14)
    p, q = cell(3), cell(3, 0.3)
    found = gru_cell(stack(p, q), jnp.stack([h, c]), both_x)
    alone = [gru_cell(p, h, x), gru_cell(q, c, -x)]
    assert_allclose(found, alone, atol=1e-14)
    kernel, bias = wave(2, 3, 4, phase=1), wave(2, 4, phase=2)
    x = np.asarray(x)
    expected = np.stack([x @ kernel[k] + bias[k] for k in (0, 1)])
    p = {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}
    assert_allclose(dense(p, jnp.stack([x, x])), expected, atol=1e-14)


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_a_loop_over_time_is_the_cell_step_by_step(x64, name):
    x, h, c = inputs()
    if name == "lstm":
        step, p, state = lstm_cell, cell(4), (h, c)
    else:
        step, p, state = gru_cell, cell(3), h
    series = jnp.stack([x, -x, 3 * x, x**2], axis=1)  # (2, 4, 3)
    last, states = run_over_time(step, p, state, series)
    for t in range(4):
        state = step(p, state, series[:, t])
        assert_allclose(states[:, t], hidden_of(state), atol=1e-14)
    assert_array_equal(last, states[:, -1])


def test_gradients_of_the_cells_are_those_of_finite_differences(gradient_error):
    x, h, c = inputs()
    series = jnp.stack([x, -x, x**2], axis=1)

    def loss(p):
        _, of_lstm = run_over_time(lstm_cell, p["lstm"], (h, c), series)
        _, of_gru = run_over_time(gru_cell, p["gru"], h, series)
        return jnp.sum(of_lstm**2) + jnp.sum(of_gru**2)

    assert gradient_error(loss, {"lstm": cell(4), "gru": cell(3)}) < 1e-6


@pytest.mark.parametrize(
    ("layer", "gates"), [(lstm_parameters, 4), (gru_parameters, 3)], ids=["lstm", "gru"]
)
def test_cells_start_as_those_of_pytorch_do(layer, gates):
    p = draw(jax.random.key(0), layer(35, 108))
    weights, biases = gates * 108 * (35 + 108), 2 * gates * 108
    assert sum(leaf.size for leaf in p.values()) == weights + biases
    for leaf in p.values():
        assert 0.98 < np.abs(leaf).max() * np.sqrt(108) <= 1  # uniform up to the bound
    assert_allclose(np.var(p["input"]), 1 / 108 / 3, rtol=0.05)


def test_leaves_are_drawn_independently_and_constants_stay():
    described = {
        "a": dense_parameters(40, 30),
        "b": [dense_parameters(40, 30), Uniform((50,), 4)],
        "c": Constant((3,), 1.5),
    }
    p = draw(jax.random.key(1), described)
    assert_array_equal(p["c"], np.full(3, 1.5, np.float32))
    assert_array_equal(p["a"]["bias"], np.zeros(30))
    largest, bound = np.abs(p["a"]["kernel"]).max(), 1 / np.sqrt(40)
    assert 0.98 * bound < largest <= bound
    assert 0.4 < np.abs(p["b"][1]).max() <= 0.5
    one = np.ravel(p["a"]["kernel"])
    two = np.ravel(p["b"][0]["kernel"])
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.1
    other_key = draw(jax.random.key(2), described)
    assert not np.any(one == np.ravel(other_key["a"]["kernel"]))


def test_a_layer_of_no_inputs_is_its_bias():
    p = draw(jax.random.key(0), dense_parameters(0, 4))
    assert_array_equal(dense(p, jnp.zeros((3, 0))), np.zeros((3, 4)))
