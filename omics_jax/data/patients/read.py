"""`read_multiomics`: named modalities of the same patients, with clinical and survival tables, as
one `Dataset`.

The patients are the union over the modalities; a modality, a cell or a label that a patient lacks
is a mask. Left out are scaling, selection of features and imputation, which are fitted on training
rows elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from omics_jax.data.dataset import mapped
from omics_jax.data.dataset.dataset import Dataset, Modality
from omics_jax.data.dataset.summary import overlaps
from omics_jax.data.formats.columns import as_text
from omics_jax.data.formats.files import existing_file
from omics_jax.data.formats.h5mu import read_h5mu
from omics_jax.data.formats.matrix import Matrix
from omics_jax.data.formats.messages import averaged_note, count_phrase
from omics_jax.data.formats.options import ReadOptions
from omics_jax.data.patients import omiembed
from omics_jax.data.patients.barcodes import barcode_hint, patient_rows, primary_samples
from omics_jax.data.patients.clinical import (
    PatientTable,
    TargetColumns,
    Wanted,
    read_patient_table,
    sought_in,
)
from omics_jax.data.patients.modality_files import SELF_ORIENTED, read_modality
from omics_jax.data.patients.settings import (
    filled,
    layout,
    reads_own_targets,
    repeated_features,
    wanted_targets,
    zero_times,
)
from omics_jax.errors import UserError

Tell = Callable[[int, int, str], None]

_SHOWN = 8
_COLUMNS_AT_ONCE = 4096


def read_multiomics(settings, on_progress: Tell = lambda done, total, what: None) -> Dataset:
    """Reads modalities of patients and what is known of them.

    Args:
      settings: an object with these attributes (`config.data` of a run); "" anywhere means none.
        modalities: name -> path: CSV, TSV, TXT (also .gz), Parquet, GCT, GCTX, .h5ad, an .npz of X,
          samples, features, or an .npz of blocks <block>_X, <block>_samples, <block>_features,
          whose features are united.
        path: instead of these an .h5mu, every modality of which is taken, or a folder in OmiEmbed's
        layout. orientation: "samples" or "genes": what the rows of text and Parquet are; "auto"
        looks for ids of patients that
          the other files hold, then judges by names and shape (see `read_matrix`).
        clinical: a table with a row per patient; without one the annotations inside the modalities'
          files serve, or labels.tsv, values.tsv, survival.tsv of OmiEmbed's layout. survival: a
          second such table, for survival_times.
        id: the column of ids in both, "" for the first of each.
        barcode: "", or "tcga": ids become the 12-character patient; of a patient's samples the
          first primary tumour (type 01 or 03) counts.
        classes, numbers: target -> column. survival_times: target -> (time column, event column).
        zero_times (optional): "error", or "mask" for times of zero or below.
        repeated (optional): "error", or "mean" for features of the same name in a file, in the
        file's scale.
        targets (optional): False leaves out what is known of the patients, which then need not be
        in order.
        only (optional): column of the tables -> cells joined by "+"; patients with other cells are
        left out.
      tell: called with (done, total, "modalities").

    Returns:
      a Dataset of the n patients in the sorted union of ids; each is its own group. targets: a
      class as int32 codes into `classes[name]`, a number as float32, a survival target as name.time
      (> 0) and name.event (0 or 1) with one mask. table: the columns of the tables, as text.

    Raises:
      UserError: for anything wrong with settings or files.
    """
    wanted = wanted_targets(settings)
    sought, notes = _sought(settings, wanted)
    samples, shared, read = _samples(settings, wanted, sought.tables, on_progress)
    matrices, chosen = _of_patients(samples, settings.barcode)
    if not settings.clinical and not reads_own_targets(settings):
        own, more = _annotations(matrices, shared, settings)
        sought = sought_in(wanted, own, sought.tables[0] if sought.tables else None)
        notes = [*notes, *more, *_unsought(wanted, sought)]
    _check_shared(matrices, sought.tables)
    matrices, left_out = _only(matrices, sought, getattr(settings, "only", {}))
    ids, modalities = _joined(matrices)
    targets, classes, found = sought.targets(ids, zero_times(settings))
    table = sought.table(ids)
    dataset = Dataset(ids, ids, modalities, table, targets, classes=classes)
    return replace(
        dataset,
        notes=(*_described(dataset, sought.tables), *left_out, *read, *chosen, *notes, *found),
    )


def _sought(settings, wanted: Wanted) -> tuple[TargetColumns, list[str]]:
    """The targets in the tables that were named, and notes on these."""
    if not getattr(settings, "targets", True):
        return TargetColumns([], {}, {}, {}), []
    if reads_own_targets(settings):
        return omiembed.read_targets(Path(settings.path).expanduser(), wanted, settings.barcode)
    tables, notes = {"clinical": None, "survival": None}, []
    for which in tables:
        if getattr(settings, which):
            tables[which], more = read_patient_table(
                getattr(settings, which), settings.id, settings.barcode
            )
            notes += more
    return sought_in(wanted, tables["clinical"], tables["survival"]), notes


def _unsought(wanted: Wanted, sought: TargetColumns) -> list[str]:
    found = {*sought.classes, *sought.numbers, *sought.survival}
    without = [name for part in wanted for name in part if name not in found]
    if not without:
        return []
    return [
        f"Neither a clinical table nor annotations in the files: no target {', '.join(without)}."
    ]


def _samples(
    settings, wanted: Wanted, tables: Sequence[PatientTable], on_progress: Tell
) -> tuple[dict[str, Matrix], pd.DataFrame, list[str]]:
    """Every modality as its file has it, the annotations they share, and notes."""
    kind, orientation, repeated = (
        layout(settings),
        settings.orientation,
        repeated_features(settings),
    )
    if kind == "h5mu":
        path = existing_file(settings.path)
        matrices, shared = read_h5mu(path, repeated)
        on_progress(len(matrices), len(matrices), "modalities")
        notes = [note for name, matrix in matrices.items() for note in averaged_note(name, matrix)]
        return (
            matrices,
            shared,
            [f"{path.name} holds {len(matrices)} modalities: {', '.join(matrices)}.", *notes],
        )
    if kind == "omiembed":
        paths = omiembed.modality_paths(Path(settings.path).expanduser())
        orientation = "genes" if orientation == "auto" else orientation
    else:
        paths = filled(settings.modalities, "modalities")
    known = {str(patient) for table in tables for patient in table.table.index}
    columns = (
        *wanted.classes.values(),
        *wanted.numbers.values(),
        *(c for pair in wanted.survival.values() for c in pair),
    )
    how, matrices, notes = ReadOptions(orientation, annotations=columns, repeated=repeated), {}, {}
    # Files that fix their orientation come first: their patients decide that of the others.
    for name in sorted(
        paths, key=lambda name: not str(paths[name]).lower().endswith(SELF_ORIENTED)
    ):
        matrices[name], notes[name] = read_modality(paths[name], how, known, settings.barcode)
        known |= set(primary_samples(name, matrices[name].ids, settings.barcode).patients.tolist())
        on_progress(len(matrices), len(paths), "modalities")
    told = [note for name in paths for note in (*notes[name], *averaged_note(name, matrices[name]))]
    return {name: matrices[name] for name in paths}, pd.DataFrame(), told


def _of_patients(
    samples: Mapping[str, Matrix], barcode: str
) -> tuple[dict[str, Matrix], list[str]]:
    """The modalities with a row per patient who has any value in them, and notes on the other rows."""
    matrices, notes = {}, []
    for name, matrix in samples.items():
        chosen = primary_samples(name, matrix.ids, barcode)
        valued = matrix.mask[chosen.rows].any(axis=1)
        rows, patients = chosen.rows[valued], chosen.patients[valued]
        notes += chosen.notes
        if not valued.all():
            empty = count_phrase(int((~valued).sum()), "patient", chosen.patients[~valued].tolist())
            notes.append(f"{name}: {empty} without a single value and count as lacking it.")
        if not len(rows):
            raise UserError(
                f"modality {name!r} has no value of any patient who is left; leave it out"
            )
        if len(rows) < len(matrix.ids):
            matrix = matrix.take(rows, slice(None))
        matrices[name] = replace(
            matrix, ids=patients, table=matrix.table.set_axis(patients, axis=0)
        )
    return matrices, notes


def _annotations(
    matrices: Mapping[str, Matrix], shared: pd.DataFrame, settings
) -> tuple[PatientTable | None, list[str]]:
    """What the modalities' own files say of the patients; None where they say nothing."""
    files = filled(settings.modalities, "modalities").values()
    source = settings.path or ", ".join(Path(path).name for path in files)
    chosen = (
        patient_rows(source, shared.index.to_numpy(dtype=str), settings.barcode)
        if len(shared)
        else None
    )
    frames = [shared.iloc[chosen.rows].set_axis(chosen.patients, axis=0)] if chosen else []
    frames += [matrix.table for matrix in matrices.values()]
    ids = sorted({str(patient) for frame in frames for patient in frame.index})
    columns: dict[str, pd.Series] = {}
    for frame in frames:
        for name, cells in frame.items():
            text = as_text(cells).reindex(ids, fill_value="")
            before = columns.get(str(name), text)
            columns[str(name)] = before.where(before != "", text)
    if not columns:
        return None, []
    places = [f"patient {patient!r}" for patient in ids]
    some = ", ".join(list(columns)[:_SHOWN]) + (", ..." if len(columns) > _SHOWN else "")
    note = f"No clinical table: the annotations in the files serve instead ({some})."
    return PatientTable(source, pd.DataFrame(columns, index=ids), places), [note]


