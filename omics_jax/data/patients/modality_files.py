"""One modality of many patients from one file.

Beyond `read_matrix`, this finds the side of a table that holds samples, by the features that are
known (of a training) or by the patients of the other files (clinical table, other modalities), and
unites the blocks (cohorts) of an .npz whose features differ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped

from omics_jax.data.formats.columns import as_names, as_numbers
from omics_jax.data.formats.files import existing_file
from omics_jax.data.formats.grid import Grid, matrix_from_grid
from omics_jax.data.formats.matrix import Matrix, averaged_features, checked_matrix
from omics_jax.data.formats.names import check_names
from omics_jax.data.formats.npz import npz_arrays, npz_names, take_array
from omics_jax.data.formats.options import ReadOptions
from omics_jax.data.formats.orientation import gene_annotations
from omics_jax.data.formats.read import read_grid, read_matrix
from omics_jax.data.identity import near_matches
from omics_jax.data.patients.barcodes import barcode_hint, patient_of
from omics_jax.errors import UserError

SELF_ORIENTED = (".npz", ".h5ad", ".gct", ".gct.gz", ".gctx")


@dataclass(frozen=True)
class _Block:
    """One cohort of an .npz of blocks; `averaged`: which of its features are means of several."""

    values: Float[np.ndarray, "n f"]
    samples: Shaped[np.ndarray, " n"]
    features: Shaped[np.ndarray, " f"]
    averaged: tuple[str, ...]


def read_modality(
    path: str | Path,
    options: ReadOptions,
    known: Collection[str],
    barcode: str,
    features: Collection[str] = (),
) -> tuple[Matrix, list[str]]:
    """The file as a `Matrix` of samples, and notes on how it was understood.

    Args:
      path: any format of `read_matrix`, or an .npz of blocks: arrays <block>_X, <block>_samples,
        <block>_features.
      options: see `read_matrix`; known features decide before the orientation, and one of "auto"
        first looks for patients.
      known: patients of the files read before, under `barcode`; empty where there are none yet.
      barcode: see `barcodes`.
      features: names that are known to be of features; empty where none are.

    Raises:
      UserError: for anything wrong with the file; for text with no known patient on either side.
    """
    path = existing_file(path)
    if path.name.lower().endswith(SELF_ORIENTED):
        blocks = _block_names(path)
        if blocks:
            return _read_blocks(path, blocks, options.repeated)
        return read_matrix(path, repeated=options.repeated), []
    grid = read_grid(path)
    if grid is None:
        return read_matrix(path, options.orientation), []
    orientation, reason = _by_features(grid, features) or _decide_orientation(
        path, grid, options.orientation, known, barcode
    )
    matrix = matrix_from_grid(path, grid, replace(options, orientation=orientation))
    side = "rows" if matrix.ids.tolist() == grid.rows else "columns"
    return matrix, [f"{path.name} has samples in {side}, {reason}."]


# --- tables whose orientation is open -------------------------------------------------------------


def _by_features(grid: Grid, features: Collection[str]) -> tuple[str, str] | None:
    """The orientation in which known features are the features, and a clause; None if none is."""
    names = set(features)
    in_rows = sum(name in names for name in grid.rows)
    in_columns = sum(name in names for name in grid.columns)
    if in_rows == in_columns:
        return None
    return "genes" if in_rows > in_columns else "samples", "by the features of the training"


def _decide_orientation(
    path: Path, grid: Grid, orientation: str, known: Collection[str], barcode: str
) -> tuple[str, str]:
    """The orientation for `matrix_from_grid`, and a clause on the reason."""
    if orientation != "auto":
        return orientation, "as data.orientation says"
    if not known and not barcode:
        return "auto", "judged by its names and shape"
    in_rows = _count_patients(grid.rows, known, barcode)
    in_columns = _count_patients(grid.columns, known, barcode)
    if not in_rows and not in_columns:
        others = f"the other files (such as {min(known)!r})" if known else "TCGA"
        describing = gene_annotations(grid.columns, ())
        samples = [name for j, name in enumerate(grid.columns) if j not in describing]
        hint = "" if barcode else barcode_hint(*grid.rows, *samples)
        hint += _spelling_hint([*grid.rows, *samples], known)
        raise UserError(
            f"{path}: neither its rows (such as {grid.rows[0]!r}) nor its columns (such as "
            f"{[*samples, *grid.columns][0]!r}) are called like a patient of {others}{hint}; use "
            "the same ids in all files"
        )
    if in_rows == in_columns:
        return "auto", "judged by its names and shape"
    orientation = "samples" if in_rows > in_columns else "genes"
    return orientation, "where ids of patients were found"


def _spelling_hint(names: Sequence[str], known: Collection[str]) -> str:
    """A clause on ids that almost match, such as 1 and 01, or P1 and p1; "" if none does."""
    near = near_matches(names, known)
    if not near:
        return ""
    name, other = next(iter(near.items()))
    return f", although {len(near):,} of them differ in spelling alone ({name!r} and {other!r})"


def _count_patients(names: Sequence[str], known: Collection[str], barcode: str) -> int:
    """How many names are of a known patient, or of any patient where none is known yet."""
    patients = [patient_of(name, barcode) for name in names]
    if known:
        return sum(patient in known for patient in patients)
    return sum(bool(patient) for patient in patients)


# --- an .npz of blocks ----------------------------------------------------------------------------


def _block_names(path: Path) -> list[str]:
    """The blocks of an .npz, sorted; [] where it is one matrix."""
    if path.suffix.lower() != ".npz":
        return []
    names = set(npz_names(path))
    if names & {"X", "values", "x1"}:
        return []
    return sorted(name.removesuffix("_X") for name in names if name.endswith("_X"))


def _read_blocks(path: Path, names: Sequence[str], repeated: str) -> tuple[Matrix, list[str]]:
    """All blocks under each other, on all of their features in the order of first appearance."""
    arrays = npz_arrays(path)
    blocks = [_read_block(path, arrays, name, repeated) for name in names]
    features, values = _unite(blocks)
    sample_places = [
        f"{name}_samples[{i}]"
        for name, block in zip(names, blocks, strict=True)
        for i in range(len(block.samples))
    ]
    sizes = [len(block.samples) for block in blocks]
    matrix = checked_matrix(
        path,
        np.concatenate([block.samples for block in blocks]),
        features,
        values,
        pd.DataFrame({"block": np.repeat(np.asarray(names, object), sizes)}),
        sample_place=lambda i: sample_places[i],
        gene_place=lambda j: f"feature {j + 1} of all blocks",
    )
    averaged = {name for block in blocks for name in block.averaged}
    matrix = replace(matrix, averaged=tuple(sorted(averaged)))
    return matrix, [_describe_blocks(path, blocks, matrix)]


def _read_block(path: Path, arrays: Mapping[str, np.ndarray], name: str, repeated: str) -> _Block:
    x = take_array(path, arrays, (f"{name}_X",), 2)
    samples = as_names(path, take_array(path, arrays, (f"{name}_samples",), 1))
    features = as_names(path, take_array(path, arrays, (f"{name}_features",), 1))
    if x.shape != (len(samples), len(features)):
        raise UserError(
            f"{path}: {name}_X is {x.shape} for {len(samples)} samples and {len(features)} "
            "features; store samples in rows, features in columns"
        )
    check_names(path, "feature", features, lambda j: f"{name}_features[{j}]", repeated == "error")
    values = as_numbers(path, f"{name}_X", x)
    features, values, mask, averaged = averaged_features(features, values, ~np.isnan(values))
    return _Block(np.where(mask, values, np.nan), samples, features, averaged)


def _unite(blocks: Sequence[_Block]) -> tuple[list[str], Float[np.ndarray, "n f"]]:
    """The features of all blocks, and the values over them, NaN where a block lacks a feature."""
    column_of: dict[str, int] = {}
    for block in blocks:
        for feature in block.features:
            column_of.setdefault(str(feature), len(column_of))
    n = sum(len(block.samples) for block in blocks)
    values = np.full((n, len(column_of)), np.nan, np.float32)
    start = 0
    for block in blocks:
        end = start + len(block.samples)
        columns = [column_of[str(feature)] for feature in block.features]
        values[start:end, columns] = block.values
        start = end
    return list(column_of), values


def _describe_blocks(path: Path, blocks: Sequence[_Block], matrix: Matrix) -> str:
    counts = Counter(str(feature) for block in blocks for feature in block.features)
    n_shared = sum(count == len(blocks) for count in counts.values())
    missing = 1 - matrix.mask.mean()
    return (
        f"{path.name} holds {len(blocks)} blocks; their features are united to "
        f"{len(matrix.features):,}, of which all share {n_shared:,}, and what a block lacks is "
        f"missing: {missing:.1%} of the cells. Which features are missing tells the block."
    )
