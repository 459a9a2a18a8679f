"""Outcomes drawn anew from additive models: no two features act together in them.

An additive model is f(x) = sum over features j of g_j(x_j), here with cubic g_j. A draw keeps what
single features do to an outcome and nothing else:

    number     y*_i = f(x_i) + e_s(i),  the residuals e = y - f(x) permuted by s
    class      y*_i = k with probability p_k(x_i), whose log-odds are additive
    survival   the observed pairs of time and event are dealt out in order of time: an event to one
               of the rows left, i with probability proportional to exp(f(x_i)); a censored time to
               any of them alike. This is Cox's model with the observed times.

Each f is predicted out of fold: fitted to its own rows, it would carry some of their noise, and of
what features do together. It is shrunk, so that the draws depend on single features a little less
than the data do. A feature that matters is shrunk less than one that does not, or a few that matter
would be lost among many: its columns are multiplied by a power of their correlation with the
outcome in the rows that are fitted, and the power is chosen with the penalty.

Source: Friedman & Popescu 2008, section 8.3 (a parametric bootstrap as the null of interactions);
Freedman & Lane 1983 (residuals); Kalbfleisch & Prentice 2002, section 4.2 (Cox's model as a
distribution of ranks); Zou 2006 (penalties by a first estimate). Left out: categories as unordered
levels, and groups of rows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product

import numpy as np
from jaxtyping import Float, Int, Real, Shaped

from omics_jax.evaluation.survival_models import cox_coefficients, martingale_residuals

FOLDS = 5
FARTHEST = 3.0  # s.d. at which values are cut off, because cubes run away beyond
_STRENGTHS = tuple(10.0**k for k in range(-4, 2))  # C of logistic regressions
_ALPHAS = tuple(10.0**k for k in range(0, 7))  # of ridge regressions
POWERS = (0, 1, 2)  # of a column's correlation
_SLOPE_PENALTY = 1e-2  # with a smaller one, times that a feature alone decides have no Cox model

Features = Float[np.ndarray, "n F"]
Basis = Float[np.ndarray, "n _"]
Rng = np.random.Generator


def cubic_basis(x: Features) -> Basis:
    """Hermite polynomials of degree 1 to 3 of each standardised feature; 0 where it is constant.

    They are uncorrelated for normal values, so that a penalty falls on each by itself.
    """
    z = np.clip(_standardised(x), -FARTHEST, FARTHEST)
    parts = [z, (z**2 - 1) / np.sqrt(2), (z**3 - 3 * z) / np.sqrt(6)]
    return np.where(np.tile(np.ptp(x, axis=0) > 0, 3), np.concatenate(parts, axis=1), 0)


def number_sampler(
    x: Features, values: Real[np.ndarray, " n"]
) -> Callable[[Rng], Float[np.ndarray, " n"]]:
    """rng -> a draw of a number, see the module."""
    fitted = _ridge_out_of_fold(cubic_basis(x), values.astype(np.float64))
    residuals = values - fitted
    return lambda rng: fitted + rng.permutation(residuals)


def class_sampler(
    x: Features, codes: Int[np.ndarray, " n"], classes: int
) -> Callable[[Rng], Int[np.ndarray, " n"]]:
    """rng -> a draw of a class, see the module. classes: their number."""
    cumulative = np.cumsum(class_probabilities(x, codes, classes), axis=1)

    def draw(rng: Rng) -> Int[np.ndarray, " n"]:
        u = rng.random((len(codes), 1))
        return np.minimum((u > cumulative).sum(axis=1), classes - 1)

    return draw


def survival_sampler(
    x: Features, times: Real[np.ndarray, " n"], events: Shaped[np.ndarray, " n"]
) -> Callable[[Rng], tuple[np.ndarray, np.ndarray]]:
    """rng -> a draw of times and events, see the module.

    f is a multiple of an additive model of the martingale residuals, which are the first step from
    no effect towards Cox's model (Therneau et al. 1990); the multiple is Cox's own.
    """
    direction = _ridge_out_of_fold(cubic_basis(x), martingale_residuals(times, events))
    risk = _cox_risk(direction, times, events)

    def draw(rng: Rng) -> tuple[np.ndarray, np.ndarray]:
        order = deal_by_risk(rng, risk, times, events)
        return times[order], events[order]

    return draw


def _cox_risk(
    direction: Float[np.ndarray, " n"],
    times: Real[np.ndarray, " n"],
    events: Shaped[np.ndarray, " n"],
) -> Float[np.ndarray, " n"]:
    """The multiple of a direction that Cox regression chooses; 0 where it points the wrong way."""
    centred = direction - direction.mean()
    sd = np.sqrt(np.sum(centred**2) / max(len(centred) - 1, 1))
    if not sd > 0:
        return centred
    (slope,) = cox_coefficients(centred[:, None] / sd, times, events, _SLOPE_PENALTY)
    return max(slope, 0.0) * centred / sd


def deal_by_risk(
    rng: Rng,
    risk: Float[np.ndarray, " n"],
    times: Real[np.ndarray, " n"],
    events: Shaped[np.ndarray, " n"],
) -> Int[np.ndarray, " n"]:
    """For each row the row whose time and event it is dealt, see the module."""
    is_event = np.asarray(events).astype(bool)
    slots = np.lexsort((~is_event, times))  # of one time, events come first
    left = np.arange(len(risk))
    dealt = np.empty(len(risk), int)
    for slot in slots:
        own = risk[left] if is_event[slot] else np.zeros(len(left))
        weights = np.exp(own - own.max())
        place = rng.choice(len(left), p=weights / weights.sum())
        dealt[left[place]] = slot
        left = np.delete(left, place)
    return dealt


def class_probabilities(
    x: Features, codes: Int[np.ndarray, " n"], classes: int
) -> Float[np.ndarray, "n C"]:
    """Out-of-fold probabilities of an additive logistic regression.

    Of several penalties and powers those with the smallest out-of-fold log loss; frequencies of the
    classes are one more candidate.
    """
    from sklearn.linear_model import LogisticRegression

    basis = cubic_basis(x)
    frequencies = np.bincount(codes, minlength=classes) / len(codes)
    candidates = [np.tile(frequencies, (len(codes), 1))]
    for power, strength in product(POWERS, _STRENGTHS):
        model = LogisticRegression(C=strength, max_iter=2000)
        candidates.append(_class_out_of_fold(model, power, basis, codes, frequencies))
    return min(candidates, key=partial(_log_loss, codes))


def _log_loss(codes: Int[np.ndarray, " n"], probabilities: Float[np.ndarray, "n C"]) -> float:
    """A probability below half a row's share counts as that: of 0 the loss would be infinite."""
    own = probabilities[np.arange(len(codes)), codes]
    return -np.log(np.maximum(own, 0.5 / len(codes))).mean()


