"""AnnData files (.h5ad, written by anndata 0.7 or later) read with h5py alone.

`X` (dense, CSR or CSC), `obs` and the names of `var` are read; layers, obsm, varm, uns and raw are
left out.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from omics_jax.data.formats.hdf5 import member, opened, slab, text_array
from omics_jax.data.formats.matrix import Matrix, Reading, check_names, checked_matrix, positions
from omics_jax.errors import UserError


def read_h5ad(path: Path, how: Reading) -> Matrix:
    """`read_matrix` for .h5ad; of a dense `X` only the wanted part is read, a sparse one is read
    whole.
    """
    with opened(path) as file:
        return anndata_matrix(path, file, "h5ad", how)


def anndata_matrix(path: Path, group, kind: str, how: Reading) -> Matrix:
    """The matrix of an open AnnData group (a whole .h5ad, or one modality of a `kind` of file)."""
    x, obs, var = (member(path, group, name, kind) for name in ("X", "obs", "var"))
    ids, features = (
        index_names(path, obs, "obs"),
        index_names(path, var, "var", how.repeated == "error"),
    )
    rows = positions(path, "sample", ids, how.samples)
    # Of features that stand twice the caller takes the wanted ones, after their mean.
    columns = positions(path, "gene", features, how.genes if how.repeated == "error" else None)
    shape = tuple(int(k) for k in x.attrs.get("shape", getattr(x, "shape", ())))
    if shape != (len(ids), len(features)):
        raise UserError(
            f"{path}: X is {shape} but obs names {len(ids)} and var {len(features)}; write the "
            "file again"
        )
    dense = (
        _from_sparse(path, x)[np.ix_(rows, columns)]
        if hasattr(x, "keys")
        else slab(x, rows, columns)
    )
    if dense.dtype.kind not in "fiub":
        raise UserError(f"{path}: X holds {dense.dtype} and no numbers; write a numeric X")
    return checked_matrix(
        path,
        ids[rows],
        features[columns],
        dense.astype(np.float64 if dense.dtype.itemsize > 4 else np.float32),
        annotation_table(path, obs, len(ids)).iloc[rows],
        repeated=how.repeated,
        sample_place=lambda i: f"obs row {rows[i] + 1}",
        gene_place=lambda j: f"var row {columns[j] + 1}",
    )


def index_names(path: Path, frame, name: str, unique: bool = True) -> np.ndarray:
    """(k,) str: the names of `obs` or `var`."""
    if not hasattr(frame, "keys"):
        raise UserError(
            f"{path}: {name} is in the layout of anndata before 0.7; read and write it with a "
            "newer anndata"
        )
    names = text_array(member(path, frame, str(frame.attrs.get("_index", "_index")), "h5ad"))
    check_names(
        path, "sample" if name == "obs" else "gene", names, lambda i: f"{name} row {i + 1}", unique
    )
    return names


def _from_sparse(path: Path, group) -> np.ndarray:
    from scipy import sparse

    kind = str(group.attrs.get("encoding-type", ""))
    layout = {"csr_matrix": sparse.csr_matrix, "csc_matrix": sparse.csc_matrix}.get(kind)
    if layout is None:
        raise UserError(
            f"{path}: X is encoded as {kind!r}; only dense arrays, csr_matrix and csc_matrix are "
            "read"
        )
    parts = tuple(
        member(path, group, name, "sparse h5ad")[()] for name in ("data", "indices", "indptr")
    )
    try:
        matrix = layout(parts, shape=tuple(int(k) for k in group.attrs["shape"]))
        matrix.check_format(full_check=True)
    except ValueError as error:
        raise UserError(
            f"{path}: the sparse X is inconsistent ({error}); write the file again"
        ) from None
    return matrix.toarray()


def annotation_table(path: Path, obs, n: int) -> pd.DataFrame:
    """The n rows of `obs`, in the order of its columns."""
    index = str(obs.attrs.get("_index", "_index"))
    order = [
        c.decode() if isinstance(c, bytes) else str(c) for c in obs.attrs.get("column-order", [])
    ]
    columns = {name: _column(path, obs, name) for name in order if name != index}
    for name, column in columns.items():
        if len(column) != n:
            raise UserError(
                f"{path}: obs column {name!r} has {len(column)} rows where obs has {n}; write it "
                "again"
            )
    return pd.DataFrame(columns, index=range(n))


def _column(path: Path, obs, name: str) -> np.ndarray:
    """One obs column: numbers with NaN, or text with "" for unknown."""
    entry = member(path, obs, name, "h5ad with that column-order")
    if not hasattr(entry, "keys"):
        if entry.dtype.kind in "fiu":
            return entry[()]
        return text_array(entry).astype(object)
    if "categories" in entry:
        labels = np.append(text_array(entry["categories"]).astype(object), "")
        return labels[entry["codes"][()]]
    if "values" in entry and "mask" in entry:
        values, unknown = entry["values"], entry["mask"][()]
        if values.dtype.kind in "fiu":
            return np.where(unknown, np.nan, values[()])
        return np.where(unknown, "", text_array(values).astype(object))
    raise UserError(
        f"{path}: obs column {name!r} is stored in an unknown way; drop it or store it as text"
    )
