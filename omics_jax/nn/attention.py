"""A transformer encoder layer as pure functions (Vaswani et al. 2017; post-norm, GELU), and
sinusoidal positions.

Attention runs over the tokens of one row; no row sees another. Left out: masks, caches and key
chunking.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from omics_jax.nn.initial import Constant
from omics_jax.nn.recurrent import Params, dense, dense_layer

Dropout = Callable[[Float[Array, "..."], int], Float[Array, "..."]]
NORM_EPSILON = 1e-5
WEIGHTS, OUTPUT, HIDDEN, LAST = range(4)  # the places of dropout in a layer


def transformer_layer(channels: int, feedforward: int) -> dict[str, Any]:
    """Query, key, value and output projections, two dense layers, two layer norms.

    4 c (c + 1) + c f + f + f c + c + 4 c parameters for c channels and f hidden units.
    """
    norm = {"scale": Constant((channels,), 1.0), "bias": Constant((channels,), 0.0)}
    return {
        **{name: dense_layer(channels, channels) for name in ("query", "key", "value", "output")},
        "wide": dense_layer(channels, feedforward),
        "narrow": dense_layer(feedforward, channels),
        "norm_1": norm,
        "norm_2": norm,
    }


def encoder_layer(
    p: dict[str, Params],
    x: Float[Array, "n tokens c"],
    heads: int,
    dropout: Dropout = lambda x, place: x,
) -> Float[Array, "n tokens c"]:
    """norm(y + feedforward(y)) with y = norm(x + attention(x)).

    dropout: (values, place) -> values, the places being WEIGHTS (of the attention), OUTPUT (of the
    attention), HIDDEN (units) and LAST.
    """
    y = layer_norm(p["norm_1"], x + dropout(self_attention(p, x, heads, dropout), OUTPUT))
    hidden = dropout(jax.nn.gelu(dense(p["wide"], y), approximate=False), HIDDEN)
    return layer_norm(p["norm_2"], y + dropout(dense(p["narrow"], hidden), LAST))


def self_attention(
    p: dict[str, Params],
    x: Float[Array, "n tokens c"],
    heads: int,
    dropout: Dropout = lambda x, place: x,
) -> Float[Array, "n tokens c"]:
    """softmax(Q K' / sqrt(c / heads)) V per head, projected."""
    split = lambda y: y.reshape(*y.shape[:2], heads, -1).swapaxes(
        1, 2
    )  # (n, heads, tokens, c / heads)
    q, k, v = (split(dense(p[name], x)) for name in ("query", "key", "value"))
    weights = jax.nn.softmax(q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1]).astype(x.dtype), axis=-1)
    return dense(p["output"], (dropout(weights, WEIGHTS) @ v).swapaxes(1, 2).reshape(x.shape))


def layer_norm(p: Params, x: Float[Array, "*n c"]) -> Float[Array, "*n c"]:
    """(x - mean) / sqrt(variance + 1e-5) over channels, scaled and shifted."""
    centred = x - x.mean(axis=-1, keepdims=True)
    return (
        centred
        * jax.lax.rsqrt((centred**2).mean(axis=-1, keepdims=True) + NORM_EPSILON)
        * p["scale"]
        + p["bias"]
    )


def sinusoidal_positions(tokens: int, channels: int) -> Float[np.ndarray, "tokens channels"]:
    """sin(t / 10000^(2i/c)) in even channels 2i, cos in odd ones (Vaswani et al., section 3.5)."""
    angle = np.arange(tokens)[:, None] / 10000 ** (np.arange(0, channels, 2) / channels)
    table = np.zeros((tokens, channels), np.float32)
    table[:, 0::2], table[:, 1::2] = np.sin(angle), np.cos(angle)[:, : channels // 2]
    return table
