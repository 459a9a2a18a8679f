"""Numbers that cannot be: far values, sentinels, mixed units, and values outside a training range.

The rules are this project's own. A value is far if it lies more than `FAR` robust standard
deviations from its variable's median, and, of a variable without negative values, if it is also
more than `FAR_LOG` from the median of the values above 0 on the logarithmic scale: a creatinine of
20 mg/dl is rare, a heart rate of 10,000,000 is not one. Where all variables are measured on one
scale, as genes are, it must be far from the values of all of them too: a gene that one tumour
amplifies is no mistake. The robust s.d. is 1.4826 times the median absolute deviation (normal
consistency; Rousseeuw and Croux 1993). Nothing is changed here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Shaped

from omics_jax.data.dataset.dataset import Dataset, Modality

FAR = 20.0  # robust s.d.
FAR_LOG = 10.0  # robust s.d. of the logarithm
_REPEATED_SHARE = 0.02  # of the cells: a value this common and far from all others is a sentinel
_MIXED = 5  # far values that lie close together: another unit
_NORMAL_MAD = 1.4826
_LARGEST = 1e18  # the square of a larger number is infinite in single precision
_MOST_ROWS = 4096  # that medians are computed of; evenly spaced
_MOST_CELLS = 1 << 24  # that quartiles are computed of
_BLOCK_CELLS = 1 << 22  # whose medians are computed at once
_MOST_POOLED = 1 << 20  # cells of all variables of one unit
_MOST_VARIABLES = 60  # in one table
_MARGIN = 0.1  # of the training range
_OUTSIDE_SHARE = 0.05  # of a variable's new values
_SHOWN = 8  # variables named one by one
_NOT_MEASURED = ("hours", "truth")  # the times of a series, and what its file holds out
CONSTANT, NEVER = "constant", "never observed"


class Spread(NamedTuple):
    """Robust location and scale of each of f variables, from their observed cells.

    Attributes:
      median, scale: (f,) float64; NaN where nothing was observed, scale 0 where half are equal.
      log_median, log_scale: (f,) of the natural logarithm of the values above 0; NaN where a value
        is negative, or none is above 0.
    """

    median: Float[np.ndarray, " f"]
    scale: Float[np.ndarray, " f"]
    log_median: Float[np.ndarray, " f"]
    log_scale: Float[np.ndarray, " f"]


def robust_spread(values: np.ndarray, mask: np.ndarray) -> Spread:
    """The spread of the variables (the last axis) over all other axes.

    Of more than 4,096 rows it is that of evenly spaced ones.
    """
    values, mask = _flat(values), _flat(mask)
    step = max(1, -(-len(values) // _MOST_ROWS))
    values, mask = values[::step], mask[::step]
    width = max(1, _BLOCK_CELLS // max(1, len(values)))
    blocks = [slice(start, start + width) for start in range(0, values.shape[1], width)]
    parts = [
        _spread(np.where(mask[:, block], values[:, block], np.nan).astype(np.float64))
        for block in blocks or [slice(0)]
    ]
    return Spread(*(np.concatenate(field) for field in zip(*parts, strict=True)))


def _spread(some: Float[np.ndarray, "n f"]) -> Spread:
    """The spread of the columns of cells, NaN where unobserved."""
    median, scale = _median_and_scale(some)
    is_nowhere_negative = (np.where(np.isnan(some), 0, some) >= 0).all(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(is_nowhere_negative & (some > 0), np.log(some), np.nan)
    log_median, log_scale = _median_and_scale(logs)
    return Spread(median, scale, log_median, log_scale)


def _flat(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1, array.shape[-1])


def _median_and_scale(cells: Float[np.ndarray, "n f"]) -> tuple[np.ndarray, np.ndarray]:
    median = pd.DataFrame(cells).median().to_numpy()  # nan-aware, silent for empty columns
    deviation = pd.DataFrame(np.abs(cells - median)).median().to_numpy()
    return median, _NORMAL_MAD * deviation


def is_far(
    spread: Spread, values: Float[np.ndarray, "*n f"], mask: Bool[np.ndarray, "*n f"]
) -> Bool[np.ndarray, "*n f"]:
    """The observed cells that cannot be measurements of their variable, by the module's rule."""
    with np.errstate(divide="ignore", invalid="ignore"):
        far = np.abs(values - spread.median) > FAR * spread.scale
        logs = np.log(np.where(mask, values, 1))
        far_log = np.abs(logs - spread.log_median) > FAR_LOG * spread.log_scale
    has_log = ~np.isnan(spread.log_median)
    # Zeros, and what is negative outside of the medians' rows, are judged on the variable's scale.
    on_log_scale = has_log & (values > 0)
    return mask & (spread.scale > 0) & far & (far_log | ~on_log_scale)


