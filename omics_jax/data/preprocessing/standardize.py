"""Preprocessing fitted on training rows only: standardisation per platform and gene.

What is fitted here becomes a replicate's constants; these numpy functions are the reference for
what the
device applies. Quantile normalisation and batch-effect correction are left out.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Int

from omics_jax.errors import UserError

# Below this share of |mean| a spread cannot be told from the rounding of float32 values.
_RELATIVE_ROUNDING = 1e-6


def fit_standardizer(
    values: Float[np.ndarray, "n genes"],
    mask: Bool[np.ndarray, "n genes"],
    platform: Int[np.ndarray, " n"],
    platforms: int,
) -> dict[str, np.ndarray]:
    """Mean and population s.d. of every gene on every platform, over the observed cells of the
    given rows.

    Give training rows only. Where a platform observed a gene in none of them (a platform without
    training
    rows, say), the pooled statistics of all platforms stand in; a gene that no row observed has
    mean 0. The
    s.d. of a gene that does not vary, or was never observed, is 1.

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
    pooled_mean, pooled_sd, pooled_count = _moments(values, mask)
    mean = np.where(pooled_count > 0, pooled_mean, 0.0)[None].repeat(platforms, axis=0)
    sd = pooled_sd[None].repeat(platforms, axis=0)
    for index in np.unique(platform):
        rows = platform == index
        own_mean, own_sd, count = _moments(values[rows], mask[rows])
        mean[index] = np.where(count > 0, own_mean, mean[index])
        sd[index] = np.where(count > 0, own_sd, sd[index])
    varies = sd > _RELATIVE_ROUNDING * np.abs(mean)
    return {"mean": mean.astype(np.float32), "sd": np.where(varies, sd, 1.0).astype(np.float32)}


def standardize(
    values: Float[np.ndarray, "n genes"],
    mask: Bool[np.ndarray, "n genes"],
    platform: Int[np.ndarray, " n"],
    constants: Mapping[str, np.ndarray],
) -> Float[np.ndarray, "n genes"]:
    """(x - mean) / sd with each row's platform's constants, float32; unobserved cells are 0.

    Raises:
      UserError: a platform number for which there are no constants.
    """
    _check_platforms(platform, len(constants["mean"]))
    centred = np.where(mask, values, 0) - constants["mean"][platform]
    return np.where(mask, centred / constants["sd"][platform], 0).astype(np.float32)


def unstandardize(
    values: Float[np.ndarray, "n genes"],
    platform: Int[np.ndarray, " n"],
    constants: Mapping[str, np.ndarray],
) -> Float[np.ndarray, "n genes"]:
    """The inverse, sd x + mean, float32; the platform may be another one than the values came from.

    Raises:
      UserError: a platform number for which there are no constants.
    """
    _check_platforms(platform, len(constants["mean"]))
    return (values * constants["sd"][platform] + constants["mean"][platform]).astype(np.float32)


def _check_platforms(platform: np.ndarray, platforms: int) -> None:
    wrong = np.flatnonzero((platform < 0) | (platform >= platforms))
    if len(wrong):
        raise UserError(
            f"row {wrong[0]} is of platform {platform[wrong[0]]} but platforms are 0 to "
            f"{platforms - 1}; number the platforms of all rows together, before the split"
        )


def _check_finite(values: np.ndarray, mask: np.ndarray) -> None:
    wrong = np.argwhere(mask & ~np.isfinite(values))
    if len(wrong):
        row, gene = wrong[0]
        raise UserError(
            f"the value of row {row}, gene column {gene} is {values[row, gene]} but marked as "
            "observed; mask it or mend it in the file"
        )


def _moments(values: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, population s.d. and number of each column's observed cells, float64; 0 where there is
    none.
    """
    count = mask.sum(axis=0)
    divisor = np.maximum(count, 1)
    mean = np.where(mask, values, 0).sum(axis=0, dtype=np.float64) / divisor
    deviation = np.where(mask, values - mean, 0)
    return mean, np.sqrt((deviation**2).sum(axis=0) / divisor), count
