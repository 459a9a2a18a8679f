"""Series that are arrays already: .npz, .npy and the HDF5 dictionaries of PyPOTS users.

X (n, T, D) with NaN for missing, X_ori for the values held out of it, y for the label; one block,
or the blocks train, val and test. No pickles; arrays of other names are not read, and said so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from omics_jax.data.clinical_series.challenge2012 import DESCRIPTORS
from omics_jax.data.clinical_series.observations import step_names
from omics_jax.data.clinical_series.outcomes import binary, described
from omics_jax.data.dataset.dataset import Dataset, Modality
from omics_jax.data.formats.columns import as_numbers
from omics_jax.data.formats.files import stem
from omics_jax.data.formats.names import check_names, locate_names
from omics_jax.data.formats.npz import npz_arrays, take_array
from omics_jax.errors import UserError

SUFFIXES = (".npz", ".npy", ".h5", ".hdf5")
_KNOWN = ("X", "X_ori", "y", "ids", "groups", "features", "times", "static", "static_features")
_SPLITS = ("train", "val", "test")
_SHARED = ("features", "static_features")
_NAME = re.compile(rf"(?:({'|'.join(_SPLITS)})[/_])?({'|'.join(_KNOWN)})")

Arrays = Mapping[str, np.ndarray]


def read_arrays(path: Path, settings) -> Dataset:
    """The `Dataset` of `read_series` from arrays; see there for what the file holds."""
    stored, unread = _stored(path)
    arrays, extra = _block(path, stored, unread)
    if "X" in stored:
        unread = [*unread, *(name for name in stored if name not in _KNOWN)]
    X = take_array(path, arrays, ("X",), 3)
    n, n_steps, n_features = X.shape
    if not X.size:
        raise UserError(
            f"{path}: X has shape {X.shape}, so there is nothing in it; store (patients, steps, "
            "variables)"
        )
    values = _floats(path, "X", X)
    features = _names(path, arrays, "features", n_features, "x")
    columns = locate_names(path, "variable", features, settings.variables or None)
    modalities = {
        "series": _modality(values[..., columns], features[columns]),
        "hours": _hours(path, arrays, n, n_steps, settings.bin_hours),
    }
    if "static" in arrays:
        modalities["static"] = _static(path, arrays, n, tuple(settings.statics))
    notes = []
    if "X_ori" in arrays:
        original = _original(path, values, arrays["X_ori"])
        truth = _modality(
            np.where(np.isnan(values), original, np.nan)[..., columns], features[columns]
        )
        if truth.mask.any():
            modalities["truth"] = truth
        else:
            notes.append(
                "X_ori holds no value that X lacks, so nothing is held out by it; it is not used."
            )
    ids = _labels(path, arrays, "ids", n)
    split = extra.get("split", np.full(n, ""))
    if ids is None:
        row_in = np.concatenate(
            [np.arange(count) for count in pd.Series(split).groupby(split, sort=False).size()]
        )
        ids = np.array([f"{part or stem(path)}:{k}" for part, k in zip(split, row_in, strict=True)])
    check_names(path, "patient", ids, lambda i: f"row {i + 1}")
    groups = _labels(path, arrays, "groups", n)
    targets, said = _targets(path, arrays, n)
    hours = modalities["hours"].values
    if hours.max() >= settings.hours:
        notes.append(
            f"Its steps go on to hour {hours.max():g} and are all used: data.hours "
            f"({settings.hours:g}) is the window of records and long tables; cut arrays yourself."
        )
    if extra:
        kept = getattr(settings, "split", "folds") == "file"
        dealt = (
            "kept (data.split=file)."
            if kept
            else "dealt to folds anew; data.split=file keeps them."
        )
        notes.append(f"Its parts train, val and test are {dealt}")
    return Dataset(
        ids=ids,
        groups=ids if groups is None else groups,
        modalities=modalities,
        table=pd.DataFrame({"set": np.full(n, stem(path)), **extra}, index=ids),
        targets=targets,
        notes=(*_described(path, arrays, unread, settings.bin_hours), *notes, *said),
    )


def _stored(path: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays whose names are understood, those inside groups as "group/name", and all other
    names.
    """
    suffix = path.suffix.lower()
    if suffix == ".npy":
        try:
            return {"X": np.load(path, allow_pickle=False)}, []
        except (OSError, EOFError, ValueError) as error:
            raise UserError(
                f"{path} cannot be read as an array ({str(error)[:80]}); save plain numbers with "
                "numpy.save"
            ) from None
    if suffix == ".npz":
        others = []
        # Called for every name, so that it also tells those that are left.
        understood = npz_arrays(path, lambda name: _NAME.fullmatch(name) or others.append(name))
        return understood, sorted(others)
    return _stored_in_hdf5(path)


