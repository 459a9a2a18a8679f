"""Several columns per person, as GenomeStudio exports and GEO's processed files have them.

    cg00000029   P1.AVG_Beta   P1.Detection Pval   P1.Signal_A   P1.Signal_B

The beta value of a person is kept under the person's name; where its detection p-value is above the
limit it is missing; intensities are left out.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
from jaxtyping import Int, Shaped

from omics_jax.data.dataset import mapped
from omics_jax.data.formats.matrix import Matrix
from omics_jax.data.formats.messages import count_phrase
from omics_jax.data.patients.remarks import Remarks, note, warning
from omics_jax.errors import UserError

_SEPARATOR = r"[\s._:-]+"
_KINDS = {
    "beta": r"(avg_?beta|beta(_?values?)?)",
    "p": r"(detection|(detection[\s._-]*)?p[\s._-]*val(ue)?s?)",
    "intensity": r"(signal[\s_]?[ab]|(un)?methylated([\s._-]*(signal|intensity))?|intensity)",
}
_PATTERNS = {
    kind: re.compile(f"(?P<person>.+?){_SEPARATOR}{words}", re.IGNORECASE)
    for kind, words in _KINDS.items()
}


def kind_and_person(column: str) -> tuple[str, str]:
    """What a column holds ("beta", "p", "intensity") and of whom; "" for a bare person."""
    for kind, pattern in _PATTERNS.items():
        if match := pattern.fullmatch(column.strip()):
            return kind, match["person"]
    return "", column


def one_column_per_person(study: str, matrix: Matrix, limit: float) -> tuple[Matrix, Remarks]:
    """The study without the columns beside beta values, and remarks.

    matrix: whose ids are the names of columns. limit: of detection p-values.

    Raises:
      UserError: no column of values, two of one person, or p-values that are none.
    """
    names = matrix.ids.tolist()
    parts = [kind_and_person(str(name)) for name in names]
    kinds = np.array([kind for kind, _ in parts])
    if not (kinds != "").any():
        return matrix, Remarks()
    persons = np.array([person for _, person in parts])
    rows = _value_rows(study, matrix, kinds, persons)
    counts = {kind: int((kinds == kind).sum()) for kind in ("p", "intensity")}
    example = str(names[rows[0]])
    remarks = note(
        f"{study}: columns of values {len(rows):,} (such as {example!r}), of detection p-values "
        f"{counts['p']:,}, of intensities, which are left out, {counts['intensity']:,}."
    )
    own = matrix.take(rows, slice(None))
    own = replace(own, ids=persons[rows], table=own.table.set_axis(persons[rows], axis=0))
    if not counts["p"]:
        return own, remarks
    p_rows = _p_rows(study, own, persons, np.flatnonzero(kinds == "p"))
    if n_without := int((p_rows < 0).sum()):
        some = count_phrase(n_without, "person", own.ids[p_rows < 0][:5].tolist())
        remarks += warning(f"{study}: {some} without detection p-values; all values are kept.")
    mask, n_above = _detected(study, matrix, own, p_rows, limit)
    remarks += note(
        f"{study}: {n_above:,} of {int(own.mask.sum()):,} values have a detection p-value above "
        f"{limit:g} and are taken for missing (data.detection_limit)."
    )
    return replace(own, values=mapped.zero_missing(own.values, mask), mask=mask), remarks


def _value_rows(
    study: str,
    matrix: Matrix,
    kinds: Shaped[np.ndarray, " c"],
    persons: Shaped[np.ndarray, " c"],
) -> Int[np.ndarray, " n"]:
    """The columns with values: those named beta, or else the bare ones."""
    named, bare = np.flatnonzero(kinds == "beta"), np.flatnonzero(kinds == "")
    if len(named) and len(bare):
        raise UserError(
            f"{study}: {str(matrix.ids[named[0]])!r} is named as beta values and "
            f"{str(matrix.ids[bare[0]])!r} is not; name all columns of values alike"
        )
    rows = named if len(named) else bare
    if not len(rows):
        raise UserError(
            f"{study}: its columns hold detection p-values and intensities (such as "
            f"{str(matrix.ids[0])!r}), and no beta values; name a file that has them"
        )
    if twice := _first_repeated(persons[rows]):
        raise UserError(f"{study}: {twice!r} has several columns of beta values; leave one of them")
    return rows


def _p_rows(
    study: str,
    own: Matrix,
    persons: Shaped[np.ndarray, " c"],
    rows: Int[np.ndarray, " p"],
) -> Int[np.ndarray, " n"]:
    """The column of p-values of every person, -1 where there is none."""
    if twice := _first_repeated(persons[rows]):
        raise UserError(
            f"{study}: {twice!r} has several columns of detection p-values; leave one of them"
        )
    row_of = dict(zip(persons[rows].tolist(), rows.tolist(), strict=True))
    found = np.array([row_of.get(person, -1) for person in own.ids.tolist()])
    if (found < 0).all():
        raise UserError(
            f"{study}: its detection p-values are of {str(persons[rows[0]])!r} and others, and its "
            f"values of {str(own.ids[0])!r} and others; use the same names for both"
        )
    return found


def _first_repeated(names: Shaped[np.ndarray, " n"]) -> str:
    """The first name that occurs twice, "" for none."""
    unique, counts = np.unique(names, return_counts=True)
    return str(unique[counts > 1][0]) if (counts > 1).any() else ""


def _detected(
    study: str, matrix: Matrix, own: Matrix, p_rows: np.ndarray, limit: float
) -> tuple[np.ndarray, int]:
    """Which values of `own` are observed and have no p-value above the limit; how many have one."""
    mask = mapped.empty_or_mapped(own.mask.shape, bool)
    n_above = 0
    for block in mapped.row_blocks(own.values):
        rows = p_rows[block]
        p = matrix.values[rows]
        is_known = matrix.mask[rows] & (rows >= 0)[:, None]
        if is_known.any() and not 0 <= p[is_known].min() <= p[is_known].max() <= 1:
            raise UserError(
                f"{study}: its detection p-values are {p[is_known].min():.3g} to "
                f"{p[is_known].max():.3g}, and p-values are between 0 and 1; correct the file"
            )
        is_above = is_known & (p > limit) & own.mask[block]
        mask[block] = own.mask[block] & ~is_above
        n_above += int(is_above.sum())
    return mask, n_above
