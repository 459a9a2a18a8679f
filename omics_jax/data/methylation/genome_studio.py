"""Several columns per person, as GenomeStudio exports and GEO's processed files have them.

    cg00000029   P1.AVG_Beta   P1.Detection Pval   P1.Signal_A   P1.Signal_B

The beta value of a person is kept under the person's name; where its detection p-value is above the
limit it is missing; intensities are left out.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
from jaxtyping import Shaped

from omics_jax.data.dataset import mapped
from omics_jax.data.formats.matrix import Matrix
from omics_jax.data.formats.messages import count_phrase
from omics_jax.data.patients.remarks import Remarks, note, warning
from omics_jax.errors import UserError

_SEPARATOR = r"[\s._:-]*"
_KINDS = {
    "beta": r"(avg_?beta|beta(_?values?)?)",
    "p": r"detection[\s._-]*p[\s._-]*(val(ue)?s?)?",
    "intensity": r"(signal_?[ab]|(un)?methylated[\s._-]*(signal|intensity)|intensity)",
}
_PATTERNS = {
    kind: re.compile(f"(?P<person>.+?){_SEPARATOR}{words}$", re.IGNORECASE)
    for kind, words in _KINDS.items()
}


def kind_and_person(column: str) -> tuple[str, str]:
    """What a column holds ("beta", "p", "intensity") and of whom; "" for a bare person."""
    for kind, pattern in _PATTERNS.items():
        if match := pattern.match(column.strip()):
            return kind, match["person"]
    return "", column


def one_column_per_person(study: str, matrix: Matrix, limit: float) -> tuple[Matrix, Remarks]:
    """The study without the columns beside beta values, and remarks.

    matrix: whose ids are the names of columns. limit: of detection p-values.

    Raises:
      UserError: no column of values, two of one person, or p-values that are none.
    """
    parts = [kind_and_person(str(name)) for name in matrix.ids.tolist()]
    kinds = np.array([kind for kind, _ in parts])
    if not np.isin(kinds, ["p", "intensity"]).any() and not (kinds == "beta").all():
        return matrix, Remarks()
    persons = np.array([person for _, person in parts])
    rows = _value_rows(study, kinds, persons)
    remarks = note(
        f"{study}: {len(rows):,} people (such as {str(persons[rows][0])!r}) have several columns "
        f"each: {int((kinds == 'p').sum()):,} of detection p-values, "
        f"{int((kinds == 'intensity').sum()):,} of intensities (left out)."
    )
    own = matrix.take(rows, slice(None))
    own = replace(own, ids=persons[rows], table=own.table.set_axis(persons[rows], axis=0))
    p_row_of = {persons[row]: row for row in np.flatnonzero(kinds == "p").tolist()}
    p_rows = np.array([p_row_of.get(person, -1) for person in own.ids.tolist()])
    if (p_rows < 0).all():
        return own, remarks
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
    study: str, kinds: Shaped[np.ndarray, " c"], persons: Shaped[np.ndarray, " c"]
) -> np.ndarray:
    """The columns with values: those named beta, or else the bare ones."""
    rows = np.flatnonzero(kinds == "beta")
    rows = rows if len(rows) else np.flatnonzero(kinds == "")
    if not len(rows):
        raise UserError(
            f"{study}: its columns hold detection p-values and intensities (such as "
            f"{str(persons[0])!r}), and no beta values; name a file that has them"
        )
    names, counts = np.unique(persons[rows], return_counts=True)
    if (counts > 1).any():
        raise UserError(
            f"{study}: {str(names[counts > 1][0])!r} has {counts.max()} columns of beta values; "
            "leave one of them"
        )
    return rows


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
