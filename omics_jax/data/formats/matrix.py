"""`Matrix`: samples in rows, features in columns, as every format is read into it.

Every reader ends in `checked_matrix`, which holds what is true of all of them. Nothing is scaled,
imputed or filtered here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float32, Num, Shaped

from omics_jax.data.dataset import mapped
from omics_jax.data.dataset.account import Use
from omics_jax.data.formats.known_names import is_summary
from omics_jax.data.formats.names import Names, check_names
from omics_jax.errors import UserError

Place = Callable[[int], str]


class Sides(NamedTuple):
    """What a file calls the sides that hold its samples, its genes and what is said of samples."""

    samples: str = "rows"
    genes: str = "columns"
    annotations: str = "columns"


@dataclass(frozen=True)
class Matrix:
    """Samples in rows, genes (or any other features) in columns.

    Attributes:
      ids: (n,) str, unique sample ids.
      features: (g,) str, unique feature names.
      values: (n, g) float32 in the file's own scale, 0 where unobserved.
      mask: (n, g), True = observed.
      table: n rows of sample annotations, indexed by `ids`; text columns hold "" where unknown,
        numeric columns NaN.
      averaged: features that the file holds more than once and that are the mean of these columns
        (`ReadOptions.repeated`).
      uses: what became of the rows and columns of the file.
    """

    ids: Shaped[np.ndarray, " n"]
    features: Shaped[np.ndarray, " g"]
    values: Float32[np.ndarray, "n g"]
    mask: Bool[np.ndarray, "n g"]
    table: pd.DataFrame
    averaged: tuple[str, ...] = ()
    uses: tuple[Use, ...] = ()

    def take(self, rows: np.ndarray, columns: np.ndarray | slice) -> Matrix:
        """The given rows (indices) and columns (indices or a slice), in that order."""
        return replace(
            self,
            ids=self.ids[rows],
            features=self.features[columns],
            values=mapped.take_rows(self.values, rows)[:, columns],
            mask=mapped.take_rows(self.mask, rows)[:, columns],
            table=self.table.iloc[rows],
        )


def checked_matrix(
    path: str | os.PathLike,
    ids: Names,
    features: Names,
    values: Num[np.ndarray, "n g"],
    table: pd.DataFrame | None = None,
    *,
    repeated: str = "error",
    sample_place: Place = lambda i: f"sample {i + 1}",
    gene_place: Place = lambda j: f"gene {j + 1}",
    sides: Sides = Sides(),
    uses: Sequence[Use] = (),
) -> Matrix:
    """The `Matrix` of values with NaN for unobserved, after what must hold in every format.

    Args:
      path: the file, for messages.
      ids, features: (n,) and (g,) names.
      values: (n, g) numbers.
      table: n rows of annotations.
      repeated: "error", or "mean" for features of the same name that become their mean.
      sample_place, gene_place: where sample i and gene j are in the file, for messages.
      sides: what the file calls its sides.
      uses: what became of its other parts.

    Counts of reads that belong to no gene (N_unmapped, __no_feature) are left out.

    Raises:
      UserError: no sample, no gene or no observed value; an empty or repeated name; a value that is
        infinite in float32.
    """
    _check_axis(path, "sample", ids, sample_place, unique=True)
    _check_axis(path, "gene", features, gene_place, unique=repeated == "error")
    values, mask, infinite = mapped.to_values_and_mask(values)
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
    features = np.asarray(features, dtype=str)
    is_sum = np.array([is_summary(name) for name in features])
    if is_sum.any():
        summaries = tuple(features[is_sum].tolist())
        why = "counts of reads that belong to no gene"
        uses = (*uses, Use(Path(path).name, sides.genes, "left out", summaries, why))
        features = features[~is_sum]
        values, mask = mapped.take_columns(values, mask, np.flatnonzero(~is_sum))
        _check_axis(path, "gene", features, gene_place, unique=False)
    features, values, mask, averaged = averaged_features(features, values, mask)
    account = (*_axis_uses(path, ids, features, table, sides), *uses)
    return Matrix(ids, features, values, mask, table.set_axis(ids, axis=0), averaged, account)


def _axis_uses(
    path: str | os.PathLike,
    ids: Shaped[np.ndarray, " n"],
    features: Shaped[np.ndarray, " g"],
    table: pd.DataFrame,
    sides: Sides,
) -> list[Use]:
    """The samples, the genes and the annotations of a file."""
    names = {
        (sides.samples, "samples"): ids,
        (sides.genes, "genes or other features"): features,
        (sides.annotations, "annotations of samples"): table.columns,
    }
    return [
        Use(Path(path).name, side, used_as, tuple(map(str, found)))
        for (side, used_as), found in names.items()
        if len(found)
    ]


def _check_axis(path: str | os.PathLike, kind: str, names: Names, place: Place, unique: bool):
    if not len(names):
        raise UserError(f"{path} holds no {kind}s: nothing numeric is left after its ids; add them")
    check_names(path, kind, names, place, unique)


def averaged_features(
    features: Shaped[np.ndarray, " g"],
    values: Float[np.ndarray, "n g"],
    mask: Bool[np.ndarray, "n g"],
) -> tuple[
    Shaped[np.ndarray, " u"], Float[np.ndarray, "n u"], Bool[np.ndarray, "n u"], tuple[str, ...]
]:
    """Every feature once, in the order of first appearance: the mean of its observed values.

    Returns:
      names, values, mask, and the names that several columns have.
    """
    code, unique = pd.factorize(features)
    if len(unique) == len(features):
        return features, values, mask, ()
    first = np.flatnonzero(~pd.Series(code).duplicated())
    means, observed = mapped.take_columns(values, mask, first)
    repeated = np.flatnonzero(np.bincount(code) > 1)
    for j in repeated:
        columns = np.flatnonzero(code == j)
        count = mask[:, columns].sum(axis=1)
        cells = np.where(mask[:, columns], values[:, columns], 0)
        means[:, j] = cells.sum(axis=1, dtype=np.float64) / np.maximum(count, 1)
        observed[:, j] = count > 0
    names = np.asarray(unique, dtype=str)
    return names, means, observed, tuple(names[repeated].tolist())
