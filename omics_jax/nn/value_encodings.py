"""How tokens that stand for things learn of numbers: encodings of a value per token, by name.

A token i has a vector e_i and a value x_i, standardised over the training rows. An encoding adds a
vector to the token, or acts on the logits of attention between tokens:

    bias       logits + s_h x_i x_j: the untied positional term of TUPE (Ke et al. 2021)
    linear     e_i + x_i w_i: FT-Transformer (Gorishniy et al. 2021)
    mlp        e_i + MLP(x_i): scGPT (Cui et al. 2024)
    bins       e_i + c_b, b the bin of x_i: scBERT (Yang et al. 2022)
    soft_bins  e_i + sum_b a_b(x_i) c_b with weights a: scFoundation (Hao et al. 2024)
    fourier    e_i + W [sin(2 pi f x_i), cos(2 pi f x_i)]: Gorishniy et al. 2022
    rotary     queries and keys turned by angles x_i f: BulkFormer
    rank       e_i + p_r, r the rank of x_i in its row: Geneformer (Theodoris et al. 2023)

Deviates: bins have equal shares of a normal distribution, because values are standardised here;
frequencies of `rotary` are fixed; weights of `soft_bins` come from one hidden layer without
scFoundation's mixing factor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Num

from omics_jax.nn.attention import sinusoidal_positions
from omics_jax.nn.initial import Constant, Uniform
from omics_jax.nn.recurrent import dense, dense_parameters

ENCODINGS = ("bias", "linear", "mlp", "bins", "soft_bins", "fourier", "rotary", "rank")
IN_LOGITS = ("bias", "rotary")  # those by which a token's vector knows nothing of its value
STEPWISE = ("bins", "rank")  # constant between jumps, so that no gradient by a value says anything
BINS = 16
FREQUENCIES = 16
STRENGTH = 0.3  # of the term of `bias` at the start; drawn at random in the authors' code
FASTEST_TURN = np.pi / 2  # radians of `rotary` per s.d., of its fastest pair of channels
SLOWEST_TURN = FASTEST_TURN / 100

Params = Mapping[str, Any]
Values = Float[Array, "n t"]
Tokens = Float[Array, "n t d"]
PerHead = Float[Array, "n h t c"]


def encoding_parameters(name: str, tokens: int, channels: int, heads: int) -> dict[str, Any]:
    """The description of an encoding's parameters, see `initial.draw`.

    tokens: t. channels: d of a token.
    """
    if name == "bias":  # like values attract each other in half of the heads, unlike ones in others
        return {"strength": Constant((heads,), STRENGTH * (-1.0) ** np.arange(heads))}
    if name == "linear":
        return {"weight": _unit_rows(tokens, channels)}
    if name == "mlp":
        wide, narrow = dense_parameters(1, channels), dense_parameters(channels, channels)
        return {"wide": wide, "narrow": narrow}
    if name == "bins":
        return {"centre": _unit_rows(BINS, channels)}
    if name == "soft_bins":
        return {"wide": dense_parameters(1, BINS), "narrow": dense_parameters(BINS, BINS)} | {
            "centre": _unit_rows(BINS, channels)
        }
    if name == "fourier":
        frequencies = Uniform((FREQUENCIES,), 1)
        return {"frequency": frequencies, "project": dense_parameters(2 * FREQUENCIES, channels)}
    return {}


def _unit_rows(rows: int, channels: int) -> Uniform:
    """Rows whose expected length is 1."""
    return Uniform((rows, channels), channels / 3)


# --- in the token ---------------------------------------------------------------------------------


def value_vectors(
    name: str, p: Params, x: Values, exists: Bool[Array, "n t"], channels: int
) -> Tokens | float:
    """What an encoding adds to every token; 0 where it acts on the logits.

    exists: the tokens that take part; among these ranks are counted.
    """
    return vectors_of(name, p, encoded_value(name, x, exists), x.shape[1], channels)


def encoded_value(name: str, x: Values, exists: Bool[Array, "n t"]) -> Num[Array, "n t"]:
    """What the vector of a token depends on: its value, or its rank in the row."""
    return rank_of(x, exists) if name == "rank" else x


def per_token(name: str, p: Params) -> Params:
    """The parameters of which every token has its own, (t, ...)."""
    return {"weight": p["weight"]} if name == "linear" else {}


def vectors_of(
    name: str, p: Params, x: Num[Array, "n u"], tokens: int, channels: int
) -> Float[Array, "n u d"] | float:
    """`value_vectors` of u tokens among as many as `tokens`.

    p: with the `per_token` parameters of these. x: their `encoded_value`.
    """
    if name == "linear":
        return x[:, :, None] * p["weight"]
    if name == "mlp":
        return dense(p["narrow"], jax.nn.relu(dense(p["wide"], x[:, :, None])))
    if name == "bins":
        return p["centre"][bin_of(x)]
    if name == "soft_bins":
        hidden = jax.nn.leaky_relu(dense(p["wide"], x[:, :, None]))
        return jax.nn.softmax(dense(p["narrow"], hidden), axis=-1) @ p["centre"]
    if name == "fourier":
        angle = 2 * np.pi * x[:, :, None] * p["frequency"]
        return dense(p["project"], jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1))
    if name == "rank":
        return jnp.asarray(sinusoidal_positions(tokens, channels))[x]
    return 0.0


def bin_of(x: Values) -> Array:
    """(n, t) the bin of a value: `BINS` bins of equal shares of a standard normal distribution."""
    from scipy.stats import norm

    edges = norm.ppf(np.arange(1, BINS) / BINS)
    return jnp.searchsorted(jnp.asarray(edges, x.dtype), x)


def rank_of(x: Values, exists: Bool[Array, "n t"]) -> Array:
    """(n, t) how many existing tokens of the row come before: 0 for the largest value.

    Of equal values the first token comes first.
    """
    order = jnp.argsort(jnp.where(exists, -x, jnp.inf), axis=1, stable=True)
    return jnp.argsort(order, axis=1)


# --- in the logits --------------------------------------------------------------------------------


def turned(a: PerHead, x: Float[Array, "n _ t"]) -> PerHead:
    """`rotary`: channels 2m and 2m + 1 of queries or keys turned by the angle x_i f_m.

    The product of two turned vectors depends on the difference of their values.
    """
    half = a.shape[-1] // 2
    steps = np.linspace(0, 1, half) if half > 1 else np.zeros(half)
    frequency = FASTEST_TURN * (SLOWEST_TURN / FASTEST_TURN) ** steps
    angle = x[..., None] * jnp.asarray(frequency, a.dtype)
    sin, cos = jnp.sin(angle), jnp.cos(angle)
    first, second = a[..., 0 : 2 * half : 2], a[..., 1 : 2 * half : 2]
    pairs = jnp.stack([first * cos - second * sin, first * sin + second * cos], axis=-1)
    return jnp.concatenate([pairs.reshape(*a.shape[:-1], -1), a[..., 2 * half :]], axis=-1)
