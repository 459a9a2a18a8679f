"""Dense layers and recurrent cells as pure functions over dicts of parameters, with PyTorch's
conventions.

A network first describes its parameters (`dense_layer`, `lstm_layer`, ...), which `initial.draw`
then draws at once.

Parameters may carry leading axes, such as one of two directions: `dense` of (2, n, i) by kernels
(2, i, j) is two layers at once, so that a bidirectional network is one loop over time. Left out:
deep stacks, and the loop itself (`run_over_time` is a bare scan), because an imputer needs its own
between one step and the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from omics_jax.nn.initial import Constant, Uniform

Params = Mapping[str, Array]


def dense_layer(inputs: int, outputs: int) -> dict[str, Any]:
    """kernel (inputs, outputs), U(+-1/sqrt(inputs)), and bias (outputs,) = 0."""
    return {"kernel": Uniform((inputs, outputs), inputs), "bias": Constant((outputs,), 0.0)}


def dense(p: Params, x: Float[Array, "*k n i"]) -> Float[Array, "*k n j"]:
    """x W + b for kernel (*k, i, j) and bias (*k, j)."""
    return x @ p["kernel"] + p["bias"][..., None, :]


def lstm_layer(inputs: int, hidden: int) -> dict[str, Any]:
    """4 hidden (inputs + hidden) weights and two biases of 4 hidden, all U(+-1/sqrt(hidden)); gates
    i, f, g, o.
    """
    return _gates(inputs, hidden, 4)


def gru_layer(inputs: int, hidden: int) -> dict[str, Any]:
    """3 hidden (inputs + hidden) weights and two biases of 3 hidden, all U(+-1/sqrt(hidden)); gates
    r, z, n.
    """
    return _gates(inputs, hidden, 3)


def _gates(inputs: int, hidden: int, gates: int) -> dict[str, Any]:
    shapes = {
        "input": (inputs, gates * hidden),
        "hidden": (hidden, gates * hidden),
        "input_bias": (gates * hidden,),
        "hidden_bias": (gates * hidden,),
    }
    return {name: Uniform(shape, hidden) for name, shape in shapes.items()}


def lstm_cell(
    p: Params,
    state: tuple[Float[Array, "*k n h"], Float[Array, "*k n h"]],
    x: Float[Array, "*k n i"],
) -> tuple[Float[Array, "*k n h"], Float[Array, "*k n h"]]:
    """(h, c) -> (h, c): c = f c + i tanh(g), h = o tanh(c) (Hochreiter & Schmidhuber 1997, with
    forget gate).
    """
    h, c = state
    bias = p["input_bias"] + p["hidden_bias"]
    i, f, g, o = jnp.split(x @ p["input"] + h @ p["hidden"] + bias[..., None, :], 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def gru_cell(
    p: Params, h: Float[Array, "*k n h"], x: Float[Array, "*k n i"]
) -> Float[Array, "*k n h"]:
    """h' = (1 - z) n + z h with n = tanh(x W + b + r (h U + c)) (Cho et al. 2014, in the form of
    cuDNN).
    """
    from_x = x @ p["input"] + p["input_bias"][..., None, :]
    from_h = h @ p["hidden"] + p["hidden_bias"][..., None, :]
    (r_x, z_x, n_x), (r_h, z_h, n_h) = jnp.split(from_x, 3, axis=-1), jnp.split(from_h, 3, axis=-1)
    r, z = jax.nn.sigmoid(r_x + r_h), jax.nn.sigmoid(z_x + z_h)
    return (1 - z) * jnp.tanh(n_x + r * n_h) + z * h


def run_over_time(
    cell: Callable, p: Params, state, x: Float[Array, "n t i"]
) -> tuple[Float[Array, "n h"], Float[Array, "n t h"]]:
    """The last hidden state and those of all steps; `cell` is `lstm_cell` (state (h, c)) or
    `gru_cell` (state h).
    """

    def step(state, x_t):
        state = cell(p, state, x_t)
        return state, hidden_of(state)

    last, states = jax.lax.scan(step, state, jnp.swapaxes(x, 0, 1))
    return hidden_of(last), jnp.swapaxes(states, 0, 1)


def hidden_of(state) -> Float[Array, "*k n h"]:
    """h of a state that may be (h, c)."""
    return state[0] if isinstance(state, tuple) else state
