"""Observed cells of a series hidden on purpose, so that an imputation can be scored or learned
against them.

Held-out cells drawn per patient, and the non-uniform hiding rates and median gaps of CSAI (Qian et
al. 2023,
arXiv 2312.16713, and its code). Drawing the cells that are hidden anew at every training step is
left to the model.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8

from omics_jax.errors import UserError


def held_out(
    ids: Shaped[np.ndarray, " n"],
    mask: Bool[np.ndarray, "n T D"],
    rates: tuple[float, ...],
    seed: int,
) -> UInt8[np.ndarray, "n T D"]:
    """Level at which every cell is hidden: k (from 1) for u < rates[k - 1] first, 0 for never or
    unobserved cells.

    Levels are nested: at rate k all cells with 0 < level <= k are hidden, each observed cell with
      that probability.
    The uniform u of a row are a function of the seed, the row's id and the series' shape (T, D)
    alone, never of the rows around it. Raises UserError for rates outside (0, 1) or not increasing.
    """
    if not rates or not np.all(np.diff((0, *rates, 1)) > 0):
        raise UserError(
            f"cells cannot be held out at the rates {rates}; give increasing fractions between 0 "
            "and 1, as (0.1, 0.5)"
        )
    levels = np.zeros(mask.shape, np.uint8)
    for row, name in enumerate(ids):
        u = _row_stream(seed, name).random(mask.shape[1:])
        levels[row] = np.searchsorted(rates, u, side="right") + 1
    return np.where(mask & (levels <= len(rates)), levels, np.uint8(0))


def _row_stream(seed: int, name: str) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}|{name}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest, "little"))


def hiding_rates(
    mask: Bool[np.ndarray, "n T D"], rate: float, increase: float | int
) -> Float[np.ndarray, " D"]:
    """CSAI's probability q of hiding an observed cell, feature by feature, from the training rows'
    mask.

    With n_d observed cells of feature d and their mean n over all features, p = rate and f =
    increase:
    q_d = min(1, p f n / n_d) where n_d < n, and (p / f) n_d / n elsewhere; then all q are scaled so
    that
    sum(q n_d) = p sum(n_d). f = 0 is the uniform q_d = p. Larger f hides more of the rare features.

    Deviates: a feature never observed has q = 0 (the reference divides by zero), and a q scaled
      beyond 1 is returned
    as 1, with which all its observed cells are hidden as before. Raises UserError for a rate
    outside (0, 1) and for
    an increase that is negative or not finite.
    """
    if not 0 < rate < 1:
        raise UserError(
            f"cells cannot be hidden at the rate {rate}; give a fraction between 0 and 1, as 0.1"
        )
    if not (math.isfinite(increase) and increase >= 0):
        raise UserError(
            f"hiding rates cannot increase by the factor {increase}; give 0 (uniform) or more, as "
            "0.5"
        )
    observed = mask.sum(axis=(0, 1)).astype(float)
    seen = observed > 0
    if increase == 0 or not seen.any():
        return np.where(seen, rate, 0.0)
    relative = np.where(seen, observed / observed.mean(), 1.0)
    q = np.where(
        relative < 1, np.minimum(1, rate * increase / relative), rate / increase * relative
    )
    q *= seen * rate * observed.sum() / (q @ observed)
    return np.minimum(q, 1)


def median_gaps(
    mask: Bool[np.ndarray, "n T D"], hours: Float[np.ndarray, "n T"]
) -> Float[np.ndarray, " D"]:
    """CSAI's tau: the median hours between consecutive observations of a feature in a patient, over
    all patients.

    Give training rows only. A feature without two observations in any patient gets the median over
    the gaps of all features (Deviates: the reference gives NaN), and 1 where there are no gaps at
    all.
    """
    feature, row, step = np.nonzero(mask.transpose(2, 0, 1))
    same = (np.diff(feature) == 0) & (np.diff(row) == 0)
    gap = (hours[row[1:], step[1:]] - hours[row[:-1], step[:-1]])[same]
    ends = np.cumsum(np.bincount(feature[1:][same], minlength=mask.shape[2]))
    usual = np.median(gap) if len(gap) else 1.0
    return np.array(
        [np.median(part) if len(part) else usual for part in np.split(gap, ends[:-1])], float
    )
