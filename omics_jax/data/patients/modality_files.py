"""One modality of many patients from one file, with what only a reader of several files can know of
it.

Whose names the rows and columns bear is told by the patients already met (clinical table, other
modalities); an .npz may hold several blocks (cohorts) whose features differ and are united.
Everything else is `read_matrix`.
"""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from omics_jax.data.formats.columns import as_numbers
from omics_jax.data.formats.files import existing_file
from omics_jax.data.formats.grid import Grid, matrix_from_grid
from omics_jax.data.formats.matrix import Matrix, averaged_features, checked_matrix
from omics_jax.data.formats.names import check_names
from omics_jax.data.formats.npz import npz_arrays, take_array
from omics_jax.data.formats.options import ReadOptions
from omics_jax.data.formats.read import read_grid, read_matrix
from omics_jax.data.patients.barcodes import barcode_hint, patient_of
from omics_jax.errors import UserError

SELF_ORIENTED = (".npz", ".h5ad", ".gct", ".gct.gz", ".gctx")
_BLOCK_PARTS = ("_X", "_samples", "_features")


@dataclass(frozen=True)
class _Block:
    """One cohort of an .npz of blocks: values (n, f), samples (n,), features (f,), and which of
    these are means.
    """

    values: np.ndarray
    samples: np.ndarray
    features: np.ndarray
    averaged: tuple[str, ...]


def read_modality(
    path: str | Path, how: ReadOptions, known: Collection[str], barcode: str
) -> tuple[Matrix, list[str]]:
    """The file as a `Matrix` of samples, and notes on how it was understood.

    Args:
      path: any format of `read_matrix`, or an .npz of blocks: arrays <block>_X, <block>_samples,
        <block>_features.
      how: see `read_matrix`; an orientation of "auto" first looks for patients.
      known: patients met so far, under `barcode`; none where there are none yet.

    Raises:
      UserError: for anything wrong with the file; for text in which no known patient is found on
        either side.
    """
    path = existing_file(path)
    if path.name.lower().endswith(SELF_ORIENTED):
        blocks = _block_names(path)
        return (
            _read_blocks(path, blocks, how.repeated)
            if blocks
            else (read_matrix(path, repeated=how.repeated), [])
        )
    grid = read_grid(path)
    if grid is None:
        return read_matrix(path, how.orientation), []
    kind, why = _oriented(path, grid, how.orientation, known, barcode)
    matrix = matrix_from_grid(path, grid, replace(how, orientation=kind))
    side = "rows" if matrix.ids.tolist() == grid.rows else "columns"
    return matrix, [f"{path.name} has samples in {side}, {why}."]


def _oriented(
    path: Path, grid: Grid, orientation: str, known: Collection[str], barcode: str
) -> tuple[str, str]:
    """The orientation for `matrix_from_grid`, and a clause on who decided it."""
    if orientation != "auto":
        return orientation, "as orientation says"
    if not known and not barcode:
        return "auto", "judged by its names and shape"
    rows, columns = (_hits(names, known, barcode) for names in (grid.rows, grid.columns))
    if not rows and not columns:
        some = f"the other files (such as {min(known)!r})" if known else "TCGA"
        hint = barcode_hint(grid.rows[0], *grid.columns[:1]) if not barcode else ""
        raise UserError(
            f"{path}: neither its rows (such as {grid.rows[0]!r}) nor its columns (such as "
            f"{grid.columns[0]!r}) are called like a patient of {some}{hint}; use the same ids in "
            "all files"
        )
    if rows == columns:
        return "auto", "judged by its names and shape"
    return "samples" if rows > columns else "genes", "where ids of patients were found"


def _hits(names: Sequence[str], known: Collection[str], barcode: str) -> int:
    patients = [patient_of(name, barcode) for name in names]
    return sum(patient in known if known else bool(patient) for patient in patients)


def _block_names(path: Path) -> list[str]:
    """The blocks of an .npz, sorted; [] where it is one matrix, or nothing that can be looked into."""
    if path.suffix.lower() != ".npz" or not zipfile.is_zipfile(path):
        return []
    with zipfile.ZipFile(path) as archive:
        names = {name.removesuffix(".npy") for name in archive.namelist()}
    if names & {"X", "values", "x1"}:
        return []
    return sorted(name.removesuffix("_X") for name in names if name.endswith("_X"))


def _read_blocks(path: Path, blocks: Sequence[str], repeated: str) -> tuple[Matrix, list[str]]:
    """All blocks under each other, on all of their features in the order in which they come up."""
    arrays = npz_arrays(path)
    parts = [_block(path, arrays, block, repeated) for block in blocks]
    place: dict[str, int] = {}
    for part in parts:
        for feature in part.features:
            place.setdefault(str(feature), len(place))
    samples = np.concatenate([part.samples for part in parts])
    values = np.full((len(samples), len(place)), np.nan, np.float32)
    start = 0
    for part in parts:
        end = start + len(part.samples)
        values[start:end, [place[str(feature)] for feature in part.features]] = part.values
        start = end
    sizes = [len(part.samples) for part in parts]
    origin = [
        f"{block}_samples[{i}]"
        for block, size in zip(blocks, sizes, strict=True)
        for i in range(size)
    ]
    matrix = checked_matrix(
        path,
        samples,
        list(place),
        values,
        pd.DataFrame({"block": np.repeat(np.asarray(blocks, object), sizes)}),
        sample_place=lambda i: origin[i],
        gene_place=lambda j: f"feature {j + 1} of all blocks",
    )
    holders = Counter(str(feature) for part in parts for feature in part.features)
    shared = sum(count == len(blocks) for count in holders.values())
    averaged = tuple(sorted({name for part in parts for name in part.averaged}))
    return replace(matrix, averaged=averaged), [
        f"{path.name} holds {len(blocks)} blocks; their features are united to {len(place):,}, of "
        f"which all share {shared:,}, and what a block lacks is missing: "
        f"{1 - matrix.mask.mean():.1%} of the cells. Which features are missing tells the block."
    ]


def _block(path: Path, arrays: Mapping[str, np.ndarray], block: str, repeated: str) -> _Block:
    x, samples, features = (
        take_array(path, arrays, (block + part,), ndim)
        for part, ndim in zip(_BLOCK_PARTS, (2, 1, 1), strict=True)
    )
    samples, features = (np.char.strip(names.astype(str)) for names in (samples, features))
    if x.shape != (len(samples), len(features)):
        raise UserError(
            f"{path}: {block}_X is {x.shape} for {len(samples)} samples and {len(features)} "
            "features; store samples in rows, features in columns"
        )
    check_names(path, "feature", features, lambda j: f"{block}_features[{j}]", repeated == "error")
    values = as_numbers(path, f"{block}_X", x)
    features, values, seen, averaged = averaged_features(features, values, ~np.isnan(values))
    return _Block(np.where(seen, values, np.nan), samples, features, averaged)
