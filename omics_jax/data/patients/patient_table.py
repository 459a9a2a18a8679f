"""Tables about patients: clinical data and survival, one row of text per patient.

Which columns become targets is decided in `targets`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool

from omics_jax.data.formats.checks import quoted_list, required_column
from omics_jax.data.formats.names import check_names
from omics_jax.data.formats.read import read_accounted_table
from omics_jax.data.identity import alike_ids
from omics_jax.data.patients.barcodes import patient_of, patient_rows
from omics_jax.data.patients.remarks import Remarks, note, warning
from omics_jax.data.patients.repeated_rows import merge_repeated
from omics_jax.data.vocabulary import Missing
from omics_jax.errors import UserError


@dataclass(frozen=True)
class PatientTable:
    """A row of text per patient, or per sample.

    Attributes:
      source: the file, for messages.
      table: indexed by id, "" where unknown.
      places: where each row stands in the file.
      barcode: the rule by which a sample without a row of its own takes its patient's.
      id_column: the name of the column of ids, "" where the format has none.
    """

    source: str
    table: pd.DataFrame
    places: list[str]
    barcode: str = ""
    id_column: str = ""

    def reindex(self, ids: np.ndarray) -> PatientTable:
        """The rows of these ids, in this order; empty for those that the table lacks."""
        rows = self._rows_of(ids)
        cells = self.table.reindex(rows, fill_value="").set_axis(ids, axis=0)
        place_of = dict(zip(self.table.index, self.places, strict=True))
        places = [place_of.get(row, "") for row in rows]
        return PatientTable(self.source, cells, places, self.barcode, self.id_column)

    def has(self, ids: np.ndarray) -> Bool[np.ndarray, " n"]:
        """Whether the table has a row for each id."""
        return np.isin(self._rows_of(ids), self.table.index.to_numpy(dtype=str))

    def left_out(self, ids: np.ndarray) -> list[str]:
        """The ids of the rows that none of these ids takes."""
        taken = set(self._rows_of(ids).tolist())
        return [str(row) for row in self.table.index if row not in taken]

    def _rows_of(self, ids: np.ndarray) -> np.ndarray:
        """The id of each one's row: its own, or where the table has none that of its patient."""
        own = np.asarray(ids, dtype=str)
        if not self.barcode or not len(own):
            return own
        have = set(self.table.index)
        return np.array(
            [i if i in have else patient_of(i, self.barcode) or i for i in own.tolist()]
        )

    def column(self, column: str, setting: str) -> np.ndarray:
        """(n,) text of the column that `setting` names."""
        return required_column(self.source, self.table, {}, column, setting)


def read_patient_table(
    path: str,
    id_column: str,
    barcode: str,
    targets: Collection[str] = (),
    others: Collection[str] = (),
    missing: Missing = Missing(),
) -> tuple[PatientTable, Remarks]:
    """A table with a row per patient (CSV, TSV, TXT, also .gz, or Parquet), and remarks.

    Args:
      path: the file.
      id_column: its column of ids, "" for the first.
      barcode: see `barcodes`; under "tcga" a patient's several samples become one row.
      targets, others: columns of outcomes, and others that are asked for; several rows of one id
        must agree in them.

    Raises:
      UserError: no such column, a column of ids that is an outcome too, an empty id, rows of one id
        that disagree, no TCGA barcode at all.
    """
    table, uses = read_accounted_table(path)
    found, remarks = patient_table(path, table, id_column, barcode, targets, others, missing)
    return found, note(*(f"{use}." for use in uses)) + remarks


def patient_table(
    path: str,
    table: pd.DataFrame,
    id_column: str,
    barcode: str,
    targets: Collection[str] = (),
    others: Collection[str] = (),
    missing: Missing = Missing(),
) -> tuple[PatientTable, Remarks]:
    """`read_patient_table` of rows of text that are read already, indexed by their places."""
    column = id_column_of(path, table, id_column, targets)
    ids = table[column].astype(str).str.strip().to_numpy(dtype=object)
    places = [str(place) for place in table.index]
    try:
        check_names(path, "patient", ids, lambda row: places[row], unique=False)
    except UserError as error:
        if id_column:
            raise
        raise UserError(
            f"{error}, or set --config.data.id if its first column {column!r} is not that of the "
            "ids"
        ) from None
    in_use = [name for name in table.columns if name in (*targets, *others) and name != column]
    table, remarks = merge_repeated(path, table, ids, in_use, missing)
    ids = table[column].astype(str).str.strip().to_numpy(dtype=object)
    places = [str(place) for place in table.index]
    chosen = patient_rows(Path(path).name, ids, barcode)
    remarks += note(*chosen.notes) + _alike(path, chosen.patients)
    table = table.iloc[chosen.rows].drop(columns=column).set_axis(chosen.patients, axis=0)
    chosen_places = [places[row] for row in chosen.rows]
    return PatientTable(str(path), table, chosen_places, barcode, column), remarks


def id_column_of(path: str, table: pd.DataFrame, id_column: str, targets: Collection[str]) -> str:
    """The column of ids: the one that is named, or the first."""
    if id_column and id_column not in table:
        raise UserError(
            f"{path} has no column {id_column!r} (data.id); it has {quoted_list(table.columns)}: "
            "name its column of ids so, or leave data.id empty to take the first column of every "
            "table"
        )
    column = id_column or str(table.columns[0])
    if column in targets and not id_column:
        raise UserError(
            f"{path}: its first column {column} is used as the ids and is a target too; the table "
            "has no column of ids: add one, or name the one it has with --config.data.id"
        )
    return column


def _alike(path: str, ids: np.ndarray) -> Remarks:
    """A warning on ids of one file that are spelled almost alike."""
    alike = alike_ids(ids.tolist())
    if not alike:
        return Remarks()
    pairs = "; ".join(" and ".join(map(repr, names)) for names in alike[:4])
    more = f" and {len(alike) - 4} more" if len(alike) > 4 else ""
    return warning(
        f"{path} has ids that differ in spelling only ({pairs}{more}) and are taken for different "
        "patients; are they?"
    )
