"""MuData files (.h5mu) read with h5py alone: every modality a `Matrix`, and what `obs` says of the
patients.

Of each modality `X`, `obs` and the names of `var` are read, as from an .h5ad. Left out are layers,
obsm, varm, uns, and files whose modalities share features instead of patients (axis 1).
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from omics_jax.data.formats.h5ad import anndata_matrix, annotation_table, index_names
from omics_jax.data.formats.hdf5 import member, opened
from omics_jax.data.formats.matrix import Matrix, Reading
from omics_jax.errors import UserError


def read_h5mu(path: Path, repeated: str = "error") -> tuple[dict[str, Matrix], pd.DataFrame]:
    """The modalities by name in the file's order, and the shared `obs` (a row per patient, indexed
    by id).

    `repeated` is that of `read_matrix`.

    Raises:
      UserError: no HDF5, no modalities, an inconsistent one, or modalities that share features.
    """
    with opened(path) as file:
        modalities = member(path, file, "mod", "h5mu")
        if int(file.attrs.get("axis", 0)) == 1:
            raise UserError(
                f"{path}: its modalities share features (axis 1), not patients; write a MuData "
                "whose modalities are of the same patients (axis 0)"
            )
        stored = [
            name.decode() if isinstance(name, bytes) else str(name)
            for name in modalities.attrs.get("mod-order", [])
        ]
        names = [name for name in stored if name in modalities] or sorted(modalities)
        if not names:
            raise UserError(f"{path} holds no modality under 'mod'; write at least one")
        shared = pd.DataFrame(index=pd.Index([], dtype=object))
        if "obs" in file and hasattr(file["obs"], "keys"):
            ids = index_names(path, file["obs"], "obs")
            shared = annotation_table(path, file["obs"], len(ids)).set_axis(ids, axis=0)
        how = Reading(repeated=repeated)
        found = {
            name: anndata_matrix(path / "mod" / name, modalities[name], "h5mu", how)
            for name in names
        }
        return found, shared
