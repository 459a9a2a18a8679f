"""Cells that the user's settings declare missing: values such as -999, and values out of limits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Bool

from omics_jax.data.dataset import mapped
from omics_jax.data.formats.matrix import Matrix
from omics_jax.data.patients.remarks import Remarks, note
from omics_jax.data.vocabulary import Missing

Limits = tuple[float, float]


def without_declared(
    name: str, matrix: Matrix, missing: Missing, limits: Limits | None
) -> tuple[Matrix, Remarks]:
    """The matrix without the cells that are declared missing, and a note of how many they are.

    name: of the modality, for the notes.
    limits: the lowest and the highest value that is one; None for any.
    """
    remarks, mask = Remarks(), matrix.mask
    if missing.numbers:
        is_missing = mask & missing.is_number(matrix.values)
        mask = mask & ~is_missing
        numbers = " or ".join(f"{number:g}" for number in missing.numbers)
        remarks += _counted(name, is_missing, f"are {numbers}", "data.missing_values")
    if limits is not None:
        low, high = limits
        is_outside = mask & ((matrix.values < low) | (matrix.values > high))
        mask = mask & ~is_outside
        remarks += _counted(name, is_outside, f"are outside {low:g} to {high:g}", "data.limits")
    if mask is matrix.mask:
        return matrix, remarks
    return replace(matrix, values=mapped.zero_missing(matrix.values, mask), mask=mask), remarks


def _counted(name: str, cells: Bool[np.ndarray, "n f"], what: str, setting: str) -> Remarks:
    columns = int(cells.any(axis=0).sum())
    return note(
        f"{name}: {cells.sum():,} values in {columns:,} features {what} and taken for missing "
        f"({setting})."
    )
