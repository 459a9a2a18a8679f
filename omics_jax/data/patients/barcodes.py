"""Which patient a sample is from: the sample's own id, or what a TCGA barcode says.

Source: the barcode of the Genomic Data Commons, TCGA-<site>-<participant>-<sample type><vial>-...,
whose first 12 characters are the patient; sample type 01 is a primary solid tumour, 03 primary
blood cancer, 06 a metastasis, 11 normal tissue. Portions, analytes, plates and the quality of an
aliquot are left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from omics_jax.data.formats.messages import count_phrase
from omics_jax.errors import UserError

CODES = ("", "tcga")
PRIMARY = ("01", "03")
# R's make.names turns the hyphens into dots, Firehose's clinical files are in lower case.
_TCGA = re.compile(r"(TCGA[-.]\w\w[-.]\w{4})(?:[-.](\d\d)[A-Z]?(?:[-.].*)?)?", re.IGNORECASE)


@dataclass(frozen=True)
class Patients:
    """`rows` (k,) int of a file stand for the `patients` (k,) str, each once; `notes` say what
    became of the others.
    """

    rows: np.ndarray
    patients: np.ndarray
    notes: tuple[str, ...] = ()


def patient_of(sample: str, barcode: str) -> str:
    """The patient of one sample; under "tcga" the 12-character barcode, or "" where the id is none."""
    if not barcode:
        return str(sample)
    match = _TCGA.fullmatch(str(sample))
    return match[1].upper().replace(".", "-") if match else ""


def sample_type(sample: str) -> str:
    """The two digits of a TCGA barcode; "" where it ends before them."""
    match = _TCGA.fullmatch(str(sample))
    return (match[2] or "") if match else ""


def barcode_hint(*ids: str) -> str:
    """A clause that proposes barcode="tcga" where one of the ids is such a barcode, else ""."""
    return (
        " (these are TCGA barcodes: set barcode='tcga')"
        if any(map(_TCGA.fullmatch, map(str, ids)))
        else ""
    )


def check_barcode(barcode: str):
    """Refuses a code that is not one of `CODES`."""
    if barcode not in CODES:
        raise UserError(
            f"barcode={barcode!r} is unknown; set it to one of {', '.join(map(repr, CODES))}"
        )


def primary_samples(source: str, samples: Sequence[str] | np.ndarray, barcode: str) -> Patients:
    """One sample per patient, in file order: under "tcga" the first that is a primary tumour or
    names no sample type.

    Raises:
      UserError: barcode="tcga" and not one of the samples bears a TCGA barcode, or none is a
        primary tumour.
    """
    if not barcode:
        return Patients(np.arange(len(samples)), np.asarray(samples, dtype=str))
    patients, notes = _patients(source, samples, "sample")
    types = [sample_type(sample) for sample in samples]
    primary = np.array(
        [bool(p) and t in ("", *PRIMARY) for p, t in zip(patients, types, strict=True)]
    )
    rows = _first_of_each(patients, np.flatnonzero(primary))
    if not len(rows):
        raise UserError(
            f"{source}: not one of its {len(patients):,} samples (such as {str(samples[0])!r}) is "
            "a primary tumour (sample type 01 or 03); set barcode='' to keep every sample under "
            "its own id"
        )
    chosen = {patients[row] for row in rows}
    others = Counter(
        t for p, t in zip(patients, types, strict=True) if p and t not in ("", *PRIMARY)
    )
    if others:
        tally = ", ".join(f"type {code}: {count:,}" for code, count in sorted(others.items()))
        nothing = len(set(patients) - chosen - {""})
        notes.append(
            f"{source}: samples that are no primary tumours left out: {others.total():,} "
            f"({tally}); patients who have no other in it: {nothing:,}."
        )
    repeated = int(primary.sum()) - len(rows)
    if repeated:
        notes.append(
            f"{source}: further aliquots left out, as of each patient the first counts: "
            f"{repeated:,}."
        )
    return Patients(rows, np.array([patients[row] for row in rows], dtype=str), tuple(notes))


def patient_rows(source: str, ids: Sequence[str] | np.ndarray, barcode: str) -> Patients:
    """One row per patient of a table about patients, in file order: a primary tumour's, else the
    first.

    Other samples' rows serve where there is no such row, for age and survival are the patient's.
    """
    if not barcode:
        return Patients(np.arange(len(ids)), np.asarray(ids, dtype=str))
    patients, notes = _patients(source, ids, "row")
    named = [row for row, patient in enumerate(patients) if patient]
    primary = [row for row in named if sample_type(ids[row]) in ("", *PRIMARY)]
    rows = np.sort(_first_of_each(patients, [*primary, *named]))
    if len(rows) < len(named):
        notes.append(
            f"{source}: further rows of the same patients left out, as a primary tumour's counts, "
            f"else the first: {len(named) - len(rows):,}."
        )
    return Patients(rows, np.array([patients[row] for row in rows], dtype=str), tuple(notes))


def _patients(
    source: str, samples: Sequence[str] | np.ndarray, kind: str
) -> tuple[list[str], list[str]]:
    patients = [patient_of(sample, "tcga") for sample in samples]
    strangers = [
        str(sample) for sample, patient in zip(samples, patients, strict=True) if not patient
    ]
    if len(strangers) == len(patients):
        raise UserError(
            f"{source}: not one of its {len(patients):,} {kind}s (such as {strangers[0]!r}) bears "
            "a TCGA barcode like TCGA-02-0001-01A; correct the ids, or set barcode=''"
        )
    if not strangers:
        return patients, []
    return patients, [
        f"{source}: {count_phrase(len(strangers), kind, strangers)} without a TCGA barcode and left out."
    ]


def _first_of_each(names: Sequence[str], rows: Sequence[int] | np.ndarray) -> np.ndarray:
    """(k,) int: of the rows those whose name no earlier one bears."""
    first: dict[str, int] = {}
    for row in rows:
        first.setdefault(names[row], int(row))
    return np.array(list(first.values()), dtype=int)
