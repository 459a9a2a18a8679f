"""LSTM and GRU cells of one row in numpy, and weights that a formula gives: what the oracles of
this folder share.
"""

import jax
import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(p, state, x):
    h, c = state
    i, f, g, o = np.split(x @ p["input"] + p["input_bias"] + h @ p["hidden"] + p["hidden_bias"], 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru(p, h, x):
    r_x, z_x, n_x = np.split(x @ p["input"] + p["input_bias"], 3)
    r_h, z_h, n_h = np.split(h @ p["hidden"] + p["hidden_bias"], 3)
    r, z = sigmoid(r_x + r_h), sigmoid(z_x + z_h)
    return (1 - z) * np.tanh(n_x + r * n_h) + z * h


def waves(described, scale=0.4):
    """The tree with every leaf filled by a sine of its own phase, in float64: no weight or bias is
    0, none the same.
    """
    leaves, tree = jax.tree.flatten(described)
    wave = lambda k, shape: (
        scale * np.sin(k + 1.7 * np.arange(np.prod(shape, dtype=int))).reshape(shape)
    )
    return tree.unflatten([wave(k, leaf.shape) for k, leaf in enumerate(leaves, 1)])
