"""log2(x + 1) of counts and intensities; it fits nothing, so that all rows are treated alike."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Shaped

from omics_jax.data.dataset.dataset import Modality
from omics_jax.errors import UserError


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
    return replace(modality, values=np.log2(values, out=values))
