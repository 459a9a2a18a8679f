"""Piecewise-linear encoding of numbers (Gorishniy et al. 2022, section 3.2).

A number becomes its position in each of B bins between quantiles of the training rows. A linear
layer can then draw any curve over it, as trees do by splitting. Source: "On embeddings for
numerical features in tabular deep learning". Left out: knots chosen by a target, and learned
embeddings on top.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

MINIMUM_SD = 0.05  # of an encoded column, so that bins which few rows reach are not scaled up


def fit_encoding(
    x: Float[np.ndarray, "n F"], known: Bool[np.ndarray, "n F"], bins: int
) -> dict[str, np.ndarray]:
    """The knots, and the mean and s.d. of the encoding, from the known values of training rows.

    Returns:
      {"knots" (F, bins + 1), "mean" (F, bins), "sd" (F, bins)} in float32. Knots are equidistant
      quantiles, all 0 for a feature without values. The s.d. is over all rows, where the unknown
      values count as the mean, and at least `MINIMUM_SD`.
    """
    knots = np.zeros((x.shape[1], bins + 1), np.float32)
    shares = np.linspace(0, 1, bins + 1)
    for feature in range(x.shape[1]):
        values = x[known[:, feature], feature]
        if len(values):
            knots[feature] = np.quantile(values, shares)
    encoded = positions(jnp.asarray(x), jnp.asarray(knots))
    encoded = np.asarray(encoded)
    is_known = known[..., None]
    count = np.maximum(known.sum(axis=0), 1)[:, None]
    total = np.where(is_known, encoded, 0).sum(axis=0)
    mean = total / count
    squares = np.where(is_known, (encoded - mean) ** 2, 0)
    sd = np.sqrt(squares.mean(axis=0))
    return {
        "knots": knots,
        "mean": mean.astype(np.float32),
        "sd": np.maximum(sd, MINIMUM_SD).astype(np.float32),
    }


def positions(x: Float[Array, "n F"], knots: Float[Array, "F edges"]) -> Float[Array, "n F bins"]:
    """clip((x - k_b) / (k_(b+1) - k_b), 0, 1) for every bin b; 0 in a bin without width."""
    left = knots[:, :-1]
    width = jnp.diff(knots, axis=1)
    has_width = width > 0
    divisor = jnp.where(has_width, width, 1)
    share = jnp.clip((x[..., None] - left) / divisor, 0, 1)
    return jnp.where(has_width, share, 0)


def encode(
    x: Float[Array, "n F"],
    known: Bool[Array, "n F"],
    knots: Float[Array, "F edges"],
    mean: Float[Array, "F bins"],
    sd: Float[Array, "F bins"],
) -> Float[Array, "n F bins"]:
    """Standardised positions, 0 (the training mean) where x is not known."""
    standardised = (positions(x, knots) - mean) / sd
    return jnp.where(known[..., None], standardised, 0)
