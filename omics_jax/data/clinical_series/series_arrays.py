"""A `Dataset` of series that a file stores as arrays, see `array_files` for what it holds.

The arrays' shapes, times and labels are checked against each other. Nothing is binned: the steps
are those of the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Float32, Shaped

from omics_jax.data.clinical_series.array_files import Arrays, StoredArrays, read_stored_arrays
from omics_jax.data.clinical_series.challenge2012 import DESCRIPTORS
from omics_jax.data.clinical_series.cleaning import missing_note
from omics_jax.data.clinical_series.observations import step_names
from omics_jax.data.clinical_series.outcomes import Outcome, outcome_summary, parse_outcome
from omics_jax.data.dataset.account import Use
from omics_jax.data.dataset.dataset import Dataset, Modality
from omics_jax.data.dataset.limits import (
    Limits,
    counted,
    limits_note,
    parse_limits,
    unused_limits,
    within_limits,
)
from omics_jax.data.formats.columns import as_names, as_numbers
from omics_jax.data.formats.files import stem
from omics_jax.data.formats.messages import count_phrase
from omics_jax.data.formats.names import check_names, locate_names
from omics_jax.data.formats.npz import take_array
from omics_jax.data.vocabulary import Missing, blank_unknown, parse_missing
from omics_jax.errors import UserError

Series = Float32[np.ndarray, "n T D"]


def read_arrays(path: Path, settings, may_lack: bool = False) -> Dataset:
    """The `Dataset` of `read_series` from the arrays of a file.

    may_lack: whether the file may lack variables that the settings ask for.

    Raises:
      UserError: a damaged file, or arrays that do not fit together.
    """
    stored = read_stored_arrays(path)
    arrays = stored.arrays
    values = _series_values(path, arrays)
    n, n_steps, n_features = values.shape
    features = _column_names(path, arrays, "features", n_features, "x")
    asked_for = _present(tuple(settings.variables), features, may_lack)
    columns = locate_names(path, "variable", features, asked_for)
    modalities = {
        "series": _modality(values[..., columns], features[columns]),
        "hours": _hours(path, arrays, n, n_steps, settings.bin_hours),
    }
    if "static" in arrays:
        modalities["static"] = _static(path, arrays, n, tuple(settings.statics), may_lack)
    notes = _describe_arrays(path, stored, settings.bin_hours)
    if "X_ori" in arrays:
        hidden = _hidden_values(path, values, arrays["X_ori"])
        truth = _modality(hidden[..., columns], features[columns])
        if truth.mask.any():
            modalities["truth"] = truth
        else:
            notes.append(
                "X_ori holds no value that X lacks, so nothing is held out by it; it is not used."
            )
    ids = _ids(path, stored, n)
    groups = _row_labels(path, arrays, "groups", n)
    others = [str(name) for name in features if name not in features[columns]]
    if others:
        some = count_phrase(len(others), "variable", others)
        notes.append(f"{some} not among those to keep, and left out.")
    missing, limits = parse_missing(settings.missing_values), parse_limits(settings.limits)
    modalities, value_notes = _without_impossible(modalities, missing, limits)
    targets, target_notes = _targets(path, arrays, n, settings.event_value, missing)
    notes += [
        *value_notes,
        *_window_notes(modalities["hours"].values, settings.hours),
        *_split_notes(stored, settings),
        *target_notes,
    ]
    table = pd.DataFrame({"set": np.full(n, stem(path))}, index=ids)
    return Dataset(
        ids=ids,
        groups=ids if groups is None else groups,
        modalities=modalities,
        table=table if stored.split is None else table.assign(split=stored.split),
        targets=targets,
        notes=tuple(notes),
        warnings=tuple(unused_limits(path.name, limits, [*features, *_static_names(modalities)])),
        uses=_uses(path, stored, features, columns),
    )


def _present(
    requested: tuple[str, ...], names: Shaped[np.ndarray, " f"], may_lack: bool
) -> tuple[str, ...] | None:
    """The requested names, of which the file may lack some; None for all names of the file."""
    if not may_lack:
        return requested or None
    return tuple(name for name in requested if name in names) or None


def _static_names(modalities: dict[str, Modality]) -> list[str]:
    return modalities["static"].features.tolist() if "static" in modalities else []


def _without_impossible(
    modalities: dict[str, Modality], missing: Missing, limits: Limits
) -> tuple[dict[str, Modality], list[str]]:
    """The modalities without codes for missing and values outside of their limits, and notes."""
    cleaned, codes, outside = dict(modalities), {}, {}
    for name in ("series", "truth", "static"):
        if name not in modalities:
            continue
        modality = modalities[name]
        is_code = modality.mask & missing.is_number(modality.values)
        counts = is_code.reshape(-1, len(modality.features)).sum(axis=0)
        mask = modality.mask & ~is_code
        kept = replace(modality, values=np.where(mask, modality.values, np.float32(0)), mask=mask)
        cleaned[name], beyond = within_limits(kept, limits)
        _add_counts(codes, counted(modality.features, counts))
        _add_counts(outside, beyond)
    return cleaned, [*missing_note(codes), *limits_note(outside)]


def _add_counts(total: dict[str, int], counts: dict[str, int]):
    for name, count in counts.items():
        total[name] = total.get(name, 0) + count


def _uses(
    path: Path, stored: StoredArrays, features: Shaped[np.ndarray, " D"], columns: np.ndarray
) -> tuple[Use, ...]:
    """What became of the arrays and of the variables."""
    source = path.name
    used = tuple(map(str, features[columns]))
    others = tuple(str(name) for name in features if name not in used)
    uses = [
        Use(source, "arrays", "read", tuple(stored.arrays)),
        Use(source, "variables", "series", used),
    ]
    if others:
        uses.append(Use(source, "variables", "left out", others, "not among those to keep"))
    if stored.unread_names:
        unread = tuple(stored.unread_names)
        uses.append(Use(source, "arrays", "left out", unread, "their names mean nothing here"))
    return tuple(uses)


# --- values ---------------------------------------------------------------------------------------


def _series_values(path: Path, arrays: Arrays) -> Series:
    X = take_array(path, arrays, ("X",), 3)
    if not X.size:
        raise UserError(
            f"{path}: X has shape {X.shape}, so there is nothing in it; store (patients, steps, "
            "variables)"
        )
    return _floats(path, "X", X)


def _hidden_values(path: Path, values: Series, original: np.ndarray) -> Series:
    """X_ori where X is missing, NaN elsewhere; X_ori must hold all that X holds, unchanged."""
    if original.shape != values.shape:
        raise UserError(
            f"{path}: X_ori has shape {original.shape} where X has {values.shape}; they need the "
            "same"
        )
    original = _floats(path, "X_ori", original)
    known = ~np.isnan(values)
    equal = np.isclose(values, original, rtol=1e-4, atol=1e-5, equal_nan=True)
    _check_original(path, known & np.isnan(original), "lacks a value that X has")
    _check_original(path, known & ~equal, "disagrees with X")
    return np.where(known, np.nan, original)


def _check_original(path: Path, is_wrong: np.ndarray, complaint: str):
    if is_wrong.any():
        raise UserError(
            f"{path}: X_ori {complaint} at [{_first_index(is_wrong)}]; X_ori is X before values "
            "were hidden, on the same scale: store it so"
        )


def _floats(path: Path, name: str, array: np.ndarray) -> Float32[np.ndarray, "*shape"]:
    """NaN for missing; no infinite values."""
    with np.errstate(over="ignore"):
        values = as_numbers(path, name, array).astype(np.float32)
    is_infinite = np.isinf(values)
    if is_infinite.any():
        raise UserError(
            f"{path}: {name}[{_first_index(is_infinite)}] is infinite; write a finite number, or "
            "NaN where nothing was measured"
        )
    return values


def _first_index(is_wrong: np.ndarray) -> str:
    return ", ".join(map(str, np.argwhere(is_wrong)[0]))


def _modality(values: Float32[np.ndarray, "*shape"], features: np.ndarray) -> Modality:
    mask = ~np.isnan(values)
    return Modality(np.where(mask, values, np.float32(0)), mask, features)


def _static(
    path: Path, arrays: Arrays, n: int, requested: tuple[str, ...], may_lack: bool
) -> Modality:
    static = _floats(path, "static", take_array(path, arrays, ("static",), 2))
    if len(static) != n:
        raise UserError(
            f"{path}: static has {len(static)} rows where X has {n} patients; give one per patient"
        )
    names = _column_names(path, arrays, "static_features", static.shape[1], "static")
    # The configuration's default names the challenge's descriptors, which mean nothing here.
    asks_for_all = requested in ((), DESCRIPTORS)
    asked_for = tuple(requested)
    asked_for = None if asks_for_all else _present(asked_for, names, may_lack)
    columns = locate_names(path, "static feature", names, asked_for)
    return _modality(static[:, columns], names[columns])


# --- names and times ------------------------------------------------------------------------------


def _column_names(
    path: Path, arrays: Arrays, name: str, count: int, prefix: str
) -> Shaped[np.ndarray, " count"]:
    """Text; `prefix` and a number where the file names none."""
    if name not in arrays:
        return np.array([f"{prefix}{j}" for j in range(count)])
    names = as_names(path, take_array(path, arrays, (name,), 1))
    if len(names) != count:
        raise UserError(
            f"{path}: {name} names {len(names)} of {count} columns; give one name per column"
        )
    check_names(path, "variable", names, lambda j: f"{name}[{j}]")
    return names


def _ids(path: Path, stored: StoredArrays, n: int) -> Shaped[np.ndarray, " n"]:
    """Those of the file, else "split:row" or "stem:row"."""
    ids = _row_labels(path, stored.arrays, "ids", n)
    if ids is None:
        split = np.full(n, stem(path)) if stored.split is None else stored.split
        row_in_split = pd.Series(split).groupby(split, sort=False).cumcount()
        ids = np.array([f"{name}:{row}" for name, row in zip(split, row_in_split, strict=True)])
    check_names(path, "patient", ids, lambda i: f"row {i + 1}")
    return ids


def _row_labels(path: Path, arrays: Arrays, name: str, n: int) -> np.ndarray | None:
    """(n,) text; None where the file has no such array."""
    if name not in arrays:
        return None
    labels = as_names(path, take_array(path, arrays, (name,), 1))
    if len(labels) != n:
        raise UserError(
            f"{path}: {name} has length {len(labels)} where X has {n} patients; give one per "
            "patient"
        )
    return labels


def _hours(path: Path, arrays: Arrays, n: int, n_steps: int, bin_hours: float) -> Modality:
    """(n, T) hours since admission: those of the file, else steps of bin_hours."""
    if "times" in arrays:
        times = as_numbers(path, "times", arrays["times"])
        _check_times(path, times, n, n_steps)
    else:
        times = np.arange(n_steps) * bin_hours
    hours = np.array(np.broadcast_to(times, (n, n_steps)), np.float32)
    return Modality(hours, np.ones((n, n_steps), bool), step_names(times))


def _check_times(path: Path, times: Float[np.ndarray, "*shape"], n: int, n_steps: int):
    if times.shape not in ((n_steps,), (n, n_steps)):
        raise UserError(
            f"{path}: times has shape {times.shape}; it needs ({n_steps},) or ({n}, "
            f"{n_steps}), as X has"
        )
    if not np.isfinite(times).all() or (times < 0).any():
        raise UserError(
            f"{path}: times holds a negative or missing time; write hours since admission for "
            "every step"
        )
    is_late = np.diff(times, axis=-1) <= 0
    if is_late.any():
        index = np.argwhere(is_late)[0]
        row = f" of row {index[0] + 1}" if times.ndim == 2 else ""
        raise UserError(
            f"{path}: times{row} do not increase at step {index[-1] + 1}; order the steps by time"
        )


# --- targets and notes ----------------------------------------------------------------------------


def _targets(
    path: Path, arrays: Arrays, n: int, event_value: str, missing: Missing
) -> tuple[dict[str, Outcome], list[str]]:
    if "y" not in arrays:
        return {}, []
    y = arrays["y"]
    if y.shape not in ((n,), (n, 1)):
        raise UserError(f"{path}: y has shape {y.shape} where X has {n} patients; it needs ({n},)")
    cells, _ = blank_unknown(_cells(path, y.reshape(n)), missing)
    places, notes = [f"row {i + 1}" for i in range(n)], []
    values = parse_outcome(path, "y", cells, event_value, places, notes)
    known = ~np.isnan(values)
    outcome = np.where(known, values, 0).astype(np.float32)
    return {"label": (outcome, known)}, [*notes, outcome_summary("y", outcome, known)]


def _cells(path: Path, y: Shaped[np.ndarray, " n"]) -> Shaped[np.ndarray, " n"]:
    """The outcomes as text, "" where unknown."""
    if y.dtype.kind in "SU":
        texts: Sequence[str] = np.char.strip(y.astype(str)).tolist()
    else:
        numbers = as_numbers(path, "y", y).astype(np.float64)
        texts = ["" if np.isnan(number) else f"{number:g}" for number in numbers]
    return np.array(texts, object)


def _describe_arrays(path: Path, stored: StoredArrays, bin_hours: float) -> list[str]:
    n, n_steps, n_features = stored.arrays["X"].shape
    notes = [f"{path.name} holds {n:,} patients, {n_steps} steps and {n_features} variables."]
    if "times" not in stored.arrays:
        notes.append(f"It has no times; steps are taken to be {bin_hours:g} hours apart.")
    if "features" not in stored.arrays:
        notes.append("It has no features; the variables are called x0, x1 and so on.")
    if stored.unread_names:
        unread = ", ".join(stored.unread_names[:8])
        notes.append(f"Not read, for their names mean nothing here: {unread}.")
    return notes


def _window_notes(hours: Float32[np.ndarray, "n T"], window: float) -> list[str]:
    last = hours.max()
    if last < window:
        return []
    return [
        f"Its steps go on to hour {last:g} and are all used: data.hours ({window:g}) is the window "
        "of records and tables; cut arrays yourself."
    ]


def _split_notes(stored: StoredArrays, settings) -> list[str]:
    if stored.split is None:
        return []
    if getattr(settings, "split", "folds") == "file":
        return ["Its parts train, val and test are kept (data.split=file)."]
    return ["Its parts train, val and test are dealt to folds anew; data.split=file keeps them."]
