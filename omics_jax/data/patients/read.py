"""Patients with several omics modalities as a `Dataset`, with clinical and survival tables.

The patients are the union over the modalities; a modality, a cell or a label that a patient lacks
is a mask. Left out are scaling, selection of features and imputation, which are fitted on training
rows elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd

from omics_jax.data.dataset import mapped
from omics_jax.data.dataset.dataset import Dataset, Modality
from omics_jax.data.formats.h5mu import read_h5mu
from omics_jax.data.formats.matrix import Matrix
from omics_jax.data.formats.messages import averaged_note
from omics_jax.data.formats.options import ReadOptions, below_detection
from omics_jax.data.patients import omiembed
from omics_jax.data.patients.account import account_for
from omics_jax.data.patients.barcodes import patient_of, patient_rows
from omics_jax.data.patients.declared_missing import without_declared
from omics_jax.data.patients.description import describe_patients
from omics_jax.data.patients.modality_files import SELF_ORIENTED, read_modality
from omics_jax.data.patients.patient_table import PatientTable, read_patient_table
from omics_jax.data.patients.persons import groups_of, sample_warnings, spelling_warnings
from omics_jax.data.patients.remarks import Remarks, note, warning
from omics_jax.data.patients.sample_rows import merge_tables, one_row_per_patient
from omics_jax.data.patients.selection import all_patients, check_shared_patients, filter_patients
from omics_jax.data.patients.settings import (
    check_settings,
    filled,
    group_column,
    limits,
    locate_source,
    missing_values,
    names_tables,
    repeated_features,
    target_spec,
    zero_times,
)
from omics_jax.data.patients.small_classes import without_small_classes
from omics_jax.data.patients.targets import TargetColumns, TargetSpec, find_target_columns
from omics_jax.errors import UserError

OnProgress = Callable[[int, int, str], None]

_SHOWN_COLUMNS = 8


@dataclass(frozen=True)
class _Samples:
    """What the modalities' files hold.

    Attributes:
      matrices: name -> samples in rows.
      annotations: of the samples, where a file has them once for all modalities.
      remarks: on how the files were understood.
    """

    matrices: dict[str, Matrix]
    annotations: pd.DataFrame = field(default_factory=pd.DataFrame)
    remarks: Remarks = Remarks()


def read_patients(
    settings,
    on_progress: OnProgress = lambda done, total, what: None,
    features: Mapping[str, Collection[str]] = MappingProxyType({}),
) -> Dataset:
    """Reads modalities of patients and what is known about them.

    Args:
      settings: an object with the attributes that `settings` describes (`config.data` of a run).
      on_progress: called with (done, total, "modalities").
      features: modality -> names of features that are known already, as those of a training; the
        side of a table that bears them is its features.

    Returns:
      a Dataset of the n patients in the sorted union of ids. groups: of `data.group`, of the
      patients of samples, or each row its own. targets: a class as int32 codes into
      `classes[name]`, a number as float32, a survival target as name.time (> 0) and name.event (0
      or 1) with one mask. table: the columns of the tables, as text.

    Raises:
      UserError: for anything wrong with settings or files.
    """
    check_settings(settings)
    spec = target_spec(settings)
    source, kind = locate_source(settings)
    columns, remarks = resolve_targets(settings, spec, source, kind)
    samples = _read_samples(settings, spec, source, kind, columns.tables, features, on_progress)
    matrices, said = one_row_per_patient(samples.matrices, settings)
    remarks = samples.remarks + said + remarks
    if not settings.clinical and not _has_own_targets(settings, kind):
        annotations, said = _annotation_table(matrices, samples.annotations, settings)
        survival = columns.tables[0] if columns.tables else None
        columns = find_target_columns(spec, annotations, survival, columns.missing)
        remarks += said + missing_targets(spec, columns)
    check_shared_patients(matrices, columns.tables)
    matrices, filter_notes = filter_patients(matrices, columns, getattr(settings, "only", {}))
    ids = all_patients(matrices)
    targets, classes, said = columns.targets(ids, zero_times(settings))
    remarks += said
    modalities = _align_modalities(matrices, ids)
    groups, said = groups_of(ids, columns, group_column(settings), settings.barcode)
    smallest = getattr(settings, "smallest_class", 0)
    targets, classes, small = without_small_classes(targets, classes, groups, smallest)
    remarks += small
    dataset = Dataset(ids, groups, modalities, columns.table(ids), targets, classes=classes)
    remarks = describe_patients(dataset, columns.tables) + note(*filter_notes) + remarks + said
    remarks += warning(*spelling_warnings(matrices, columns.tables, ids))
    if not settings.barcode and not group_column(settings) and targets:
        remarks += warning(*sample_warnings(ids))
    uses = account_for(settings, columns, matrices, ids) + remarks.uses
    return replace(dataset, notes=remarks.notes, warnings=remarks.warnings, uses=uses)


# --- targets in tables ----------------------------------------------------------------------------


def resolve_targets(
    settings, spec: TargetSpec, source: Path | None, kind: str
) -> tuple[TargetColumns, Remarks]:
    """The targets in the tables that the settings or the source name, and remarks on these."""
    missing = missing_values(settings)
    if not getattr(settings, "targets", True) and not names_tables(settings):
        return TargetColumns([], {}, {}, {}, missing), Remarks()
    if _has_own_targets(settings, kind):
        return omiembed.read_targets(source, spec, settings.barcode, missing)
    clinical, clinical_remarks = _read_table(settings.clinical, settings, spec)
    survival, survival_remarks = _read_table(settings.survival, settings, spec)
    columns = find_target_columns(spec, clinical, survival, missing)
    return columns, clinical_remarks + survival_remarks


def missing_targets(spec: TargetSpec, columns: TargetColumns) -> Remarks:
    """A warning of the targets for which there is no table; or none."""
    resolved = {*columns.classes, *columns.numbers, *columns.survival}
    missing = [name for name in spec.names if name not in resolved]
    if not missing:
        return Remarks()
    return warning(
        f"Neither a clinical table nor annotations in the files: no target {', '.join(missing)}."
    )


def _has_own_targets(settings, kind: str) -> bool:
    """Whether labels.tsv, values.tsv and survival.tsv of OmiEmbed's layout give the targets."""
    return kind == "omiembed" and not names_tables(settings)


