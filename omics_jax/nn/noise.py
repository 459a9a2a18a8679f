"""Noise that belongs to a row, not to its place in a batch.

Every draw is a function of (key, row id), after jax's counter-based generator (Salmon et al. 2011),
so a row
gets the same noise whatever rows stand beside it, on any number of devices and in any order. What
is left out
is the choice of the key: the trainer folds stage and step into it, a layer its own constant.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt

CHANCES = 1 << 16  # values of the 16 bits that decide whether an entry is dropped


def row_keys(key: PRNGKeyArray, rows: Int[Array, " n"]) -> jax.Array:
    """One key per row: (n,) typed keys, or (n, 2) for a raw uint32 key; equal row ids give equal
    keys.
    """
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, rows)


def row_normal(
    key: PRNGKeyArray, rows: Int[Array, " n"], shape: tuple[int, ...]
) -> Float[Array, " n ..."]:
    """Standard normal draws (n, *shape), the draws of row i a function of (key, rows[i]) alone."""
    return jax.vmap(lambda row: jax.random.normal(row, shape))(row_keys(key, rows))


def row_dropout(
    key: PRNGKeyArray,
    rows: Int[Array, " n"],
    x: Float[Array, " n *shape"],
    rate: float | int | Float[Array, ""],
) -> Float[Array, " n *shape"]:
    """Inverted dropout: each entry is 0 with probability `rate`, otherwise divided by 1 - rate.

    A rate of 0 is the identity and draws nothing; a traced rate (a hyper-parameter on a replicate
    axis) may
    be 0 too. Source: Srivastava et al. 2014, section 10, scaled in training rather than in
    prediction.
    Deviates: an entry takes 16 random bits, because drawing them is what dropout costs; the rate,
    and with it the divisor, is the nearest multiple of 2^-16.
    Errors: ValueError for a rate outside [0, 1), where it is not traced.
    """
    if not isinstance(rate, jax.core.Tracer):
        if not 0 <= rate < 1:
            raise ValueError(f"a dropout rate lies in [0, 1), not {rate}")
        if rate == 0:
            return x
    below = jnp.minimum(jnp.round(rate * CHANCES).astype(jnp.uint32), CHANCES - 1)
    kept = _row_bits(key, rows, x.shape[1:]) >= below
    return jnp.where(kept, x * (CHANCES / (CHANCES - below)), 0)


def _row_bits(
    key: PRNGKeyArray, rows: Int[Array, " n"], shape: tuple[int, ...]
) -> UInt[Array, " n ..."]:
    """Numbers below `CHANCES` (n, *shape), uint32, two of each 32 random bits."""
    count = math.prod(shape)
    words = jax.vmap(lambda row: jax.random.bits(row, (-(-count // 2),), jnp.uint32))(
        row_keys(key, rows)
    )
    halves = jnp.concatenate([words % CHANCES, words // CHANCES], axis=1)
    return halves[:, :count].reshape(-1, *shape)
