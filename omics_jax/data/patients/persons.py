"""Who is who among the rows: the groups that are never split, samples of one person, spellings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from omics_jax.data.formats.checks import quoted_list
from omics_jax.data.formats.matrix import Matrix
from omics_jax.data.identity import alike_ids, near_matches, persons_of_samples
from omics_jax.data.patients.barcodes import patient_of
from omics_jax.data.patients.patient_table import PatientTable
from omics_jax.data.patients.remarks import Remarks, note
from omics_jax.data.patients.targets import TargetColumns
from omics_jax.data.vocabulary import blank_unknown
from omics_jax.errors import UserError

_SHOWN = 4


def groups_of(
    ids: np.ndarray, columns: TargetColumns, column: str, barcode: str
) -> tuple[np.ndarray, Remarks]:
    """(n,) the group of each row, and a note; a row whose group is unknown is its own.

    column: of the patients' tables; "" for the patient that the barcode names, or the row itself.

    Raises:
      UserError: no table has the column.
    """
    if not column:
        groups = np.array([patient_of(name, barcode) or name for name in ids.tolist()], dtype=str)
        return groups, Remarks()
    table = columns.table(ids)
    if column not in table:
        have = quoted_list(table.columns) or "none"
        raise UserError(f"data.group names the column {column!r}; the patients' tables have {have}")
    cells, _ = blank_unknown(table[column].to_numpy(dtype=object), columns.missing)
    is_known = cells != ""
    groups = np.where(is_known, cells, ids).astype(str)
    unknown = f", unknown of {np.sum(~is_known):,}, who are groups of their own" * (
        not is_known.all()
    )
    return groups, note(
        f"Groups that are never split: {len(set(groups.tolist())):,} of {column} among "
        f"{len(ids):,} rows{unknown}."
    )


def sample_warnings(ids: np.ndarray) -> list[str]:
    """A warning that the rows look like samples of fewer persons; or none."""
    persons = persons_of_samples([str(name) for name in ids])
    counts = Counter(persons.values())
    if not persons or len(counts) == len(persons):
        return []
    person = counts.most_common(1)[0][0]
    some = " and ".join([name for name in persons if persons[name] == person][:2])
    is_tcga = patient_of(some.split(" ")[0], "tcga") != ""
    mend = (
        "set --config.data.barcode=tcga (a row per patient) or "
        "--config.data.barcode=tcga_samples (a row per sample, patients never split)"
        if is_tcga
        else "name the column of the person with --config.data.group"
    )
    kind = "are TCGA barcodes" if is_tcga else "look like samples"
    return [
        f"the {len(ids):,} rows {kind} of {len(ids) - len(persons) + len(counts):,} patients (such "
        f"as {some}), and rows of one patient may be in different folds; {mend}."
    ]


def spelling_warnings(
    matrices: Mapping[str, Matrix], tables: Sequence[PatientTable], ids: np.ndarray
) -> list[str]:
    """A warning of ids that are spelled almost alike in two files and were not joined; or none."""
    warnings = []
    if alike := alike_ids(ids.tolist()):
        shown = "; ".join(
            " and ".join(f"{name!r} in {_where(matrices, name)}" for name in names)
            for names in alike[:_SHOWN]
        )
        warnings.append(
            f"{len(alike):,} ids differ in spelling only ({shown}) and count as different "
            "patients; spell them alike in all files."
        )
    for table in tables:
        unknown = ids[~table.has(ids)].tolist()
        if near := near_matches(unknown, table.left_out(ids)):
            shown = ", ".join(f"{a!r} and {b!r}" for a, b in list(near.items())[:_SHOWN])
            warnings.append(
                f"{len(near):,} patients are spelled otherwise in {Path(table.source).name} than "
                f"in the modalities ({shown}) and were not joined; spell them alike."
            )
    return warnings


def _where(matrices: Mapping[str, Matrix], name: str) -> str:
    return " and ".join(modality for modality, matrix in matrices.items() if name in matrix.ids)
