"""Diagonal Gaussians by mean and log standard deviation: densities, KL divergences, free bits.

All densities and divergences are elementwise and in nats; the caller sums over dimensions and rows.
Sources: Kingma & Welling 2014, appendix B; Kingma, Salimans & Welling 2016, appendix C (free bits).
Left out: full covariances.
"""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Elements = Float[Array | np.ndarray, "*#shape"] | float | int

_HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


def log_density(x: Elements, mean: Elements, log_sd: Elements) -> Float[Array, "*#shape"]:
    """log N(x; mean, sd^2) = -((x - mean) / sd)^2 / 2 - log_sd - log(2 pi) / 2, elementwise."""
    standardised = (x - mean) * jnp.exp(-log_sd)
    return -0.5 * jnp.square(standardised) - log_sd - _HALF_LOG_TWO_PI


def kl_to_standard(mean: Elements, log_sd: Elements) -> Float[Array, "*#shape"]:
    """KL(N(mean, sd^2) || N(0, 1)) = (sd^2 - 1 - 2 log_sd + mean^2) / 2, elementwise."""
    return 0.5 * (jnp.expm1(2 * log_sd) - 2 * log_sd + jnp.square(mean))


def kl(
    mean1: Elements, log_sd1: Elements, mean2: Elements, log_sd2: Elements
) -> Float[Array, "*#shape"]:
    """KL(N(mean1, sd1^2) || N(mean2, sd2^2)), elementwise.

    Shifted and scaled, it is KL(N((mean1 - mean2) / sd2, (sd1 / sd2)^2) || N(0, 1)).
    """
    return kl_to_standard((mean1 - mean2) * jnp.exp(-log_sd2), log_sd1 - log_sd2)


def free_bits(kl: Float[Array, " d"], minimum: float | int | Float[Array, ""]) -> Float[Array, ""]:
    """sum_d max(minimum, kl_d): a dimension below `minimum` costs it and gets no gradient.

    kl: (d,) KL of every latent dimension, already a mean over all rows of the batch; this is the
      maximum of the mean, not the mean of maxima.
    minimum: in nats per dimension.

    Source: Kingma, Salimans & Welling 2016, appendix C, the objective with free bits.
    """
    return jnp.sum(jnp.maximum(kl, minimum))
