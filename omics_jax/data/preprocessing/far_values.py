"""Far values kept out of what is fitted: one typing error must not set the scale of a feature.

The rule is that of `data.dataset.quality`, asked of features with enough cells to judge: the
robust s.d. of a handful of values may be tiny by chance.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from omics_jax.data.dataset.quality import far_limits, robust_spread

LEAST_CELLS = 12  # at 12 normal values about 3 in 100,000 features have a far one


def bounds(
    values: Float[np.ndarray, "n f"], mask: Bool[np.ndarray, "n f"], one_unit: bool = False
) -> tuple[Float[np.ndarray, " f"], Float[np.ndarray, " f"]]:
    """(f,) between which no observed cell is far; infinite for features that are not judged.

    one_unit: see `Modality.one_unit`.
    """
    low, high = far_limits(robust_spread(values, mask, one_unit))
    is_judged = mask.sum(axis=0) >= LEAST_CELLS
    return np.where(is_judged, low, -np.inf), np.where(is_judged, high, np.inf)


def clip_far(
    values: Float[np.ndarray, "n f"], mask: Bool[np.ndarray, "n f"]
) -> Float[np.ndarray, "n f"]:
    """The values with far cells moved to the nearest plausible one of their feature.

    The array itself where nothing is far.
    """
    low, high = bounds(values, mask)
    is_far = mask & ((values < low) | (values > high))
    if not is_far.any():
        return values
    plausible = mask & ~is_far
    smallest = np.where(plausible, values, np.inf).min(axis=0)
    largest = np.where(plausible, values, -np.inf).max(axis=0)
    return np.where(is_far, values.clip(smallest, largest), values)