def _check_shared(matrices: Mapping[str, Matrix], tables: Sequence[PatientTable]):
    """Every table, and every modality beside others, has a patient in common with the modalities."""
    ids = {name: set(matrix.ids.tolist()) for name, matrix in matrices.items()}
    everyone = set().union(*ids.values())
    for table in tables:
        if everyone.isdisjoint(table.table.index):
            one, other = (
                str(table.table.index[0]),
                {name: str(m.ids[0]) for name, m in matrices.items()},
            )
            raise UserError(
                f"{table.source}: not one of its {len(table.table):,} ids (such as {one!r}) is in "
                "a modality (such as "
                f"{', '.join(f'{i!r} in {name}' for name, i in other.items())}){barcode_hint(one, *other.values())}; "
                "use the same ids in both, or correct id"
            )
    for name in ids:
        others: Collection[str] = set().union(
            *(found for other, found in ids.items() if other != name)
        )
        if others and ids[name].isdisjoint(others):
            one, other = str(matrices[name].ids[0]), min(others)
            raise UserError(
                f"modality {name!r} shares no patient with any other (it has ids such as {one!r}, "
                f"the others such as {other!r}){barcode_hint(one, other)}; use the same ids in "
                "all, or leave it out"
            )


def _only(
    matrices: Mapping[str, Matrix], sought: TargetColumns, only: Mapping[str, str]
) -> tuple[dict[str, Matrix], list[str]]:
    """The modalities of the patients whose cells are among those asked for, and a note on each
    condition.
    """
    kept, notes = (
        np.array(sorted({str(patient) for matrix in matrices.values() for patient in matrix.ids})),
        [],
    )
    for column, text in only.items():
        table = sought.table(kept)
        if column not in table:
            have = ", ".join(map(str, table.columns[:_SHOWN])) or "none"
            raise UserError(
                f"data.only names the column {column!r}; the patients' tables have {have}"
            )
        wanted, cells = (
            [cell.strip() for cell in text.split("+")],
            table[column].astype(str).to_numpy(),
        )
        unknown = [cell for cell in wanted if cell not in cells]
        if unknown:
            have = ", ".join(sorted({cell for cell in cells if cell})[:_SHOWN])
            raise UserError(
                f"data.only asks for {column} {unknown[0]!r}, which no patient has; there are "
                f"{have}, ..."
            )
        notes.append(
            f"{np.isin(cells, wanted).sum():,} of {len(kept):,} patients have {column} "
            f"{' or '.join(wanted)}."
        )
        kept = kept[np.isin(cells, wanted)]
    found = {}
    for name, matrix in matrices.items():
        rows = np.flatnonzero(np.isin(matrix.ids, kept))
        if not len(rows):
            raise UserError(
                f"modality {name!r} has nobody of those data.only asks for; leave it out, or ask "
                "for more"
            )
        if len(rows) < len(matrix.ids):
            matrix = matrix.take(rows, slice(None))
        found[name] = matrix
    return found, notes


