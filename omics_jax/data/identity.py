"""Who is who: when two spellings name one patient, cell line, drug, dose or time.

Names are compared by a normal form, numbers as numbers, doses in one unit. What is unknown agrees
with nothing; that is the caller's to say with `vocabulary`. Left out are synonyms (vorinostat and
SAHA), which need a table of the user's.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

# Numbers closer than this share are the same dose or time: 10.0 and 9.99999.
NUMBER_TOLERANCE = 1e-3
# Micromolar per unit; the units of mass per volume are a scale of their own.
_MICROMOLAR = {"m": 1e6, "mm": 1e3, "um": 1.0, "nm": 1e-3, "pm": 1e-6}
_MICROGRAM = {"g/l": 1e3, "mg/ml": 1e3, "mg/l": 1.0, "ug/ml": 1.0, "ug/l": 1e-3, "ng/ml": 1e-3}
_HOURS = {"h": 1.0, "hr": 1.0, "hrs": 1.0, "hour": 1.0, "hours": 1.0}
_HOURS |= {"m": 1 / 60, "min": 1 / 60, "mins": 1 / 60, "minutes": 1 / 60}
_HOURS |= {"d": 24.0, "day": 24.0, "days": 24.0}
_QUANTITY = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*([^\d\s].*)?", re.IGNORECASE)
_LETTERS_OR_DIGITS = re.compile(r"\d+|[^\W\d_]+")
# The 12 characters of a TCGA barcode that name the patient, in R's and Firehose's spellings too.
_TCGA_PATIENT = re.compile(r"(TCGA[-.]\w\w[-.]\w{4})[-.]\d\d[A-Z]?", re.IGNORECASE)
# A suffix that names a sample of one person: P01-T, P01_normal, P01_rep2. A digit does so only
# behind a number, as in P01.1 or P01-2: site-1 to site-5 are five persons.
_SAMPLE_SUFFIX = re.compile(
    r"(.+?)[-_. ](?:t|n|tumou?r|normal|primary|met|pre|post|baseline|relapse|rep\d+|v\d+|s\d+)"
    r"|(.*\d)[-_. ][1-5]",
    re.IGNORECASE,
)


def normal_form(name: str) -> str:
    """Lower case, letters and digits alone: MCF-7, MCF 7 and mcf7 are one name.

    A name without any letter or digit is its own normal form.
    """
    return "".join(filter(str.isalnum, name)).casefold() or name


def id_form(name: str) -> str:
    """Its letters in lower case and its numbers by value: P-01, P01 and p1 are one id, as are 1.0
    and 1; P1-12 and P11-2 are two.
    """
    text = name.strip().casefold()
    whole = re.fullmatch(r"(\d+)\.0*", text)
    parts = _LETTERS_OR_DIGITS.findall(whole[1] if whole else text)
    return " ".join(part.lstrip("0") or "0" if part.isdecimal() else part for part in parts) or name


def near_matches(ids: Iterable[str], others: Iterable[str]) -> dict[str, str]:
    """id -> the one of `others` that is spelled otherwise but has the same `id_form`.

    Only ids without an exact match, whose form is that of exactly one of the others.
    """
    others = list(dict.fromkeys(others))
    exact = set(others)
    by_form: dict[str, list[str]] = defaultdict(list)
    for other in others:
        by_form[id_form(other)].append(other)
    matches = {}
    for name in dict.fromkeys(ids):
        same_form = by_form.get(id_form(name), [])
        if name not in exact and len(same_form) == 1:
            matches[name] = same_form[0]
    return matches


def alike_ids(ids: Iterable[str]) -> list[tuple[str, ...]]:
    """The sets of different ids that have the same `id_form`, in order of appearance."""
    by_form: dict[str, list[str]] = defaultdict(list)
    for name in dict.fromkeys(ids):
        by_form[id_form(name)].append(name)
    return [tuple(names) for names in by_form.values() if len(names) > 1]


def persons_of_samples(ids: Sequence[str]) -> dict[str, str]:
    """sample -> person, where ids look like several samples of the same persons; {} otherwise.

    TCGA barcodes with a sample type always do; other ids do if cutting off a sample's suffix (-T,
    _normal, .1) leaves some persons with several samples.
    """
    tcga = {name: match[1].upper().replace(".", "-") for name in ids if (match := _tcga(name))}
    if len(tcga) > len(ids) / 2:
        return tcga
    persons = {name: _without_suffix(name) for name in ids}
    counts = pd.Series(persons).value_counts()
    several = set(counts.index[counts > 1])
    is_pairing = sum(person in several for person in persons.values()) >= max(4, len(ids) / 5)
    return persons if is_pairing else {}


def _tcga(name: str) -> re.Match | None:
    return _TCGA_PATIENT.match(str(name))


def _without_suffix(name: str) -> str:
    """The name without a sample's suffix."""
    match = _SAMPLE_SUFFIX.fullmatch(name)
    return (match[1] or match[2]) if match else name


def quantity(cell: str, unit: str, units: Mapping[str, float]) -> float:
    """The number of a cell such as "500 nM" or "500" with `unit`, in units of 1; NaN if none.

    A unit that `units` does not know gives NaN; without any unit the number stays as it is.
    """
    match = _QUANTITY.fullmatch(str(cell))
    if match is None:
        return np.nan
    spelled = (match[2] or unit).strip().casefold().replace("µ", "u").replace("μ", "u")
    if not spelled:
        return float(match[1])
    return float(match[1]) * units.get(spelled, np.nan)


def dose_quantities(cells: Sequence[str], units: Sequence[str] | None = None) -> np.ndarray:
    """(n,) doses as numbers: micromolar, or microgram per ml where all are masses per volume.

    Args:
      cells: such as "10", "500 nM" or "10 uM".
      units: of each cell, where the file has a column of them.

    Returns:
      float64, NaN where a cell is no number or is in a unit of another kind than the others.
    """
    units = units if units is not None else [""] * len(cells)
    pairs = list(zip(cells, units, strict=True))
    molar = np.array([quantity(cell, unit, _MICROMOLAR) for cell, unit in pairs])
    mass = np.array([quantity(cell, unit, _MICROGRAM) for cell, unit in pairs])
    return mass if np.isnan(molar).sum() > np.isnan(mass).sum() else molar


def hour_quantities(cells: Sequence[str]) -> np.ndarray:
    """(n,) times as hours, float64: "24", "24.0", "24 h" and "1 d" are one time; NaN if none."""
    return np.array([quantity(cell, "", _HOURS) for cell in cells])


def same_number_labels(numbers: np.ndarray) -> np.ndarray:
    """(n,) str, equal for numbers within `NUMBER_TOLERANCE` of the smallest of their set.

    The label is that smallest number, "" for NaN.
    """
    labels = np.full(len(numbers), "", object)
    start = np.nan
    for i in np.argsort(numbers, kind="stable"):
        if np.isnan(numbers[i]):
            break
        if not abs(numbers[i] - start) <= NUMBER_TOLERANCE * abs(start):
            start = numbers[i]
        labels[i] = f"{start:g}"
    return labels