def _read_table(path: str, settings, spec: TargetSpec) -> tuple[PatientTable | None, Remarks]:
    if not path:
        return None, Remarks()
    others = (group_column(settings), *getattr(settings, "only", {}))
    return read_patient_table(
        path, settings.id, settings.barcode, spec.columns, others, missing_values(settings)
    )


# --- samples --------------------------------------------------------------------------------------


def _read_samples(
    settings,
    spec: TargetSpec,
    source: Path | None,
    kind: str,
    tables: Sequence[PatientTable],
    features: Mapping[str, Collection[str]],
    on_progress: OnProgress,
) -> _Samples:
    """Every modality as its file has it, without the cells that the settings declare missing."""
    if kind == "h5mu":
        read = _read_h5mu_samples(source, repeated_features(settings), on_progress)
    else:
        read = _read_files(settings, spec, source, kind, tables, features, on_progress)
    if getattr(settings, "targets", True):  # new patients may lack a modality of the training
        _check_limits(limits(settings), read.matrices)
    matrices, remarks = {}, read.remarks
    for name, matrix in read.matrices.items():
        matrices[name], said = without_declared(
            name, matrix, missing_values(settings), limits(settings).get(name)
        )
        remarks += said
    return replace(read, matrices=matrices, remarks=remarks)


def _check_limits(limits: Mapping[str, tuple[float, float]], names: Collection[str]):
    unknown = [name for name in limits if name not in names]
    if unknown:
        raise UserError(f"data.limits names {unknown[0]!r}; the modalities are {', '.join(names)}")


