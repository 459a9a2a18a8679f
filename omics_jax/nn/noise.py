"""Noise that belongs to a row, not to its place in a batch.

Every draw is a function of (key, row id) through jax's counter-based generator (Salmon et al.
2011). So a row gets the same noise whatever the other rows, their order and the number of devices.
Left out: the choice of the key; the trainer folds stage and step into it, a layer its own constant.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt

RESOLUTION = 1 << 16  # an entry is dropped or not by 16 random bits


def row_keys(key: PRNGKeyArray, rows: Int[Array, " n"]) -> jax.Array:
    """One key per row: (n,) typed keys, or (n, 2) for a raw uint32 key.

    rows: (n,) row ids; equal ids give equal keys.
    """
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, rows)


def row_normal(
    key: PRNGKeyArray, rows: Int[Array, " n"], shape: tuple[int, ...]
) -> Float[Array, " n ..."]:
    """Standard normal draws (n, *shape), those of row i a function of (key, rows[i]) alone."""

    def draw_row(row_key: PRNGKeyArray) -> Float[Array, ...]:
        return jax.random.normal(row_key, shape)

    keys = row_keys(key, rows)
    return jax.vmap(draw_row)(keys)


def row_dropout(
    key: PRNGKeyArray,
    rows: Int[Array, " n"],
    x: Float[Array, " n *shape"],
    rate: float | int | Float[Array, ""],
) -> Float[Array, " n *shape"]:
    """Inverted dropout: each entry is 0 with probability `rate`, otherwise divided by 1 - rate.

    A rate of 0 is the identity and draws nothing; a traced rate (a hyper-parameter on a replicate
    axis) may be 0 too. Source: Srivastava et al. 2014, section 10, scaled in training rather than
    in prediction.
    Deviates: an entry takes 16 random bits, because drawing them is what dropout costs; so the
    rate, and with it the divisor, is rounded to a multiple of 2^-16.

    Errors: ValueError for a rate outside [0, 1), where it is not traced.
    """
    if not isinstance(rate, jax.core.Tracer):
        if not 0 <= rate < 1:
            raise ValueError(f"a dropout rate lies in [0, 1), not {rate}")
        if rate == 0:
            return x
    rounded = jnp.round(rate * RESOLUTION).astype(jnp.uint32)
    threshold = jnp.minimum(rounded, RESOLUTION - 1)
    is_kept = _row_bits(key, rows, x.shape[1:]) >= threshold
    scale = RESOLUTION / (RESOLUTION - threshold)
    return jnp.where(is_kept, x * scale, 0)


def _row_bits(
    key: PRNGKeyArray, rows: Int[Array, " n"], shape: tuple[int, ...]
) -> UInt[Array, " n ..."]:
    """Random numbers below `RESOLUTION` (n, *shape), uint32, two of each 32 random bits."""
    count = math.prod(shape)
    words_per_row = -(-count // 2)

    def draw_row(row_key: PRNGKeyArray) -> UInt[Array, " words"]:
        return jax.random.bits(row_key, (words_per_row,), jnp.uint32)

    words = jax.vmap(draw_row)(row_keys(key, rows))
    halves = jnp.concatenate([words % RESOLUTION, words // RESOLUTION], axis=1)
    return halves[:, :count].reshape(-1, *shape)
