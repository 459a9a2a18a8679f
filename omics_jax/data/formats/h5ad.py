"""AnnData files (.h5ad): `X` (dense, CSR or CSC), `obs` and the names of `var`.

anndata reads the columns of `obs`, the names and a sparse `X`, element by element. Not used is
`anndata.read_h5ad`: even of a backed file it reads every layer, obsm, varm, obsp and uns into
memory; those and `raw` are left out here. A dense `X` is read by `slab`, so that a subset takes the
memory of the subset only.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Int, Shaped

from omics_jax.data.dataset import mapped
from omics_jax.data.formats.columns import annotation_column, as_names, as_numbers
from omics_jax.data.formats.containers import reading
from omics_jax.data.formats.hdf5 import (
    BLOCK_BYTES,
    CONVERTED_BYTES,
    declared_bytes,
    open_hdf5,
    require_member,
    slab,
)
from omics_jax.data.formats.matrix import Matrix, Sides, checked_matrix
from omics_jax.data.formats.names import check_names, locate_names
from omics_jax.data.formats.options import ReadOptions
from omics_jax.data.memory import check_memory
from omics_jax.errors import UserError

_SPARSE = ("csr_matrix", "csc_matrix")


def read_h5ad(path: Path, options: ReadOptions) -> Matrix:
    """`read_matrix` for .h5ad; of a dense `X` only the wanted part is read.

    A sparse `X` is read completely, as it is stored, and the wanted part made dense in blocks.
    """
    with open_hdf5(path) as file:
        return anndata_matrix(path, file, "h5ad", options)


def anndata_matrix(path: Path, group, kind: str, options: ReadOptions) -> Matrix:
    """The matrix of an open AnnData group (an .h5ad, or one modality of a `kind` of file)."""
    x, obs, var = (require_member(path, group, name, kind) for name in ("X", "obs", "var"))
    ids, features = _sample_ids(path, obs), _index_names(path, var, "var")
    unique = options.repeated == "error"
    check_names(path, "gene", features, lambda j: f"var row {j + 1}", unique)
    shape = tuple(int(k) for k in x.attrs.get("shape", getattr(x, "shape", ())))
    if shape != (len(ids), len(features)):
        raise UserError(
            f"{path}: X is {shape} but obs names {len(ids)} and var {len(features)}; write the "
            "file again"
        )
    rows = locate_names(path, "sample", ids, options.samples)
    # Of features that are averaged the caller takes the wanted ones, after their mean.
    columns = locate_names(path, "gene", features, options.genes if unique else None)
    is_sparse = hasattr(x, "keys")
    values = _dense_part(path, x, rows, columns) if is_sparse else slab(path, x, rows, columns)
    table = observation_table(path, obs)
    return checked_matrix(
        path,
        ids[rows],
        features[columns],
        as_numbers(path, "X", values),
        table.iloc[rows],
        repeated=options.repeated,
        sample_place=lambda i: f"obs row {rows[i] + 1}",
        gene_place=lambda j: f"var row {columns[j] + 1}",
        sides=Sides("obs", "var", "obs columns"),
    )


def observation_table(path: Path, obs) -> pd.DataFrame:
    """The columns of `obs`, numbers with NaN or text with "", indexed by the checked ids."""
    ids = _sample_ids(path, obs)
    columns = {}
    for name, cells in _observation_columns(path, obs).items():
        if len(cells) != len(ids):
            raise UserError(
                f"{path}: obs column {name!r} has {len(cells)} rows where obs has {len(ids)}; "
                "write it again"
            )
        columns[name] = annotation_column(pd.Series(cells))
    return pd.DataFrame(columns, index=ids)


def _sample_ids(path: Path, obs) -> Shaped[np.ndarray, " n"]:
    ids = _index_names(path, obs, "obs")
    check_names(path, "sample", ids, lambda i: f"obs row {i + 1}")
    return ids


def _observation_columns(path: Path, obs) -> dict[str, pd.Series | np.ndarray]:
    """The columns of `obs` by name, in their order."""
    stored = _read_element(path, obs, "obs")
    if isinstance(stored, pd.DataFrame):
        return {str(name): cells for name, cells in stored.items()}
    # Without anndata's encoding attributes, as other programs write it, a group is read as a dict.
    order = as_names(path, obs.attrs.get("column-order", [])).tolist()
    for name in order:
        if name not in stored:
            raise UserError(
                f"{path}: obs has no column {name!r}, although its column-order names it; write "
                "the file again"
            )
    return {name: stored[name] for name in order}


def _index_names(path: Path, frame, name: str) -> Shaped[np.ndarray, " k"]:
    """(k,) str: the names of `obs` or `var`."""
    if not hasattr(frame, "keys"):
        raise UserError(
            f"{path}: {name} is in the layout of anndata before 0.7; read and write it with a "
            "newer anndata"
        )
    index = str(frame.attrs.get("_index", "_index"))
    return as_names(path, _read_element(path, require_member(path, frame, index, "h5ad"), name))


def _dense_part(
    path: Path, group, rows: Int[np.ndarray, " r"], columns: Int[np.ndarray, " c"]
) -> Shaped[np.ndarray, "r c"]:
    """(rows, columns) of a sparse matrix; only one block of rows at a time exists twice."""
    encoding = str(group.attrs.get("encoding-type", ""))
    if encoding not in _SPARSE:
        raise UserError(
            f"{path}: X is encoded as {encoding!r}; only dense arrays, csr_matrix and csc_matrix "
            "are read"
        )
    cell = require_member(path, group, "data", "h5ad").dtype.itemsize + CONVERTED_BYTES
    check_memory(path, "the sparse X made dense", len(rows) * len(columns) * cell)
    stored = _read_element(path, group, "X")
    try:
        stored.check_format(full_check=True)
    except ValueError as error:
        raise UserError(
            f"{path}: the sparse X is inconsistent ({error}); write the file again"
        ) from None
    stored = stored.tocsr()
    out = mapped.empty_or_mapped((len(rows), len(columns)), stored.dtype)
    step = max(1, BLOCK_BYTES // max(1, out[:1].nbytes))
    for start in range(0, len(rows), step):
        block = stored[rows[start : start + step]]
        out[start : start + step] = block[:, columns].toarray()
    return out


def _read_element(path: Path, element, name: str):
    """What anndata makes of a dataset or group: an array, a data frame or a sparse matrix."""
    try:
        from anndata import OldFormatWarning
        from anndata.io import read_elem
    except ImportError:
        raise UserError(
            f"{path}: reading .h5ad and .h5mu needs anndata; pip install 'omics_jax[io]'"
        ) from None
    check_memory(path, name, declared_bytes(element))
    mend = "write the file again with anndata"
    with reading(f"{path}: {name}", "AnnData", mend), warnings.catch_warnings():
        # What other programs wrote without anndata's encoding attributes is read as well.
        warnings.simplefilter("ignore", OldFormatWarning)
        return read_elem(element)
