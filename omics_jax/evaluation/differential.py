"""Which features differ between cases and controls: linear models, t and moderated t.

    y_f = X b_f + e,   t_f = b_fc / (s_f u_f),   s_f^2 the residual variance with d_f degrees

The moderated t (Smyth 2004, limma's eBayes) shrinks the variances of all features to a common
prior: s~_f^2 = (d_0 s_0^2 + d_f s_f^2) / (d_0 + d_f), with d_0 and s_0^2 from the moments of
log s_f^2 (there, section 6.2). X holds an intercept, the group and covariates, so that an effect is
adjusted for age, sex or batch. Cells may be missing. Left out: weights, trends, robust priors.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import special, stats

_BLOCK_CELLS = 1 << 24  # of rows x features that are worked on at once
# Of the variance of a feature: below it a residual is rounding.
_ROUNDING = 1e-12


class Effects(NamedTuple):
    """The effect of one column of the design on each of F features; NaN where it has none.

    effect: b_fc, in the features' units.
    variance: s_f^2; degrees: d_f, the observed rows less the columns of the design.
    unscaled: u_f, so that the standard error of the effect is s_f u_f.
    """

    effect: Float[np.ndarray, " F"]
    variance: Float[np.ndarray, " F"]
    degrees: Float[np.ndarray, " F"]
    unscaled: Float[np.ndarray, " F"]


class Prior(NamedTuple):
    """The common prior of the variances: s_0^2, and d_0 degrees of freedom (may be infinite)."""

    variance: float
    degrees: float


def design_matrix(
    group: Float[np.ndarray, " n"], covariates: Float[np.ndarray, "n k"] | None = None
) -> Float[np.ndarray, "n p"]:
    """Columns: intercept, group, and the covariates that are not a combination of the former."""
    columns = [np.ones(len(group)), np.asarray(group, float)]
    for covariate in np.zeros((0, 0)) if covariates is None else covariates.T:
        wider = np.column_stack([*columns, covariate - covariate.mean()])
        if np.linalg.matrix_rank(wider) == wider.shape[1]:
            columns.append(covariate - covariate.mean())
    return np.column_stack(columns)


def linear_effects(
    values: Float[np.ndarray, "n F"],
    mask: Bool[np.ndarray, "n F"],
    design: Float[np.ndarray, "n p"],
    column: int = 1,
) -> Effects:
    """Least squares of every feature on the design over its observed rows.

    column: of the design, whose effect is wanted.

    A feature whose observed rows do not determine the effect, or that has no degree of freedom
    left, has NaN in every field but `degrees`.
    """
    step = max(1, _BLOCK_CELLS // max(1, len(values)))
    blocks = [
        _effects(values[:, start : start + step], mask[:, start : start + step], design, column)
        for start in range(0, values.shape[1], step)
    ]
    return Effects(*(np.concatenate(parts) for parts in zip(*blocks, strict=True)))


def _effects(values: np.ndarray, mask: np.ndarray, design: np.ndarray, column: int) -> Effects:
    width = design.shape[1]
    observed = mask.astype(np.float64)
    count = observed.sum(axis=0)
    mean = np.where(mask, values, 0).sum(axis=0, dtype=np.float64) / np.maximum(count, 1)
    y = np.where(mask, values - mean, 0).astype(np.float64)
    products = (design[:, :, None] * design[:, None, :]).reshape(len(design), -1)
    gram = (observed.T @ products).reshape(-1, width, width)
    determined = np.linalg.matrix_rank(gram, hermitian=True) == width
    degrees = count - width
    usable = determined & (degrees > 0)
    gram[~usable] = np.eye(width)
    inverse = np.linalg.inv(gram)
    moments = y.T @ design
    coefficients = np.einsum("fpq,fq->fp", inverse, moments)
    residual = np.where(mask, y - design @ coefficients.T, 0)
    squares = (residual**2).sum(axis=0)
    total = (y**2).sum(axis=0)
    squares = np.where(squares > _ROUNDING * total, squares, 0)
    nothing = np.where(usable, 0, np.nan)
    return Effects(
        effect=coefficients[:, column] + nothing,
        variance=squares / np.maximum(degrees, 1) + nothing,
        degrees=degrees,
        unscaled=np.sqrt(inverse[:, column, column]) + nothing,
    )


def t_test(effects: Effects) -> tuple[Float[np.ndarray, " F"], Float[np.ndarray, " F"]]:
    """t and its two-sided p; t is 0 and p is 1 where a feature has no effect or no variance."""
    return _t_and_p(effects, effects.variance, effects.degrees)


def moderated_t(
    effects: Effects, prior: Prior | None = None
) -> tuple[Float[np.ndarray, " F"], Float[np.ndarray, " F"]]:
    """t with moderated variances and its two-sided p, on d_0 + d_f degrees of freedom.

    These degrees are at most the sum of all d_f, as in limma. prior: by `fit_prior` if None.
    """
    prior = fit_prior(effects) if prior is None else prior
    own = np.maximum(effects.degrees, 0)
    if np.isinf(prior.degrees):
        variance = np.full(len(own), prior.variance)
    else:
        total = prior.degrees + own
        variance = (prior.degrees * prior.variance + own * effects.variance) / total
    pooled = own[~np.isnan(effects.variance)].sum()
    return _t_and_p(effects, variance, np.minimum(prior.degrees + own, pooled))


def _t_and_p(
    effects: Effects, variance: np.ndarray, degrees: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    error = np.sqrt(variance) * effects.unscaled
    defined = np.isfinite(effects.effect) & (error > 0)
    t = np.where(defined, effects.effect, 0) / np.where(defined, error, 1)
    p = np.where(defined, 2 * stats.t.sf(np.abs(t), np.maximum(degrees, 1)), 1.0)
    return t, p


def fit_prior(effects: Effects) -> Prior:
    """s_0^2 and d_0 by the moments of e_f = log s_f^2 - digamma(d_f/2) + log(d_f/2).

    trigamma(d_0/2) = var(e) - mean of trigamma(d_f/2), and d_0 is infinite where that is not
    positive: the variances then differ by chance alone.

    Raises:
      ValueError: fewer than two features with a positive variance.
    """
    used = np.isfinite(effects.variance) & (effects.variance > 0)
    if used.sum() < 2:
        raise ValueError("a prior of variances needs two features that vary")
    half = effects.degrees[used] / 2
    e = np.log(effects.variance[used]) - special.digamma(half) + np.log(half)
    excess = e.var(ddof=1) - special.polygamma(1, half).mean()
    if excess <= 0:
        return Prior(float(np.exp(e.mean())), np.inf)
    prior_half = inverse_trigamma(float(excess))
    log_variance = e.mean() + special.digamma(prior_half) - np.log(prior_half)
    return Prior(float(np.exp(log_variance)), 2 * prior_half)


def inverse_trigamma(y: float) -> float:
    """x with trigamma(x) = y for y > 0, by Newton's method on 1/trigamma (Smyth 2004, appendix)."""
    if y > 1e7:
        return 1 / np.sqrt(y)
    if y < 1e-6:
        return 1 / y
    x = 0.5 + 1 / y
    for _ in range(50):
        value = special.polygamma(1, x)
        step = value * (1 - value / y) / special.polygamma(2, x)
        x += step
        if -step / x < 1e-10:
            break
    return float(x)
