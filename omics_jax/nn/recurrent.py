"""Dense layers and recurrent cells as pure functions over dicts of parameters, as in PyTorch.

A network first describes its parameters (`dense_parameters`, `lstm_parameters`, ...), and
`initial.draw` then draws them all at once. Parameters may carry leading axes, such as one of two
directions: `dense` of (2, n, i) by kernels (2, i, j) is two layers at once, so that a bidirectional
network is one loop over time. Left out: deep stacks, and loops other than a bare scan
(`run_over_time`), because an imputer has its own work between one step and the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.nn import sigmoid
from jax.numpy import tanh
from jaxtyping import Array, Float

from omics_jax.nn.initial import Constant, Uniform

Params = Mapping[str, Array]
Inputs = Float[Array, "*k n i"]
Hidden = Float[Array, "*k n h"]
# What a cell carries from step to step: h of a GRU, (h, c) of an LSTM.
State = Hidden | tuple[Hidden, Hidden]


def dense_parameters(inputs: int, outputs: int) -> dict[str, Any]:
    """kernel (inputs, outputs), U(+-1/sqrt(inputs)), and bias (outputs,) = 0."""
    return {
        "kernel": Uniform((inputs, outputs), inputs),
        "bias": Constant((outputs,), 0.0),
    }


def dense(p: Params, x: Inputs) -> Float[Array, "*k n j"]:
    """x W + b for kernel (*k, i, j) and bias (*k, j)."""
    return _affine(x, p["kernel"], p["bias"])


def _affine(x: Inputs, kernel: Array, bias: Array) -> Float[Array, "*k n j"]:
    product = x @ kernel
    return product + bias[..., None, :]


def lstm_parameters(inputs: int, hidden: int) -> dict[str, Any]:
    """Weights and two biases of the gates i, f, g, o, all U(+-1/sqrt(hidden)).

    4 hidden (inputs + hidden) weights and two times 4 hidden biases.
    """
    return _gate_parameters(inputs, hidden, 4)


def gru_parameters(inputs: int, hidden: int) -> dict[str, Any]:
    """Weights and two biases of the gates r, z, n, all U(+-1/sqrt(hidden)).

    3 hidden (inputs + hidden) weights and two times 3 hidden biases.
    """
    return _gate_parameters(inputs, hidden, 3)


def _gate_parameters(inputs: int, hidden: int, gates: int) -> dict[str, Any]:
    width = gates * hidden
    shapes = {
        "input": (inputs, width),
        "hidden": (hidden, width),
        "input_bias": (width,),
        "hidden_bias": (width,),
    }
    return {name: Uniform(shape, fan=hidden) for name, shape in shapes.items()}


def lstm_cell(p: Params, state: tuple[Hidden, Hidden], x: Inputs) -> tuple[Hidden, Hidden]:
    """(h, c) -> (h, c): c = f c + i tanh(g), h = o tanh(c).

    Source: Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000.
    """
    h, c = state
    weighted = x @ p["input"] + h @ p["hidden"]
    bias = p["input_bias"] + p["hidden_bias"]
    gates = weighted + bias[..., None, :]
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    remembered = sigmoid(f) * c
    added = sigmoid(i) * tanh(g)
    c = remembered + added
    h = sigmoid(o) * tanh(c)
    return h, c


def gru_cell(p: Params, h: Hidden, x: Inputs) -> Hidden:
    """h' = (1 - z) n + z h with n = tanh(x W + b + r (h U + c)).

    Source: Cho et al. 2014, in the form of cuDNN.
    """
    from_x = _affine(x, p["input"], p["input_bias"])
    from_h = _affine(h, p["hidden"], p["hidden_bias"])
    r_x, z_x, n_x = jnp.split(from_x, 3, axis=-1)
    r_h, z_h, n_h = jnp.split(from_h, 3, axis=-1)
    r = sigmoid(r_x + r_h)
    z = sigmoid(z_x + z_h)
    n = tanh(n_x + r * n_h)
    return (1 - z) * n + z * h


def run_over_time(
    cell: Callable[[Params, State, Array], State],
    p: Params,
    state: State,
    x: Float[Array, "n t i"],
) -> tuple[Float[Array, "n h"], Float[Array, "n t h"]]:
    """The last hidden state and those of all steps.

    cell: `lstm_cell` (with state (h, c)) or `gru_cell` (with state h).
    state: the state before the first step.
    """

    def step(state: State, x_t: Inputs) -> tuple[State, Hidden]:
        state = cell(p, state, x_t)
        return state, hidden_of(state)

    by_time = jnp.swapaxes(x, 0, 1)
    last, states = jax.lax.scan(step, state, by_time)
    return hidden_of(last), jnp.swapaxes(states, 0, 1)


def hidden_of(state: State) -> Hidden:
    """h of a state that may be (h, c)."""
    return state[0] if isinstance(state, tuple) else state
