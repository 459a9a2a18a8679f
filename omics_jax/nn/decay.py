"""What recurrent imputers are made of besides their cells (Cao et al. 2018, BRITS; Qian et al.,
CSAI).

How fast a memory fades with the time since a variable was seen, and a regression of every variable
on all the others. All are pure functions; parameters may carry a leading axis of directions, as in
`recurrent`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from omics_jax.nn.initial import Constant, Uniform
from omics_jax.nn.recurrent import Params, dense


def temporal_decay(p: Params, gap: Float[Array, "*k n i"]) -> Float[Array, "*k n j"]:
    """gamma = exp(-relu(W gap + b)) in (0, 1], full W (BRITS eq. 3; GRU-D eq. 10)."""
    return jnp.exp(-jax.nn.relu(dense(p, gap)))


def diagonal_layer(width: int) -> dict[str, Uniform | Constant]:
    """scale (width,), U(+-1/sqrt(width)), and bias (width,) = 0."""
    return {"scale": Uniform((width,), width), "bias": Constant((width,), 0.0)}


def diagonal_decay(p: Params, gap: Float[Array, "*k n d"]) -> Float[Array, "*k n d"]:
    """gamma = exp(-relu(w gap + b)) in (0, 1], each variable by its own gap."""
    return jnp.exp(-jax.nn.relu(gap * p["scale"][..., None, :] + p["bias"][..., None, :]))


def feature_regression(p: Params, x: Float[Array, "*k n d"]) -> Float[Array, "*k n d"]:
    """z = W x + b with diag(W) = 0: a variable is estimated from all others, never from itself
    (BRITS eq. 7).
    """
    width = x.shape[-1]
    return dense({**p, "kernel": p["kernel"] * (1 - jnp.eye(width, dtype=x.dtype))}, x)


def time_gap_embedding(
    p: Params, gap: Float[Array, "*k n d"], usual: Float[Array, " d"]
) -> Float[Array, "*k n d"]:
    """w = (1 - tanh(sgn(D) |A D + b|)) / 2 with D = gap - usual, in (0, 1); 1/2 where a gap is just
    the usual one.

    usual: (d,) the median gap of each variable between two observations of one patient, in the
    units of `gap`. Above 1/2 the gap is shorter than usual, below it is longer (CSAI).
    """
    excess = gap - usual
    return (1 - jnp.tanh(jnp.sign(excess) * jnp.abs(dense(p, excess)))) / 2
