"""Which treated profiles are used: those of the wanted drugs, at the wanted doses.

What is left out is kept with its reason, for the notes and the account of the files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Shaped

from omics_jax.data.formats.files import nearest
from omics_jax.data.formats.messages import count_phrase
from omics_jax.data.identity import NUMBER_TOLERANCE, Quantities, drug_forms
from omics_jax.data.perturbation.conditions import Conditions
from omics_jax.errors import UserError

HIGHEST = "--config.data.dose=highest"
# The rule that its own note counts.
BELOW_HIGHEST = "below the highest dose of their drug"


@dataclass(frozen=True)
class Selection:
    """Rows of treated profiles that are used, and rows that are not.

    Attributes:
      rows: in their order.
      left_out: what the other rows are, such as "without a drug" -> rows.
      notes: sentences on rules that chose.
    """

    rows: list[int]
    left_out: dict[str, list[int]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def keep(self, rows: list[int], others_are: str, notes: Sequence[str] = ()) -> Selection:
        """The selection on these of its rows; `others_are` says why the others are left out."""
        kept = set(rows)
        others = [row for row in self.rows if row not in kept]
        left_out = {**self.left_out, **({others_are: others} if others else {})}
        return Selection(rows, left_out, (*self.notes, *notes))


def of_wanted_drugs(
    conditions: Conditions, selection: Selection, wanted: Sequence[str]
) -> Selection:
    """Those whose drug is known and among the wanted ones, () for all.

    Raises:
      UserError: no drug is known, or no treated profile is of a wanted one.
    """
    column = conditions.columns["drug"]
    if not column and not wanted:
        return selection
    drugs = conditions.column(
        "drug", "--config.data.drugs" if wanted else "--config.data.columns.drug"
    )
    named = [row for row in selection.rows if drugs[row]]
    if selection.rows and not named:
        raise UserError(
            f"{conditions.source}: column {column!r} names no drug of the "
            f"{len(selection.rows)} treated profiles; fill it in, or name the column of the drugs "
            "with --config.data.columns.drug"
        )
    selection = selection.keep(named, f"without a drug in column {column!r}")
    if not wanted:
        return selection
    forms = drug_forms([*drugs, *map(str, wanted)])
    form_of_row, wanted_forms = forms[: len(drugs)], forms[len(drugs) :]
    treated_forms = {form_of_row[row] for row in selection.rows}
    for name, form in zip(wanted, wanted_forms, strict=True):
        if form not in treated_forms:
            names = dict.fromkeys(drugs[row] for row in selection.rows)
            near = nearest(name, names)
            some = ", ".join(sorted(names)[:6])
            mend = f"did you mean {near!r}?" if near else f"treated are {some}"
            raise UserError(f"{conditions.source} has no treated profile of drug {name!r}; {mend}")
    kept = [row for row in selection.rows if form_of_row[row] in set(wanted_forms)]
    return selection.keep(kept, "not of --config.data.drugs")


def at_highest_dose(conditions: Conditions, selection: Selection) -> Selection:
    """Those at the highest dose of their drug (PertVAE, data: highest concentration only).

    A drug without any known dose is kept; of others, profiles of unknown dose are left out.

    Raises:
      UserError: a dose that is not a number, or doses of one drug that cannot be compared.
    """
    rows = selection.rows
    drugs = conditions.column("drug", HIGHEST)[rows].astype(str)
    cells = conditions.column("dose", HIGHEST)[rows]
    everywhere = conditions.doses()
    doses = Quantities(everywhere.kind[rows], everywhere.number[rows])
    for k in np.flatnonzero((cells != "") & np.isnan(doses.number)):
        raise UserError(
            f"{conditions.source}: {conditions.places[rows[k]]}: dose {cells[k]!r} in column "
            f"{conditions.columns['dose']!r} is not a number; write numbers, or set "
            "--config.data.dose=all"
        )
    _check_units(conditions, drugs, cells, doses)
    is_highest, is_unknown = highest_doses(drugs, doses.number)
    known = [row for row, unknown in zip(rows, is_unknown, strict=True) if not unknown]
    kept = [row for row, keep in zip(rows, is_highest, strict=True) if keep]
    selection = selection.keep(known, "without a dose, which others of their drug have")
    note = f"{len(kept)} of {len(rows)} treated profiles are at the highest dose of their drug."
    return selection.keep(kept, BELOW_HIGHEST, [note])


def lowered_doses(
    conditions: Conditions, treated: Sequence[int], paired: Sequence[int]
) -> list[str]:
    """A note on the drugs whose highest dose has no control, so that a lower one stands for it."""
    drugs, doses = conditions.column("drug", HIGHEST), conditions.doses()

    def highest(rows: Sequence[int]) -> pd.Series:
        keys = [drugs[list(rows)], doses.kind[list(rows)]]
        return pd.Series(doses.number[list(rows)]).groupby(keys).max()

    used, all_doses = highest(paired), highest(treated)
    lower = used < (1 - NUMBER_TOLERANCE) * all_doses.reindex(used.index)
    names = [drug for drug, _ in used.index[lower]]
    if not names:
        return []
    some = count_phrase(len(names), "drug", names)
    return [f"{some} taken at a lower dose than the highest, which has no control."]


def _check_units(
    conditions: Conditions, drugs: np.ndarray, cells: np.ndarray, doses: Quantities
) -> None:
    """Refuses doses of one drug of which none is known to be the higher."""
    first: dict[str, int] = {}
    for k in np.flatnonzero(~np.isnan(doses.number)):
        other = first.setdefault(drugs[k], k)
        if doses.kind[k] != doses.kind[other]:
            raise UserError(
                f"{conditions.source}: doses of drug {str(drugs[k])!r} cannot be compared: "
                f"{_in_words(cells[other], doses.kind[other])} and "
                f"{_in_words(cells[k], doses.kind[k])}; write one unit, or set "
                "--config.data.dose=all"
            )


def _in_words(cell: str, kind: str) -> str:
    return f"{cell!r} ({kind or 'without a unit'})"


def highest_doses(
    drugs: Shaped[np.ndarray, " n"], doses: Float[np.ndarray, " n"]
) -> tuple[Bool[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Rows at the highest dose of their own drug; and rows of unknown dose whose drug has others.

    Of a drug without any known dose all rows are at the highest.
    """
    highest = pd.Series(doses).groupby(drugs).transform("max").to_numpy()
    has_dose = ~np.isnan(highest)
    is_highest = ~has_dose | (doses >= (1 - NUMBER_TOLERANCE) * highest)
    return is_highest, has_dose & np.isnan(doses)
