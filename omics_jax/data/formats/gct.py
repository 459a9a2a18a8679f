"""GCT 1.2 and 1.3 text and GCTX (the same in HDF5): GenePattern and the Connectivity Map.

Source: the format pages of the Broad Institute (GenePattern file formats; Connectopedia GCT and
GCTX). Left out: row annotations other than the gene symbol, and GCTX files with several data
matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Int, Shaped

from omics_jax.data.dataset.account import Use
from omics_jax.data.formats.cells import plain_numbers
from omics_jax.data.formats.columns import cell_strings
from omics_jax.data.formats.files import read_text
from omics_jax.data.formats.hdf5 import open_hdf5, require_member, slab, stored_array, text_array
from omics_jax.data.formats.matrix import Matrix, Sides, checked_matrix
from omics_jax.data.formats.names import Names, check_names, locate_names
from omics_jax.data.formats.options import ReadOptions
from omics_jax.data.formats.parse import parse_numbers, require_numbers
from omics_jax.data.formats.records import Records, cut_records
from omics_jax.data.vocabulary import MISSING
from omics_jax.errors import UserError

_SYMBOL = "pr_gene_symbol"
_SIDES = Sides("columns", "rows", "rows above the genes")
# The Connectivity Map writes -666 into its annotations for "unknown".
_UNKNOWN = MISSING | {"-666", "-666.0"}


def feature_names(row_ids: Names, symbols: Names | None, repeated: str = "error") -> Names:
    """The gene symbols if every row has one and no two are equal, otherwise the row ids.

    Equal symbols are allowed if their rows are to be averaged (`repeated="mean"`).
    """
    if symbols is None or any(symbol.casefold() in _UNKNOWN for symbol in symbols):
        return row_ids
    are_unique = len(set(symbols)) == len(symbols)
    return symbols if repeated == "mean" or are_unique else row_ids


def annotation(cells: Names) -> Shaped[np.ndarray, " n"]:
    """One annotation of all samples: float64 with NaN if all known cells are numbers, else text."""
    text = cell_strings(pd.Series(cells, dtype=object))
    known = text.where(~text.str.casefold().isin(_UNKNOWN), "")
    filled = known != ""
    numbers = pd.to_numeric(known.where(filled), errors="coerce")
    if filled.any() and numbers[filled].notna().all():
        return numbers.to_numpy(dtype=np.float64)
    return known.to_numpy()


@dataclass(frozen=True)
class _Layout:
    """What line 2 of a GCT announces."""

    genes: int
    samples: int
    row_annotations: int
    column_annotations: int

    @property
    def first_row(self) -> int:
        """The record of the first gene."""
        return 3 + self.column_annotations

    @property
    def first_sample(self) -> int:
        """The field of the first sample."""
        return 1 + self.row_annotations

    @property
    def width(self) -> int:
        """Fields of every record from the header on."""
        return self.first_sample + self.samples


def read_gct(path: Path, options: ReadOptions) -> Matrix:
    """`read_matrix` for .gct and .gct.gz; all of it is read, the caller takes subsets."""
    table = cut_records(path, read_text(path), "\t", quoted=False)
    layout = _layout(table)
    _check_shape(table, layout)
    header = table.fields(2)[: layout.width]
    ids = header[layout.first_sample :]
    body = range(layout.first_row, layout.first_row + layout.genes)

    def row_place(i):
        return f"line {table.numbers[layout.first_row + i]}"

    def column_place(j):
        return f"column {1 + layout.first_sample + j}"

    def cell_place(j):
        return f"{column_place(j)} ({ids[j]!r})"

    frame = parse_numbers(table, body, range(layout.first_sample, layout.width))
    frame, uses = plain_numbers(
        path, frame, row_place, lambda i, j: ids[j], options.below_detection
    )
    values = require_numbers(path, frame, row_place, cell_place)
    row_ids = [table.first_field(r) for r in body]
    symbols = _symbols(table, body, header[1 : layout.first_sample])
    return checked_matrix(
        path,
        ids,
        feature_names(row_ids, symbols, options.repeated),
        values.T,
        _column_annotations(table, layout),
        repeated=options.repeated,
        sample_place=lambda i: f"line {table.numbers[2]}, {column_place(i)}",
        gene_place=row_place,
        sides=_SIDES,
        uses=(*uses, *_row_annotations(path, header[1 : layout.first_sample])),
    )


def _row_annotations(path: Path, names: Sequence[str]) -> list[Use]:
    """The annotations of genes, of which none is used but the symbol."""
    unused = tuple(name for name in names if name != _SYMBOL)
    why = "annotations of the genes"
    return [Use(path.name, "columns", "left out", unused, why)] if unused else []


def _symbols(table: Records, body: range, annotations: list[str]) -> list[str] | None:
    """The gene symbol of every row, if the file has that annotation."""
    if _SYMBOL not in annotations:
        return None
    field = 1 + annotations.index(_SYMBOL)
    return [table.lines[r].decode().split("\t", field + 1)[field].strip() for r in body]


def _layout(table: Records) -> _Layout:
    """What the first two lines say."""
    version = table.fields(0)[0]
    if version not in ("#1.2", "#1.3"):
        raise UserError(
            f"{table.path}: line 1 is {version[:40]!r}; a GCT file begins with #1.2 or #1.3"
        )
    names = ["genes", "samples"]
    if version == "#1.3":
        names += ["row annotations", "column annotations"]
    if len(table.lines) < 3:
        raise UserError(
            f"{table.path} ends after line {table.numbers[-1]}; line 2 needs {len(names)} counts, "
            "then a header"
        )
    counts = [field for field in table.fields(1) if field]
    are_counts = all(s.isascii() and s.isdigit() and len(s) < 10 for s in counts)
    if len(counts) != len(names) or not are_counts:
        raise UserError(
            f"{table.path}: line 2 is {' '.join(counts)[:60]!r}; write the {len(names)} whole "
            f"numbers of version {version} ({', '.join(names)})"
        )
    genes, samples, *annotations = map(int, counts)
    if not genes or not samples:
        raise UserError(
            f"{table.path}: line 2 announces {genes} genes and {samples} samples; correct it to 1 "
            "or more"
        )
    # Version 1.2 has one row annotation, the description.
    return _Layout(genes, samples, *(annotations or (1, 0)))


def _check_shape(table: Records, layout: _Layout) -> None:
    rows = max(len(table.lines) - layout.first_row, 0)
    if rows != layout.genes:
        raise UserError(
            f"{table.path}: line 2 announces {layout.genes} genes but {rows} rows follow; correct "
            "line 2, or fetch the file again if it was cut off"
        )
    width = layout.width
    for r in range(2, len(table.lines)):
        fields = table.lines[r].count(b"\t") + 1
        if fields > width and table.lines[r].endswith(b"\t" * (fields - width)):
            # Spreadsheets pad the shorter lines with tabs.
            table.lines[r] = table.lines[r][: width - fields]
            fields = width
        if fields != width:
            raise UserError(
                f"{table.path}: line {table.numbers[r]} has {fields} fields where line 2 announces "
                f"{width} (1 id, {layout.row_annotations} row annotation(s), {layout.samples} "
                "samples); correct one of them"
            )


def _column_annotations(table: Records, layout: _Layout) -> pd.DataFrame:
    """The annotations of the samples, between the header and the first gene."""
    columns = {}
    for r in range(3, layout.first_row):
        name, *cells = table.fields(r)
        if not name or name in columns:
            raise UserError(
                f"{table.path}: line {table.numbers[r]} repeats or lacks its annotation's name; "
                "name it"
            )
        of_samples = cells[layout.row_annotations :]
        columns[name] = annotation(of_samples[: layout.samples])
    return pd.DataFrame(columns, index=range(layout.samples))


def gctx_ids(path: Path) -> Shaped[np.ndarray, " n"]:
    """(n,) str: the sample ids of a GCTX, without reading its values."""
    with open_hdf5(path) as file:
        return _axis_ids(path, file, "COL")


def _axis_ids(path: Path, file, axis: str) -> Shaped[np.ndarray, " n"]:
    """The ids of the samples (COL) or of the genes (ROW)."""
    name = f"0/META/{axis}/id"
    ids = text_array(path, require_member(path, file, name, "GCTX"))
    kind = "sample" if axis == "COL" else "row"
    check_names(path, kind, ids, lambda i: f"{name} entry {i + 1}")
    return ids


def read_gctx(path: Path, options: ReadOptions) -> Matrix:
    """`read_matrix` for .gctx; of a subset only its hyperslabs are read."""
    with open_hdf5(path) as file:
        data = require_member(path, file, "0/DATA/0/matrix", "GCTX")
        row_meta = require_member(path, file, "0/META/ROW", "GCTX")
        col_meta = require_member(path, file, "0/META/COL", "GCTX")
        ids, row_ids = _axis_ids(path, file, "COL"), _axis_ids(path, file, "ROW")
        if data.shape != (len(ids), len(row_ids)) or data.dtype.kind not in "fiu":
            raise UserError(
                f"{path}: 0/DATA/0/matrix is {data.shape} of {data.dtype} for {len(ids)} column "
                f"ids and {len(row_ids)} row ids; it must hold numbers, a row per column id; write "
                "the file again"
            )
        gene_annotations = [name for name in row_meta if name != "id"]
        symbols = _gctx_symbols(path, row_meta, len(row_ids))
        names = feature_names(row_ids.tolist(), symbols, options.repeated)
        features = np.asarray(names, dtype=str)
        rows = locate_names(path, "sample", ids, options.samples)
        # Of genes that are averaged the caller takes the wanted ones.
        genes = options.genes if options.repeated == "error" else None
        columns = locate_names(path, "gene", features, genes)
        values = slab(path, data, rows, columns)
        table = _gctx_table(path, col_meta, rows, len(ids))
    return checked_matrix(
        path,
        ids[rows],
        features[columns],
        values,
        table,
        repeated=options.repeated,
        sample_place=lambda i: f"column id {rows[i] + 1}",
        gene_place=lambda j: f"row id {columns[j] + 1}",
        sides=_SIDES,
        uses=_row_annotations(path, gene_annotations),
    )


def _gctx_symbols(path: Path, row_meta, n: int) -> list[str] | None:
    """The gene symbols of the n rows, if the file has that annotation."""
    if _SYMBOL not in row_meta:
        return None
    return _gctx_annotation(path, row_meta, "ROW", _SYMBOL, n).tolist()


def _gctx_annotation(path: Path, meta, axis: str, name: str, n: int) -> Shaped[np.ndarray, " n"]:
    """One annotation of all n rows or columns, as it is stored."""
    if getattr(meta[name], "shape", ()) != (n,):
        raise UserError(
            f"{path}: annotation '0/META/{axis}/{name}' is not of length {n}; remove it or write "
            "it again"
        )
    return cell_strings(pd.Series(stored_array(path, meta[name]))).to_numpy(dtype=object)


def _gctx_table(path: Path, col_meta, rows: Int[np.ndarray, " r"], n: int) -> pd.DataFrame:
    """The annotations of the wanted samples, out of those of all n."""
    columns = {}
    for name in col_meta:
        if name != "id":
            columns[name] = annotation(_gctx_annotation(path, col_meta, "COL", name, n)[rows])
    return pd.DataFrame(columns, index=range(len(rows)))