def _joined(matrices: Mapping[str, Matrix]) -> tuple[np.ndarray, dict[str, Modality]]:
    """The sorted union of patients, and the modalities over it."""
    ids = np.array(sorted({str(patient) for matrix in matrices.values() for patient in matrix.ids}))
    modalities = {}
    for name, matrix in matrices.items():
        if np.array_equal(matrix.ids, ids):
            modalities[name] = Modality(matrix.values, matrix.mask, matrix.features)
            continue
        place = np.full(len(ids), -1)
        place[np.searchsorted(ids, matrix.ids)] = np.arange(len(matrix.ids))
        modalities[name] = Modality(
            *mapped.gather_rows(matrix.values, matrix.mask, place), matrix.features
        )
    return ids, modalities


def _described(dataset: Dataset, tables: Sequence[PatientTable]) -> list[str]:
    """Sentences on patients, modalities, their overlaps and who is in no modality or no table."""
    names = list(dataset.modalities)
    notes = [
        f"{len(dataset):,} patients with {len(names)} modalit{'y' if len(names) == 1 else 'ies'}."
    ]
    for name, modality in dataset.modalities.items():
        seen = modality.observed_rows
        constant, never = _flat(modality)
        missing = 1 - modality.mask.sum() / max(int(seen.sum()) * len(modality.features), 1)
        notes.append(
            f"{name}: {int(seen.sum()):,} patients, {len(modality.features):,} features "
            f"({constant:,} constant, {never:,} never observed), {missing:.1%} of their cells "
            "missing."
        )
        if constant + never == len(modality.features):
            notes.append(
                f"Warning: no feature of {name} differs between patients, so that it says nothing "
                "of them; leave it out, or mend its file."
            )
    if len(names) > 1:
        counts = overlaps(dataset)
        shown = [
            f"{row['combination']} {row['patients']:,}"
            for row in counts.head(_SHOWN).to_dict("records")
        ]
        rest = f", and {len(counts) - _SHOWN} more combinations" if len(counts) > _SHOWN else ""
        notes.append(f"Patients by what they have: {', '.join(shown)}{rest}.")
    for table in tables:
        known = np.isin(dataset.ids, table.table.index.to_numpy(dtype=str))
        left = table.table.index[~table.table.index.isin(dataset.ids)].tolist()
        if left:
            notes.append(
                f"{count_phrase(len(left), 'patient', left)} in {Path(table.source).name} without any "
                "modality; left out."
            )
        if not known.all():
            nobody = count_phrase(int((~known).sum()), "patient", dataset.ids[~known].tolist())
            notes.append(f"{nobody} not in {Path(table.source).name}; kept, their targets masked.")
    return notes


def _flat(modality: Modality) -> tuple[int, int]:
    """How many features are constant where observed, and how many are never observed."""
    constant = never = 0
    for start in range(0, len(modality.features), _COLUMNS_AT_ONCE):
        values, mask = (
            part[:, start : start + _COLUMNS_AT_ONCE] for part in (modality.values, modality.mask)
        )
        high = np.max(values, axis=0, where=mask, initial=-np.inf)
        low = np.min(values, axis=0, where=mask, initial=np.inf)
        constant += int((high == low).sum())
        never += int((~mask.any(axis=0)).sum())
    return constant, never
