"""Temporal decays, the feature regression and the time-gap embedding of recurrent imputers.

Sources: Che et al. 2018 (GRU-D); Cao et al. 2018 (BRITS); Qian et al. (CSAI). All are pure
functions; parameters may carry a leading axis of directions, as in `recurrent`. Left out: the
recurrent cells, which stand in `recurrent`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from omics_jax.nn.initial import Constant, Uniform
from omics_jax.nn.recurrent import Params, dense

Gaps = Float[Array, "*k n d"]  # of n rows and d variables, under k directions
Values = Float[Array, "*k n d"]
Decays = Float[Array, "*k n j"]


def temporal_decay(p: Params, gap: Float[Array, "*k n i"]) -> Decays:
    """gamma = exp(-relu(W gap + b)) in (0, 1], full W (BRITS eq. 3; GRU-D eq. 10)."""
    rate = jax.nn.relu(dense(p, gap))
    return jnp.exp(-rate)


def diagonal_parameters(width: int) -> dict[str, Uniform | Constant]:
    """scale (width,), U(+-1/sqrt(width)), and bias (width,) = 0."""
    return {
        "scale": Uniform((width,), width),
        "bias": Constant((width,), 0.0),
    }


def diagonal_decay(p: Params, gap: Gaps) -> Gaps:
    """gamma = exp(-relu(w gap + b)) in (0, 1], each variable by its own gap (GRU-D)."""
    scale = p["scale"][..., None, :]
    bias = p["bias"][..., None, :]
    rate = jax.nn.relu(gap * scale + bias)
    return jnp.exp(-rate)


def feature_regression(p: Params, x: Values) -> Values:
    """z = W x + b with diag(W) = 0 (BRITS eq. 7).

    Every variable is estimated from all others, never from itself.
    """
    width = x.shape[-1]
    off_diagonal = 1 - jnp.eye(width, dtype=x.dtype)
    kernel = p["kernel"] * off_diagonal
    return dense({**p, "kernel": kernel}, x)


def time_gap_embedding(
    p: Params, gap: Gaps, median_gap: Float[Array, " d"]
) -> Float[Array, "*k n d"]:
    """w = (1 - tanh(sgn(D) |A D + b|)) / 2 in (0, 1) with D = gap - median_gap (CSAI).

    median_gap: (d,) the median time between two observations of each variable in one patient, in
      the units of `gap`. w is 1/2 at the median gap, above 1/2 for a shorter gap and below it for a
      longer one.
    """
    excess = gap - median_gap
    size = jnp.abs(dense(p, excess))
    signed = jnp.sign(excess) * size
    return (1 - jnp.tanh(signed)) / 2
