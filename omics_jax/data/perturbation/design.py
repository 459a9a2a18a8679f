"""The design of an experiment: which profiles are compared, under which conditions.

Pairs come from a table that names them, or from conditions that agree. Both ways keep only the
wanted drugs and doses and say in notes what they left out. Values are not looked at here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from omics_jax.data.formats.checks import required_column
from omics_jax.data.formats.files import nearest
from omics_jax.data.formats.messages import count_phrase
from omics_jax.data.formats.read import read_accounted_table
from omics_jax.data.identity import label_form
from omics_jax.data.perturbation import pairing
from omics_jax.data.perturbation.conditions import Conditions, in_one_spelling
from omics_jax.data.perturbation.selection import (
    BELOW_HIGHEST,
    Selection,
    at_highest_dose,
    lowered_doses,
    of_wanted_drugs,
)
from omics_jax.data.perturbation.settings import control_plates
from omics_jax.errors import UserError

# What kinds of controls are called, of which the settings may name only some (pert_type of LINCS).
_CONTROL_LIKE = re.compile(r"(.*[^a-z])?(ctl|ctrl|controls?)([^a-z].*)?", re.IGNORECASE)


@dataclass(frozen=True)
class Design:
    """The pairs among the rows of a matrix.

    Attributes:
      pairs: treated row and control rows of each.
      conditions: of the pairs, in their order.
      unpaired: rows of controls in no pair.
      left_out: reason -> the other rows that are not used.
      notes: sentences on what was chosen, averaged and left out.
      warnings: sentences on pairs that should be looked at.
    """

    pairs: list[pairing.Pair]
    conditions: Conditions
    unpaired: list[int]
    left_out: Mapping[str, Sequence[int]] = field(default_factory=dict)
    notes: Sequence[str] = ()
    warnings: Sequence[str] = ()

    def used_rows(self) -> list[int]:
        """The rows of treated and control profiles in the pairs, each once."""
        return sorted({*self.treated_rows(), *self.control_rows()})

    def treated_rows(self) -> list[int]:
        """The rows of treated profiles, each once."""
        return sorted({row for row, _ in self.pairs})

    def control_rows(self) -> list[int]:
        """The rows of control profiles in the pairs, each once."""
        return sorted(_rows_of_controls(self.pairs))


def _rows_of_controls(pairs: Sequence[pairing.Pair]) -> set[int]:
    return {control for _, controls in pairs for control in controls}


# --- pairs by conditions --------------------------------------------------------------------------


def pair_by_conditions(settings, ids: list[str], conditions: Conditions) -> Design:
    """Every treated profile with the controls that agree with it in all columns of `pair_by`.

    The highest dose of a drug is chosen among the profiles that have a control.

    Args:
      settings: see `read_perturbations`.
      ids: of the n profiles.
      conditions: of the n profiles.

    Raises:
      UserError: no controls, no treated profiles, or no pair at all.
    """
    roles = conditions.column("role", "pairing")
    controls, selection = _split_by_role(conditions, roles, settings.control_values)
    notes = [
        *left_out_notes(ids, selection.left_out, "profile"),
        _roles_note(roles, controls, selection.rows),
    ]
    no_role, selection = selection.left_out, Selection(selection.rows)
    selection = of_wanted_drugs(conditions, selection, settings.drugs)
    wanted = selection.rows
    selection, matches = _with_controls(settings, ids, conditions, selection, controls)
    dose_notes = []
    if settings.dose == "highest":
        dose_notes = lowered_doses(conditions, wanted, selection.rows)
        selection = at_highest_dose(conditions, selection)
    chosen = {row: matches[row] for row in selection.rows}
    pairs = pairing.assign_controls(chosen, ids, settings.control_profile)
    in_pairs = _rows_of_controls(pairs)
    return Design(
        pairs=pairs,
        conditions=conditions.take([row for row, _ in pairs]),
        unpaired=[row for row in controls if row not in in_pairs],
        left_out={**no_role, **selection.left_out},
        notes=[
            *notes,
            *left_out_notes(ids, selection.left_out, "treated profile"),
            *selection.notes,
            *dose_notes,
            *_averaging_note(pairs),
        ],
        warnings=_plates_warning(conditions, pairs),
    )


def _split_by_role(
    conditions: Conditions, roles: np.ndarray, control_values: Sequence[str]
) -> tuple[list[int], Selection]:
    """Rows of controls, and the selection of the treated among all others.

    A profile without a place or a role is neither, nor is one whose role is called like that of a
    control which `control_values` does not name.
    """
    control_roles = _folded(control_values)
    unclear = f"without a row or a role in {Path(conditions.source).name}"
    controls, treated, left_out = [], [], {}
    for row, place in enumerate(conditions.places):
        role = roles[row]
        if not place or not role:
            left_out.setdefault(unclear, []).append(row)
        elif label_form(role) in control_roles:
            controls.append(row)
        elif _CONTROL_LIKE.fullmatch(role):
            other = f"controls of a kind ({role}) that --config.data.control_values does not name"
            left_out.setdefault(other, []).append(row)
        else:
            treated.append(row)
    if not controls or not treated:
        counts = Counter(role for role in roles if role)
        shown = ", ".join(f"{role!r} ({count})" for role, count in counts.most_common(8))
        raise UserError(
            f"{conditions.source}: column {conditions.columns['role']!r} gives {len(controls)} "
            f"controls and {len(treated)} treated profiles; its values are {shown or 'all empty'}: "
            "set control_values to those that mean control "
            f"(--config.data.control_values={','.join(map(str, control_values))})"
        )
    return controls, Selection(treated, left_out)


def _folded(values: Sequence[str]) -> set[str]:
    """The forms by which roles are compared."""
    return {label_form(str(value)) for value in values}


def _roles_note(roles: np.ndarray, controls: list[int], treated: list[int]) -> str:
    counts = Counter(roles[row] for row in treated)
    shown = ", ".join(f"{count} {role}" for role, count in counts.items())
    return f"{len(controls)} controls; treated are {shown}."


def _pair_keys(conditions: Conditions, pair_by: Sequence[str]) -> list[tuple[str, ...]]:
    """(n,) what must agree between a treated profile and its controls."""
    setting = f"--config.data.pair_by={','.join(pair_by)}"
    columns = [conditions.column(name, setting) for name in pair_by]
    rows = range(len(conditions.table))
    return [tuple(str(column[row]) for column in columns) for row in rows]


def _plates(conditions: Conditions) -> np.ndarray | None:
    """(n,) the batch of each profile, "" where unknown; None where none is known."""
    plates = conditions.column_or_blank("batch")
    return plates if (plates != "").any() else None


def _with_controls(
    settings,
    ids: Sequence[str],
    conditions: Conditions,
    selection: Selection,
    controls: Sequence[int],
) -> tuple[Selection, pairing.Matches]:
    """The treated profiles that have a control, and the controls of each.

    Raises:
      UserError: none has one.
    """
    keys = _pair_keys(conditions, settings.pair_by)
    agreeing = pairing.matching_controls(keys, selection.rows, controls)
    plates = _plates(conditions) if control_plates(settings) == "own" else None
    matches = agreeing if plates is None else pairing.on_own_plate(agreeing, plates)
    if not any(matches.values()):
        _refuse_unpaired(settings, ids, conditions, keys, agreeing, controls)
    columns = ", ".join(settings.pair_by)
    known = [row for row in selection.rows if "" not in keys[row]]
    selection = selection.keep(known, f"of unknown {columns}")
    agree = [row for row in selection.rows if agreeing[row]]
    selection = selection.keep(agree, f"without a control that agrees in {columns}")
    paired = [row for row in selection.rows if matches[row]]
    without = "without a control on their own plate (--config.data.control_plates=own)"
    return selection.keep(paired, without), matches


def _refuse_unpaired(
    settings,
    ids: Sequence[str],
    conditions: Conditions,
    keys: Sequence[tuple[str, ...]],
    agreeing: pairing.Matches,
    controls: Sequence[int],
) -> None:
    """Says why no treated profile has a control."""
    elsewhere = [row for row, matching in agreeing.items() if matching]
    if elsewhere:
        raise UserError(
            f"{conditions.source}: no treated profile has a control on its own plate (column "
            f"{conditions.columns['batch']!r}), and {len(elsewhere)} have one on another: to "
            "compare across plates set --config.data.control_plates=any"
        )
    treated = next(iter(agreeing))
    raise UserError(
        f"{conditions.source}: no treated profile has a control that agrees in "
        f"{tuple(settings.pair_by)!r}; treated {ids[treated]!r} has {keys[treated]}, control "
        f"{ids[controls[0]]!r} has {keys[controls[0]]}: pair by fewer columns "
        "(--config.data.pair_by)"
    )


def left_out_notes(
    ids: Sequence[str], left_out: Mapping[str, Sequence[int]], noun: str
) -> list[str]:
    """A sentence for every kind of rows that are left out."""
    notes = []
    for others_are, rows in left_out.items():
        if others_are != BELOW_HIGHEST:
            names = [ids[row] for row in rows]
            notes.append(f"{count_phrase(len(rows), noun, names)} {others_are}, and left out.")
    return notes


def _averaging_note(pairs: Sequence[pairing.Pair]) -> list[str]:
    """How many controls are averaged in a pair."""
    counts = [len(controls) for _, controls in pairs if len(controls) > 1]
    if not counts:
        return []
    low, high = min(counts), max(counts)
    number = f"{low}" if low == high else f"{low} to {high}"
    return [f"The control profile of {len(counts)} pairs is the mean of {number} controls."]


def _plates_warning(conditions: Conditions, pairs: Sequence[pairing.Pair]) -> list[str]:
    """A sentence if treated profiles and their controls are of different plates."""
    plates = _plates(conditions)
    if plates is None:
        return []
    across = [row for row, controls in pairs if (plates[list(controls)] != plates[row]).any()]
    if not across:
        return []
    source, column = Path(conditions.source).name, conditions.columns["batch"]
    return [
        f"{source}: {len(across)} of {len(pairs)} pairs have controls of other plates (column "
        f"{column!r}), so that the difference between plates is part of their change."
    ]


# --- pairs by a table -----------------------------------------------------------------------------


def pair_by_table(settings, ids: list[str], conditions: Conditions) -> Design:
    """The pairs that the table `settings.pairs` names, each of one control and one treated sample.

    Args:
      settings: see `read_perturbations`.
      ids: of the n profiles.
      conditions: of the n profiles.

    Raises:
      UserError: a sample that the matrix does not hold, or a pair twice.
    """
    table, skipped = read_accounted_table(settings.pairs)
    control_rows = _rows_in_matrix(settings, table, "control", ids)
    treated_rows = _rows_in_matrix(settings, table, "treated", ids)
    pairs = [(t, (c,)) for c, t in zip(control_rows, treated_rows, strict=True)]
    _check_pairs_differ(settings.pairs, table, pairs)
    pair_conditions = _conditions_of_pairs(settings, table, conditions.take(treated_rows))
    selection = select_pairs(settings, pair_conditions)
    selected_pairs = [pairs[k] for k in selection.rows]
    in_pairs = _rows_of_controls(selected_pairs)
    controls = {*control_rows, *_controls_by_role(settings, conditions)}
    treated = {row for row, _ in selected_pairs}
    left_out = {
        others_are: sorted({treated_rows[k] for k in left} - treated)
        for others_are, left in selection.left_out.items()
    }
    note = (
        f"{Path(settings.pairs).name} names {len(pairs)} pairs, of which {len(selection.rows)} are "
        "used."
    )
    pair_ids = [f"{ids[control]}|{ids[row]}" for row, (control,) in pairs]
    return Design(
        pairs=selected_pairs,
        conditions=pair_conditions.take(selection.rows),
        unpaired=sorted(controls - in_pairs),
        left_out=left_out,
        notes=[
            *(f"{use}." for use in skipped),
            note,
            *left_out_notes(pair_ids, selection.left_out, "pair"),
            *selection.notes,
        ],
        warnings=_plates_warning(conditions, selected_pairs),
    )


def select_pairs(settings, conditions: Conditions) -> Selection:
    """Of pairs that are given as such those of the wanted drugs and doses."""
    selection = Selection(list(range(len(conditions.places))))
    selection = of_wanted_drugs(conditions, selection, settings.drugs)
    return at_highest_dose(conditions, selection) if settings.dose == "highest" else selection


def _rows_in_matrix(settings, table: pd.DataFrame, side: str, ids: Sequence[str]) -> list[int]:
    """The rows of the matrix that the column `side` of the table of pairs names."""
    row_of_id = {str(name): row for row, name in enumerate(ids)}
    samples = required_column(settings.pairs, table, {}, side, "every table of pairs")
    for place, sample in zip(table.index, samples, strict=True):
        if sample not in row_of_id:
            near = nearest(sample, row_of_id)
            mend = f"did you mean {near!r}?" if near else f"its samples are like {ids[0]!r}"
            raise UserError(
                f"{settings.pairs}: {place}: {side} {sample!r} is not in {settings.path}; {mend}"
            )
    return [row_of_id[sample] for sample in samples]


def _check_pairs_differ(path: str, table: pd.DataFrame, pairs: Sequence[pairing.Pair]):
    first_place: dict = {}
    for place, pair in zip(table.index, pairs, strict=True):
        if pair in first_place:
            raise UserError(
                f"{path}: {place} repeats the pair of {first_place[pair]}; remove one of them"
            )
        first_place[pair] = place


def _conditions_of_pairs(settings, table: pd.DataFrame, treated: Conditions) -> Conditions:
    """The columns of the table of pairs, and of the treated samples those that it lacks."""
    pair_table = table.reset_index(drop=True)
    treated_table = treated.table.reset_index(drop=True)
    extra = [name for name in treated_table.columns if name not in pair_table]
    conditions = Conditions(
        source=f"{settings.pairs} with {treated.source}",
        table=pd.concat([pair_table, treated_table[extra]], axis=1),
        places=list(table.index),
        columns=treated.columns,
    )
    return in_one_spelling(conditions, settings)


def _controls_by_role(settings, conditions: Conditions) -> list[int]:
    """Rows of controls by role; none where the settings name no column of roles."""
    control_roles = _folded(settings.control_values)
    roles = conditions.column_or_blank("role")
    return [row for row, role in enumerate(roles) if role and label_form(role) in control_roles]
