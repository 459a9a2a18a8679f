"""A matrix with names and annotations as AnnData (.h5ad), for scanpy and whatever else reads it.

Left out: layers, embeddings and everything else that a prediction does not have.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import h5py
import numpy as np
import pandas as pd
from jaxtyping import Real, Shaped


class AnnotatedMatrix(NamedTuple):
    """What `as_h5ad` takes: (n, k) values, the ids of rows, names of columns, and annotations."""

    values: Real[np.ndarray, "n k"]
    ids: Shaped[np.ndarray, " n"]
    names: Sequence[str]
    annotations: pd.DataFrame


def can_write() -> bool:
    """Whether anndata is installed, which `pip install 'omics_jax[io]'` adds."""
    from importlib.util import find_spec

    return find_spec("anndata") is not None


def as_h5ad(
    values: Real[np.ndarray, "n k"],
    ids: Shaped[np.ndarray, " n"],
    names: Sequence[str],
    annotations: pd.DataFrame,
) -> bytes:
    """The bytes of an .h5ad file: `obs` are the n rows and `var` the k columns.

    annotations: of the rows, a row each; what is no number is stored as text, "" where missing.
    """
    import anndata

    columns = {
        # AnnData keeps this name for itself.
        "index" if str(name) == "_index" else str(name): _storable(annotations[name])
        for name in annotations
    }
    obs = pd.DataFrame(columns, index=annotations.index).set_axis(ids.astype(str), axis=0)
    file = io.BytesIO()
    with warnings.catch_warnings(), h5py.File(file, "w") as opened:
        # Names that occur twice are as they were given.
        warnings.filterwarnings("ignore", message=".*names are not unique")
        table = anndata.AnnData(values, obs=obs, var=pd.DataFrame(index=list(map(str, names))))
        anndata.io.write_elem(opened, "/", table)
    return file.getvalue()


def _storable(column: pd.Series) -> pd.Series:
    """Numbers as they are, everything else as text."""
    if pd.api.types.is_numeric_dtype(column):
        return column
    return column.astype(object).fillna("").astype(str)
