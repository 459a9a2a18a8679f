"""A transformer encoder layer as pure functions, and sinusoidal positions.

Source: Vaswani et al. 2017, "Attention is all you need", with layer norms after the residual sums
(post-norm) and GELU, as PyTorch's TransformerEncoderLayer. Attention runs over the tokens of one
row, so no row sees another. Left out: attention masks, caches and key chunking.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from omics_jax.nn.initial import Constant
from omics_jax.nn.recurrent import Params, dense, dense_parameters

# (values, site) -> values; the site says which of the four dropouts of a layer it is.
Dropout = Callable[[Float[Array, "..."], int], Float[Array, "..."]]
ATTENTION_WEIGHTS, ATTENTION_OUTPUT, HIDDEN_UNITS, FEEDFORWARD_OUTPUT = range(4)

NORM_EPSILON = 1e-5


def no_dropout(x: Float[Array, "*n"], site: int) -> Float[Array, "*n"]:
    """The values as they are, at every site."""
    return x


def transformer_parameters(channels: int, feedforward: int) -> dict[str, Any]:
    """Query, key, value and output projections, two dense layers and two layer norms.

    4 c (c + 1) + c f + f + f c + c + 4 c parameters for c channels and f hidden units.
    """
    projections = ("query", "key", "value", "output")
    norm = {"scale": Constant((channels,), 1.0), "bias": Constant((channels,), 0.0)}
    return {
        **{name: dense_parameters(channels, channels) for name in projections},
        "wide": dense_parameters(channels, feedforward),
        "narrow": dense_parameters(feedforward, channels),
        "norm_1": norm,
        "norm_2": norm,
    }


def encoder_layer(
    p: dict[str, Params],
    x: Float[Array, "n tokens c"],
    heads: int,
    dropout: Dropout = no_dropout,
) -> Float[Array, "n tokens c"]:
    """norm(y + feedforward(y)) with y = norm(x + attention(x)) and two dense layers as feedforward.

    dropout: called once at each of the four sites above.
    """
    attended = dropout(self_attention(p, x, heads, dropout), ATTENTION_OUTPUT)
    y = layer_norm(p["norm_1"], x + attended)
    hidden = jax.nn.gelu(dense(p["wide"], y), approximate=False)
    hidden = dropout(hidden, HIDDEN_UNITS)
    output = dropout(dense(p["narrow"], hidden), FEEDFORWARD_OUTPUT)
    return layer_norm(p["norm_2"], y + output)


def self_attention(
    p: dict[str, Params],
    x: Float[Array, "n tokens c"],
    heads: int,
    dropout: Dropout = no_dropout,
) -> Float[Array, "n tokens c"]:
    """softmax(Q K' / sqrt(c / heads)) V per head, then the output projection (section 3.2)."""

    def project(name: str) -> Float[Array, "n heads tokens channels_of_head"]:
        projected = dense(p[name], x)
        by_head = projected.reshape(*projected.shape[:2], heads, -1)
        return by_head.swapaxes(1, 2)

    q, k, v = project("query"), project("key"), project("value")
    scale = np.sqrt(q.shape[-1]).astype(x.dtype)
    weights = jax.nn.softmax(q @ k.swapaxes(-1, -2) / scale, axis=-1)
    weights = dropout(weights, ATTENTION_WEIGHTS)
    joined = (weights @ v).swapaxes(1, 2).reshape(x.shape)
    return dense(p["output"], joined)


def layer_norm(p: Params, x: Float[Array, "*n c"]) -> Float[Array, "*n c"]:
    """(x - mean) / sqrt(variance + 1e-5) over channels, scaled and shifted (Ba et al. 2016)."""
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred**2).mean(axis=-1, keepdims=True)
    normalised = centred * jax.lax.rsqrt(variance + NORM_EPSILON)
    return normalised * p["scale"] + p["bias"]


def sinusoidal_positions(tokens: int, channels: int) -> Float[np.ndarray, "tokens channels"]:
    """sin(t / 10000^(2i/c)) in even channels 2i, cos in odd ones (section 3.5)."""
    position = np.arange(tokens)[:, None]
    angle = position / 10000 ** (np.arange(0, channels, 2) / channels)
    table = np.zeros((tokens, channels), np.float32)
    table[:, 0::2] = np.sin(angle)
    table[:, 1::2] = np.cos(angle)[:, : channels // 2]
    return table
