"""Tables about patients: clinical data and survival, one row of text per patient.

Which columns become targets is decided in `targets`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from omics_jax.data.formats.checks import quoted_list, required_column
from omics_jax.data.formats.names import check_names
from omics_jax.data.formats.read import read_accounted_table
from omics_jax.data.patients.barcodes import patient_rows
from omics_jax.errors import UserError

# As in [Not Available], TCGA's way to leave a cell open.
_TCGA_UNKNOWN = re.compile(r"\[[A-Za-z ]+\]")


@dataclass(frozen=True)
class PatientTable:
    """A row of text per patient.

    Attributes:
      source: the file, for messages.
      table: indexed by patient, "" where unknown.
      places: where each row stands in the file.
    """

    source: str
    table: pd.DataFrame
    places: list[str]

    def reindex(self, ids: np.ndarray) -> PatientTable:
        """The rows of these patients, in this order; empty for those that the table lacks."""
        place_of = dict(zip(self.table.index, self.places, strict=True))
        places = [place_of.get(str(name), "") for name in ids]
        return PatientTable(self.source, self.table.reindex(ids, fill_value=""), places)

    def column(self, column: str, setting: str) -> np.ndarray:
        """(n,) text of the column that `setting` names."""
        return required_column(self.source, self.table, {}, column, setting)


def read_patient_table(path: str, id_column: str, barcode: str) -> tuple[PatientTable, list[str]]:
    """A table with a row per patient (CSV, TSV, TXT, also .gz, or Parquet), and notes.

    Args:
      path: the file.
      id_column: its column of ids, "" for the first.
      barcode: "", or "tcga": a patient's several samples become one row, and cells such as
        [Not Available] are unknown.

    Raises:
      UserError: no such column, an id missing or twice, no TCGA barcode at all.
    """
    table, uses = read_accounted_table(path)
    column = id_column or str(table.columns[0])
    if column not in table and id_column:
        raise UserError(
            f"{path} has no column {id_column!r} (id); it has {quoted_list(table.columns)}: name "
            "its column of ids so, or leave id empty to take the first column of every table"
        )
    ids = table[column].to_numpy(dtype=object)
    places = [str(place) for place in table.index]
    check_names(path, "patient", ids, lambda row: places[row])
    chosen = patient_rows(Path(path).name, ids, barcode)
    notes = [*(f"{use}." for use in uses), *chosen.notes]
    table = table.iloc[chosen.rows].drop(columns=column)
    if barcode:
        table, n_unknown = _blank_unknown_cells(table)
        if n_unknown:
            notes.append(
                f"{Path(path).name}: {n_unknown:,} cells such as [Not Available] are unknown."
            )
    table = table.set_axis(chosen.patients, axis=0)
    return PatientTable(str(path), table, [places[row] for row in chosen.rows]), notes


def _blank_unknown_cells(table: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """The table with "" for cells such as [Not Available], and their number."""

    def is_unknown(cell: str) -> bool:
        return _TCGA_UNKNOWN.fullmatch(cell) is not None

    unknown = table.apply(lambda cells: cells.map(is_unknown))
    n_unknown = int(unknown.to_numpy().sum())
    if not n_unknown:
        return table, 0
    return table.mask(unknown.astype(bool), ""), n_unknown
