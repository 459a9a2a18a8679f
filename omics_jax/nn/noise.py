"""Noise that belongs to a row, not to its place in a batch.

Every draw is a function of (key, row id), after jax's counter-based generator (Salmon et al. 2011), so a row
gets the same noise whatever rows stand beside it, on any number of devices and in any order. What is left out
is the choice of the key: the trainer folds stage and step into it, a layer its own constant.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray


def row_keys(key: PRNGKeyArray, rows: Int[Array, " n"]) -> jax.Array:
    """One key per row: (n,) typed keys, or (n, 2) for a raw uint32 key; equal row ids give equal keys."""
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, rows)


def row_normal(key: PRNGKeyArray, rows: Int[Array, " n"], shape: tuple[int, ...]) -> Float[Array, " n ..."]:
    """Standard normal draws (n, *shape), the draws of row i a function of (key, rows[i]) alone."""
    return jax.vmap(lambda row: jax.random.normal(row, shape))(row_keys(key, rows))


def row_dropout(
    key: PRNGKeyArray,
    rows: Int[Array, " n"],
    x: Float[Array, " n *shape"],
    rate: float | int | Float[Array, ""],
) -> Float[Array, " n *shape"]:
    """Inverted dropout: each entry is 0 with probability `rate`, otherwise divided by 1 - rate.

    A rate of 0 is the identity and draws nothing; a traced rate (a hyper-parameter on a replicate axis) may
    be 0 too. Source: Srivastava et al. 2014, section 10, scaled in training rather than in prediction.
    Errors: ValueError for a rate outside [0, 1), where it is not traced.
    """
    if not isinstance(rate, jax.core.Tracer):
        if not 0 <= rate < 1:
            raise ValueError(f"a dropout rate lies in [0, 1), not {rate}")
        if rate == 0:
            return x
    kept = jax.vmap(lambda row: jax.random.bernoulli(row, 1 - rate, x.shape[1:]))(row_keys(key, rows))
    return jnp.where(kept, x / (1 - rate), 0)
