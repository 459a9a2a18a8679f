"""Yes-or-no outcomes of patients: a table with a row per record, joined to a dataset by its ids.

Such as `Outcomes-a.txt` of the PhysioNet/CinC Challenge 2012. Left out are outcomes with more than
two values and times to an event.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32, Float64, Int, Shaped

from omics_jax.data.dataset.account import Use
from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.formats.checks import quoted_list, required_column
from omics_jax.data.formats.messages import count_phrase
from omics_jax.data.formats.read import read_accounted_table
from omics_jax.data.identity import alike_ids, near_matches
from omics_jax.data.vocabulary import Missing, blank_unknown, event_codes
from omics_jax.errors import UserError

_SHOWN = 4  # near matches in a message
ID, LABEL, GROUP = "outcome_id", "label", "columns.group"

Outcome = tuple[Float32[np.ndarray, " n"], Bool[np.ndarray, " n"]]  # 0 where unknown, and the mask


def add_outcomes(
    dataset: Dataset,
    path: str,
    label: str,
    id_column: str,
    event_value: str = "",
    missing: Missing = Missing(),
    group: str = "",
) -> Dataset:
    """The dataset with the target `label`, 0 or 1, from the table at `path`.

    It is masked where the table has no row or no value. Rows of one id that agree are one.

    Args:
      label, id_column: columns of the table.
      event_value: the cell that means 1; "" for those of `vocabulary.EVENT_CODES`.
      missing: what the user's file writes for an unknown outcome.
      group: the column that holds the group of an id, "" for the dataset's own groups.

    Raises:
      UserError: for a missing column, rows of one id that disagree, a value that is none of a pair
        of codes, or a table of other records.
    """
    table, skipped = read_accounted_table(path)
    names = _column(path, table, id_column, ID)
    rows, warnings = _match_ids(dataset, path, id_column, names)
    values, notes = _values(path, label, table, names, rows, event_value, missing)
    places = [str(place) for place in table.index]
    merged, repeats = _merge(path, id_column, names, values, places, label)
    record_values = np.where(rows < 0, np.nan, merged[rows])
    known = ~np.isnan(record_values)
    if not known.any():
        raise UserError(
            f"{path}: column {label!r} is empty for every record that was read; name another one "
            "with --config.data.label"
        )
    outcome = np.where(known, record_values, 0).astype(np.float32)
    file = Path(path).name
    if repeats:
        notes.append(
            f"Rows of {file} with the {id_column} and the {label} of another, taken for one: "
            f"{repeats:,}."
        )
    notes += [outcome_summary(label, outcome, known), *_gaps(dataset, file, names, known)]
    groups = dataset.groups
    if group:
        groups = _groups(dataset, _column(path, table, group, GROUP), rows)
    return replace(
        dataset,
        groups=groups,
        targets={label: (outcome, known)},
        notes=(*dataset.notes, *notes),
        warnings=(*dataset.warnings, *warnings),
        uses=(*dataset.uses, *skipped, *_uses(file, table, id_column, label, group)),
    )


def _gaps(
    dataset: Dataset, file: str, names: Shaped[np.ndarray, " k"], known: Bool[np.ndarray, " n"]
) -> list[str]:
    """Notes on records without an outcome, and on rows without a record."""
    notes = []
    if not known.all():
        unknown = count_phrase(int((~known).sum()), "record", dataset.ids[~known].tolist())
        notes.append(
            f"{unknown} without an outcome in {file}: used for imputation, masked as a target."
        )
    unused = len(set(names) - set(map(str, dataset.ids)))
    if unused:
        notes.append(f"Rows of {file} that belong to no record that was read: {unused:,}.")
    return notes


def _column(path: str, table: pd.DataFrame, name: str, setting: str) -> Shaped[np.ndarray, " k"]:
    return required_column(path, table, {setting: name}, setting, f"--config.data.{setting}")


def _uses(
    file: str, table: pd.DataFrame, id_column: str, label: str, group: str
) -> tuple[Use, ...]:
    """What became of the columns."""
    roles = {id_column: "patients", label: "outcome", **({group: "groups"} if group else {})}
    uses = [Use(file, "columns", role, (name,)) for name, role in roles.items()]
    others = tuple(str(name) for name in table.columns if name not in roles)
    if others:
        uses.append(Use(file, "columns", "left out", others, "not named as label or group"))
    return tuple(uses)


# --- who is who -----------------------------------------------------------------------------------


def _match_ids(
    dataset: Dataset, path: str, id_column: str, names: Shaped[np.ndarray, " k"]
) -> tuple[Int[np.ndarray, " n"], list[str]]:
    """The first row of every record, -1 for none, and warnings; ids match exactly.

    Raises:
      UserError: not one record has a row.
    """
    row_of_id: dict[str, int] = {}
    for row, name in enumerate(names):
        row_of_id.setdefault(name, row)
    ids = [str(name) for name in dataset.ids]
    rows = np.array([row_of_id.get(name, -1) for name in ids])
    near = near_matches([name for name in ids if name not in row_of_id], row_of_id)
    if rows.max() < 0:
        shown = f" (it has {_pairs(near)}: write them alike)" if near else ""
        raise UserError(
            f"{path}: not one of its {len(names):,} rows (such as {names[0]!r}) is a record that "
            f"was read (such as {ids[0]!r}){shown}; name the outcomes of these records, or correct "
            f"--config.data.outcome_id={id_column!r}"
        )
    warnings = []
    if near:
        warnings.append(
            f"{Path(path).name}: {len(near):,} records have no outcome, but one of almost the same "
            f"id: {_pairs(near)}; ids match only exactly: write them alike if they are the same"
        )
    alike = alike_ids(row_of_id)
    if alike:
        shown = "; ".join(" and ".join(map(repr, group)) for group in alike[:_SHOWN])
        warnings.append(
            f"{Path(path).name}: {len(alike):,} sets of ids are spelled almost alike and taken for "
            f"different ones: {shown}"
        )
    return rows, warnings


def _pairs(near: dict[str, str]) -> str:
    """As in "'01' for '1', ..."."""
    shown = [f"{other!r} for {name!r}" for name, other in list(near.items())[:_SHOWN]]
    return ", ".join(shown) + (", ..." if len(near) > _SHOWN else "")


def _merge(
    path: str,
    id_column: str,
    names: Shaped[np.ndarray, " k"],
    values: Shaped[np.ndarray, " k"],
    places: Sequence[str],
    label: str,
) -> tuple[Shaped[np.ndarray, " k"], int]:
    """Every row's outcome by all rows of its id, and how many rows repeat an earlier one.

    Raises:
      UserError: an id with two outcomes.
    """
    frame = pd.DataFrame({"id": names, "value": values})
    known = frame.dropna()
    first = known.drop_duplicates("id").set_index("id")["value"]
    differs = known["value"].to_numpy() != first[known["id"]].to_numpy()
    if differs.any():
        row = int(known.index[np.argmax(differs)])
        name = names[row]
        earlier = int(known.index[(known["id"] == name).to_numpy()][0])
        raise UserError(
            f"{path}: {id_column} {name!r} occurs twice with different {label}, at "
            f"{places[earlier]} and {places[row]}; remove one of them"
        )
    repeats = int(frame["id"].duplicated().sum())
    return frame["id"].map(first).to_numpy(np.float64), repeats


def _groups(
    dataset: Dataset, cells: Shaped[np.ndarray, " k"], rows: Int[np.ndarray, " n"]
) -> Shaped[np.ndarray, " n"]:
    """The group of every record; a record without one is a group of its own."""
    groups = [
        str(cells[row]) if row >= 0 and cells[row] else str(name)
        for name, row in zip(dataset.ids, rows, strict=True)
    ]
    return np.array(groups, str)


# --- their values ---------------------------------------------------------------------------------


def _values(
    path: str,
    label: str,
    table: pd.DataFrame,
    names: Shaped[np.ndarray, " k"],
    rows: Int[np.ndarray, " n"],
    event_value: str,
    missing: Missing,
) -> tuple[Float64[np.ndarray, " k"], list[str]]:
    """0, 1 or NaN of every row whose id is a record's, NaN of others, and notes on their words."""
    cells, words = blank_unknown(_column(path, table, label, LABEL), missing)
    is_needed = np.isin(names, names[rows[rows >= 0]])
    notes: list[str] = []
    places = [str(place) for place in table.index]
    values = parse_outcome(path, label, np.where(is_needed, cells, ""), event_value, places, notes)
    if words:
        shown = ", ".join(f"{word!r} {count:,}" for word, count in list(words.items())[:8])
        notes.append(f"Words of {label} that mean unknown: {shown}.")
    return values, notes


