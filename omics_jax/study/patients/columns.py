"""A modality of a batch of patients on the features that a replicate chose, and back: for jax.

`study.patients.features` fits the constants of a modality M that are read here, M_columns, M_fill,
M_low and M_high, and builds its fields of the rows, x_M and m_M (n, F).
"""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp
from jaxtyping import Array, Float

from omics_jax.data.preprocessing import features
from omics_jax.training.stage import Variables

Rows = Mapping[str, Array]
Values = Float[Array, "n w"]


def chosen(constants: Variables, name: str, table: Array) -> Array:
    """(n, w) the features that the replicate chose, of a modality's values or mask (n, F)."""
    columns = constants.get(f"{name}_columns")
    return table if columns is None else features.own_columns(columns, table)


def in_rows(constants: Variables, name: str, size: int, values: Array) -> Array:
    """(..., F) the replicate's features (..., w) at their places in the rows, 0 elsewhere.

    size: F, the number of features in the rows.
    """
    columns = constants.get(f"{name}_columns")
    return values if columns is None else features.in_table(columns, values, size)


def scaled(constants: Variables, rows: Rows, name: str) -> Values:
    """A modality on the training rows' min-max scale, the training mean where a cell is missing."""
    fitted = _scale_of(constants, name)
    values, mask = (chosen(constants, name, rows[f"{field}_{name}"]) for field in ("x", "m"))
    return features.scale(fitted, values, mask)


def unscaled(constants: Variables, name: str, values: Values) -> Values:
    """Values on the scale of `scaled`, converted to the rows' units."""
    fitted = _scale_of(constants, name)
    return features.invert(fitted, values)


def average(constants: Variables, name: str) -> Float[Array, " w"]:
    """The training mean of every feature of a modality, on the scale of `scaled`."""
    fitted = _scale_of(constants, name)
    mean = fitted["fill"][None]
    observed = jnp.ones(mean.shape, bool)
    return features.scale(fitted, mean, observed)[0]


def _scale_of(constants: Variables, name: str) -> dict[str, Float[Array, " w"]]:
    return {key: constants[f"{name}_{key}"] for key in ("fill", "low", "high")}
