"""A folder in OmiEmbed's layout: A.tsv, B.tsv, C.tsv (features in rows), labels.tsv, values.tsv,
survival.tsv.

Source: Zhang et al., GigaScience 10 (2021) giab107, and its released code: A is RNA, B methylation,
C miRNA; the last column of labels.tsv is the class, that of values.tsv the number, the last two of
survival.tsv are time and event. Any other single letter is one modality more. Left out are sample
and feature lists and HDF5 tables of pandas.
"""

from __future__ import annotations

import re
from pathlib import Path

from omics_jax.data.patients.clinical import TargetColumns, Wanted, read_patient_table
from omics_jax.errors import UserError

NAMES = {"A": "rna", "B": "methylation", "C": "mirna"}
_MODALITY = re.compile(r"([A-Z])\.(tsv|csv)(\.gz)?")


def modality_paths(folder: Path) -> dict[str, Path]:
    """name -> file of every modality, in the order of the letters."""
    paths: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        match = _MODALITY.fullmatch(file.name)
        if not match:
            continue
        name = NAMES.get(match[1], match[1])
        if name in paths:
            raise UserError(
                f"{folder} holds {paths[name].name} and {file.name}, both modality {match[1]}; "
                "remove one"
            )
        paths[name] = file
    if not paths:
        raise UserError(
            f"{folder} holds no modality of OmiEmbed's layout (A.tsv, B.tsv, C.tsv); name such a "
            "folder, an .h5mu, or the files one by one under modalities"
        )
    return paths


def read_targets(folder: Path, wanted: Wanted, barcode: str) -> tuple[TargetColumns, list[str]]:
    """Where the folder's targets stand, and notes.

    The names of the targets are the settings', or label, value and survival where these name none;
    the columns are the layout's. A file that is not there is a target less.
    """
    found, notes = TargetColumns([], {}, {}, {}), []
    unnamed = not any(wanted)
    for setting, names, stem, count, kind in (
        ("classes", wanted.classes, "labels", 1, found.classes),
        ("numbers", wanted.numbers, "values", 1, found.numbers),
        ("survival_times", wanted.survival, "survival", 2, found.survival),
    ):
        path = next(
            (
                p
                for end in ("tsv", "csv", "tsv.gz", "csv.gz")
                if (p := folder / f"{stem}.{end}").is_file()
            ),
            None,
        )
        if unnamed:
            names = [stem.removesuffix("s")]
        if path is None and unnamed:
            continue
        if path is None:
            notes += [
                f"{folder.name} has no {stem}.tsv, so there is no target {name}." for name in names
            ]
            continue
        if len(names) > 1:
            raise UserError(
                f"{setting} names {len(names)} targets ({', '.join(names)}), but {path} holds one; "
                "keep one of them, or give the table as clinical"
            )
        table, more = read_patient_table(str(path), "", barcode)
        columns = [str(column) for column in table.table.columns[-count:]]
        if len(columns) < count:
            raise UserError(
                f"{path} has {len(columns) + 1} columns; it needs the ids, then a time and an event"
            )
        found.tables.append(table)
        notes += more
        for name in names:
            kind[name] = (table, *columns)
    return found, [*notes, *_lists(folder)]


def _lists(folder: Path) -> list[str]:
    files = sorted(
        p.name for p in folder.iterdir() if re.fullmatch(r"(sample|feature)_list.*\.tsv", p.name)
    )
    return (
        [f"Not applied, as every sample and feature is read: {', '.join(files)}."] if files else []
    )
