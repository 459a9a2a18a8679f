"""From samples, as files have them, to a row per patient, of values and of annotations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from omics_jax.data.formats.columns import as_text
from omics_jax.data.formats.matrix import Matrix
from omics_jax.data.formats.messages import count_phrase
from omics_jax.data.patients.barcodes import fitting_rule, primary_samples
from omics_jax.data.patients.remarks import Remarks, note
from omics_jax.errors import UserError


def one_row_per_patient(
    samples: Mapping[str, Matrix], settings, kind: str = "modality"
) -> tuple[dict[str, Matrix], Remarks]:
    """The matrices with a row per patient (or sample, by `barcode`) who has any value in them, and
    notes on other rows.

    settings: of a reader of patients; of new ones (`targets` False) empty rows stay.
    kind: what a matrix is, for messages.

    Raises:
      UserError: a matrix without a value of anyone who is left.
    """
    matrices, notes = {}, []
    is_training = getattr(settings, "targets", True)
    for name, matrix in samples.items():
        barcode = settings.barcode
        if not is_training and not fitting_rule(matrix.ids, barcode):
            # New patients may be of a study without such barcodes.
            barcode = ""
        chosen = primary_samples(name, matrix.ids, barcode)
        has_values = matrix.mask[chosen.rows].any(axis=1)
        # Every new patient gets a row of predictions, an empty one where nothing is known.
        stays = has_values if is_training else np.ones(len(has_values), bool)
        rows, patients = chosen.rows[stays], chosen.patients[stays]
        notes += chosen.notes
        if not has_values.all():
            empty_patients = chosen.patients[~has_values].tolist()
            empty = count_phrase(len(empty_patients), "patient", empty_patients)
            notes.append(f"{name}: {empty} without a single value of it.")
        if not has_values.any():
            raise UserError(
                f"{kind} {name!r} has no value of any patient who is left; leave it out"
            )
        if len(rows) < len(matrix.ids):
            matrix = matrix.take(rows, slice(None))
        table = matrix.table.set_axis(patients, axis=0)
        matrices[name] = replace(matrix, ids=patients, table=table)
    return matrices, note(*notes)


def merge_tables(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """All columns of all patients as text; of a cell that several give, the first's."""
    ids = sorted({str(patient) for frame in frames for patient in frame.index})
    columns: dict[str, pd.Series] = {}
    for frame in frames:
        for column, cells in frame.items():
            name = str(column)
            text = as_text(cells).reindex(ids, fill_value="")
            before = columns.get(name, text)
            columns[name] = before.where(before != "", text)
    return pd.DataFrame(columns, index=ids)
