"""GCT 1.2 and 1.3 text and GCTX (the same in HDF5), the formats of GenePattern and of the
Connectivity Map.

Source: the format pages of the Broad Institute (GenePattern file formats; Connectopedia GCT and
GCTX). Left
out: row annotations other than the gene symbol, and GCTX files with several data matrices.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Shaped

from omics_jax.data.formats.delimited import (
    MISSING,
    Records,
    not_a_number,
    numbers_and_text,
    parsed_numbers,
    records,
)
from omics_jax.data.formats.files import read_text
from omics_jax.data.formats.hdf5 import member, opened, slab, text_array
from omics_jax.data.formats.matrix import (
    Matrix,
    Names,
    Reading,
    check_names,
    checked_matrix,
    positions,
)
from omics_jax.errors import UserError

_SYMBOL = "pr_gene_symbol"
# The Connectivity Map writes -666 into its annotations for "unknown".
_UNKNOWN = MISSING | {"-666", "-666.0"}


def feature_names(row_ids: Names, symbols: Names | None, repeated: str = "error") -> Names:
    """The gene symbols where every row has one and, unless those of the same name are averaged, no
    two are equal.

    The row ids otherwise.
    """
    if symbols is None or any(s.casefold() in _UNKNOWN for s in symbols):
        return row_ids
    return symbols if repeated == "mean" or len(set(symbols)) == len(symbols) else row_ids


def annotation(cells: Names) -> np.ndarray:
    """One annotation of all samples: float64 with NaN if every known cell is a number, else text."""
    known = pd.Series(
        ["" if str(c).strip().casefold() in _UNKNOWN else str(c).strip() for c in cells],
        dtype=object,
    )
    filled = known != ""
    numbers = pd.to_numeric(known.where(filled), errors="coerce")
    if filled.any() and numbers[filled].notna().all():
        return numbers.to_numpy(dtype=np.float64)
    return known.to_numpy()


def read_gct(path: Path, how: Reading) -> Matrix:
    """`read_matrix` for .gct and .gct.gz; read whole, subsets are taken by the caller."""
    table = records(path, read_text(path), "\t", quoted=False)
    n_genes, n_samples, n_row_meta, n_col_meta = _dimensions(table)
    first = 3 + n_col_meta
    _check_shape(table, n_genes, n_samples, n_row_meta, first)
    header = table.fields(2)[: 1 + n_row_meta + n_samples]
    body = range(first, first + n_genes)

    def row_place(i):
        return f"line {table.numbers[first + i]}"

    def column_place(j):
        return f"column {2 + n_row_meta + j}"

    frame = parsed_numbers(table, body, range(1 + n_row_meta, len(header)))
    values, text = numbers_and_text(path, frame, row_place, column_place)
    for j, cells in text.items():
        i = int(
            np.flatnonzero(
                pd.isna(pd.to_numeric(pd.Series(cells), errors="coerce")) & (cells != "")
            )[0]
        )
        raise not_a_number(
            path, row_place(i), f"{column_place(j)} ({header[1 + n_row_meta + j]!r})", cells[i]
        )
    row_ids = [table.first_field(r) for r in body]
    symbols = None
    if _SYMBOL in header[1 : 1 + n_row_meta]:
        where = header.index(_SYMBOL)
        symbols = [table.lines[r].decode().split("\t", where + 1)[where].strip() for r in body]
    return checked_matrix(
        path,
        header[1 + n_row_meta :],
        feature_names(row_ids, symbols, how.repeated),
        values.T,
        _column_annotations(table, n_row_meta, n_col_meta, n_samples),
        repeated=how.repeated,
        sample_place=lambda i: f"line {table.numbers[2]}, {column_place(i)}",
        gene_place=row_place,
    )


def _dimensions(table: Records) -> tuple[int, int, int, int]:
    """(genes, samples, row annotations, column annotations) from the first two lines."""
    version = table.fields(0)[0]
    if version not in ("#1.2", "#1.3"):
        raise UserError(
            f"{table.path}: line 1 is {version[:40]!r}; a GCT file begins with #1.2 or #1.3"
        )
    wanted = 2 if version == "#1.2" else 4
    if len(table.lines) < 3:
        raise UserError(
            f"{table.path} ends after line {table.numbers[-1]}; line 2 needs {wanted} counts, then "
            "a header"
        )
    sizes = [field for field in table.fields(1) if field]
    if len(sizes) != wanted or not all(s.isascii() and s.isdigit() and len(s) < 10 for s in sizes):
        raise UserError(
            f"{table.path}: line 2 is {' '.join(sizes)[:60]!r}; write the {wanted} whole numbers "
            f"of version {version} "
            + (
                "(genes, samples)"
                if wanted == 2
                else "(genes, samples, row annotations, column annotations)"
            )
        )
    numbers = [int(s) for s in sizes]
    if not numbers[0] or not numbers[1]:
        raise UserError(
            f"{table.path}: line 2 announces {numbers[0]} genes and {numbers[1]} samples; correct "
            "it to 1 or more"
        )
    return (numbers[0], numbers[1], 1, 0) if wanted == 2 else tuple(numbers)


def _check_shape(table: Records, n_genes: int, n_samples: int, n_row_meta: int, first: int):
    found = len(table.lines) - first
    if found != n_genes:
        raise UserError(
            f"{table.path}: line 2 announces {n_genes} genes but {max(found, 0)} rows follow; "
            "correct line 2, or fetch the file again if it was cut off"
        )
    width = 1 + n_row_meta + n_samples
    for r in range(2, len(table.lines)):
        fields = table.lines[r].count(b"\t") + 1
        if fields > width and table.lines[r].endswith(b"\t" * (fields - width)):
            # Spreadsheets pad the shorter lines with tabs.
            table.lines[r] = table.lines[r][: width - fields]
            fields = width
        if fields != width:
            raise UserError(
                f"{table.path}: line {table.numbers[r]} has {fields} fields where line 2 announces "
                f"{width} (1 id, {n_row_meta} row annotation(s), {n_samples} samples); correct one "
                "of them"
            )


def _column_annotations(
    table: Records, n_row_meta: int, n_col_meta: int, n_samples: int
) -> pd.DataFrame:
    columns = {}
    for r in range(3, 3 + n_col_meta):
        name, *cells = table.fields(r)
        if not name or name in columns:
            raise UserError(
                f"{table.path}: line {table.numbers[r]} repeats or lacks its annotation's name; "
                "name it"
            )
        columns[name] = annotation(cells[n_row_meta : n_row_meta + n_samples])
    return pd.DataFrame(columns, index=range(n_samples))


def gctx_ids(path: Path) -> Shaped[np.ndarray, " n"]:
    """(n,) str: the sample ids of a GCTX, without reading its values."""
    with opened(path) as file:
        return _axis_ids(path, file, "COL")


def _axis_ids(path: Path, file, axis: str) -> np.ndarray:
    ids = text_array(member(path, file, f"0/META/{axis}/id", "GCTX"))
    check_names(
        path, "sample" if axis == "COL" else "row", ids, lambda i: f"0/META/{axis}/id entry {i + 1}"
    )
    return ids


def read_gctx(path: Path, how: Reading) -> Matrix:
    """`read_matrix` for .gctx; of a subset only its hyperslabs are read."""
    with opened(path) as file:
        data = member(path, file, "0/DATA/0/matrix", "GCTX")
        row_meta, col_meta = (
            member(path, file, f"0/META/{axis}", "GCTX") for axis in ("ROW", "COL")
        )
        ids, row_ids = (_axis_ids(path, file, axis) for axis in ("COL", "ROW"))
        if data.shape != (len(ids), len(row_ids)) or data.dtype.kind not in "fiu":
            raise UserError(
                f"{path}: 0/DATA/0/matrix is {data.shape} of {data.dtype} for {len(ids)} column "
                f"ids and {len(row_ids)} row ids; it must hold numbers, a row per column id; write "
                "the file again"
            )
        symbols = text_array(row_meta[_SYMBOL]).tolist() if _SYMBOL in row_meta else None
        features = np.asarray(feature_names(row_ids.tolist(), symbols, how.repeated), dtype=str)
        rows = positions(path, "sample", ids, how.samples)
        # Of genes that are averaged the caller takes the wanted ones.
        columns = positions(path, "gene", features, how.genes if how.repeated == "error" else None)
        values = slab(data, rows, columns)
        table = _gctx_table(path, col_meta, rows, len(ids))
    return checked_matrix(
        path,
        ids[rows],
        features[columns],
        values,
        table,
        repeated=how.repeated,
        sample_place=lambda i: f"column id {rows[i] + 1}",
        gene_place=lambda j: f"row id {columns[j] + 1}",
    )


def _gctx_table(path: Path, col_meta, rows: np.ndarray, n: int) -> pd.DataFrame:
    columns = {}
    for name in col_meta:
        if name == "id":
            continue
        if getattr(col_meta[name], "shape", ()) != (n,):
            raise UserError(
                f"{path}: annotation '0/META/COL/{name}' is not of length {n}; remove it or write "
                "it again"
            )
        columns[name] = annotation(text_array(col_meta[name])[rows])
    return pd.DataFrame(columns, index=range(len(rows)))