def _read_files(
    settings,
    spec: TargetSpec,
    source: Path | None,
    kind: str,
    tables: Sequence[PatientTable],
    features: Mapping[str, Collection[str]],
    on_progress: OnProgress,
) -> _Samples:
    """The modalities that are files of their own."""
    orientation = settings.orientation
    paths = filled(settings.modalities, "modalities")
    if kind == "omiembed":
        paths = omiembed.modality_paths(source)
        orientation = "genes" if orientation == "auto" else orientation
    annotations = (*spec.columns, group_column(settings), *getattr(settings, "only", {}))
    options = ReadOptions(
        orientation,
        annotations=annotations,
        repeated=repeated_features(settings),
        below_detection=below_detection(settings),
        missing=missing_values(settings),
    )
    barcode = settings.barcode
    known = {patient_of(name, barcode) for table in tables for name in table.table.index}
    matrices, notes = {}, {}
    # Files that fix their orientation come first: their patients decide that of the others.
    for name in sorted(paths, key=lambda name: not _is_self_oriented(paths[name])):
        matrix, notes[name] = read_modality(
            paths[name], options, known, barcode, features.get(name, ())
        )
        known |= {patient_of(sample, barcode) for sample in matrix.ids.tolist()} - {""}
        matrices[name] = matrix
        on_progress(len(matrices), len(paths), "modalities")
    in_order = {name: matrices[name] for name in paths}
    all_notes = []
    for name, matrix in in_order.items():
        all_notes += [*notes[name], *averaged_note(name, matrix)]
    return _Samples(in_order, remarks=note(*all_notes))


def _read_h5mu_samples(path: Path, repeated: str, on_progress: OnProgress) -> _Samples:
    matrices, annotations = read_h5mu(path, repeated)
    on_progress(len(matrices), len(matrices), "modalities")
    notes = [f"{path.name} holds {len(matrices)} modalities: {', '.join(matrices)}."]
    for name, matrix in matrices.items():
        notes += averaged_note(name, matrix)
    return _Samples(matrices, annotations, note(*notes))


def _is_self_oriented(path: str | Path) -> bool:
    return str(path).lower().endswith(SELF_ORIENTED)


# --- targets in annotations -----------------------------------------------------------------------


def _annotation_table(
    matrices: Mapping[str, Matrix], shared: pd.DataFrame, settings
) -> tuple[PatientTable | None, Remarks]:
    """What the modalities' own files say about the patients, and a note; None where nothing.

    Args:
      matrices: modalities of patients.
      shared: annotations of samples that hold for all modalities.
      settings: see `read_patients`.
    """
    files = filled(settings.modalities, "modalities").values()
    source = settings.path or ", ".join(Path(path).name for path in files)
    frames = [matrix.table for matrix in matrices.values()]
    if len(shared):
        chosen = patient_rows(source, shared.index.to_numpy(dtype=str), settings.barcode)
        frames.insert(0, shared.iloc[chosen.rows].set_axis(chosen.patients, axis=0))
    table = merge_tables(frames)
    if not len(table.columns):
        return None, Remarks()
    some = ", ".join(table.columns[:_SHOWN_COLUMNS])
    rest = ", ..." if len(table.columns) > _SHOWN_COLUMNS else ""
    sentence = f"No clinical table: the annotations in the files serve instead ({some}{rest})."
    places = [f"patient {patient!r}" for patient in table.index]
    return PatientTable(source, table, places, settings.barcode), note(sentence)


# --- the dataset ----------------------------------------------------------------------------------


def _align_modalities(matrices: Mapping[str, Matrix], ids: np.ndarray) -> dict[str, Modality]:
    """The modalities over the patients `ids`, which are sorted; nothing is observed of others."""
    modalities = {}
    for name, matrix in matrices.items():
        values, mask = matrix.values, matrix.mask
        if not np.array_equal(matrix.ids, ids):
            row_of_patient = np.full(len(ids), -1)
            row_of_patient[np.searchsorted(ids, matrix.ids)] = np.arange(len(matrix.ids))
            values, mask = mapped.gather_rows(values, mask, row_of_patient)
        modalities[name] = Modality(values, mask, matrix.features, one_unit=True)
    return modalities
