"""Expression matrices: one `Matrix` with samples in rows, read from any of the formats users bring.

`read_matrix` picks the reader by the file's suffix; every reader ends in `checked_matrix`, which
holds what
is true of all of them. Nothing is scaled, imputed or filtered here.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float32, Num, Shaped

from omics_jax.data.dataset import mapped
from omics_jax.data.formats.files import existing_file, nearest
from omics_jax.errors import UserError

FORMATS = (".gct", ".gctx", ".csv", ".tsv", ".txt", ".parquet", ".h5ad", ".npz")
_TEXT_FORMATS = (".gct", ".csv", ".tsv", ".txt")
_ORIENTATIONS = ("auto", "samples", "genes")
REPEATED = ("error", "mean")

Names = Sequence[str] | np.ndarray


@dataclass(frozen=True)
class Matrix:
    """Samples in rows, genes (or any other features) in columns.

    Attributes:
      ids: (n,) str, unique sample ids. features: (g,) str, unique feature names.
      values: (n, g) float32 in the file's own scale, 0 where unobserved. mask: (n, g), True =
        observed.
      table: n rows of sample annotations, indexed by `ids`; text columns hold "" where unknown,
        numeric
        columns NaN.
      averaged: features that stood more than once in the file and are the mean of these
        (`Reading.repeated`).
    """

    ids: Shaped[np.ndarray, " n"]
    features: Shaped[np.ndarray, " g"]
    values: Float32[np.ndarray, "n g"]
    mask: Bool[np.ndarray, "n g"]
    table: pd.DataFrame
    averaged: tuple[str, ...] = ()

    def take(self, rows: np.ndarray, columns: np.ndarray | slice) -> Matrix:
        """The matrix of the given rows (indices) and columns (indices or a slice), in that order."""
        return replace(
            self,
            ids=self.ids[rows],
            features=self.features[columns],
            values=mapped.rows_of(self.values, rows)[:, columns],
            mask=mapped.rows_of(self.mask, rows)[:, columns],
            table=self.table.iloc[rows],
        )


@dataclass(frozen=True)
class Reading:
    """How a file is to be read: the arguments of `read_matrix` beside its path."""

    orientation: str = "auto"
    samples: Names | None = None
    genes: Names | None = None
    annotations: Sequence[str] = ()
    repeated: str = "error"


def read_matrix(
    path: str | os.PathLike,
    orientation: str = "auto",
    *,
    samples: Names | None = None,
    genes: Names | None = None,
    annotations: Sequence[str] = (),
    repeated: str = "error",
) -> Matrix:
    """Reads an expression matrix; the suffix names the format.

    .gct (1.2, 1.3), .csv, .tsv, .txt, each also with .gz; .gctx; .parquet (needs the extra `io`);
    .h5ad (`X`,
    `obs`, names of `var`; layers are left out); .npz (`X` or `values`, `samples` or `ids`,
    `features`, an
    optional boolean `mask`; every further array of length n becomes a table column).

    Args:
      path: the file. Delimited text has a header line and ids in its first column.
      orientation: what the rows of delimited text and Parquet are; the other formats fix it
        themselves.
        "auto" decides by these rules, the first that speaks: text columns are annotations, so rows
        are
        samples; the header of the first column ("gene", "probe", "sample", "barcode", ...); which
        side bears
        names of well-known genes, gene families or probes; the side that is at least 200 long and
        five times
        the other is the genes. Otherwise a `UserError` asks for "samples" or "genes".
      samples, genes: the ids to return, in that order (None = all). From .gctx and dense .h5ad only
        these are
        read.
      annotations: columns of delimited text and Parquet that are annotations although they hold
        numbers (age,
        dose); names that the file does not have are ignored. Columns of text are annotations by
        themselves.
      repeated: what becomes of genes of the same name: "error", or "mean" for the mean of their
        observed values, in
        the file's scale.

    Empty cells, NA, N/A, NaN, null and none (any case) are unobserved. GCT and GCTX features are
    the gene
    symbols (`pr_gene_symbol`) where every row has one and no two are equal, the row ids otherwise.

    Raises:
      UserError: for anything wrong with the file, naming file, place and mend.
    """
    for name, value, known in (
        ("orientation", orientation, _ORIENTATIONS),
        ("repeated", repeated, REPEATED),
    ):
        if value not in known:
            raise UserError(f"{name}={value!r} is unknown; set it to one of {', '.join(known)}")
    path = existing_file(path)
    matrix = _reader(path)(path, Reading(orientation, samples, genes, tuple(annotations), repeated))
    rows = positions(path, "sample", matrix.ids, samples)
    columns = positions(path, "gene", matrix.features, genes)
    return matrix if samples is None and genes is None else matrix.take(rows, columns)


def _reader(path: Path) -> Callable[..., Matrix]:
    """The reader of the file's format; imported here because some need h5py or pyarrow."""
    from omics_jax.data.formats import delimited, gct, h5ad
    from omics_jax.data.formats import npz as containers

    suffixes = [s.lower() for s in path.suffixes]
    packed = suffixes[-1:] == [".gz"]
    suffix = ([""] + suffixes)[-1 - packed]
    if packed and suffix in FORMATS and suffix not in _TEXT_FORMATS:
        raise UserError(
            f"{path}: a {suffix} file cannot be read through gzip; unpack it first (gunzip)"
        )
    readers = {
        ".gct": gct.read_gct,
        ".gctx": gct.read_gctx,
        ".csv": delimited.read_delimited,
        ".tsv": delimited.read_delimited,
        ".txt": delimited.read_delimited,
        ".parquet": containers.read_parquet,
        ".h5ad": h5ad.read_h5ad,
        ".npz": containers.read_npz,
    }
    if suffix not in readers:
        raise UserError(
            f"{path}: the suffix {suffix!r} names no known format; use one of {', '.join(FORMATS)}"
        )
    return readers[suffix]


