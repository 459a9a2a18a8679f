"""MuData files (.h5mu): every modality as a `Matrix`, and the `obs` that the modalities share.

Each modality is read as an .h5ad is, element by element with anndata. `mudata.read_h5mu` is not
used: backed or not, it reads every layer, obsm and obsp of all modalities into memory. Left out are
those, and files whose modalities share features instead of patients (axis 1).
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from omics_jax.data.formats.h5ad import anndata_matrix, observation_table
from omics_jax.data.formats.hdf5 import open_hdf5, require_member
from omics_jax.data.formats.matrix import Matrix
from omics_jax.data.formats.options import ReadOptions
from omics_jax.errors import UserError


def read_h5mu(path: Path, repeated: str = "error") -> tuple[dict[str, Matrix], pd.DataFrame]:
    """The modalities by name in the file's order, and the shared `obs`.

    Args:
      repeated: as for `read_matrix`.

    Returns:
      the modalities, and a row per patient, indexed by id.

    Raises:
      UserError: no HDF5, no modalities, an inconsistent one, or modalities that share features.
    """
    with open_hdf5(path) as file:
        modalities = require_member(path, file, "mod", "h5mu")
        if int(file.attrs.get("axis", 0)) == 1:
            raise UserError(
                f"{path}: its modalities share features (axis 1), not patients; write a MuData "
                "whose modalities are of the same patients (axis 0)"
            )
        shared = pd.DataFrame(index=pd.Index([], dtype=object))
        if "obs" in file and hasattr(file["obs"], "keys"):
            shared = observation_table(path, file["obs"])
        options = ReadOptions(repeated=repeated)
        matrices = {
            name: anndata_matrix(path / "mod" / name, modalities[name], "h5mu", options)
            for name in _modality_names(path, modalities)
        }
        return matrices, shared


def _modality_names(path: Path, modalities) -> list[str]:
    """In the order that mudata stored, or else sorted."""
    stored = modalities.attrs.get("mod-order", [])
    order = [name.decode() if isinstance(name, bytes) else str(name) for name in stored]
    names = [name for name in order if name in modalities] or sorted(modalities)
    if not names:
        raise UserError(f"{path} holds no modality under 'mod'; write at least one")
    return names
