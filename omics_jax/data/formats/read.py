"""Files by name: the one place that chooses a reader by a file's suffix.

A matrix of samples and genes comes from `read_matrix`; a table of text with a row per sample or
patient from `read_table`; a table of numbers whose orientation is still open from `read_grid`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from omics_jax.data.dataset.account import Use
from omics_jax.data.formats.delimited import delimited_grid, delimited_table
from omics_jax.data.formats.files import existing_file
from omics_jax.data.formats.gct import read_gct, read_gctx
from omics_jax.data.formats.grid import Grid, matrix_from_grid, with_ids
from omics_jax.data.formats.h5ad import read_h5ad
from omics_jax.data.formats.matrix import Matrix
from omics_jax.data.formats.names import Names, locate_names
from omics_jax.data.formats.npz import read_npz
from omics_jax.data.formats.options import ReadOptions
from omics_jax.data.formats.parquet import parquet_grid, parquet_table
from omics_jax.data.vocabulary import Missing
from omics_jax.errors import UserError

_GRIDS = {
    ".csv": delimited_grid,
    ".tsv": delimited_grid,
    ".txt": delimited_grid,
    ".parquet": parquet_grid,
}
_MATRICES = {".gct": read_gct, ".gctx": read_gctx, ".h5ad": read_h5ad, ".npz": read_npz}
_TEXT_FORMATS = (".gct", ".csv", ".tsv", ".txt")
FORMATS = (".gct", ".gctx", ".csv", ".tsv", ".txt", ".parquet", ".h5ad", ".npz")


def read_matrix(
    path: str | os.PathLike,
    orientation: str = "auto",
    *,
    samples: Names | None = None,
    genes: Names | None = None,
    annotations: Sequence[str] = (),
    repeated: str = "error",
    below_detection: str = "error",
    missing: Missing = Missing(),
) -> Matrix:
    """Reads an expression matrix; the suffix names the format.

    .gct (1.2, 1.3), .csv, .tsv, .txt, each also with .gz; .gctx; .parquet and .h5ad (`X`, `obs`,
    names of `var`; layers are left out), which need the extra `io`; .npz (`X` or `values`,
    `samples` or `ids`, `features`, an optional boolean `mask`; every further array of length n
    becomes a table column).

    Args:
      path: the file. Delimited text has a header line and ids in its first column.
      orientation: what the rows of delimited text and Parquet are; the other formats fix it
        themselves. "auto" decides by the first of these rules that applies: the header of the first
        column ("gene", "probe", "sample", "barcode", ...); rows that bear more names of well-known
        genes, gene families or probes, or a column of these (Entrez_Gene_Id), are genes; text
        columns are annotations, so rows are samples; columns that bear more such names are genes;
        the side that is at least 200 long and five times the other is the genes. Otherwise a
        `UserError` asks for "samples" or "genes". Of genes in rows, columns of text before the
        samples and those known to describe genes (Entrez_Gene_Id, Length) are left out.
      samples, genes: the ids to return, in that order (None = all). From .gctx and dense .h5ad only
        these are read.
      annotations: columns of delimited text and Parquet that are annotations although they hold
        numbers (age, dose); names that the file does not have are ignored. Columns of text always
        are annotations; so are numeric columns known to describe samples (batch, plate, OS.time),
        with a warning.
      repeated: how to treat genes of the same name: "error", or "mean" for the mean of their
        observed values, in the file's scale.
      below_detection: what stands for limits of detection in text and Parquet: "error"; "limit",
        0.1 for <0.1; "half", 0.05 for <0.1; "missing". A cell such as <LOD gives no limit and can
        only be missing.
      missing: whose words are unobserved cells of text and Parquet too; its numbers are left to the
        caller.

    Empty cells, NA, N/A, NaN, null and none (any case) are unobserved. GCT and GCTX features are
    the gene symbols (`pr_gene_symbol`) if every row has one and no two are equal, otherwise the row
    ids.

    Raises:
      UserError: for anything wrong with the file, naming file, place and mend.
    """
    options = ReadOptions(
        orientation, samples, genes, tuple(annotations), repeated, below_detection, missing
    )
    path = existing_file(path)
    return _selected(path, _whole_matrix(path, options), samples, genes)


def _whole_matrix(path: Path, options: ReadOptions) -> Matrix:
    """The matrix by the reader of its format; some leave out what was not asked for."""
    suffix = _known_suffix(path)
    if suffix in _GRIDS:
        return matrix_from_grid(path, with_ids(path, _GRIDS[suffix](path)), options)
    return _MATRICES[suffix](path, options)


def _selected(path: Path, matrix: Matrix, samples: Names | None, genes: Names | None) -> Matrix:
    """The named samples and genes in that order; None for all."""
    if samples is None and genes is None:
        return matrix
    rows = locate_names(path, "sample", matrix.ids, samples)
    columns = locate_names(path, "gene", matrix.features, genes)
    return matrix.take(rows, columns)


def read_grid(path: Path) -> Grid | None:
    """A table of numbers in delimited text or Parquet; None for any other format."""
    suffix = _file_format(path)
    return with_ids(path, _GRIDS[suffix](path)) if suffix in _GRIDS else None


def read_table(path: str | os.PathLike) -> pd.DataFrame:
    """The table of `read_accounted_table`, without its account."""
    return read_accounted_table(path)[0]


def read_accounted_table(path: str | os.PathLike) -> tuple[pd.DataFrame, tuple[Use, ...]]:
    """A table (.csv, .tsv, .txt, also .gz, or .parquet) as text, "" where a cell is missing.

    The index holds each row's place in the file ("line 7", "row 6"), for messages about it.

    Returns:
      the table, and what became of parts of the file that are not in it, such as comments.
    """
    path = existing_file(path)
    if _file_format(path) == ".parquet":
        return parquet_table(path), ()
    return delimited_table(path)


def _file_format(path: Path) -> str:
    """The suffix in lower case, that before .gz if the file is packed: `a/plate.GCT.gz` -> .gct."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] == [".gz"]:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _known_suffix(path: Path) -> str:
    suffix = _file_format(path)
    if suffix not in FORMATS:
        raise UserError(
            f"{path}: the suffix {suffix!r} names no known format; use one of {', '.join(FORMATS)}"
        )
    if path.suffix.lower() == ".gz" and suffix not in _TEXT_FORMATS:
        raise UserError(
            f"{path}: a {suffix} file cannot be read through gzip; unpack it first (gunzip)"
        )
    return suffix
