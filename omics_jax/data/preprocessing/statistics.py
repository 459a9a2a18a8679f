"""What the training rows of one fold say about each feature, in passes over blocks of rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from omics_jax.data.dataset.dataset import Modality
from omics_jax.data.preprocessing import far_values
from omics_jax.errors import UserError

_BLOCK_CELLS = 2**22
_MOST_SPREAD_ROWS = 1024  # that medians are computed of


@dataclass(frozen=True)
class Statistics:
    """Of each feature over the observed cells of the training rows; 0 where nothing was observed.

    Attributes:
      rows: how many rows have at least one value of the modality.
      count: observed cells of each feature; `zeros`: how many of them are 0.
      low, high: the smallest and the largest observed cell that is plausible, see
        `far_values`; without a far cell these are the extremes.
      mean: of the observed cells, the far ones clipped to these.
      far: how many cells of each feature are far.
    """

    rows: int
    count: Int[np.ndarray, " f"]
    zeros: Int[np.ndarray, " f"]
    mean: Float[np.ndarray, " f"]
    low: Float[np.ndarray, " f"]
    high: Float[np.ndarray, " f"]
    far: Int[np.ndarray, " f"]


def training_statistics(modality: Modality, rows: Int[np.ndarray, " r"], name: str) -> Statistics:
    """Statistics of the given training rows, in one pass over blocks of them; sums in float64.

    Features with a far cell take a second pass.

    Raises:
      UserError: no rows, none with a value of this modality, or an observed value that is not
        finite.
    """
    if not len(rows):
        raise UserError(
            f"{name}: there are 0 training rows to fit to; give a split with rows to train on"
        )
    width = len(modality.features)
    count, zeros, total = np.zeros(width, int), np.zeros(width, int), np.zeros(width)
    low, high = np.full(width, np.inf, np.float32), np.full(width, -np.inf, np.float32)
    rows_with_values = 0
    with np.errstate(invalid="ignore"):  # inf - inf: what is not finite is reported below
        for values, mask in _blocks(modality, rows):
            rows_with_values += int(mask.any(axis=1).sum())
            count += mask.sum(axis=0)
            zeros += (mask & (values == 0)).sum(axis=0)
            total += np.where(mask, values, 0).sum(axis=0, dtype=np.float64)
            np.minimum(low, np.where(mask, values, np.inf).min(axis=0), out=low)
            np.maximum(high, np.where(mask, values, -np.inf).max(axis=0), out=high)
    _check_finite(modality, rows, total, name)
    if not rows_with_values:
        raise UserError(
            f"{name}: none of the {len(rows):,} training rows has a value of this modality; "
            "split so that some have, or leave the modality out"
        )
    observed = count > 0
    statistics = Statistics(
        rows=rows_with_values,
        count=count,
        zeros=zeros,
        mean=total / np.maximum(count, 1),
        low=np.where(observed, low, np.float32(0)),
        high=np.where(observed, high, np.float32(0)),
        far=np.zeros(width, int),
    )
    return _without_far_cells(modality, rows, statistics)


def _without_far_cells(
    modality: Modality, rows: Int[np.ndarray, " r"], statistics: Statistics
) -> Statistics:
    """The statistics with the far cells of every feature clipped to its plausible ones."""
    low, high = _plausible_bounds(modality, rows)
    affected = np.flatnonzero((statistics.low < low) | (statistics.high > high))
    if not len(affected):
        return statistics
    changed = {name: getattr(statistics, name).copy() for name in ("mean", "low", "high", "far")}
    for j in affected:
        cells = modality.values[rows, j][modality.mask[rows, j]]
        is_plausible = (cells >= low[j]) & (cells <= high[j])
        plausible = cells[is_plausible]
        changed["low"][j], changed["high"][j] = plausible.min(), plausible.max()
        changed["mean"][j] = cells.clip(plausible.min(), plausible.max()).mean(dtype=np.float64)
        changed["far"][j] = np.sum(~is_plausible)
    return replace(statistics, **changed)


def _plausible_bounds(
    modality: Modality, rows: Int[np.ndarray, " r"]
) -> tuple[Float[np.ndarray, " f"], Float[np.ndarray, " f"]]:
    """(f,) bounds of the features, from evenly spaced training rows."""
    step = max(1, -(-len(rows) // _MOST_SPREAD_ROWS))
    some = rows[::step]
    values, mask = modality.values.take(some, axis=0), modality.mask.take(some, axis=0)
    return far_values.bounds(values, mask, modality.one_unit)


def column_variance(
    modality: Modality, rows: Int[np.ndarray, " r"], statistics: Statistics
) -> Float[np.ndarray, " f"]:
    """Population variance of every feature's observed cells, far ones clipped; 0 if it has none.

    A second pass over the rows, about the mean of the first.
    """
    squares = np.zeros(len(modality.features))
    for values, mask in _blocks(modality, rows):
        plausible = values.clip(statistics.low, statistics.high)
        squares += (np.where(mask, plausible - statistics.mean, 0) ** 2).sum(axis=0)
    return squares / np.maximum(statistics.count, 1)


def column_mad(
    modality: Modality, rows: Int[np.ndarray, " r"], statistics: Statistics
) -> Float[np.ndarray, " f"]:
    """Median absolute deviation from the median of every feature's observed cells; 0 if none.

    A far cell hardly moves it, so none is clipped.
    """
    mad = np.zeros(len(modality.features))
    for j in np.flatnonzero(statistics.count):
        cells = modality.values[rows, j][modality.mask[rows, j]]
        mad[j] = np.median(np.abs(cells - np.median(cells)))
    return mad


def _blocks(
    modality: Modality, rows: Int[np.ndarray, " r"]
) -> Iterator[tuple[Float[np.ndarray, "b f"], Bool[np.ndarray, "b f"]]]:
    """Values and mask of some rows at a time: a float64 copy of all would be twice the data."""
    step = max(1, _BLOCK_CELLS // max(1, len(modality.features)))
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        yield modality.values.take(block, axis=0), modality.mask.take(block, axis=0)


def _check_finite(
    modality: Modality, rows: Int[np.ndarray, " r"], total: Float[np.ndarray, " f"], name: str
) -> None:
    """Names an observed value that is not finite, if the sum of a feature is not."""
    columns = np.flatnonzero(~np.isfinite(total))
    if not len(columns):
        return
    column = columns[0]
    values, mask = modality.values[rows, column], modality.mask[rows, column]
    first = np.argmax(mask & ~np.isfinite(values))
    raise UserError(
        f"{name}: the value of row {rows[first]}, feature {str(modality.features[column])!r} is "
        f"{values[first]} but marked as observed; mask it or mend it in the file"
    )
