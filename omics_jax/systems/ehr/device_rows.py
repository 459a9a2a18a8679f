"""A dataset of stays as arrays for the device; `stays` describes the fields of a row.

Cells that are held out for scoring are chosen here, once for a dataset. Cells that are hidden in
training are drawn in every step, by `stays.hidden_cells`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from omics_jax.data.clinical_series.hiding import held_out
from omics_jax.data.dataset.dataset import Dataset, Modality

HeldLevels = Callable[[Dataset], UInt8[np.ndarray, "n T D"]]  # dataset -> see `held_levels`


def device_rows(held: HeldLevels, dataset: Dataset) -> dict[str, np.ndarray]:
    """The rows as arrays for the device, see `stays`."""
    series, static = dataset.modalities["series"], statics(dataset)
    hours = dataset.modalities["hours"]
    n = len(dataset)
    if dataset.targets:
        label, labelled = outcome(dataset)
    else:
        label, labelled = np.zeros(n, np.float32), np.zeros(n, bool)
    return {
        "x": measured_values(dataset),
        "m": series.mask,
        "held": held(dataset),
        "hours": np.where(hours.mask, hours.values, 0),
        "static": static.values,
        "static_m": static.mask,
        "label": label,
        "labelled": labelled,
    }


def held_levels(
    rates: tuple[float, ...], seed: int, dataset: Dataset
) -> UInt8[np.ndarray, "n T D"]:
    """The level at which a cell is held out, 0 for never.

    Where the file holds cells out itself (modality "truth"), these and no others are level 1.
    """
    if "truth" in dataset.modalities:
        return dataset.modalities["truth"].mask.astype(np.uint8)
    return held_out(dataset.ids.astype(str), dataset.modalities["series"].mask, rates, seed)


def measured_values(dataset: Dataset) -> Float[np.ndarray, "n T D"]:
    """What was measured, including what the file holds out; 0 elsewhere."""
    series = dataset.modalities["series"]
    if "truth" not in dataset.modalities:
        return series.values
    truth = dataset.modalities["truth"]
    return np.where(truth.mask, truth.values, series.values)


def statics(dataset: Dataset, names: Sequence[str] = ()) -> Modality:
    """The static descriptors; where the data have none, those of `names`, with unknown values."""
    if "static" in dataset.modalities:
        return dataset.modalities["static"]
    shape = len(dataset), len(names)
    nothing, unknown = np.zeros(shape, np.float32), np.zeros(shape, bool)
    return Modality(nothing, unknown, np.array(names, str))


def outcome(dataset: Dataset) -> tuple[Float32[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """The outcome's values, 0 where unknown, and where it is known."""
    values, mask = next(iter(dataset.targets.values()))
    return np.where(mask, values, 0).astype(np.float32), mask
