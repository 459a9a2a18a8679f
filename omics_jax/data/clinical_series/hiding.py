"""Observed cells of a series hidden on purpose, so that imputations can be scored or learned.

Held-out cells drawn per patient, and the non-uniform hiding rates and median gaps of CSAI (Qian et
al. 2023, arXiv 2312.16713, and its code). The cells that are hidden anew at every training step are
drawn by the model.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8

from omics_jax.errors import UserError

SeriesMask = Bool[np.ndarray, "n T D"]
PerFeature = Float[np.ndarray, " D"]


def held_out(
    ids: Shaped[np.ndarray, " n"], mask: SeriesMask, rates: tuple[float, ...], seed: int
) -> UInt8[np.ndarray, "n T D"]:
    """The level at which every cell is hidden: k (from 1) for rates[k - 1], 0 for never.

    A cell's level is the first k with u < rates[k - 1]; unobserved cells have level 0. Levels are
    nested: at rate k all cells with 0 < level <= k are hidden, each observed cell with that
    probability. The uniform u of a row are a function of the seed, the row's id and the series'
    shape (T, D) alone, never of the other rows.

    Raises:
      UserError: rates outside (0, 1) or not increasing.
    """
    bounds = (0, *rates, 1)
    if not rates or not np.all(np.diff(bounds) > 0):
        raise UserError(
            f"cells cannot be held out at the rates {rates}; give increasing fractions between 0 "
            "and 1, as (0.1, 0.5)"
        )
    levels = np.zeros(mask.shape, np.uint8)
    for row, name in enumerate(ids):
        u = _row_stream(seed, name).random(mask.shape[1:])
        levels[row] = np.searchsorted(rates, u, side="right") + 1
    is_hidden = mask & (levels <= len(rates))
    return np.where(is_hidden, levels, np.uint8(0))


def _row_stream(seed: int, name: str) -> np.random.Generator:
    text = f"{seed}|{name}"
    digest = hashlib.sha256(text.encode()).digest()
    number = int.from_bytes(digest, "little")
    return np.random.default_rng(number)


def hiding_rates(mask: SeriesMask, rate: float, increase: float | int) -> PerFeature:
    """CSAI's probability q of hiding an observed cell, per feature, from the training rows' mask.

    With n_d observed cells of feature d and their mean n over all features, p = rate and f =
    increase: q_d = min(1, p f n / n_d) where n_d < n, and (p / f) n_d / n elsewhere; then all q are
    scaled so that sum(q n_d) = p sum(n_d). f = 0 is the uniform q_d = p. Larger f hides more of the
    rare features.

    Deviates: a feature never observed has q = 0 (the reference divides by zero), and a q scaled
    beyond 1 is returned as 1, with which all its observed cells are hidden as before.

    Raises:
      UserError: a rate outside (0, 1), or an increase that is negative or not finite.
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
    is_seen = observed > 0
    if increase == 0 or not is_seen.any():
        return np.where(is_seen, rate, 0.0)
    relative = np.where(is_seen, observed / observed.mean(), 1.0)
    rare_rates = np.minimum(1, rate * increase / relative)
    frequent_rates = rate / increase * relative
    q = np.where(relative < 1, rare_rates, frequent_rates)
    q *= is_seen * rate * observed.sum() / (q @ observed)
    return np.minimum(q, 1)


def median_gaps(mask: SeriesMask, hours: Float[np.ndarray, "n T"]) -> PerFeature:
    """CSAI's tau: the median hours between consecutive observations of a feature in a patient.

    The median is over all patients; give training rows only. A feature without two observations in
    any patient gets the median over the gaps of all features (Deviates: the reference gives NaN),
    and 1 where there are no gaps at all.
    """
    # By feature, then by patient, then in the order of time.
    feature, row, step = np.nonzero(mask.transpose(2, 0, 1))
    same_feature = np.diff(feature) == 0
    same_row = np.diff(row) == 0
    is_gap = same_feature & same_row
    gaps = np.diff(hours[row, step])[is_gap]
    feature_of_gap = feature[1:][is_gap]
    overall = np.median(gaps) if len(gaps) else 1.0
    medians = np.full(mask.shape[2], overall, float)
    for d in np.unique(feature_of_gap):
        medians[d] = np.median(gaps[feature_of_gap == d])
    return medians
