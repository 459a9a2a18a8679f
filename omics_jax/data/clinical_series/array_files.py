"""The arrays of a series that a file stores: .npz, .npy and the HDF5 dictionaries of PyPOTS users.

Either once for all patients, or once for each of train, val and test ("train/X" or "train_X"):

  X (n, T, D), NaN = missing; X_ori (n, T, D) with the values held out of X; y (n,) of 0 and 1;
  ids (n,); groups (n,); features (D,); times (T,) or (n, T) in hours; static (n, S);
  static_features (S,).

No pickles are read. Arrays of other names are not read, and reported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from omics_jax.data.formats.npz import npz_arrays, read_npy, take_array
from omics_jax.errors import UserError

SUFFIXES = (".npz", ".npy", ".h5", ".hdf5")
_KNOWN = ("X", "X_ori", "y", "ids", "groups", "features", "times", "static", "static_features")
_SPLITS = ("train", "val", "test")
# What is the same in all splits; everything else has a row per patient.
_SHARED = ("features", "static_features")
_NAME = re.compile(rf"(?:({'|'.join(_SPLITS)})[/_])?({'|'.join(_KNOWN)})")

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class StoredArrays:
    """What a file stores.

    Attributes:
      arrays: by name, of all n patients.
      split: (n,) the split of each patient, None where the file has no splits.
      unread_names: of the arrays that were not read.
    """

    arrays: Arrays
    split: np.ndarray | None
    unread_names: list[str]


def read_stored_arrays(path: Path) -> StoredArrays:
    """The arrays of the file, those of train, val and test joined.

    Raises:
      UserError: a damaged file, no array X, or splits that do not fit together.
    """
    stored, unread_names = _read_known_arrays(path)
    if "X" in stored:
        arrays = {name: stored[name] for name in _KNOWN if name in stored}
        of_splits = [name for name in stored if name not in _KNOWN]
        return StoredArrays(arrays, None, [*unread_names, *of_splits])
    arrays_of_split = _by_split(stored)
    if not arrays_of_split:
        raise UserError(
            f"{path} has no array 'X' (patients, steps, variables) but "
            f"{[*stored, *unread_names][:8]}; store it, or X in each of the groups train, val and "
            "test"
        )
    shared = _shared_arrays(path, stored, arrays_of_split)
    joined = {}
    for name in _KNOWN:
        has_rows = name not in _SHARED
        if has_rows and any(name in arrays for arrays in arrays_of_split.values()):
            joined[name] = _join_splits(path, name, arrays_of_split)
    counts = [len(arrays["X"]) for arrays in arrays_of_split.values()]
    split = np.repeat(list(arrays_of_split), counts)
    return StoredArrays({**shared, **joined}, split, unread_names)


# --- what the file holds --------------------------------------------------------------------------


def _read_known_arrays(path: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays whose names are known, in groups as "group/name", and all other names."""
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return {"X": read_npy(path)}, []
    if suffix == ".npz":
        return _read_npz(path)
    return _read_hdf5(path)


def _read_npz(path: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    unread_names = []

    def is_known(name: str) -> bool:
        if _NAME.fullmatch(name):
            return True
        unread_names.append(name)
        return False

    arrays = npz_arrays(path, is_known)
    return arrays, sorted(unread_names)


def _read_hdf5(path: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    import h5py

    from omics_jax.data.formats.hdf5 import open_hdf5, stored_array, text_array

    arrays, unread_names = {}, []

    def read(name, item):
        if not isinstance(item, h5py.Dataset):
            return
        if not _NAME.fullmatch(name):
            unread_names.append(name)
            return
        is_text = item.dtype.kind in "SO"
        arrays[name] = (text_array if is_text else stored_array)(path, item)

    with open_hdf5(path) as file:
        file.visititems(read)
    return arrays, unread_names


# --- splits ---------------------------------------------------------------------------------------


def _by_split(stored: Arrays) -> dict[str, dict[str, np.ndarray]]:
    """split -> name -> array, for the splits that have an X."""
    arrays_of_split: dict[str, dict[str, np.ndarray]] = {split: {} for split in _SPLITS}
    for full_name, array in stored.items():
        split, name = _NAME.fullmatch(full_name).groups()
        if split:
            arrays_of_split[split][name] = array
    return {split: arrays for split, arrays in arrays_of_split.items() if "X" in arrays}


def _shared_arrays(
    path: Path, stored: Arrays, arrays_of_split: Mapping[str, Arrays]
) -> dict[str, np.ndarray]:
    """The names of the columns, which must be the same in all splits."""
    shared = {name: stored[name] for name in _SHARED if name in stored}
    for split, arrays in arrays_of_split.items():
        take_array(path, arrays, ("X",), 3)
        for name in set(_SHARED) & set(arrays):
            first = shared.setdefault(name, arrays[name])
            if not np.array_equal(arrays[name], first):
                raise UserError(
                    f"{path}: {name} of {split} are not those of the other groups; store the same "
                    "in all"
                )
    return shared


def _join_splits(path: Path, name: str, arrays_of_split: Mapping[str, Arrays]) -> np.ndarray:
    """The rows of all splits.

    A split without X_ori hides nothing, one without y has unknown labels; every other array must
    be in all splits.
    """
    pieces = {}
    for split, arrays in arrays_of_split.items():
        n = len(arrays["X"])
        substitutes = {"X_ori": arrays["X"], "y": np.full(n, np.nan)}
        piece = arrays.get(name, substitutes.get(name))
        if piece is None:
            raise UserError(
                f"{path}: the group {split} has no {name!r}, which another has; store it in all or "
                "in none"
            )
        if name == "times" and piece.ndim == 1:
            piece = np.broadcast_to(piece, (n, len(piece)))
        if len(piece) != n:
            raise UserError(
                f"{path}: {name} of {split} has {len(piece)} rows where X has {n}; give one per "
                "patient"
            )
        pieces[split] = piece
    if len({piece.shape[1:] for piece in pieces.values()}) > 1:
        shapes = ", ".join(f"{split} {piece.shape}" for split, piece in pieces.items())
        raise UserError(
            f"{path}: the shapes of {name} do not agree ({shapes}); store the same steps and "
            "variables in all"
        )
    return np.concatenate(list(pieces.values()))
