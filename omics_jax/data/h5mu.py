"""MuData files (.h5mu) read with h5py alone: every modality a `Matrix`, and what `obs` says of the patients.

Of each modality `X`, `obs` and the names of `var` are read, as from an .h5ad. Left out are layers, obsm, varm, uns, and
files whose modalities share features instead of patients (axis 1).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from omics_jax.data.h5ad import _from_sparse, _index, _table
from omics_jax.data.hdf5 import member, opened
from omics_jax.data.matrices import Matrix, checked_matrix
from omics_jax.errors import UserError

_TITLE = b"MuData"


def read_h5mu(path: Path) -> tuple[dict[str, Matrix], pd.DataFrame]:
    """The modalities by name in the file's order, and the shared `obs` (a row per patient, indexed by id).

    Raises:
      UserError: no HDF5, no modalities, an inconsistent one, or modalities that share features.
    """
    with _opened(path) as file:
        modalities = member(path, file, "mod", "h5mu")
        if int(file.attrs.get("axis", 0)) == 1:
            raise UserError(
                f"{path}: its modalities share features (axis 1), not patients; write a MuData whose modalities are "
                "of the same patients (axis 0)"
            )
        stored = [
            name.decode() if isinstance(name, bytes) else str(name) for name in modalities.attrs.get("mod-order", [])
        ]
        names = [name for name in stored if name in modalities] or sorted(modalities)
        if not names:
            raise UserError(f"{path} holds no modality under 'mod'; write at least one")
        shared = pd.DataFrame(index=pd.Index([], dtype=object))
        if "obs" in file and hasattr(file["obs"], "keys"):
            ids = _index(path, file["obs"], "obs")
            shared = _table(path, file["obs"], len(ids)).set_axis(ids, axis=0)
        return {name: _modality(path / "mod" / name, modalities[name]) for name in names}, shared


@contextmanager
def _opened(path: Path) -> Iterator:
    """`opened`, also for a file whose HDF5 begins after the title that mudata writes before it."""
    import h5py

    with open(path, "rb") as stream:
        titled = stream.read(len(_TITLE)) == _TITLE
    if not titled:
        with opened(path) as file:
            yield file
        return
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"{path} is a damaged or truncated .h5mu ({str(error)[:120]}); fetch or copy it again"
        ) from None


def _modality(place: Path, group) -> Matrix:
    x, obs, var = (member(place, group, name, "h5mu") for name in ("X", "obs", "var"))
    ids, features = _index(place, obs, "obs"), _index(place, var, "var")
    values = _from_sparse(place, x) if hasattr(x, "keys") else x[()]
    if values.shape != (len(ids), len(features)):
        raise UserError(
            f"{place}: X is {values.shape} but obs names {len(ids)} and var {len(features)}; write the file again"
        )
    if values.dtype.kind not in "fiub":
        raise UserError(f"{place}: X holds {values.dtype} and no numbers; write a numeric X")
    return checked_matrix(
        place,
        ids,
        features,
        values.astype(np.float64 if values.dtype.itemsize > 4 else np.float32),
        _table(place, obs, len(ids)),
        sample_place=lambda i: f"obs row {i + 1}",
        gene_place=lambda j: f"var row {j + 1}",
    )
