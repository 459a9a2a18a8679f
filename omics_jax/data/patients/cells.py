"""The cells of one column about patients, as text or as numbers, "" or NaN where unknown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64, Shaped

from omics_jax.data.dataset.quality import describe, quality_warnings
from omics_jax.data.formats.parse import not_a_number
from omics_jax.data.patients.patient_table import PatientTable
from omics_jax.data.patients.remarks import Remarks, note, warning
from omics_jax.data.vocabulary import Missing, blank_unknown
from omics_jax.errors import UserError


def known_cells(
    patients: PatientTable, column: str, setting: str, name: str, missing: Missing
) -> tuple[Shaped[np.ndarray, " n"], Remarks]:
    """(n,) text, "" where unknown, and a note of the words that were taken for unknown.

    setting, name: of the outcome, for messages.
    """
    cells, words = blank_unknown(patients.column(column, setting), missing)
    if not words:
        return cells, Remarks()
    counted = ", ".join(f"{word!r} {count:,}" for word, count in words.items())
    return cells, note(f"{name} ({column}): taken for unknown: {counted}.")


def numbers_of(
    patients: PatientTable, column: str, setting: str, name: str, missing: Missing
) -> tuple[Float64[np.ndarray, " n"], Remarks]:
    """(n,) numbers, NaN where unknown, and warnings of values that look wrong.

    Raises:
      UserError: a cell that is no number, or one that is infinite in single precision.
    """
    cells, remarks = known_cells(patients, column, setting, name, missing)
    numbers = pd.to_numeric(pd.Series(cells, dtype=object), errors="coerce").to_numpy(np.float64)
    is_text = np.isnan(numbers) & (cells != "")
    with np.errstate(over="ignore"):
        is_infinite = np.isinf(numbers.astype(np.float32))
    wrong = np.flatnonzero(is_text | is_infinite)
    if len(wrong):
        row = wrong[0]
        where = f"column {column!r} ({setting})"
        raise not_a_number(Path(patients.source), patients.places[row], where, str(cells[row]))
    numbers = np.where(missing.is_number(numbers), np.nan, numbers)
    known = ~np.isnan(numbers)
    table = describe(np.where(known, numbers, 0)[:, None], known[:, None], [column])
    return numbers, remarks + warning(*quality_warnings(name, table))


def check_any_known(
    patients: PatientTable, known: Bool[np.ndarray, " n"], column: str, setting: str
):
    """Refuses a column without a single known cell."""
    if not known.any():
        raise UserError(
            f"{patients.source}: column '{column}' ({setting}) is empty for every patient that was "
            "read; name another one, or leave the setting empty"
        )