def positions(
    path: str | os.PathLike, kind: str, names: Shaped[np.ndarray, " n"], wanted: Names | None
) -> Shaped[np.ndarray, " k"]:
    """(k,) int: where each wanted name stands among `names` (all, in order, for None)."""
    if wanted is None:
        return np.arange(len(names))
    where = {str(name): i for i, name in enumerate(names)}
    for name in wanted:
        if str(name) not in where:
            near = nearest(name, where)
            mend = (
                f"did you mean {near!r}?"
                if near
                else f"its {kind}s are called like {str(names[0])!r}"
            )
            raise UserError(f"{path} has no {kind} {name!r}; {mend}")
    return np.array([where[str(name)] for name in wanted], dtype=int)


def checked_matrix(
    path: str | os.PathLike,
    ids: Names,
    features: Names,
    values: Num[np.ndarray, "n g"],
    table: pd.DataFrame | None = None,
    *,
    repeated: str = "error",
    sample_place: Callable[[int], str] = lambda i: f"sample {i + 1}",
    gene_place: Callable[[int], str] = lambda j: f"gene {j + 1}",
) -> Matrix:
    """The `Matrix` of values with NaN for unobserved, after what must hold in every format.

    There is at least one sample, one gene and one observed value; ids and features are filled in
    and unique, but for `repeated` features that are to become their mean; values are finite in
    float32. The places say where sample i and gene j stand in the file.
    """
    for kind, names, place, unique in (
        ("sample", ids, sample_place, True),
        ("gene", features, gene_place, repeated == "error"),
    ):
        if not len(names):
            raise UserError(
                f"{path} holds no {kind}s: nothing numeric is left after its ids; add them"
            )
        check_names(path, kind, names, place, unique)
    values, mask, infinite = mapped.masked(values)
    if infinite:
        i, j = infinite
        raise UserError(
            f"{path}: {sample_place(i)}, {gene_place(j)}: the value of sample {str(ids[i])!r} and "
            f"gene {str(features[j])!r} is infinite; write a finite number, or NA where nothing "
            "was measured"
        )
    if not mask.any():
        raise UserError(
            f"{path}: not one of its {values.size} cells holds a number; check the columns"
        )
    ids = np.asarray(ids, dtype=str)
    table = pd.DataFrame(index=range(len(ids))) if table is None else table
    features, values, mask, averaged = averaged_features(
        np.asarray(features, dtype=str), values, mask
    )
    return Matrix(ids, features, values, mask, table.set_axis(ids, axis=0), averaged)


def averaged_features(
    features: Shaped[np.ndarray, " g"],
    values: Float[np.ndarray, "n g"],
    mask: Bool[np.ndarray, "n g"],
) -> tuple[
    Shaped[np.ndarray, " u"], Float[np.ndarray, "n u"], Bool[np.ndarray, "n u"], tuple[str, ...]
]:
    """Every feature once, in the order of first appearance, as the mean of what is observed under
    its name.

    Returns:
      names, values, mask, and the names that stood more than once.
    """
    if len(set(features.tolist())) == len(features):
        return features, values, mask, ()
    columns: dict[str, list[int]] = {}
    for j, name in enumerate(features.tolist()):
        columns.setdefault(name, []).append(j)
    found, seen = mapped.columns_of(
        values, mask, np.array([where[0] for where in columns.values()])
    )
    for j, where in enumerate(columns.values()):
        if len(where) > 1:
            count = mask[:, where].sum(axis=1)
            total = np.where(mask[:, where], values[:, where], 0).sum(axis=1, dtype=np.float64)
            found[:, j], seen[:, j] = total / np.maximum(count, 1), count > 0
    return (
        np.array(list(columns)),
        found,
        seen,
        tuple(name for name, where in columns.items() if len(where) > 1),
    )


def check_names(
    path: str | os.PathLike,
    kind: str,
    names: Names,
    place: Callable[[int], str],
    unique: bool = True,
):
    """Every name is filled in, and `unique` where that is asked for; `place` says where the i-th
    stands in the file.
    """
    names = [str(name) for name in names]
    if "" in names:
        raise UserError(
            f"{path}: {place(names.index(''))} has no {kind} name; fill it in or remove it"
        )
    if not unique or len(set(names)) == len(names):
        return
    name = next(name for name, count in Counter(names).items() if count > 1)
    first = names.index(name)
    second = names.index(name, first + 1)
    raise UserError(
        f"{path}: the {kind} {name!r} stands twice, at {place(first)} and {place(second)}; "
        "rename or remove one of them"
        + (", or set data.repeated=mean" if kind in ("gene", "feature") else "")
    )
