"""Preprocessing fitted on training rows only: standardisation per platform and gene.

What is fitted here becomes a replicate's constants; these numpy functions are the reference for
what the device applies. Quantile normalisation and batch-effect correction are left out.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Int

from omics_jax.errors import UserError

Values = Float[np.ndarray, "n genes"]
Mask = Bool[np.ndarray, "n genes"]
Platforms = Int[np.ndarray, " n"]
PerGene = Float[np.ndarray, " genes"]

# Below this share of |mean| a spread cannot be told from the rounding of float32 values.
_RELATIVE_ROUNDING = 1e-6


def fit_standardizer(
    values: Values,
    mask: Mask,
    platform: Platforms,
    platforms: int,
) -> dict[str, np.ndarray]:
    """Mean and population s.d. of every gene on every platform, over observed cells.

    Give training rows only. A gene that a platform observed in none of them (the platform may have
    no training rows at all) takes the pooled statistics of all platforms; a gene that no row
    observed has mean 0. The s.d. of a gene that does not vary, or was never observed, is 1.

    Args:
      values, mask: measurements and which of them were made (True); the others are never read.
      platform: platform of each row, 0 to platforms - 1.

    Returns:
      {"mean": (platforms, genes), "sd": (platforms, genes)}, float32, all finite.

    Raises:
      UserError: no rows, a platform number out of range, or an observed value that is not finite.
    """
    if not len(values):
        raise UserError(
            "standardisation was given 0 training rows; give a split with rows to train on"
        )
    _check_platforms(platform, platforms)
    _check_finite(values, mask)
    pooled_mean, pooled_sd, _ = _moments(values, mask)
    mean = np.tile(pooled_mean, (platforms, 1))
    sd = np.tile(pooled_sd, (platforms, 1))
    for index in np.unique(platform):
        rows = platform == index
        own_mean, own_sd, count = _moments(values[rows], mask[rows])
        mean[index] = np.where(count > 0, own_mean, mean[index])
        sd[index] = np.where(count > 0, own_sd, sd[index])
    varies = sd > _RELATIVE_ROUNDING * np.abs(mean)
    sd = np.where(varies, sd, 1.0)
    return {"mean": mean.astype(np.float32), "sd": sd.astype(np.float32)}


def standardize(
    values: Values,
    mask: Mask,
    platform: Platforms,
    constants: Mapping[str, np.ndarray],
) -> Values:
    """(x - mean) / sd with each row's platform's constants, float32; unobserved cells are 0.

    Raises:
      UserError: a platform number for which there are no constants.
    """
    _check_platforms(platform, len(constants["mean"]))
    mean, sd = constants["mean"][platform], constants["sd"][platform]
    centred = np.where(mask, values, 0) - mean
    return np.where(mask, centred / sd, 0).astype(np.float32)


def unstandardize(
    values: Values,
    platform: Platforms,
    constants: Mapping[str, np.ndarray],
) -> Values:
    """The inverse, sd x + mean, float32; the platform may differ from that of the values.

    Raises:
      UserError: a platform number for which there are no constants.
    """
    _check_platforms(platform, len(constants["mean"]))
    mean, sd = constants["mean"][platform], constants["sd"][platform]
    return (values * sd + mean).astype(np.float32)


def _check_platforms(platform: Platforms, platforms: int) -> None:
    """Every row's platform is one of 0 to platforms - 1."""
    wrong = np.flatnonzero((platform < 0) | (platform >= platforms))
    if len(wrong):
        raise UserError(
            f"row {wrong[0]} is of platform {platform[wrong[0]]} but platforms are 0 to "
            f"{platforms - 1}; number the platforms of all rows together, before the split"
        )


def _check_finite(values: Values, mask: Mask) -> None:
    """Every observed value is finite."""
    wrong = np.argwhere(mask & ~np.isfinite(values))
    if len(wrong):
        row, gene = wrong[0]
        raise UserError(
            f"the value of row {row}, gene column {gene} is {values[row, gene]} but marked as "
            "observed; mask it or mend it in the file"
        )


def _moments(values: Values, mask: Mask) -> tuple[PerGene, PerGene, Int[np.ndarray, " genes"]]:
    """Mean, population s.d. and number of each column's observed cells; float64, 0 for none."""
    count = mask.sum(axis=0)
    divisor = np.maximum(count, 1)
    total = np.where(mask, values, 0).sum(axis=0, dtype=np.float64)
    mean = total / divisor
    deviation = np.where(mask, values - mean, 0)
    variance = (deviation**2).sum(axis=0) / divisor
    return mean, np.sqrt(variance), count
