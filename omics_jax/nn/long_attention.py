"""Exact attention among thousands of tokens, in memory that grows with their number and not its
square.

    y_i = sum_j D_ij p_ij v_j,   p_ij = exp(q_i . k_j - l_i),   l_i = log sum_j exp(q_i . k_j)

over the keys j that exist; D is inverted dropout, or 1. Queries go in blocks, and the logits of a
block exist for a moment. Of these only l is kept: the backward pass computes them again (Rabe &
Staats 2021, Dao et al. 2022). On a CPU one head of one row at a time stays in its cache, so heads
and rows go in turn. Scales and further terms of the logits are channels of q and k, see
`with_value_term`. Left out: a fused kernel of accelerators.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt

from omics_jax.nn.noise import row_keys

BLOCK = 128  # queries whose logits exist at once
ABSENT = -1e30  # the logit of a key that does not exist


class WeightDropout(NamedTuple):
    """Which attention weights are dropped.

    key: of the layer and step. rows: (n,) row ids, by which the draws are keyed. rate: in [0, 1).
    """

    key: PRNGKeyArray
    rows: Int[Array, " n"]
    rate: float


def long_attention(
    q: Float[Array, "n h t c"],
    k: Float[Array, "n h u c"],
    v: Float[Array, "n h u d"],
    exists: Bool[Array, "n u"],
    dropout: WeightDropout | None = None,
    block: int = BLOCK,
) -> Float[Array, "n h t d"]:
    """y of the module for every row and head; 0 in a row without any key.

    exists: the keys that take part.
    block: queries at a time; it changes no value beyond rounding.

    Raises:
      ValueError: a dropout rate outside [0, 1).
    """
    n, heads, t, _ = q.shape
    rate = 0.0 if dropout is None else dropout.rate
    if not 0 <= rate < 1:
        raise ValueError(f"a dropout rate lies in [0, 1), not {rate}")
    block = min(block, t)
    missing = -t % block
    queries = jnp.pad(q, ((0, 0), (0, 0), (0, missing), (0, 0)))
    seeds = jnp.zeros((n, heads), jnp.uint32) if dropout is None else head_seeds(dropout, heads)

    def one_row(row: tuple) -> Float[Array, "h t d"]:
        queries, keys, values, present, seed = row

        def one_head(head: tuple) -> Float[Array, "t d"]:
            return _one_head(block, rate, *head[:3], present, head[3])

        return jax.lax.map(one_head, (queries, keys, values, seed))

    return jax.lax.map(one_row, (queries, k, v, exists, seeds))[:, :, :t]


def with_value_term(
    q: Float[Array, "n h t c"],
    k: Float[Array, "n h u c"],
    x: Float[Array, "n _ t"],
    y: Float[Array, "n _ u"],
    strength: Float[Array, " h"],
) -> tuple[Float[Array, "n h t c1"], Float[Array, "n h u c1"]]:
    """Queries and keys with one more channel, which adds s_h x_i y_j to the logits of head h.

    Source: the untied positional term of TUPE (Ke et al. 2021) with a gene's value as its position;
    without this channel it would be an array of tokens by tokens for every row and head.

    x, y: values of the queries' and of the keys' tokens, one for all heads or one for each.
    """
    scaled = strength[:, None] * x
    return _with_channel(q, scaled), _with_channel(k, y)


def _with_channel(
    a: Float[Array, "n h t c"], values: Float[Array, "n _ t"]
) -> Float[Array, "n h t c1"]:
    channel = jnp.broadcast_to(values[..., None], (*a.shape[:3], 1)).astype(a.dtype)
    return jnp.concatenate([a, channel], axis=-1)


# --- one head of one row --------------------------------------------------------------------------


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _one_head(
    block: int,
    rate: float,
    q: Float[Array, "t c"],
    k: Float[Array, "u c"],
    v: Float[Array, "u d"],
    exists: Bool[Array, " u"],
    seed: UInt[Array, ""],
) -> Float[Array, "t d"]:
    return _head_forward(block, rate, q, k, v, exists, seed)[0]


def _head_forward(block, rate, q, k, v, exists, seed):
    """(y, what the backward pass needs). q holds whole blocks."""
    blocks = q.reshape(-1, block, q.shape[-1])

    def attend(number: Int[Array, ""], queries: Float[Array, "b c"]) -> tuple[Array, Array]:
        logits = jnp.where(exists, queries @ k.T, ABSENT)
        most = jnp.max(logits, axis=1, keepdims=True)
        weights = jnp.where(exists, jnp.exp(logits - most), 0)
        total = jnp.maximum(jnp.sum(weights, axis=1, keepdims=True), jnp.finfo(q.dtype).tiny)
        kept = weights * _kept(seed, number, weights.shape, rate)
        log_sum = most + jnp.log(total)
        return (kept @ v) / total, log_sum[:, 0]

    y, log_sum = jax.lax.map(lambda own: attend(*own), (jnp.arange(len(blocks)), blocks))
    y = y.reshape(len(q), -1)
    return y, (q, k, v, exists, seed, y, log_sum)


def _head_backward(block, rate, saved, dy):
    """Block by block, with p computed again; sum_j p_ij D_ij (dy_i . v_j) is dy_i . y_i."""
    q, k, v, exists, seed, y, log_sum = saved
    by_block = (-1, block)
    inputs = (
        jnp.arange(len(log_sum)),
        q.reshape(*by_block, q.shape[-1]),
        dy.reshape(*by_block, dy.shape[-1]),
        log_sum,
        jnp.sum(dy * y, axis=1).reshape(by_block),
    )

    def pull_back(total: tuple[Array, Array], own: tuple) -> tuple[tuple[Array, Array], Array]:
        dk, dv = total
        number, queries, dy, log_sum, mean = own
        logits = jnp.where(exists, queries @ k.T, ABSENT)
        p = jnp.where(exists, jnp.exp(logits - log_sum[:, None]), 0)
        kept = _kept(seed, number, p.shape, rate)
        d_logits = p * (kept * (dy @ v.T) - mean[:, None])
        dk += d_logits.T @ queries
        dv += (kept * p).T @ dy
        return (dk, dv), d_logits @ k

    (dk, dv), dq = jax.lax.scan(pull_back, (jnp.zeros_like(k), jnp.zeros_like(v)), inputs)
    no_gradient = (np.zeros(a.shape, jax.dtypes.float0) for a in (exists, seed))
    return dq.reshape(q.shape), dk, dv, *no_gradient


_one_head.defvjp(_head_forward, _head_backward)


# --- dropout of weights ---------------------------------------------------------------------------


def head_seeds(dropout: WeightDropout, heads: int) -> UInt[Array, "n h"]:
    """A number for every row and head, a function of key and row id alone."""
    draw = lambda key: jax.random.bits(key, (heads,), jnp.uint32)
    return jax.vmap(draw)(row_keys(dropout.key, dropout.rows))


def _kept(
    seed: UInt[Array, ""], block: Int[Array, ""], shape: tuple[int, int], rate: float
) -> Float[Array, "b u"] | float:
    """D of a block of queries: 0 with probability `rate`, else 1 / (1 - rate).

    An entry's number is hashed (the finaliser of MurmurHash3), because counter-based generators of
    jax would take longer than the attention itself.
    """
    if rate == 0:
        return 1.0
    queries, keys = shape
    # Without this tie the numbers of all entries are the same for every head, and a scan that is
    # differentiated would make all of them once, tokens by tokens, and keep them.
    block, seed = jax.lax.optimization_barrier((block, seed))
    query = block.astype(jnp.uint32) * queries + jnp.arange(queries, dtype=jnp.uint32)[:, None]
    entry = query * np.uint32(keys) + jnp.arange(keys, dtype=jnp.uint32)
    bits = _mixed(entry ^ seed)
    threshold = np.uint32(round(rate * 2**32))
    return jnp.where(bits >= threshold, 1 / (1 - rate), 0.0)


def _mixed(h: UInt[Array, "*n"]) -> UInt[Array, "*n"]:
    h = (h ^ (h >> 16)) * np.uint32(0x85EBCA6B)
    h = (h ^ (h >> 13)) * np.uint32(0xC2B2AE35)
    return h ^ (h >> 16)
