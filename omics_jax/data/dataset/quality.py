"""Numbers that cannot be: far values, sentinels, mixed units, and values outside a training range.

The rules are this project's own. A value is far if it lies more than `FAR` robust standard
deviations from its variable's median, and, of a variable without negative values, more than
`FAR_LOG` from it on the logarithmic scale too: a creatinine of 20 mg/dl is rare, a heart rate of
10,000,000 is not one. Where all variables are on one scale (the genes of a platform) it must be far
from the values of all of them too: a gene that is silent in most cell lines is not wrong in the one
that expresses it. Fewer than `LEAST` values of a variable say nothing of any of them. The robust
s.d. is 1.4826 times the median absolute deviation (normal consistency; Rousseeuw and Croux 1993).
Nothing is changed here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Shaped

from omics_jax.data.dataset.dataset import Dataset, Modality

FAR = 20.0  # robust s.d.
FAR_LOG = 10.0  # robust s.d. of the logarithm
LEAST = 10  # observed values of a variable
_REPEATED_SHARE = 0.02  # of the cells: a value this common and far from all others is a sentinel
_MIXED = 5  # different values that lie close together, far from the others: another unit
_MIXED_SHARE = 0.02  # of the cells, at least, are in either unit
_NORMAL_MAD = 1.4826
_LARGEST = 1e18  # the square of a larger number is infinite in single precision
_MOST_ROWS = 4096  # that medians are computed of; evenly spaced
_MOST_POOLED = 1 << 20  # cells that the spread of all variables together is computed of
_MOST_CELLS = 1 << 24  # that quartiles are computed of
_BLOCK_CELLS = 1 << 22  # whose medians are computed at once
_MOST_VARIABLES = 60  # in one table
_OUTSIDE_SHARE = 0.05  # of a variable's new values
MARGIN = 0.1  # of the training range
_SHOWN = 8  # variables named one by one
_NOT_MEASURED = ("hours", "truth")  # the times of a series, and what its file holds out
CONSTANT, NEVER = "constant", "never observed"


class Spread(NamedTuple):
    """Robust location and scale of each of f variables, from their observed cells.

    Attributes:
      median, scale: (f,) float64; NaN where nothing was observed. Where half of the cells equal the
        median, the scale is that of the others, and 0 where they are fewer than five.
      log_median, log_scale: (f,) of the natural logarithm of the positive cells; NaN where a value
        is negative.
      low, high: limits outside of which a value is far from all variables together; inf and -inf
        where they are not on one scale.
    """

    median: Float[np.ndarray, " f"]
    scale: Float[np.ndarray, " f"]
    log_median: Float[np.ndarray, " f"]
    log_scale: Float[np.ndarray, " f"]
    low: float = np.inf
    high: float = -np.inf


def robust_spread(values: np.ndarray, mask: np.ndarray, one_unit: bool = False) -> Spread:
    """The spread of the variables (the last axis) over all other axes.

    NaN for a variable with fewer than `LEAST` observed cells. Of more than 4,096 rows it is that
    of evenly spaced ones.

    one_unit: whether all variables are in the same unit and of the same kind, as genes are.
    """
    values, mask = _flat(values), _flat(mask)
    step = max(1, -(-len(values) // _MOST_ROWS))
    values, mask = values[::step], mask[::step]
    width = max(1, _BLOCK_CELLS // max(1, len(values)))
    starts = range(0, max(1, values.shape[1]), width)
    parts = [
        _locations(values[:, start : start + width], mask[:, start : start + width])
        for start in starts
    ]
    limits = _limits_of_all(values, mask) if one_unit else ()
    return Spread(*(np.concatenate(field) for field in zip(*parts, strict=True)), *limits)


def _locations(
    values: Float[np.ndarray, "n f"], mask: Bool[np.ndarray, "n f"]
) -> tuple[Float[np.ndarray, " f"], ...]:
    """Median and scale of each variable and of its logarithms, see `Spread`."""
    some = np.where(mask, values, np.nan).astype(np.float64)
    some[:, (~np.isnan(some)).sum(axis=0) < LEAST] = np.nan
    median, scale = _median_and_scale(some)
    has_log = ~(some < 0).any(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(has_log & (some > 0), np.log(some), np.nan)
    return median, scale, *_median_and_scale(logs)


def _flat(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1, array.shape[-1])


def _median_and_scale(cells: Float[np.ndarray, "n f"]) -> tuple[np.ndarray, np.ndarray]:
    median = _median(cells)
    deviations = np.abs(cells - median)
    scale = _median(deviations)
    tied = scale == 0
    if tied.any():
        others = deviations[:, tied] > 0
        other_scale = _median(np.where(others, deviations[:, tied], np.nan))
        scale[tied] = np.where(others.sum(axis=0) >= _MIXED, other_scale, 0)
    return median, _NORMAL_MAD * scale


def _median(cells: Float[np.ndarray, "n f"]) -> Float[np.ndarray, " f"]:
    return pd.DataFrame(cells).median().to_numpy(copy=True)  # nan-aware, silent for empty columns


def _limits_of_all(
    values: Float[np.ndarray, "n f"], mask: Bool[np.ndarray, "n f"]
) -> tuple[float, float]:
    """Limits outside of which a value is far from all variables together; of evenly spaced cells if
    they are very many.
    """
    step = max(1, -(-values.size // _MOST_POOLED))
    cells, observed = values.ravel()[::step, None], mask.ravel()[::step, None]
    low, high = far_limits(Spread(*_locations(cells, observed)))
    # Of variables that cannot be judged together each is judged by itself.
    return (low[0], high[0]) if np.isfinite(low[0]) else (np.inf, -np.inf)


def far_limits(spread: Spread) -> tuple[Float[np.ndarray, " f"], Float[np.ndarray, " f"]]:
    """(f,) the limits outside of which a value is far, by the module's rule; infinite for none.

    min(m - 20 s, exp(m' - 10 s')) and max(m + 20 s, exp(m' + 10 s')), with the median m and the
    robust s.d. s of the values, and m' and s' of their logarithms; of variables on one scale the
    wider of these and of the limits of all together.
    """
    with np.errstate(over="ignore"):
        log_low = np.exp(spread.log_median - FAR_LOG * spread.log_scale)
        log_high = np.exp(spread.log_median + FAR_LOG * spread.log_scale)
    low = np.fmin(spread.median - FAR * spread.scale, log_low)
    high = np.fmax(spread.median + FAR * spread.scale, log_high)
    low, high = np.fmin(low, spread.low), np.fmax(high, spread.high)
    has_limits = spread.scale > 0
    return np.where(has_limits, low, -np.inf), np.where(has_limits, high, np.inf)


def is_far(
    spread: Spread, values: Float[np.ndarray, "*n f"], mask: Bool[np.ndarray, "*n f"]
) -> Bool[np.ndarray, "*n f"]:
    """The observed cells that cannot be measurements of their variable, by the module's rule."""
    low, high = far_limits(spread)
    return mask & ((values < low) | (values > high))


