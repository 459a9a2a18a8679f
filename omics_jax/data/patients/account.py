"""What became of the rows and columns of the files of patients, as `Use`s for `inspect`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from omics_jax.data.dataset.account import Use
from omics_jax.data.formats.matrix import Matrix
from omics_jax.data.patients.patient_table import PatientTable
from omics_jax.data.patients.settings import group_column, names_tables
from omics_jax.data.patients.targets import TargetColumns

ANNOTATION = "annotations"
_NOT_ASKED = "no outcome, selection or group asks for them"


def account_for(
    settings: Any, columns: TargetColumns, matrices: Mapping[str, Matrix], ids: np.ndarray
) -> tuple[Use, ...]:
    """The rows and columns of the modalities and of the patients' tables.

    ids: the rows of the dataset.
    """
    uses: list[Use] = []
    for name, matrix in matrices.items():
        uses += _matrix_uses(name, matrix, names_tables(settings))
    used_as = columns.used_as()
    for column in getattr(settings, "only", {}):
        used_as |= {(table.source, column): "selection" for table in columns.tables}
    if group := group_column(settings):
        used_as |= {(table.source, group): "group" for table in columns.tables}
    if study := getattr(settings, "study", ""):
        used_as |= {(table.source, study): "study" for table in columns.tables}
    for table in columns.tables:
        uses += _table_uses(table, used_as, ids)
    return tuple(uses)


def _matrix_uses(name: str, matrix: Matrix, has_tables: bool) -> list[Use]:
    """As its reader accounts for it; its annotations are left out where a table is named."""
    own = matrix.uses or (
        Use(name, "samples", "rows", tuple(map(str, matrix.ids))),
        Use(name, "features", "features", tuple(map(str, matrix.features))),
    )
    annotations = tuple(map(str, matrix.table.columns))
    if not annotations:
        return list(own)
    why = "a table of the patients is named, which counts alone" if has_tables else ""
    used_as = "left out" if has_tables else ANNOTATION
    others = [use for use in own if not use.used_as.startswith(ANNOTATION)]
    return [*others, Use(name, "columns", used_as, annotations, why)]


def _table_uses(
    table: PatientTable, used_as: Mapping[tuple[str, str], str], ids: np.ndarray
) -> list[Use]:
    """Of one table of patients."""
    source = Path(table.source).name
    uses = []
    if table.id_column:
        uses.append(Use(source, "columns", "ids", (table.id_column,)))
    by_use: dict[str, list[str]] = {}
    for column in map(str, table.table.columns):
        by_use.setdefault(used_as.get((table.source, column), ANNOTATION), []).append(column)
    for use, names in by_use.items():
        why = _NOT_ASKED if use == ANNOTATION else ""
        uses.append(Use(source, "columns", use, tuple(names), why))
    left_out = table.left_out(ids)
    taken = table.table.index[~table.table.index.isin(left_out)].astype(str)
    uses.append(Use(source, "rows", "patients", tuple(taken)))
    if left_out:
        uses.append(
            Use(source, "rows", "left out", tuple(left_out), "no row of the data is theirs")
        )
    return uses
