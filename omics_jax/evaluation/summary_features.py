"""Series as feature tables for classical classifiers: summaries per variable, or every cell.

What is undefined or unobserved is nan, for the classifier to fill or to split on. Left out:
features across variables.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Real

Values = Float[np.ndarray, "n T D"]
Mask = Bool[np.ndarray, "n T D"]
Known = Float[np.ndarray, "n T D"]  # values in float64, 0 where missing
Summary = Float[np.ndarray, "n D"]
Count = Int[np.ndarray, "n D"]


def summary_features(
    values: Values,
    mask: Mask,
    hours: Float[np.ndarray, "n T"],
    static: Float[np.ndarray, "n S"] | None = None,
    static_mask: Bool[np.ndarray, "n S"] | None = None,
    *,
    extended: bool = False,
    variables: Sequence[str] | None = None,
    descriptors: Sequence[str] | None = None,
) -> tuple[Float[np.ndarray, "n F"], tuple[str, ...]]:
    """(features float64, their names (F,)), summary by summary and then the static descriptors.

    Per variable: mean, min, max, last (the observed value of the latest step) and rate (share of
    steps observed). With `extended` also first, sd (sample) and slope (least squares over `hours`,
    per hour). All but the rate are nan for a variable that the patient never has, sd and slope also
    with one observation, slope with one hour. `variables` (D,) and `descriptors` (S,) name the
    columns, as in "mean HR"; without them they are numbered. Without `static_mask` every descriptor
    is observed. Raises ValueError where names and columns differ in number.
    """
    known = np.where(mask, values, 0.0).astype(np.float64)
    summaries = _summaries(known, mask)
    if extended:
        summaries |= _trends(known, mask, hours)
    blocks = list(summaries.values())
    variables = _names_or_numbers(variables, values.shape[2], "variable")
    names = tuple(f"{summary} {variable}" for summary in summaries for variable in variables)
    if static is not None:
        observed = np.ones(static.shape, dtype=bool) if static_mask is None else static_mask
        blocks.append(np.where(observed, static, np.nan).astype(np.float64))
        names += _names_or_numbers(descriptors, static.shape[1], "descriptor")
    return np.concatenate(blocks, axis=1), names


def flatten_series(values: Values, mask: Mask) -> Float[np.ndarray, "n TD"]:
    """Every cell of a series in one row, step by step (column t D + d), unobserved cells nan."""
    rows, steps, variables = values.shape
    return np.where(mask, values, np.nan).reshape(rows, steps * variables)


def _summaries(known: Known, mask: Mask) -> dict[str, Summary]:
    """mean, min, max, last and rate of every variable."""
    steps, count = mask.shape[1], mask.sum(axis=1)
    lowest = known.min(axis=1, where=mask, initial=np.inf)
    highest = known.max(axis=1, where=mask, initial=-np.inf)
    last_step = steps - 1 - mask[:, ::-1].argmax(axis=1)
    return {
        "mean": _ratio(known.sum(axis=1), count),
        "min": np.where(count > 0, lowest, np.nan),
        "max": np.where(count > 0, highest, np.nan),
        "last": _value_at(known, last_step, count),
        "rate": count / steps,
    }


def _trends(
    known: Known,
    mask: Mask,
    hours: Float[np.ndarray, "n T"],
) -> dict[str, Summary]:
    """first, sd and slope of every variable."""
    count = mask.sum(axis=1)
    time = np.where(mask, hours[:, :, None], 0.0)
    centred_value = _centred(known, mask, count)
    centred_time = _centred(time, mask, count)
    covariation = (centred_time * centred_value).sum(axis=1)
    return {
        "first": _value_at(known, mask.argmax(axis=1), count),
        "sd": np.sqrt(_ratio((centred_value**2).sum(axis=1), count - 1)),
        "slope": _ratio(covariation, (centred_time**2).sum(axis=1)),
    }


def _centred(
    values: Known,
    mask: Mask,
    count: Count,
) -> Known:
    """Values minus the mean of the observed ones, 0 where missing."""
    mean = _ratio(values.sum(axis=1), count)
    return np.where(mask, values - mean[:, None], 0.0)


def _value_at(
    known: Known,
    step: Count,
    count: Count,
) -> Summary:
    """Every variable's value at its own step, nan where it has no observation."""
    value = np.take_along_axis(known, step[:, None], axis=1)[:, 0]
    return np.where(count > 0, value, np.nan)


def _ratio(
    numerator: Summary,
    denominator: Real[np.ndarray, "n D"],
) -> Summary:
    """numerator / denominator, nan where the denominator is not positive."""
    nan = np.full(numerator.shape, np.nan)
    return np.divide(numerator, denominator, out=nan, where=denominator > 0)


def _names_or_numbers(names: Sequence[str] | None, count: int, kind: str) -> tuple[str, ...]:
    """The names as strings, or "KIND 0", "KIND 1", ... without any."""
    if names is None:
        return tuple(f"{kind} {i}" for i in range(count))
    if len(names) != count:
        raise ValueError(f"{len(names)} names and {count} {kind}s do not pair")
    return tuple(str(name) for name in names)