def _class_out_of_fold(
    model,
    power: int,
    basis: Basis,
    codes: Int[np.ndarray, " n"],
    frequencies: Float[np.ndarray, " C"],
) -> Float[np.ndarray, "n C"]:
    """A class that the other folds lack has probability 0; frequencies where they have one."""
    probabilities = np.zeros((len(codes), len(frequencies)))
    is_class = np.eye(len(frequencies))[codes]
    for train, test in _folds(len(codes)):
        if len(np.unique(codes[train])) < 2:
            probabilities[test] = frequencies
            continue
        scale = column_scales(basis[train], is_class[train], power)
        model.fit(basis[train] * scale, codes[train])
        probabilities[np.ix_(test, model.classes_)] = model.predict_proba(basis[test] * scale)
    return probabilities


def _ridge_out_of_fold(basis: Basis, y: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Ridge regression with the power of the smallest out-of-fold error."""
    candidates = [_ridge_of_power(power, basis, y) for power in POWERS]
    return min(candidates, key=lambda predicted: np.sum((y - predicted) ** 2))


def _ridge_of_power(
    power: int, basis: Basis, y: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Each fold's penalty has the smallest leave-one-out error in the others."""
    from sklearn.linear_model import RidgeCV

    predicted = np.zeros(len(y))
    for train, test in _folds(len(y)):
        scale = column_scales(basis[train], y[train, None], power)
        model = RidgeCV(_ALPHAS).fit(basis[train] * scale, y[train])
        predicted[test] = model.predict(basis[test] * scale)
    return predicted


def column_scales(basis: Basis, y: Float[np.ndarray, "n k"], power: int) -> Float[np.ndarray, " _"]:
    """Root mean square correlations of a column with the outputs to a power, of mean square 1."""
    correlations = _standardised(basis).T @ _standardised(y) / len(y)
    strength = np.sqrt(np.mean(correlations**2, axis=1))
    scales = strength**power
    size = np.sqrt(np.mean(scales**2))
    return scales / size if size > 0 else np.ones(len(scales))


def _standardised(x: Basis) -> Basis:
    """Mean 0 and s.d. 1 of every column; 0 where it is constant."""
    x = x.astype(np.float64)
    varies = np.ptp(x, axis=0) > 0  # of equal values the s.d. may be a rounding
    sd = np.where(varies, x.std(axis=0), 1)
    return np.where(varies, (x - x.mean(axis=0)) / sd, 0)


def _folds(rows: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(other rows, own rows) of each fold; none where the others would be one row or less."""
    if rows < 3:
        return []
    from sklearn.model_selection import KFold

    return list(KFold(min(FOLDS, rows), shuffle=True, random_state=0).split(np.arange(rows)))
