"""Which patient a sample is from: the sample's own id, or what a TCGA barcode says.

Rows are patients, one sample of each, or samples whose patient is their group.

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
from jaxtyping import Int, Shaped

from omics_jax.data.formats.messages import count_phrase
from omics_jax.errors import UserError

TCGA, TCGA_SAMPLES = "tcga", "tcga_samples"
CODES = ("", TCGA, TCGA_SAMPLES)
PRIMARY = ("01", "03")
# R's make.names turns the hyphens into dots, Firehose's clinical files are in lower case.
_TCGA = re.compile(r"(TCGA[-.]\w\w[-.]\w{4})(?:[-.](\d\d)[A-Z]?(?:[-.].*)?)?", re.IGNORECASE)


@dataclass(frozen=True)
class PatientRows:
    """The rows of a file that become rows of the data.

    Attributes:
      rows: positions in the file.
      patients: their ids, each once; under "tcga_samples" those of samples.
      notes: sentences on what became of the other rows.
    """

    rows: Int[np.ndarray, " k"]
    patients: Shaped[np.ndarray, " k"]
    notes: tuple[str, ...] = ()


def patient_of(sample: str, barcode: str) -> str:
    """The patient of a sample: itself without a rule, else the 12-character barcode, "" if none."""
    if not barcode:
        return str(sample)
    match = _TCGA.fullmatch(str(sample))
    return match[1].upper().replace(".", "-") if match else ""


def row_id(sample: str, barcode: str) -> str:
    """The id of a sample's row: its patient, or under "tcga_samples" patient and sample type."""
    patient, kind = patient_of(sample, barcode), sample_type(sample)
    return f"{patient}-{kind}" if barcode == TCGA_SAMPLES and patient and kind else patient


def sample_type(sample: str) -> str:
    """The two digits of a TCGA barcode; "" where it ends before them."""
    match = _TCGA.fullmatch(str(sample))
    return (match[2] or "") if match else ""


def fitting_rule(samples: Sequence[str] | np.ndarray, barcode: str) -> str:
    """The rule where any of the samples bears such a barcode, else "", none."""
    return barcode if any(patient_of(sample, barcode) for sample in samples) else ""


def barcode_hint(*ids: str) -> str:
    """A clause that proposes data.barcode=tcga where one of the ids is such a barcode, else ""."""
    has_barcode = any(_TCGA.fullmatch(str(name)) for name in ids)
    return " (these are TCGA barcodes: set --config.data.barcode=tcga)" if has_barcode else ""


def check_barcode(barcode: str):
    """Refuses a code that is not one of `CODES`."""
    if barcode not in CODES:
        raise UserError(
            f"data.barcode is {barcode!r}; leave it empty, or set it to one of "
            f"{', '.join(filter(None, CODES))}"
        )


def primary_samples(source: str, samples: Sequence[str] | np.ndarray, barcode: str) -> PatientRows:
    """One sample per row id, in file order.

    Under "tcga" it is the first of a patient that is a primary tumour or names no sample type,
    under "tcga_samples" the first of a sample's aliquots.

    Raises:
      UserError: barcode="tcga" and not one of the samples bears a TCGA barcode, or none is a
        primary tumour.
    """
    if not barcode:
        return PatientRows(np.arange(len(samples)), np.asarray(samples, dtype=str))
    patients, notes = _row_ids(source, samples, "sample", barcode)
    named_rows = [row for row, patient in enumerate(patients) if patient]
    is_counted = _is_primary if barcode == TCGA else lambda sample: True
    primary_rows = [row for row in named_rows if is_counted(samples[row])]
    rows = _first_row_of_each(patients, primary_rows)
    if not len(rows):
        raise UserError(
            f"{source}: not one of its {len(patients):,} samples (such as {str(samples[0])!r}) is "
            "a primary tumour (sample type 01 or 03); to keep every sample as a row, set "
            "--config.data.barcode=tcga_samples"
        )
    other_types = Counter(
        sample_type(samples[row]) for row in named_rows if not is_counted(samples[row])
    )
    if other_types:
        counts = ", ".join(f"type {code}: {count:,}" for code, count in sorted(other_types.items()))
        n_without_primary = len({patients[row] for row in named_rows}) - len(rows)
        notes.append(
            f"{source}: samples that are no primary tumours left out: {other_types.total():,} "
            f"({counts}); patients who have no other in it: {n_without_primary:,}. "
            "--config.data.barcode=tcga_samples keeps every sample as a row."
        )
    n_repeated = len(primary_rows) - len(rows)
    if n_repeated:
        notes.append(
            f"{source}: further aliquots left out, as of each {_one_of(barcode)} the first "
            f"counts: {n_repeated:,}."
        )
    return PatientRows(rows, _take(patients, rows), tuple(notes))


def patient_rows(source: str, ids: Sequence[str] | np.ndarray, barcode: str) -> PatientRows:
    """One row per row id of a table about patients, in file order.

    Under "tcga" it is a primary tumour's, else the first: other samples' rows serve too, for age
    and survival are the patient's.
    """
    if not barcode:
        return PatientRows(np.arange(len(ids)), np.asarray(ids, dtype=str))
    patients, notes = _row_ids(source, ids, "row", barcode)
    named_rows = [row for row, patient in enumerate(patients) if patient]
    primary_rows = [row for row in named_rows if _is_primary(ids[row])]
    rows = np.sort(_first_row_of_each(patients, [*primary_rows, *named_rows]))
    n_further = len(named_rows) - len(rows)
    if n_further:
        which = (
            "a primary tumour's counts, else the first" if barcode == TCGA else "the first counts"
        )
        notes.append(
            f"{source}: further rows of the same {_one_of(barcode)}s left out, as {which}: "
            f"{n_further:,}."
        )
    return PatientRows(rows, _take(patients, rows), tuple(notes))


def _one_of(barcode: str) -> str:
    """What a row stands for."""
    return "sample" if barcode == TCGA_SAMPLES else "patient"


def _row_ids(
    source: str, samples: Sequence[str] | np.ndarray, kind: str, barcode: str
) -> tuple[list[str], list[str]]:
    """The row id of every sample, "" where it bears no TCGA barcode, and notes."""
    patients = [row_id(sample, barcode) for sample in samples]
    unnamed = [
        str(sample) for sample, patient in zip(samples, patients, strict=True) if not patient
    ]
    if len(unnamed) == len(patients):
        raise UserError(
            f"{source}: not one of its {len(patients):,} {kind}s (such as {unnamed[0]!r}) bears "
            "a TCGA barcode like TCGA-02-0001-01A; correct the ids, or leave data.barcode empty"
        )
    if not unnamed:
        return patients, []
    some = count_phrase(len(unnamed), kind, unnamed)
    return patients, [f"{source}: {some} without a TCGA barcode and left out."]


def _is_primary(sample: str) -> bool:
    """Whether a barcode is of a primary tumour, or names no sample type."""
    return sample_type(sample) in ("", *PRIMARY)


def _first_row_of_each(names: Sequence[str], rows: Sequence[int]) -> Int[np.ndarray, " k"]:
    """Of these rows, in their order, those whose name no earlier one bears."""
    first_row: dict[str, int] = {}
    for row in rows:
        first_row.setdefault(names[row], row)
    return np.array(list(first_row.values()), dtype=int)


def _take(patients: Sequence[str], rows: np.ndarray) -> Shaped[np.ndarray, " k"]:
    return np.array([patients[row] for row in rows], dtype=str)
