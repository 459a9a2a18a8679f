r"""Beta and M values: which of the two a file holds, and the one from the other.

$$M = \log_2 \frac{\beta}{1 - \beta}, \qquad \beta = \frac{2^M}{1 + 2^M}$$

Source: Du et al., Comparison of Beta-value and M-value methods, BMC Bioinformatics 2010. Left out:
intensities, from which an offset would be known.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int, Shaped

from omics_jax.data.dataset import mapped
from omics_jax.data.patients.remarks import Remarks, note, warning
from omics_jax.errors import UserError

_LARGEST_M = 30.0  # an M value beyond is none: beta would be 0 or 1 to nine digits
_LEAST_JUDGED = 50  # values by which one person's scale is judged
# M values between 0 and 1 are beta values of 0.5 to 0.67, which few sites have.
_MOST_WITHIN = 0.5
_LEAST_NEGATIVE = 0.05
_PERCENT = 100.0


@dataclass(frozen=True)
class ScaleCounts:
    """What the values of n people say about their scale.

    Attributes:
      observed, negative, above_one: (n,) numbers of values.
      low, high: of all.
    """

    observed: Int[np.ndarray, " n"]
    negative: Int[np.ndarray, " n"]
    above_one: Int[np.ndarray, " n"]
    low: float
    high: float

    @property
    def outside(self) -> Int[np.ndarray, " n"]:
        """(n,) values below 0 or above 1."""
        return self.negative + self.above_one


def count_scale(values: Float32[np.ndarray, "n S"], mask: Bool[np.ndarray, "n S"]) -> ScaleCounts:
    """Counts and extremes of the observed values, block by block."""
    counts, low, high = [], np.inf, -np.inf
    for rows in mapped.row_blocks(values):
        block, seen = values[rows], mask[rows]
        columns = seen.sum(1), (seen & (block < 0)).sum(1), (seen & (block > 1)).sum(1)
        counts.append(np.stack(columns))
        low = min(low, float(block.min(where=seen, initial=np.inf)))
        high = max(high, float(block.max(where=seen, initial=-np.inf)))
    return ScaleCounts(*np.concatenate(counts, axis=1), low, high)


def recognise(
    study: str, counts: ScaleCounts, ids: Shaped[np.ndarray, " n"], setting: str
) -> tuple[str, Remarks]:
    """The scale, "beta" or "m", and what is to be said of it.

    Args:
      ids: (n,) of the people.
      setting: what `data.values` says: "beta", "m", or "auto" to judge.

    Raises:
      UserError: values on both scales, or on neither.
    """
    n_outside, n_seen = int(counts.outside.sum()), int(counts.observed.sum())
    extent = f"{counts.low:.3g} to {counts.high:.3g}"
    if setting == "m":
        if not n_outside:
            return "m", warning(
                f"{study}: its values are {extent}, as beta values are, and data.values=m converts "
                "them; set --config.data.values=beta if they are beta values."
            )
        if max(-counts.low, counts.high) > _LARGEST_M:
            raise UserError(f"{study}: its values are {extent}, and no M value is as large")
        return "m", _converted(study, extent, "data.values=m")
    if not n_outside:
        return "beta", note(f"{study}: beta values ({extent}).")
    looks_like_m = _looks_like_m(counts)
    _refuse_mixture(study, counts, ids)
    if setting == "auto" and looks_like_m:
        return "m", _converted(study, extent, "data.values=auto: most lie outside of 0 to 1")
    raise UserError(
        f"{study}: {n_outside:,} of its {n_seen:,} values are not between 0 and 1 ({extent}), as "
        f"beta values are; {_mend(counts, looks_like_m)}"
    )


def _looks_like_m(counts: ScaleCounts) -> bool:
    total = max(1, int(counts.observed.sum()))
    within = 1 - counts.outside.sum() / total
    is_signed = counts.negative.sum() / total >= _LEAST_NEGATIVE
    is_small = max(-counts.low, counts.high) <= _LARGEST_M
    return bool(within < _MOST_WITHIN and is_signed and is_small)


def _refuse_mixture(study: str, counts: ScaleCounts, ids: Shaped[np.ndarray, " n"]) -> None:
    """Refuses people on the scale of beta values beside people on that of M values."""
    judged = counts.observed >= _LEAST_JUDGED
    beta = judged & (counts.outside == 0)
    other = judged & (counts.outside > (1 - _MOST_WITHIN) * counts.observed)
    if beta.any() and other.any():
        raise UserError(
            f"{study}: the values of {beta.sum():,} people (such as {ids[beta][0]}) are all "
            f"between 0 and 1, as beta values are, and most of those of {other.sum():,} (such as "
            f"{ids[other][0]}) are not; convert one of the two, or make them studies of their own"
        )


def _mend(counts: ScaleCounts, looks_like_m: bool) -> str:
    if looks_like_m:
        return "they look like M values: set --config.data.values=m"
    n_high = counts.above_one.sum()
    if not counts.negative.sum() and n_high > counts.observed.sum() / 2:
        if counts.high <= _PERCENT:
            return "they look like percentages: divide them by 100"
        return "they look like intensities or counts: name a matrix of beta values"
    return (
        "correct them, or set --config.data.limits=methylation=0:1 to take those outside for "
        "missing"
    )


def _converted(study: str, extent: str, why: str) -> Remarks:
    return note(f"{study}: M values ({extent}) converted to beta values ({why}).")


def m_to_beta(values: Float32[np.ndarray, "*n"]) -> Float32[np.ndarray, "*n"]:
    r"""$\beta = 1 / (1 + 2^{-M})$."""
    return (1 / (1 + np.exp2(-values.astype(np.float64)))).astype(np.float32)