def _stored_in_hdf5(path: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    import h5py

    from omics_jax.data.formats.hdf5 import open_hdf5, text_array

    arrays, others = {}, []

    def read(name, item):
        if not isinstance(item, h5py.Dataset):
            return
        if not _NAME.fullmatch(name):
            others.append(name)
        else:
            arrays[name] = text_array(item) if item.dtype.kind in "SO" else item[()]

    with open_hdf5(path) as file:
        file.visititems(read)
    return arrays, others


def _block(
    path: Path, stored: Arrays, others: list[str]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The arrays of all patients, those of train, val and test joined, and the column `split` where
    there are such.
    """
    if "X" in stored:
        return {name: stored[name] for name in _KNOWN if name in stored}, {}
    parts: dict[str, dict[str, np.ndarray]] = {split: {} for split in _SPLITS}
    for name, array in stored.items():
        split, bare = _NAME.fullmatch(name).groups()
        if split:
            parts[split][bare] = array
    parts = {split: arrays for split, arrays in parts.items() if "X" in arrays}
    if not parts:
        raise UserError(
            f"{path} has no array 'X' (patients, steps, variables) but {[*stored, *others][:8]}; "
            "store it, or X in each of the groups train, val and test"
        )
    shared = {name: stored[name] for name in _SHARED if name in stored}
    for split, arrays in parts.items():
        take_array(path, arrays, ("X",), 3)
        for name in set(_SHARED) & set(arrays):
            if not np.array_equal(arrays[name], shared.setdefault(name, arrays[name])):
                raise UserError(
                    f"{path}: {name} of {split} are not those of the other groups; store the same "
                    "in all"
                )
    joined = {
        name: _joined(path, name, parts)
        for name in _KNOWN
        if name not in _SHARED and any(name in a for a in parts.values())
    }
    counts = [len(arrays["X"]) for arrays in parts.values()]
    return {**shared, **joined}, {"split": np.repeat(list(parts), counts)}


def _joined(path: Path, name: str, parts: Mapping[str, Arrays]) -> np.ndarray:
    """The rows of all splits; a split without X_ori hides nothing, one without y has unknown
    labels.
    """
    pieces = []
    for split, arrays in parts.items():
        n = len(arrays["X"])
        absent = {"X_ori": arrays["X"], "y": np.full(n, np.nan)}
        if name not in arrays and name not in absent:
            raise UserError(
                f"{path}: the group {split} has no {name!r}, which another has; store it in all or "
                "in none"
            )
        piece = arrays.get(name, absent.get(name))
        if name == "times" and piece.ndim == 1:
            piece = np.broadcast_to(piece, (n, len(piece)))
        if len(piece) != n:
            raise UserError(
                f"{path}: {name} of {split} has {len(piece)} rows where X has {n}; give one per "
                "patient"
            )
        pieces.append(piece)
    if len({piece.shape[1:] for piece in pieces}) > 1:
        shapes = ", ".join(
            f"{split} {piece.shape}" for split, piece in zip(parts, pieces, strict=True)
        )
        raise UserError(
            f"{path}: the shapes of {name} do not agree ({shapes}); store the same steps and "
            "variables in all"
        )
    return np.concatenate(pieces)


def _floats(path: Path, name: str, array: np.ndarray) -> np.ndarray:
    """float32 with NaN for missing; no infinite values."""
    with np.errstate(over="ignore"):
        values = as_numbers(path, name, array).astype(np.float32)
    if np.isinf(values).any():
        where = ", ".join(map(str, np.argwhere(np.isinf(values))[0]))
        raise UserError(
            f"{path}: {name}[{where}] is infinite; write a finite number, or NaN where nothing was "
            "measured"
        )
    return values


def _modality(values: np.ndarray, features: np.ndarray) -> Modality:
    mask = ~np.isnan(values)
    return Modality(np.where(mask, values, np.float32(0)), mask, features)


def _names(path: Path, arrays: Arrays, name: str, count: int, prefix: str) -> np.ndarray:
    """(count,) str, `prefix` and a number where the file names none."""
    if name not in arrays:
        return np.array([f"{prefix}{j}" for j in range(count)])
    names = np.char.strip(take_array(path, arrays, (name,), 1).astype(str))
    if len(names) != count:
        raise UserError(
            f"{path}: {name} names {len(names)} of {count} columns; give one name per column"
        )
    check_names(path, "variable", names, lambda j: f"{name}[{j}]")
    return names


def _labels(path: Path, arrays: Arrays, name: str, n: int) -> np.ndarray | None:
    if name not in arrays:
        return None
    labels = np.char.strip(take_array(path, arrays, (name,), 1).astype(str))
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
        if (np.diff(times, axis=-1) <= 0).any():
            where = np.argwhere(np.diff(times, axis=-1) <= 0)[0]
            row = f" of row {where[0] + 1}" if times.ndim == 2 else ""
            raise UserError(
                f"{path}: times{row} do not increase at step {where[-1] + 1}; order the steps by "
                "time"
            )
    else:
        times = np.arange(n_steps) * bin_hours
    hours = np.array(np.broadcast_to(times, (n, n_steps)), np.float32)
    return Modality(hours, np.ones((n, n_steps), bool), step_names(times))


def _static(path: Path, arrays: Arrays, n: int, wanted: tuple[str, ...]) -> Modality:
    static = _floats(path, "static", take_array(path, arrays, ("static",), 2))
    if len(static) != n:
        raise UserError(
            f"{path}: static has {len(static)} rows where X has {n} patients; give one per patient"
        )
    names = _names(path, arrays, "static_features", static.shape[1], "static")
    # The configuration's default names the challenge's descriptors, which mean nothing here.
    chosen = locate_names(
        path, "static feature", names, None if wanted in ((), DESCRIPTORS) else wanted
    )
    return _modality(static[:, chosen], names[chosen])


def _original(path: Path, values: np.ndarray, original: np.ndarray) -> np.ndarray:
    """X_ori as float32, after it holds all that X holds, with the same values."""
    if original.shape != values.shape:
        raise UserError(
            f"{path}: X_ori has shape {original.shape} where X has {values.shape}; they need the "
            "same"
        )
    original = _floats(path, "X_ori", original)
    known = ~np.isnan(values)
    for wrong, what in (
        (known & np.isnan(original), "lacks a value that X has"),
        (
            known & ~np.isclose(values, original, rtol=1e-4, atol=1e-5, equal_nan=True),
            "disagrees with X",
        ),
    ):
        if wrong.any():
            where = ", ".join(map(str, np.argwhere(wrong)[0]))
            raise UserError(
                f"{path}: X_ori {what} at [{where}]; X_ori is X before values were hidden, "
                "on the same scale: store it so"
            )
    return original


def _targets(path: Path, arrays: Arrays, n: int):
    if "y" not in arrays:
        return {}, []
    y = arrays["y"]
    if y.shape not in ((n,), (n, 1)):
        raise UserError(f"{path}: y has shape {y.shape} where X has {n} patients; it needs ({n},)")
    outcome, known = binary(
        path, as_numbers(path, "y", y.reshape(n)).astype(np.float64), "y", lambda i: f"row {i + 1}"
    )
    return {"label": (outcome, known)}, [described("y", outcome, known)]


def _described(path: Path, arrays: Arrays, unread: list[str], bin_hours: float) -> list[str]:
    n, n_steps, n_features = arrays["X"].shape
    notes = [f"{path.name} holds {n:,} patients, {n_steps} steps and {n_features} variables."]
    if "times" not in arrays:
        notes.append(f"It has no times; steps are taken to be {bin_hours:g} hours apart.")
    if "features" not in arrays:
        notes.append("It has no features; the variables are called x0, x1 and so on.")
    if unread:
        notes.append(f"Not read, for their names mean nothing here: {', '.join(unread[:8])}.")
    return notes
