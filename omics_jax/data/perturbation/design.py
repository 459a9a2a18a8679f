"""The design of an experiment: which profiles are compared, under which conditions.

Pairs come from a table that names them, or from conditions that agree. Both ways keep only the
wanted drugs and doses and say in notes what they left out. Values are not looked at here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from omics_jax.data.formats.checks import required_column
from omics_jax.data.formats.files import nearest
from omics_jax.data.formats.messages import count_phrase
from omics_jax.data.formats.read import read_table
from omics_jax.data.perturbation import pairing
from omics_jax.data.perturbation.conditions import Conditions, numeric_doses
from omics_jax.errors import UserError


@dataclass(frozen=True)
class Design:
    """The pairs among the rows of a matrix.

    Attributes:
      pairs: treated row and control rows of each.
      conditions: of the pairs, in their order.
      unpaired: rows of controls in no pair.
      notes: sentences on what was found and left out.
    """

    pairs: list[pairing.Pair]
    conditions: Conditions
    unpaired: list[int]
    notes: list[str]

    def used_rows(self) -> list[int]:
        """The rows of treated and control profiles in the pairs, each once."""
        treated = {row for row, _ in self.pairs}
        return sorted(treated | _rows_of_controls(self.pairs))


def _rows_of_controls(pairs: Sequence[pairing.Pair]) -> set[int]:
    return {control for _, controls in pairs for control in controls}


# --- which rows -----------------------------------------------------------------------------------


def select_treated(
    conditions: Conditions, rows: list[int], settings
) -> tuple[list[int], list[str]]:
    """Of these treated rows those of the wanted drugs and doses, and notes.

    Raises:
      UserError: a drug that no treated profile has, or a dose that is not a number.
    """
    if settings.drugs:
        rows = _of_selected_drugs(conditions, rows, settings.drugs)
    if settings.dose != "highest":
        return rows, []
    drugs = conditions.column("drug", 'dose="highest"')
    drug_of_row = [drugs[row] for row in rows]
    is_highest = pairing.highest_doses(drug_of_row, numeric_doses(conditions, rows))
    note = (
        f"{int(is_highest.sum())} of {len(rows)} treated profiles are at the highest dose of "
        "their drug."
    )
    return [row for row, keep in zip(rows, is_highest, strict=True) if keep], [note]


def _of_selected_drugs(
    conditions: Conditions, rows: list[int], selected: Sequence[str]
) -> list[int]:
    drugs = conditions.column("drug", "drugs")
    treated_drugs = dict.fromkeys(drugs[row] for row in rows)
    for drug in selected:
        if drug not in treated_drugs:
            near = nearest(drug, treated_drugs)
            some = ", ".join(sorted(treated_drugs)[:6])
            mend = f"did you mean {near!r}?" if near else f"treated are {some}"
            raise UserError(f"{conditions.source} has no treated profile of drug {drug!r}; {mend}")
    return [row for row in rows if drugs[row] in set(selected)]


# --- pairs by conditions --------------------------------------------------------------------------


def pair_by_conditions(settings, ids: list[str], conditions: Conditions) -> Design:
    """Every treated profile with the controls that agree with it in all columns of `pair_by`.

    Args:
      settings: see `read_perturbations`.
      ids: of the n profiles.
      conditions: of the n profiles.

    Raises:
      UserError: no controls, no treated profiles, or no pair at all.
    """
    roles = conditions.column("role", "pairing")
    controls, treated = _split_by_role(conditions, roles, settings.control_values)
    notes = [
        *_unclear_roles_note(conditions, ids, {*controls, *treated}),
        _roles_note(roles, controls, treated),
    ]
    treated, selection_notes = select_treated(conditions, treated, settings)
    keys = _pair_keys(conditions, settings.pair_by)
    matches = pairing.matching_controls(keys, treated, controls)
    pairs = pairing.assign_controls(matches, ids, settings.control_profile)
    if not pairs:
        some_treated, some_control = treated[0], controls[0]
        raise UserError(
            f"{conditions.source}: no treated profile has a control that agrees in "
            f"{tuple(settings.pair_by)!r}; treated {ids[some_treated]!r} has "
            f"{keys[some_treated]}, control {ids[some_control]!r} has {keys[some_control]}: pair "
            "by fewer columns"
        )
    alone = [ids[row] for row, matching in matches.items() if not matching]
    if alone:
        notes.append(
            f"{count_phrase(len(alone), 'treated profile', alone)} without a control that "
            f"agrees in {', '.join(settings.pair_by)}, and left out."
        )
    in_pairs = _rows_of_controls(pairs)
    return Design(
        pairs=pairs,
        conditions=conditions.take([row for row, _ in pairs]),
        unpaired=[row for row in controls if row not in in_pairs],
        notes=notes + selection_notes,
    )


def _split_by_role(
    conditions: Conditions, roles: np.ndarray, control_values: Sequence[str]
) -> tuple[list[int], list[int]]:
    """Rows of controls and of treated profiles; a profile without a place or a role is neither."""
    control_roles = _folded(control_values)
    controls, treated = [], []
    for row, place in enumerate(conditions.places):
        if place and roles[row].casefold() in control_roles:
            controls.append(row)
        elif place and roles[row]:
            treated.append(row)
    if controls and treated:
        return controls, treated
    counts = Counter(roles[row] for row in controls + treated)
    shown = ", ".join(f"{role!r} ({count})" for role, count in counts.most_common(8))
    raise UserError(
        f"{conditions.source}: column {conditions.columns['role']!r} gives {len(controls)} "
        f"controls and {len(treated)} treated profiles; its values are {shown or 'all empty'}: "
        f"set control_values (now {tuple(control_values)!r}) to those that mean control"
    )


def _folded(values: Sequence[str]) -> set[str]:
    """The values without upper case, as roles are compared."""
    return {str(value).casefold() for value in values}


def _unclear_roles_note(
    conditions: Conditions, ids: Sequence[str], known_rows: set[int]
) -> list[str]:
    unclear = [name for row, name in enumerate(ids) if row not in known_rows]
    if not unclear:
        return []
    some = count_phrase(len(unclear), "profile", unclear)
    source = Path(conditions.source).name
    return [f"{some} without a row or a role in {source} and left out."]


def _roles_note(roles: np.ndarray, controls: list[int], treated: list[int]) -> str:
    counts = Counter(roles[row] for row in treated)
    shown = ", ".join(f"{count} {role}" for role, count in counts.items())
    return f"{len(controls)} controls; treated are {shown}."


def _pair_keys(conditions: Conditions, pair_by: Sequence[str]) -> list[tuple[str, ...]]:
    """(n,) what must agree between a treated profile and its controls."""
    setting = f"pair_by={tuple(pair_by)!r}"
    columns = [conditions.column(name, setting) for name in pair_by]
    rows = range(len(conditions.table))
    return [tuple(str(column[row]) for column in columns) for row in rows]


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
    table = read_table(settings.pairs)
    control_rows = _rows_in_matrix(settings, table, "control", ids)
    treated_rows = _rows_in_matrix(settings, table, "treated", ids)
    pairs = [(t, (c,)) for c, t in zip(control_rows, treated_rows, strict=True)]
    _check_pairs_differ(settings.pairs, table, pairs)
    pair_conditions = _conditions_of_pairs(settings, table, conditions.take(treated_rows))
    selected, selection_notes = select_treated(pair_conditions, list(range(len(pairs))), settings)
    selected_pairs = [pairs[k] for k in selected]
    in_pairs = _rows_of_controls(selected_pairs)
    controls = {*control_rows, *_controls_by_role(settings, conditions)}
    note = (
        f"{Path(settings.pairs).name} names {len(pairs)} pairs, of which {len(selected)} are used."
    )
    return Design(
        pairs=selected_pairs,
        conditions=pair_conditions.take(selected),
        unpaired=sorted(controls - in_pairs),
        notes=[note, *selection_notes],
    )


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
    return Conditions(
        source=f"{settings.pairs} with {treated.source}",
        table=pd.concat([pair_table, treated_table[extra]], axis=1),
        places=list(table.index),
        columns=treated.columns,
    )


def _controls_by_role(settings, conditions: Conditions) -> list[int]:
    """Rows of controls by role; none where the settings name no column of roles."""
    control_roles = _folded(settings.control_values)
    roles = conditions.column_or_blank("role")
    return [row for row, role in enumerate(roles) if role and role.casefold() in control_roles]
