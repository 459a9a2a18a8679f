"""What is said about patients once they are read: how many, what they have, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from omics_jax.data.dataset.dataset import Dataset, Modality
from omics_jax.data.dataset.summary import overlaps
from omics_jax.data.formats.messages import count_phrase
from omics_jax.data.patients.patient_table import PatientTable
from omics_jax.data.patients.remarks import Remarks, note, warning

_SHOWN = 8
_COLUMNS_AT_ONCE = 4096


def describe_patients(dataset: Dataset, tables: Sequence[PatientTable]) -> Remarks:
    """On patients, modalities, their overlaps, and who is in no modality or no table."""
    names = list(dataset.modalities)
    plural = "y" if len(names) == 1 else "ies"
    n_groups = len(set(dataset.groups.tolist()))
    is_split = n_groups < len(dataset)
    who = (
        f"{len(dataset):,} rows of {n_groups:,} groups"
        if is_split
        else f"{len(dataset):,} patients"
    )
    remarks = note(f"{who} with {len(names)} modalit{plural}.")
    for name, modality in dataset.modalities.items():
        remarks += _describe_modality(name, modality)
    if len(names) > 1:
        remarks += note(_describe_overlaps(dataset))
    for table in tables:
        remarks += note(*_describe_table(dataset, table))
    return remarks


def _describe_modality(name: str, modality: Modality) -> Remarks:
    n_patients = int(modality.observed_rows.sum())
    n_features = len(modality.features)
    n_constant, n_unobserved = _count_flat_features(modality)
    n_cells = max(n_patients * n_features, 1)
    missing = 1 - modality.mask.sum() / n_cells
    remarks = note(
        f"{name}: {n_patients:,} patients, {n_features:,} features "
        f"({n_constant:,} constant, {n_unobserved:,} never observed), {missing:.1%} of their cells "
        "missing."
    )
    if n_constant + n_unobserved == n_features:
        remarks += warning(
            f"no feature of {name} differs between patients, so that it says nothing about them; "
            "leave it out, or mend its file."
        )
    return remarks


def _describe_overlaps(dataset: Dataset) -> str:
    counts = overlaps(dataset)
    shown = [
        f"{row['combination']} {row['patients']:,}"
        for row in counts.head(_SHOWN).to_dict("records")
    ]
    n_more = len(counts) - _SHOWN
    rest = f", and {n_more} more combinations" if n_more > 0 else ""
    return f"Patients by what they have: {', '.join(shown)}{rest}."


def _describe_table(dataset: Dataset, table: PatientTable) -> list[str]:
    """Who is in the table alone, and who is not in it."""
    notes = []
    file = Path(table.source).name
    left_out = table.left_out(dataset.ids)
    if left_out:
        some = count_phrase(len(left_out), "patient", left_out)
        notes.append(f"{some} in {file} without any modality; left out.")
    unknown = dataset.ids[~table.has(dataset.ids)].tolist()
    if unknown:
        some = count_phrase(len(unknown), "patient", unknown)
        notes.append(f"{some} not in {file}; kept, their targets masked.")
    return notes


def _count_flat_features(modality: Modality) -> tuple[int, int]:
    """How many features are constant where observed, and how many are never observed."""
    n_constant = n_unobserved = 0
    for start in range(0, len(modality.features), _COLUMNS_AT_ONCE):
        columns = slice(start, start + _COLUMNS_AT_ONCE)
        values, mask = modality.values[:, columns], modality.mask[:, columns]
        high = np.max(values, axis=0, where=mask, initial=-np.inf)
        low = np.min(values, axis=0, where=mask, initial=np.inf)
        n_constant += int((high == low).sum())
        n_unobserved += int((~mask.any(axis=0)).sum())
    return n_constant, n_unobserved
