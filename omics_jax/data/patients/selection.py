"""Which patients are used: those of the modalities, or of these the ones that `only` selects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Shaped

from omics_jax.data.formats.matrix import Matrix
from omics_jax.data.identity import near_matches
from omics_jax.data.patients.barcodes import barcode_hint
from omics_jax.data.patients.patient_table import PatientTable
from omics_jax.data.patients.targets import TargetColumns
from omics_jax.errors import UserError
from omics_jax.settings.words import split_known

_SHOWN = 8


def all_patients(matrices: Mapping[str, Matrix]) -> Shaped[np.ndarray, " n"]:
    """The sorted union of the modalities' patients."""
    ids = {str(patient) for matrix in matrices.values() for patient in matrix.ids}
    return np.array(sorted(ids))


def check_shared_patients(matrices: Mapping[str, Matrix], tables: Sequence[PatientTable]):
    """Refuses a table or a modality that shares no patient with the (other) modalities."""
    for table in tables:
        _check_table(matrices, table)
    patients = {name: set(matrix.ids.tolist()) for name, matrix in matrices.items()}
    for name, ids in patients.items():
        others = set().union(*(patients[other] for other in patients if other != name))
        if others and ids.isdisjoint(others):
            id_here, id_there = str(matrices[name].ids[0]), min(others)
            raise UserError(
                f"modality {name!r} shares no patient with any other (it has ids such as "
                f"{id_here!r}, the others such as {id_there!r})"
                f"{barcode_hint(id_here, id_there)}{_spelling_hint(sorted(ids), sorted(others))}; "
                "use the same ids in all, or leave it out"
            )


def _spelling_hint(ids: Sequence[str], others: Sequence[str]) -> str:
    """A clause on ids that are spelled almost alike, else ""."""
    near = near_matches(ids, others)
    if not near:
        return ""
    (here, there), *_ = near.items()
    return f", and {len(near):,} differ in spelling only, such as {here!r} and {there!r}"


def _check_table(matrices: Mapping[str, Matrix], table: PatientTable):
    everyone = all_patients(matrices)
    if table.has(everyone).any():
        return
    id_here = str(table.table.index[0])
    ids_there = {name: str(matrix.ids[0]) for name, matrix in matrices.items()}
    some = ", ".join(f"{patient!r} in {name}" for name, patient in ids_there.items())
    hint = barcode_hint(id_here, *ids_there.values())
    hint = hint or _spelling_hint(table.table.index.astype(str).tolist(), everyone.tolist())
    mend = "use the same ids in both, or name the column of ids with --config.data.id"
    for column in table.table.columns:
        if np.isin(table.table[column].to_numpy(dtype=str), everyone).any():
            mend = f"its column {str(column)!r} has them: set --config.data.id={column}"
            break
    raise UserError(
        f"{table.source}: not one of its {len(table.table):,} ids (such as {id_here!r}) is in "
        f"a modality (such as {some}){hint}; {mend}"
    )


def filter_patients(
    matrices: Mapping[str, Matrix], columns: TargetColumns, only: Mapping[str, str]
) -> tuple[dict[str, Matrix], list[str]]:
    """The modalities of the patients whose cells are among those that `only` lists, and notes.

    Args:
      matrices: modalities of patients.
      columns: with the tables of the patients.
      only: column of a table -> cells joined by "+"; a cell may hold the mark itself, as ER+ does.

    Raises:
      UserError: an unknown column, a cell that no patient has, or a modality without any of the
        selected patients.
    """
    ids, notes = all_patients(matrices), []
    for column, text in only.items():
        cells = _cells(columns, ids, column)
        selected = split_known(text, "+", set(cells))
        _check_selected(column, selected, cells)
        is_selected = np.isin(cells, selected)
        notes.append(
            f"{is_selected.sum():,} of {len(ids):,} patients have {column} {' or '.join(selected)}."
        )
        ids = ids[is_selected]
    filtered = {}
    for name, matrix in matrices.items():
        rows = np.flatnonzero(np.isin(matrix.ids, ids))
        if not len(rows):
            raise UserError(
                f"modality {name!r} has none of the patients that data.only selects; leave it out, "
                "or select more patients"
            )
        is_complete = len(rows) == len(matrix.ids)
        filtered[name] = matrix if is_complete else matrix.take(rows, slice(None))
    return filtered, notes


def _cells(columns: TargetColumns, ids: np.ndarray, column: str) -> Shaped[np.ndarray, " n"]:
    """(n,) text of the column."""
    table = columns.table(ids)
    if column not in table:
        have = ", ".join(map(str, table.columns[:_SHOWN])) or "none"
        raise UserError(
            f"--config.data.only names the column {column!r}; the patients' tables have {have}"
        )
    return table[column].astype(str).to_numpy()


def _check_selected(column: str, selected: Sequence[str], cells: np.ndarray):
    """Refuses a selected cell that no patient has."""
    unknown = [cell for cell in selected if cell not in cells]
    if unknown:
        known = sorted({cell for cell in cells if cell})
        have = ", ".join(known[:_SHOWN])
        more = ", ..." if len(known) > _SHOWN else ""
        raise UserError(
            f"--config.data.only asks for {column} {unknown[0]!r}, which no patient has; there are "
            f"{have}{more}. Join several with +, as in {column}=A+B"
        )