def parse_outcome(
    path: str | Path,
    label: str,
    cells: Shaped[np.ndarray, " k"],
    event_value: str,
    places: Sequence[str],
    notes: list[str],
) -> Shaped[np.ndarray, " k"]:
    """0, 1 or NaN (unknown) of every cell; a note says which words stand for 0 and 1.

    cells: text, "" where unknown.

    Raises:
      UserError: cells that are no pair of codes, or not one that is `event_value`.
    """
    if not (cells != "").any():
        return np.full(len(cells), np.nan)
    coded = event_codes(cells, event_value)
    if coded is None:
        raise _no_codes(path, label, cells, event_value, places)
    values, (censored, event) = coded
    if (censored, event) != ("0", "1"):
        notes.append(f"{label}: {event} counts as 1, {censored} as 0.")
    return values


def _no_codes(
    path: str | Path,
    label: str,
    cells: Shaped[np.ndarray, " k"],
    event_value: str,
    places: Sequence[str],
) -> UserError:
    known_cells = list(dict.fromkeys(cells[cells != ""]))
    shown = quoted_list(known_cells, 6)
    if event_value:
        return UserError(
            f"{path}: {label} is nowhere {event_value!r} (--config.data.event_value); it is {shown}"
        )
    common = next(
        (cell for cell in known_cells if event_codes(np.array([cell], object)) is None),
        known_cells[-1],
    )
    row = int(np.argmax(cells == common))
    is_number = not np.isnan(pd.to_numeric(common, errors="coerce"))
    value = common if is_number else repr(common)
    return UserError(
        f"{path}: {places[row]}: {label} is {value}, which is neither 0 nor 1 nor a word for one "
        f"of them (its values are {shown}); recode it, name the value that means the event with "
        "--config.data.event_value, or another column with --config.data.label"
    )


def outcome_summary(label: str, outcome: np.ndarray, known: np.ndarray) -> str:
    """A sentence on how many outcomes are known, and 1."""
    total = int(known.sum())
    events = int(outcome[known].sum())
    share = f" ({events / total:.1%})" if total else ""
    return f"{label} is known of {total:,} patients and 1 in {events:,}{share}."
