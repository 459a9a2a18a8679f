"""Piecewise-linear encoding of numbers (Gorishniy et al. 2022, *On embeddings for numerical
features*, section 3.2).

A number becomes its position in each of B bins between quantiles of the training rows, which lets a
linear layer draw any curve over it, as trees do by splitting. Left out: knots chosen by a target,
and learned embeddings on top.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

LEAST_SD = 0.05  # of an encoded column: bins that few rows reach are not blown up


def fit_encoding(
    x: Float[np.ndarray, "n F"], known: Bool[np.ndarray, "n F"], bins: int
) -> dict[str, np.ndarray]:
    """{"knots" (F, bins + 1), "mean" (F, bins), "sd" (F, bins)} float32 of the known values of
    training rows.

    Knots are equidistant quantiles, all 0 for a feature without values; mean and s.d. are those of
    the encoding, the s.d. over all rows, of which the unknown stand at the mean.
    """
    knots = np.zeros((x.shape[1], bins + 1), np.float32)
    for feature in range(x.shape[1]):
        values = x[known[:, feature], feature]
        if len(values):
            knots[feature] = np.quantile(values, np.linspace(0, 1, bins + 1))
    code = np.asarray(positions(jnp.asarray(x), jnp.asarray(knots)))
    count = np.maximum(known.sum(axis=0), 1)[:, None]
    mean = np.where(known[..., None], code, 0).sum(axis=0) / count
    sd = np.sqrt(np.where(known[..., None], (code - mean) ** 2, 0).mean(axis=0))
    return {
        "knots": knots,
        "mean": mean.astype(np.float32),
        "sd": np.maximum(sd, LEAST_SD).astype(np.float32),
    }


def positions(x: Float[Array, "n F"], knots: Float[Array, "F edges"]) -> Float[Array, "n F bins"]:
    """clip((x - k_b) / (k_(b+1) - k_b), 0, 1) for every bin b; 0 in a bin without width."""
    low, width = knots[:, :-1], jnp.diff(knots, axis=1)
    inside = jnp.clip((x[..., None] - low) / jnp.where(width > 0, width, 1), 0, 1)
    return jnp.where(width > 0, inside, 0)


def encode(
    x: Float[Array, "n F"],
    known: Bool[Array, "n F"],
    knots: Float[Array, "F edges"],
    mean: Float[Array, "F bins"],
    sd: Float[Array, "F bins"],
) -> Float[Array, "n F bins"]:
    """Standardised positions, 0 (the training mean) where x is not known."""
    return jnp.where(known[..., None], (positions(x, knots) - mean) / sd, 0)
