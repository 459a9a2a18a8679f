"""What the training rows say of a variable's values: their scale, and the range they can have.

One value that cannot be, a heart rate of 10,000,000, would set the scale of all others. Far values
(see `dataset.quality`) are therefore drawn in to the range of the others before a scale is fitted,
before a model reads them and before an error is measured against them. Where no value is far,
nothing changes, to the bit.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float

from omics_jax.data.dataset.dataset import Dataset, Modality
from omics_jax.data.dataset.quality import MARGIN, far_limits, plausible_range, robust_spread
from omics_jax.data.preprocessing.standardize import fit_standardizer

PerVariable = Float[np.ndarray, " D"]

# No limit at all, as a finite number: what is not finite in a model counts as its breakdown.
LARGEST = float(np.finfo(np.float32).max)


def fit_ranges(
    values: Float[np.ndarray, "*n D"], mask: Bool[np.ndarray, "*n D"]
) -> dict[str, PerVariable]:
    """The range of the training values and the limits beyond which a value is far, float32.

    low, high: (D,) smallest and largest value that is not far. far_low, far_high: (D,) the limits.
    All are `LARGEST`, in size, for a variable that no training row has.
    """
    low, high = plausible_range(values, mask)
    far_low, far_high = far_limits(robust_spread(values, mask))
    seen = mask.reshape(-1, mask.shape[-1]).any(axis=0)
    ranges = {
        "low": np.where(seen, low, -LARGEST),
        "high": np.where(seen, high, LARGEST),
        "far_low": far_low,
        "far_high": far_high,
    }
    return {name: _finite(limit) for name, limit in ranges.items()}


def _finite(limit: PerVariable) -> PerVariable:
    """In float32, in which the device compares."""
    return np.clip(limit, -LARGEST, LARGEST).astype(np.float32)


def drawn_in(
    ranges: dict[str, PerVariable], values: Float[np.ndarray, "*n D"]
) -> Float[np.ndarray, "*n D"]:
    """The values, the far ones drawn in to the range of the training values."""
    is_far = (values < ranges["far_low"]) | (values > ranges["far_high"])
    if not is_far.any():
        return values
    return np.where(is_far, np.clip(values, ranges["low"], ranges["high"]), values)


def scale_of(modality: Modality) -> tuple[PerVariable, PerVariable]:
    """Mean and s.d. of each variable over the observed cells of training rows, float32.

    The s.d. of a variable that does not vary, or was never observed, is 1.
    """
    ranges = fit_ranges(modality.values, modality.mask)
    width = modality.values.shape[-1]
    values = drawn_in(ranges, np.where(modality.mask, modality.values, 0)).reshape(-1, width)
    mask = modality.mask.reshape(-1, width)
    fitted = fit_standardizer(values, mask, np.zeros(len(values), int), 1)
    return fitted["mean"][0], fitted["sd"][0]


def imputed_range(
    ranges: dict[str, PerVariable], mean: PerVariable, sd: PerVariable
) -> dict[str, PerVariable]:
    """least_z, most_z: what an imputed value may be, as a z-score: the range and a tenth of it."""
    low, high = (ranges[name].astype(np.float64) for name in ("low", "high"))
    margin = MARGIN * (high - low)
    return {
        "least_z": _finite((low - margin - mean) / sd),
        "most_z": _finite((high + margin - mean) / sd),
    }


def without_far(train: Dataset, dataset: Dataset) -> Dataset:
    """The dataset with its far values, by the training rows, drawn in to the training range."""
    modalities = dict(dataset.modalities)
    for name, fitted_name in {"series": "series", "truth": "series", "static": "static"}.items():
        if name in modalities and fitted_name in train.modalities:
            fitted, modality = train.modalities[fitted_name], modalities[name]
            ranges = fit_ranges(fitted.values, fitted.mask)
            values = np.where(modality.mask, drawn_in(ranges, modality.values), 0)
            modalities[name] = replace(modality, values=values.astype(modality.values.dtype))
    return replace(dataset, modalities=modalities)