def plausible_range(
    values: Float[np.ndarray, "*n f"], mask: Bool[np.ndarray, "*n f"], one_unit: bool = False
) -> tuple[Float[np.ndarray, " f"], Float[np.ndarray, " f"]]:
    """(f,) smallest and largest observed value of each variable that is not far; 0 where none.

    Without far values these are the extremes, so that clipping to them changes nothing.
    """
    spread = robust_spread(values, mask, one_unit)
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

    far: the number of far values; note: what looks wrong, "" if nothing does. Quartiles of more
    than 16 million cells are those of evenly spaced rows.

    one_unit: see `robust_spread`. Where every variable has a unit of its own, two groups of values
      with a wide gap between them may be in two units.
    """
    values, mask = _flat(values), _flat(mask)
    step = max(1, -(-values.size // _MOST_CELLS))
    some = pd.DataFrame(np.where(mask[::step], values[::step], np.nan).astype(np.float64))
    quartiles = some.quantile([0.25, 0.5, 0.75]).to_numpy()
    spread = robust_spread(values, mask, one_unit)
    far = is_far(spread, values, mask)
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
    if not one_unit:
        for j in np.flatnonzero((notes == "") & observed):
            notes[j] = _describe_two_units(values[mask[:, j], j])
    for j, value in _sentinels(values, mask, low, high, spread):
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
    lie_together = np.ptp(far) < np.abs(np.median(far) - middle) / 2
    if len(np.unique(far)) >= _MIXED and lie_together:
        return (
            f"{share} are about {np.median(far):g}, the median is {middle:g}; are they in another "
            "unit?"
        )
    extreme = far[np.argmax(np.abs(far - middle))]
    verb = "lies" if len(far) == 1 else "lie"
    return f"{share} {verb} far from the others, as far as {extreme:g}; the median is {middle:g}"


def _describe_two_units(cells: Float[np.ndarray, " k"]) -> str:
    """What two groups of values look like that are farther apart than either is wide; "" if none.

    On the scale of the values, or of their logarithms: mmol and umol differ by a factor.
    """
    cells = np.sort(cells)
    scales = [cells, np.log(cells)] if cells[0] > 0 else [cells]
    fewest = max(_MIXED, math.ceil(_MIXED_SHARE * len(cells)))
    for scaled in scales:
        split = 1 + int(np.argmax(np.diff(scaled))) if len(scaled) > 1 else 0
        groups = scaled[:split], scaled[split:]
        are_groups = all(
            len(group) >= fewest and len(np.unique(group)) >= _MIXED for group in groups
        )
        gap = scaled[split] - scaled[split - 1]
        if are_groups and gap > max(map(np.ptp, groups)):
            lower, upper = cells[:split], cells[split:]
            return (
                f"{len(lower):,} of its {len(cells):,} values are about {np.median(lower):g} and "
                f"{len(upper):,} about {np.median(upper):g}, with none between {lower[-1]:g} and "
                f"{upper[0]:g}; are they in two units?"
            )
    return ""


def _sentinels(
    values: Float[np.ndarray, "n f"],
    mask: Bool[np.ndarray, "n f"],
    low: Float[np.ndarray, " f"],
    high: Float[np.ndarray, " f"],
    spread: Spread,
) -> Iterator[tuple[int, float]]:
    """(variable, value) where the smallest or largest value repeats and is far from all others.

    It is in more than 2 % of the observed cells, and farther from every other value than three
    times the range of those and, on one scale, far from all variables; or it is a negative whole
    number and all others are 0 or more.
    """
    count = mask.sum(axis=0)
    for end in (low, high):
        is_end = mask & (values == end)
        others = mask & ~is_end
        others_low = np.where(others, values, np.inf).min(axis=0, initial=np.inf)
        others_high = np.where(others, values, -np.inf).max(axis=0, initial=-np.inf)
        varied = others_high > others_low
        is_common = is_end.sum(axis=0) >= np.maximum(3, _REPEATED_SHARE * count)
        is_common &= count >= LEAST
        with np.errstate(invalid="ignore"):
            gap = np.minimum(np.abs(others_low - end), np.abs(others_high - end))
            is_apart = gap > 3 * (others_high - others_low)
            is_apart &= (end < spread.low) | (end > spread.high)
            is_code = (end < 0) & (others_low >= 0) & (end == np.round(end))
        for j in np.flatnonzero(varied & is_common & (is_apart | is_code)):
            yield int(j), float(end[j])


def _describe_sentinel(cells: Float[np.ndarray, " k"], value: float) -> str:
    share = np.mean(cells == value)
    return (
        f"{value:g} is {share:.1%} of its values and unlike all others; if it stands for a "
        f"missing value, set --config.data.missing_values={value:g}"
    )


def dataset_tables(dataset: Dataset) -> dict[str, pd.DataFrame]:
    """Modality -> `describe` of its features, for modalities of measured numbers."""
    tables = {}
    for name, modality in dataset.modalities.items():
        if modality.mask.any() and name not in _NOT_MEASURED:
            cells = modality.values, modality.mask, modality.features
            tables[name] = describe(*cells, modality.one_unit)
    return tables


def short_table(table: pd.DataFrame) -> pd.DataFrame:
    """All variables if they are few, else those with a note, at most 60; no empty column."""
    rows = table if len(table) <= _MOST_VARIABLES else table[table["note"] != ""]
    if len(rows) < len(table):
        rows = rows.sort_values("far", ascending=False, kind="stable")
    shown = rows.head(_MOST_VARIABLES)
    return shown.drop(columns=[name for name in ("far", "note") if not shown[name].any()])


def is_wrong(note: str) -> bool:
    """Whether a note of `describe` says that something looks wrong."""
    return note not in ("", NEVER) and not note.startswith(CONSTANT)


def quality_warnings(name: str, table: pd.DataFrame) -> list[str]:
    """A sentence for each variable of a table of `describe` whose values look wrong.

    name: the modality, for the sentence. Constant variables and those never observed are no
    mistakes, and stand in the table alone.
    """
    wrong = table[table["note"].map(is_wrong)]
    wrong = wrong.sort_values("far", ascending=False, kind="stable")
    sentences = [
        f"{name}: {variable}: {note}{'' if note.endswith('?') else '.'}"
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
    margin = MARGIN * (high - low)
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
