"""A folder in OmiEmbed's layout: modalities A.tsv, B.tsv, C.tsv and three tables of targets.

Source: Zhang et al., GigaScience 10 (2021) giab107, and its released code: A is RNA, B methylation,
C miRNA, with features in rows; the last column of labels.tsv is the class, that of values.tsv the
number, the last two of survival.tsv are time and event. Any other single letter is one modality
more. Left out are sample and feature lists and HDF5 tables of pandas.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from omics_jax.data.formats.read import read_table
from omics_jax.data.patients.patient_table import PatientTable, read_patient_table
from omics_jax.data.patients.remarks import Remarks, note
from omics_jax.data.patients.survival import SurvivalColumns
from omics_jax.data.patients.targets import TargetColumns, TargetSpec
from omics_jax.data.vocabulary import Missing
from omics_jax.errors import UserError

NAMES = {"A": "rna", "B": "methylation", "C": "mirna"}
_MODALITY = re.compile(r"([A-Z])\.(tsv|csv)(\.gz)?")
_LIST = re.compile(r"(sample|feature)_list.*\.tsv")
_TABLE_SUFFIXES = ("tsv", "csv", "tsv.gz", "csv.gz")


class _TargetFile(NamedTuple):
    """One of the three tables: the setting that it serves, and how many of its columns it gives."""

    setting: str
    stem: str
    n_columns: int
    default_name: str


_LABELS = _TargetFile("classes", "labels", 1, "label")
_VALUES = _TargetFile("numbers", "values", 1, "value")
_SURVIVAL = _TargetFile("survival_times", "survival", 2, "survival")


def modality_paths(folder: Path) -> dict[str, Path]:
    """name -> file of every modality, in the order of the letters."""
    paths: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        match = _MODALITY.fullmatch(file.name)
        if not match:
            continue
        letter = match[1]
        name = NAMES.get(letter, letter)
        if name in paths:
            raise UserError(
                f"{folder} holds {paths[name].name} and {file.name}, both modality {letter}; "
                "remove one"
            )
        paths[name] = file
    if not paths:
        raise UserError(
            f"{folder} holds no modality of OmiEmbed's layout (A.tsv, B.tsv, C.tsv); name such a "
            "folder, an .h5mu, or the files one by one under modalities"
        )
    return paths


def read_targets(
    folder: Path, spec: TargetSpec, barcode: str, missing: Missing = Missing()
) -> tuple[TargetColumns, Remarks]:
    """The columns of the folder's targets, and remarks.

    The targets are named by the settings, or label, value and survival where these name none; the
    columns are the layout's. A file that is missing is a target less.
    """
    tables: list[PatientTable] = []
    remarks: list[Remarks] = []

    def read(file: _TargetFile, names: Collection[str]) -> dict[str, tuple]:
        """name -> (table, [column ...]) of the targets in one of the three tables."""
        path = _locate_table(folder, file.stem)
        if not spec.names:
            names = [file.default_name] if path else []
        if path is None:
            remarks.extend(
                note(f"{folder.name} has no {file.stem}.tsv, so there is no target {name}.")
                for name in names
            )
            return {}
        if len(names) > 1:
            raise UserError(
                f"{file.setting} names {len(names)} targets ({', '.join(names)}), but {path} holds "
                "one; keep one of them, or give the table as clinical"
            )
        last = read_table(path).columns[1:][-file.n_columns :].astype(str)
        table, said = read_patient_table(str(path), "", barcode, last, (), missing)
        columns = [str(column) for column in table.table.columns[-file.n_columns :]]
        if len(columns) < file.n_columns:
            raise UserError(
                f"{path} has {len(columns) + 1} columns; it needs the ids, then a time and an event"
            )
        tables.append(table)
        remarks.append(said)
        return {name: (table, columns) for name in names}

    classes = {name: (table, c[0]) for name, (table, c) in read(_LABELS, spec.classes).items()}
    numbers = {name: (table, c[0]) for name, (table, c) in read(_VALUES, spec.numbers).items()}
    survival = {}
    for name, (table, (time, event)) in read(_SURVIVAL, spec.survival).items():
        value = spec.survival[name].event_value if name in spec.survival else ""
        survival[name] = (table, SurvivalColumns((time,), event, value))
    said = sum(remarks, note(*_unused_lists(folder)))
    return TargetColumns(tables, classes, numbers, survival, missing), said


def _locate_table(folder: Path, stem: str) -> Path | None:
    for suffix in _TABLE_SUFFIXES:
        path = folder / f"{stem}.{suffix}"
        if path.is_file():
            return path
    return None


def _unused_lists(folder: Path) -> list[str]:
    names = sorted(path.name for path in folder.iterdir() if _LIST.fullmatch(path.name))
    if not names:
        return []
    return [f"Not applied, as every sample and feature is read: {', '.join(names)}."]
