"""log2(x + 1) of counts and intensities, and whether values look like these or like logarithms.

It fits nothing, so that all rows are treated alike. The rules of `looks_like` are this project's
own: logarithms of counts end below 2^30, a share ends at 1, and counts of sequencing reach
thousands.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import numpy as np
from jaxtyping import Float, Shaped

from omics_jax.data.dataset.dataset import Modality
from omics_jax.errors import UserError

LOG2 = "log2(x + 1)"  # the `transform` of a modality
Look = Literal["counts", "logarithms", "open"]
_MOST_LOGARITHM = 30.0
_LEAST_COUNT = 1000.0
_LEAST_WHOLE_COUNT = 100.0  # where every value is a whole number
_MOST_CELLS = 1 << 22  # that are looked at


def looks_like(modality: Modality) -> Look:
    """What the observed values are, by their range; "open" where it does not tell.

    "counts" are nowhere negative, and above 1,000 with more than one value in a hundred above 30,
    or whole numbers above 100. "logarithms" (or shares, or scores) are those of which 99 in a
    hundred are below 30. Codes for missing values do not count. Of very many values evenly spaced
    rows are looked at.
    """
    step = max(1, math.ceil(modality.values.size / _MOST_CELLS))
    values = _without_codes(modality.values[::step][modality.mask[::step]])
    if not len(values):
        return "open"
    most, common = values.max(), np.quantile(values, 0.99)
    if values.min() >= 0:
        is_whole = most > _LEAST_WHOLE_COUNT and (values == np.floor(values)).all()
        if is_whole or (most > _LEAST_COUNT and common > _MOST_LOGARITHM):
            return "counts"
    return "logarithms" if common <= _MOST_LOGARITHM else "open"


def _without_codes(values: Float[np.ndarray, " k"]) -> Float[np.ndarray, " j"]:
    """The values without those that stand for a missing one, such as 9999.

    Such a value is repeated, the largest, and farther from the next than three times the range of
    all others.
    """
    while len(values):
        largest = values.max()
        is_largest = values == largest
        others = values[~is_largest]
        if is_largest.sum() < 2 or not len(others):
            break
        if largest - others.max() <= 3 * np.ptp(others):
            break
        values = others
    return values


def log2_plus_one(modality: Modality, name: str, ids: Shaped[np.ndarray, " n"]) -> Modality:
    """log2(x + 1) of every observed value, float32; unobserved cells are 0.

    Args:
      name, ids: of the modality and of its rows, for messages.

    Raises:
      UserError: an observed value that is negative or not finite.
    """
    values = np.where(modality.mask, modality.values, 0).astype(np.float32, copy=False)
    if values.size and not (values.min() >= 0 and values.max() < np.inf):
        is_valid = (values >= 0) & (values < np.inf)
        wrong = modality.mask & ~is_valid
        row, column = np.unravel_index(wrong.argmax(), wrong.shape)
        raise UserError(
            f"{name}: the value of feature {str(modality.features[column])!r} in row "
            f"{str(ids[row])!r} is {values[row, column]:g}, one of {wrong.sum():,} that are "
            "negative or not finite, and log2(x + 1) needs 0 or more; mend the table, or leave "
            "log2 out for this modality if its values are logarithms already"
        )
    values += 1
    return replace(modality, values=np.log2(values, out=values), transform=LOG2)