def plausible_bounds(spread: Spread) -> tuple[Float[np.ndarray, " f"], Float[np.ndarray, " f"]]:
    """(f,) between which no value is far, by `is_far`; infinite where no value is.

    A cell is far by both rules if it has a logarithm, so that the wider bounds of the two hold.
    """
    width, log_width = FAR * spread.scale, FAR_LOG * spread.log_scale
    low, high = spread.median - width, spread.median + width
    with np.errstate(over="ignore"):
        log_low = np.exp(spread.log_median - log_width)
        log_high = np.exp(spread.log_median + log_width)
    has_log = ~np.isnan(spread.log_median)
    low = np.where(has_log & (low > 0), np.minimum(low, log_low), low)
    high = np.where(has_log, np.maximum(high, log_high), high)
    is_judged = spread.scale > 0
    return np.where(is_judged, low, -np.inf), np.where(is_judged, high, np.inf)


def bounds(
    values: Float[np.ndarray, "*n f"], mask: Bool[np.ndarray, "*n f"], one_unit: bool = False
) -> tuple[Float[np.ndarray, " f"], Float[np.ndarray, " f"]]:
    """(f,) between which no value is far.

    one_unit: whether all variables are measured on one scale, see `Modality.one_unit`.
    """
    low, high = plausible_bounds(robust_spread(values, mask))
    if not one_unit:
        return low, high
    step = max(1, -(-values.size // _MOST_POOLED))
    cells = _flat(values)[::step][_flat(mask)[::step]][:, None]
    # Every cell is one of evenly spaced rows, so that no further thinning is needed.
    pooled = _spread(cells.astype(np.float64))
    pooled_low, pooled_high = plausible_bounds(pooled)
    return np.minimum(low, pooled_low), np.maximum(high, pooled_high)


def plausible_range(
    values: Float[np.ndarray, "*n f"], mask: Bool[np.ndarray, "*n f"]
) -> tuple[Float[np.ndarray, " f"], Float[np.ndarray, " f"]]:
    """(f,) smallest and largest observed value of each variable that is not far; 0 where none.

    Without far values these are the extremes, so that clipping to them changes nothing.
    """
    spread = robust_spread(values, mask)
    plausible = _flat(mask & ~is_far(spread, values, mask))
    cells = _flat(values)
    low = np.where(plausible, cells, np.inf).min(axis=0, initial=np.inf)
    high = np.where(plausible, cells, -np.inf).max(axis=0, initial=-np.inf)
    observed = plausible.any(axis=0)
    return np.where(observed, low, 0), np.where(observed, high, 0)


def describe(
    values: Float[np.ndarray, "*n f"],
    mask: Bool[np.ndarray, "*n f"],
    names: Sequence[str] | Shaped[np.ndarray, " f"],
    one_unit: bool = False,
) -> pd.DataFrame:
    """A row per variable: variable, n, missing (share), min, q1, median, q3, max, far, note.

    one_unit: see `bounds`.
    far: the number of far values; note: what looks wrong, "" if nothing does. Quartiles of more
    than 16 million cells are those of evenly spaced rows.
    """
    values, mask = _flat(values), _flat(mask)
    step = max(1, -(-values.size // _MOST_CELLS))
    some = pd.DataFrame(np.where(mask[::step], values[::step], np.nan).astype(np.float64))
    quartiles = some.quantile([0.25, 0.5, 0.75]).to_numpy()
    lowest, highest = bounds(values, mask, one_unit)
    far = mask & ((values < lowest) | (values > highest))
    observed = mask.any(axis=0)
    low = np.where(observed, np.where(mask, values, np.inf).min(axis=0, initial=np.inf), np.nan)
    high = np.where(observed, np.where(mask, values, -np.inf).max(axis=0, initial=-np.inf), np.nan)
    notes = np.full(values.shape[1], "", object)
    notes[~observed] = NEVER
    is_constant = (low == high) & (mask.sum(axis=0) > 1)
    for j in np.flatnonzero(is_constant):
        notes[j] = f"{CONSTANT}, {low[j]:g}"
    for j in np.flatnonzero(far.any(axis=0) & ~is_constant):
        notes[j] = _describe_far(values[mask[:, j], j], values[far[:, j], j])
    for j, value in _sentinels(values, mask, low, high):
        # Of genes many are 0 in most samples.
        if one_unit and lowest[j] <= value <= highest[j]:
            continue
        notes[j] = _describe_sentinel(values[mask[:, j], j], value)
    for j in np.flatnonzero(np.fmax(np.abs(low), np.abs(high)) > _LARGEST):
        extreme = max(low[j], high[j], key=abs)
        notes[j] = f"it has values such as {extreme:g}, larger than any measurement"
    columns = {
        "variable": np.asarray(names, dtype=str),
        "n": mask.sum(axis=0),
        "missing": 1 - mask.mean(axis=0),
        "min": low,
        **dict(zip(("q1", "median", "q3"), quartiles, strict=True)),
        "max": high,
        "far": far.sum(axis=0),
        "note": notes,
    }
    return pd.DataFrame(columns)


def _describe_far(cells: Float[np.ndarray, " k"], far: Float[np.ndarray, " l"]) -> str:
    """What the far values of one variable look like, in words."""
    middle = np.median(cells)
    share = f"{len(far):,} of its {len(cells):,} values"
    if len(far) >= _MIXED and np.ptp(far) < np.ptp(cells) / 10:
        return (
            f"{share} are about {np.median(far):g}, the median is {middle:g}; are they in another "
            "unit?"
        )
    extreme = far[np.argmax(np.abs(far - middle))]
    verb = "lies" if len(far) == 1 else "lie"
    return f"{share} {verb} far from the others, up to {extreme:g}, the median is {middle:g}"


def _sentinels(
    values: Float[np.ndarray, "n f"],
    mask: Bool[np.ndarray, "n f"],
    low: Float[np.ndarray, " f"],
    high: Float[np.ndarray, " f"],
) -> Iterator[tuple[int, float]]:
    """(variable, value) where the smallest or largest value repeats and is far from all others.

    It is in more than 2 % of the observed cells, and farther from every other value than three
    times the range of those.
    """
    count = mask.sum(axis=0)
    for end in (low, high):
        is_end = mask & (values == end)
        others = mask & ~is_end
        others_low = np.where(others, values, np.inf).min(axis=0, initial=np.inf)
        others_high = np.where(others, values, -np.inf).max(axis=0, initial=-np.inf)
        varied = others_high > others_low
        is_common = is_end.sum(axis=0) >= np.maximum(3, _REPEATED_SHARE * count)
        with np.errstate(invalid="ignore"):
            gap = np.minimum(np.abs(others_low - end), np.abs(others_high - end))
            is_apart = gap > 3 * (others_high - others_low)
        for j in np.flatnonzero(varied & is_common & is_apart):
            yield int(j), float(end[j])


def _describe_sentinel(cells: Float[np.ndarray, " k"], value: float) -> str:
    share = np.mean(cells == value)
    return (
        f"{value:g} is {share:.1%} of its values and far from all others; if it stands for a "
        f"missing value, set --config.data.missing_values={value:g}"
    )


def dataset_tables(dataset: Dataset) -> dict[str, pd.DataFrame]:
    """Modality -> `describe` of its features, for modalities of measured numbers."""
    tables = {}
    for name, modality in dataset.modalities.items():
        if modality.mask.any() and name not in _NOT_MEASURED:
            tables[name] = describe(
                modality.values, modality.mask, modality.features, modality.one_unit
            )
    return tables


def short_table(table: pd.DataFrame) -> pd.DataFrame:
    """All variables if they are few, else those with a note, at most 60; no empty column."""
    rows = table if len(table) <= _MOST_VARIABLES else table[table["note"] != ""]
    if len(rows) < len(table):
        rows = rows.sort_values("far", ascending=False, kind="stable")
    shown = rows.head(_MOST_VARIABLES)
    return shown.drop(columns=[name for name in ("far", "note") if not shown[name].any()])


def quality_warnings(name: str, table: pd.DataFrame) -> list[str]:
    """A sentence for each variable of a table of `describe` whose values look wrong.

    name: the modality, for the sentence. Constant variables and those never observed are no
    mistakes, and stand in the table alone.
    """
    harmless = table["note"].str.startswith(CONSTANT) | table["note"].isin(("", NEVER))
    wrong = table[~harmless].sort_values("far", ascending=False, kind="stable")
    sentences = [
        f"{name}: {variable}: {note}."
        for variable, note in zip(wrong["variable"], wrong["note"], strict=True)
    ]
    hidden = len(sentences) - _SHOWN
    if hidden <= 0:
        return sentences
    return [*sentences[:_SHOWN], f"{name}: {hidden:,} more variables have values that look wrong."]


def range_warnings(
    name: str, modality: Modality, low: Float[np.ndarray, " f"], high: Float[np.ndarray, " f"]
) -> list[str]:
    """A sentence if new rows of a modality do not lie where the training rows did; or none.

    A cell counts as outside if it leaves [low, high] by more than a tenth of that range.

    low, high: (f,) of the training rows; features with low = high are judged by this value alone.
    """
    margin = _MARGIN * (high - low)
    share = outside_range(modality.values, modality.mask, low - margin, high + margin)
    count = _flat(modality.mask).sum(axis=0)
    total = float((share * count).sum() / max(1, count.sum()))
    affected = np.flatnonzero(share > _OUTSIDE_SHARE)
    if not len(affected):
        return []
    worst = affected[np.argsort(-share[affected], kind="stable")][:_SHOWN]
    names = ", ".join(f"{modality.features[j]} {share[j]:.0%}" for j in worst)
    return [
        f"{name}: {total:.1%} of the new values lie outside the range of the training values "
        f"({len(affected):,} of {len(share):,} variables, most often {names}); are they in the "
        "same units and on the same scale?"
    ]


def outside_range(
    values: Float[np.ndarray, "*n f"],
    mask: Bool[np.ndarray, "*n f"],
    low: Float[np.ndarray, " f"],
    high: Float[np.ndarray, " f"],
) -> Float[np.ndarray, " f"]:
    """(f,) the share of each variable's observed cells outside [low, high]; 0 if none observed."""
    outside = _flat(mask & ((values < low) | (values > high)))
    count = _flat(mask).sum(axis=0)
    return outside.sum(axis=0) / np.maximum(count, 1)
