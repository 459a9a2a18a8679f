"""Series as plain feature tables for classical classifiers: a summary per variable, or every cell
in one row.

What is undefined or unobserved is nan, for the classifier to fill or to split on. Left out:
features across variables.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

Values = Float[np.ndarray, "n T D"]
Mask = Bool[np.ndarray, "n T D"]


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
    """(features (n, F) float64, their names (F,)), summary by summary and then the static
    descriptors.

    Per variable: mean, min, max, last (the observed value of the latest step) and rate (share of
      steps observed).
    With `extended` also first, sd (sample) and slope (least squares over `hours`, per hour). All
    but the rate are nan for a variable that the patient never has, sd and slope also with one
    observation, slope with one hour.
    `variables` (D,) and `descriptors` (S,) name the columns, as in "mean HR"; without them they are
    numbered. Without `static_mask` every descriptor is observed.
    """
    n, steps, width = values.shape
    known = np.where(mask, values, 0.0).astype(np.float64)
    count = mask.sum(axis=1)
    summaries = {
        "mean": _ratio(known.sum(axis=1), count),
        "min": np.where(
            count > 0, np.where(mask, known, np.inf).min(axis=1, initial=np.inf), np.nan
        ),
        "max": np.where(
            count > 0, np.where(mask, known, -np.inf).max(axis=1, initial=-np.inf), np.nan
        ),
        "last": _at_step(known, steps - 1 - mask[:, ::-1].argmax(axis=1), count),
        "rate": count / steps,
    }
    if extended:
        summaries |= _trends(known, mask, hours, count)
    blocks, names = list(summaries.values()), _named(summaries, variables, width)
    if static is not None:
        observed = np.ones(static.shape, dtype=bool) if static_mask is None else static_mask
        blocks.append(np.where(observed, static, np.nan).astype(np.float64))
        names += _numbered(descriptors, static.shape[1], "descriptor")
    return np.concatenate(blocks, axis=1), names


def flattened(values: Values, mask: Mask) -> Float[np.ndarray, "n TD"]:
    """Every cell of a series in one row, step by step (column t D + d), unobserved cells nan."""
    return np.where(mask, values, np.nan).reshape(len(values), values.shape[1] * values.shape[2])


def _trends(known, mask, hours, count):
    """first, sd and slope of every variable, (n, D) each."""
    time = np.where(mask, hours[:, :, None], 0.0)
    value_off = np.where(mask, known - _ratio(known.sum(axis=1), count)[:, None], 0.0)
    time_off = np.where(mask, time - _ratio(time.sum(axis=1), count)[:, None], 0.0)
    return {
        "first": _at_step(known, mask.argmax(axis=1), count),
        "sd": np.sqrt(_ratio((value_off**2).sum(axis=1), count - 1)),
        "slope": _ratio((time_off * value_off).sum(axis=1), (time_off**2).sum(axis=1)),
    }


def _at_step(known, step, count):
    return np.where(count > 0, np.take_along_axis(known, step[:, None], axis=1)[:, 0], np.nan)


def _ratio(numerator, denominator):
    """numerator / denominator, nan where the denominator is not positive."""
    return np.divide(
        numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator > 0
    )


def _named(summaries, variables, width):
    return tuple(
        f"{what} {name}" for what in summaries for name in _numbered(variables, width, "variable")
    )


def _numbered(names, count, what):
    names = tuple(f"{what} {i}" for i in range(count)) if names is None else tuple(map(str, names))
    if len(names) != count:
        raise ValueError(f"{len(names)} names and {count} {what}s do not pair")
    return names
