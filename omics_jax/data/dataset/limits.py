"""Limits of variables, as the user knows them: a value outside is no measurement but missing.

    --config.data.limits="hr=20:300, temp=25:45, lactate=0:"

Both limits are allowed values; either may be left out. How many values of which variable a reader
left out is a note of its dataset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Num, Shaped

from omics_jax.data.dataset.dataset import Modality
from omics_jax.data.formats.files import nearest
from omics_jax.errors import UserError
from omics_jax.settings.words import parse_pairs

SETTING = "--config.data.limits"

Limits = Mapping[str, tuple[float, float]]  # variable -> the smallest and largest value it can have


def parse_limits(text: str) -> Limits:
    """The limits of a text such as "hr=20:300, temp=25:45"; none for "".

    Raises:
      UserError: a part that is not variable=low:high, or whose low is not below its high.
    """
    limits = {}
    for name, interval in parse_pairs(text, "data.limits").items():
        low, colon, high = (piece.strip() for piece in interval.partition(":"))
        if not colon or not (low or high):
            raise _wrong_limits(name, interval)
        try:
            limits[name] = (float(low or "-inf"), float(high or "inf"))
        except ValueError:
            raise _wrong_limits(name, interval) from None
        if not limits[name][0] < limits[name][1]:
            raise _wrong_limits(name, interval)
    return limits


def _wrong_limits(name: str, interval: str) -> UserError:
    return UserError(
        f"{SETTING} has {name}={interval!r}; give the smallest and the largest possible value, as "
        f"{name}=20:300"
    )


def bounds_of(
    limits: Limits, names: Sequence[str] | Shaped[np.ndarray, " f"]
) -> tuple[Float[np.ndarray, " f"], Float[np.ndarray, " f"]]:
    """(f,) smallest and largest possible value of each variable, infinite where none is set."""
    unlimited = (-np.inf, np.inf)
    pairs = np.array([limits.get(str(name), unlimited) for name in names], np.float64)
    low, high = pairs.reshape(-1, 2).T
    return low, high


def is_outside(
    values: Num[np.ndarray, "*n f"],
    low: Float[np.ndarray, " f"],
    high: Float[np.ndarray, " f"],
) -> Bool[np.ndarray, "*n f"]:
    """Which values are not within their limits, in the precision of the values."""
    dtype = np.asarray(values).dtype
    return (values < low.astype(dtype)) | (values > high.astype(dtype))


def within_limits(modality: Modality, limits: Limits) -> tuple[Modality, dict[str, int]]:
    """The modality without the values outside of their limits, and how many each variable had."""
    if not set(limits) & set(map(str, modality.features)):
        return modality, {}
    low, high = bounds_of(limits, modality.features)
    outside = modality.mask & is_outside(modality.values, low, high)
    kept = modality.mask & ~outside
    counts = outside.reshape(-1, len(modality.features)).sum(axis=0)
    values = np.where(kept, modality.values, 0).astype(modality.values.dtype)
    return replace(modality, values=values, mask=kept), counted(modality.features, counts)


def counted(
    names: Sequence[str] | np.ndarray, counts: Sequence[int] | np.ndarray
) -> dict[str, int]:
    """name -> count, without zeros."""
    pairs = zip(names, counts, strict=True)
    return {str(name): int(count) for name, count in pairs if count}


def limits_note(counts: Mapping[str, int]) -> list[str]:
    """A note on the values outside of their limits; [] if there are none."""
    return [f"Values outside of data.limits, now missing: {in_words(counts)}."] if counts else []


def unused_limits(
    source: str, limits: Limits, names: Sequence[str] | Shaped[np.ndarray, " f"]
) -> list[str]:
    """A warning for each variable with limits that the file does not have."""
    warnings = []
    for name in sorted(set(limits) - set(map(str, names))):
        near = nearest(name, names)
        mend = f"; did you mean {near!r}?" if near else ""
        warnings.append(f"{SETTING} names {name!r}, which is no variable of {source}{mend}")
    return warnings


def in_words(counts: Mapping[str, int], most: int = 8) -> str:
    """As in "pH 12, Temp 3", the most frequent first."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    ellipsis = ", ..." if len(ordered) > most else ""
    return ", ".join(f"{name} {count:,}" for name, count in ordered[:most]) + ellipsis
