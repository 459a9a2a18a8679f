"""Who is who: when two spellings name one patient, cell line, drug, dose or time.

Names are compared by a normal form, chemical structures as they are, numbers as numbers, doses in
one unit. What is unknown agrees with nothing; that is the caller's to say with `vocabulary`. Left
out are synonyms (vorinostat and SAHA), which need a table of the user's.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

# Numbers closer than this share are the same dose or time: 10.0 and 9.99999, 3.33 and 3.33333.
NUMBER_TOLERANCE = 2e-3
_MICROMOLAR, _MICROGRAM, _HOURS = "uM", "ug/ml", "h"
# unit in lower case -> its kind, and how many of the kind's own unit it is
_DOSE_UNITS = {
    **{"m": (_MICROMOLAR, 1e6), "mol/l": (_MICROMOLAR, 1e6), "molar": (_MICROMOLAR, 1e6)},
    **{"mm": (_MICROMOLAR, 1e3), "mmol/l": (_MICROMOLAR, 1e3), "um": (_MICROMOLAR, 1.0)},
    **{"umol/l": (_MICROMOLAR, 1.0), "nm": (_MICROMOLAR, 1e-3), "nmol/l": (_MICROMOLAR, 1e-3)},
    **{"pm": (_MICROMOLAR, 1e-6), "fm": (_MICROMOLAR, 1e-9)},
    **{"g/l": (_MICROGRAM, 1e3), "mg/ml": (_MICROGRAM, 1e3), "ug/ul": (_MICROGRAM, 1e3)},
    **{"mg/l": (_MICROGRAM, 1.0), "ug/ml": (_MICROGRAM, 1.0), "ng/ul": (_MICROGRAM, 1.0)},
    **{"ug/l": (_MICROGRAM, 1e-3), "ng/ml": (_MICROGRAM, 1e-3), "pg/ml": (_MICROGRAM, 1e-6)},
}
_TIME_UNITS = {
    **dict.fromkeys(("", "h", "hr", "hrs", "hour", "hours"), (_HOURS, 1.0)),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), (_HOURS, 1 / 60)),
    **dict.fromkeys(("d", "day", "days"), (_HOURS, 24.0)),
    **dict.fromkeys(("w", "wk", "week", "weeks"), (_HOURS, 168.0)),
}
_QUANTITY = re.compile(
    r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*([a-zµμ%].*)?", re.IGNORECASE
)
# Different cell lines that differ in punctuation alone from TT and KMH-2 (Cellosaurus).
_PUNCTUATED_LINES = frozenset(("t.t", "km-h2"))
# A separator within a name, not between two digits: SB-202190, SB 202190 and SB202190 are one drug.
_SEPARATOR = re.compile(r"(?<=[^\W_])[\s_-]+(?=[^\W\d_])|(?<=[^\W\d_])[\s_-]+(?=[^\W_])")
# What names of compounds do not hold, and structures (SMILES, InChI) do.
_STRUCTURE_SIGNS = re.compile(r"[=#@/\\\[\]$]")
_SMILES = re.compile(r"(?:Cl|Br|[BCNOPSFIbcnops]|[0-9()%.:~*+-]|[=#@/\\$]|\[[^\]]+\])+")
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


# --- conditions of experiments --------------------------------------------------------------------


def cell_line_form(name: str) -> str:
    """Equal for spellings of one cell line: MCF7, MCF-7 and mcf 7."""
    folded = name.strip().casefold()
    return folded if folded in _PUNCTUATED_LINES else normal_form(folded)


def drug_forms(names: Iterable[str]) -> list[str]:
    """Of each drug what is equal for spellings of one: Vorinostat and vorinostat, AG-9 and AG 9.

    (+)-JQ1 and (-)-JQ1 are two drugs, as are CHIR-99 and CHIR-9-9. Structures are compared as they
    are, since case (c1ccccc1 is benzene, C1CCCCC1 is not) and slashes have a meaning in SMILES:
    names with a sign that only structures have, and all names where most could be a SMILES.
    """
    names = list(names)
    distinct = set(filter(None, names))
    if sum(map(_could_be_smiles, distinct)) > len(distinct) / 2:
        return names
    return [name if _STRUCTURE_SIGNS.search(name) else _name_form(name) for name in names]


def _could_be_smiles(name: str) -> bool:
    """Atoms and bonds alone, and every ring that is opened is closed: SB-202190 is a name."""
    digits = re.sub(r"\[[^\]]+\]|\D", "", name)
    return bool(_SMILES.fullmatch(name)) and all(digits.count(d) % 2 == 0 for d in set(digits))


def _name_form(name: str) -> str:
    return _SEPARATOR.sub("", " ".join(name.casefold().split()))


@lru_cache(1 << 16)
def label_form(cell: str) -> str:
    """Equal for spellings of one label: a number by its value (1, 01, 1.0), text in any case."""
    text = cell.strip().casefold()
    number = pd.to_numeric(text, errors="coerce") if text else np.nan
    return f"{number:.15g}" if np.isfinite(number) else text


def one_spelling(
    cells: Iterable[str], forms: Iterable[str]
) -> tuple[np.ndarray, dict[str, list[str]]]:
    """Every cell in the first spelling of its form, and first spelling -> the others it replaces.

    cells: text, "" where unknown, which stays. forms: of each cell, equal for the same thing.
    """
    cells = np.array(list(cells), dtype=object)
    code, _ = pd.factorize(np.array(list(forms), dtype=object))
    first = np.full(code.max(initial=-1) + 1, len(cells))
    known = np.flatnonzero(cells != "")
    np.minimum.at(first, code[known], known)
    spelled = cells.copy()
    spelled[known] = cells[first[code[known]]]
    changed = known[spelled[known] != cells[known]]
    replaced: dict[str, list[str]] = defaultdict(list)
    for new, old in dict.fromkeys(zip(spelled[changed], cells[changed], strict=True)):
        replaced[new].append(old)
    return spelled, dict(replaced)


class Quantities(NamedTuple):
    """Doses or times as numbers.

    Attributes:
      kind: (n,) object; numbers of one kind can be compared. "uM" (molar concentrations, in
        micromolar), "ug/ml" (masses per volume), "h" (times, in hours), "" (doses without a
        unit), or a unit that is not known, in lower case.
      number: (n,) float64 in the unit of the kind, NaN where a cell is no number.
    """

    kind: np.ndarray
    number: np.ndarray

    def labels(self) -> list[str]:
        """Equal for equal quantities, "" for none; numbers are equal within `NUMBER_TOLERANCE`."""
        labels = np.full(len(self.number), "", object)
        for kind in dict.fromkeys(self.kind):
            same = np.flatnonzero(self.kind == kind)
            numbers = same_number_labels(self.number[same])
            labels[same] = [f"{number} {kind}" if number else "" for number in numbers]
        return labels.tolist()


def doses(cells: Iterable[str], units: Iterable[str]) -> Quantities:
    """Doses such as "10", "500 nM" or "10 uM"; `units` of each, "" where no column has them."""
    return _quantities(cells, units, _DOSE_UNITS)


def times(cells: Iterable[str], units: Iterable[str]) -> Quantities:
    """Times such as "24", "24.0", "24 h" or "1 d"; without a unit they are hours."""
    return _quantities(cells, units, _TIME_UNITS)


def _quantities(
    cells: Iterable[str], units: Iterable[str], known: Mapping[str, tuple[str, float]]
) -> Quantities:
    pairs = pd.Series(list(zip(cells, units, strict=True)), dtype=object)
    parsed = {pair: _quantity(*pair, known) for pair in pairs.unique()}
    kinds = np.empty(len(pairs), object)
    numbers = np.empty(len(pairs))
    for i, pair in enumerate(pairs):
        kinds[i], numbers[i] = parsed[pair]
    return Quantities(kinds, numbers)


def _quantity(cell: str, unit: str, known: Mapping[str, tuple[str, float]]) -> tuple[str, float]:
    """Kind and number of one cell; its own unit goes before that of the column."""
    match = _QUANTITY.fullmatch(cell)
    if match is None:
        return "", np.nan
    spelled = (match[2] or unit).casefold().replace("µ", "u").replace("μ", "u")
    spelled = "".join(spelled.split())
    kind, factor = known.get(spelled, (spelled, 1.0))
    return kind, float(match[1]) * factor


def same_number_labels(numbers: Float[np.ndarray, " n"]) -> np.ndarray:
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
