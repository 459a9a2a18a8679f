"""The methylation sites of a fold: which are chosen, and their scale, fitted to training rows.

    z_s = clip((x_s - mean_s - u b_s) / sd_s, -LIMIT, LIMIT), 0 where not observed
    u = (c - c_mean) / c_sd, 0 where the covariate is unknown

mean_s + u b_s is the least-squares fit of site s on the covariates that are removed, over the rows
in which the site is observed; b_s is 0 for the other covariates, and for a site that has too few
rows (`ROWS_PER_COVARIATE`); sd_s is the standard deviation that the fit leaves.

A site is chosen for a disease by a t-test between the cases and controls of its own study, by the
moderated t (limma), by its variance, or not chosen at all; the sites of all diseases are joined.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from omics_jax.data.dataset.dataset import Dataset, Modality
from omics_jax.data.preprocessing.statistics import Statistics, training_statistics
from omics_jax.errors import UserError
from omics_jax.evaluation.differential import (
    Effects,
    design_matrix,
    linear_effects,
    moderated_t,
    t_test,
)
from omics_jax.study.covariates import covariate_scale, scaled_covariates
from omics_jax.tasks.task import Task, known_rows, outcome

METHODS = ("none", "t", "moderated_t", "variance")
BY_OUTCOME = ("t", "moderated_t")  # those that read outcomes
LIMIT = 10.0  # of a standardised value
ROWS_PER_COVARIATE = 2
_RIDGE = 1e-8  # of a row's own weight: covariates that repeat each other share their effect
_LEAST_SD = 1e-6  # of beta values; below it a site is constant
CONSTANT_SD = 1.0  # by which a constant site is divided
_BLOCK_CELLS = 1 << 22

Rows = Int[np.ndarray, " r"]
Constants = dict[str, np.ndarray]


@dataclass(frozen=True)
class Selection:
    """How sites are chosen in a fold.

    method: one of `METHODS`; "none" takes all sites.
    per_task: sites that are chosen for each task, or by variance altogether.
    """

    method: str
    per_task: int

    def width(self, sites: int, tasks: int) -> int:
        """The most of so many sites that can be chosen, whatever the values are."""
        if self.method == "none":
            return sites
        return min(sites, self.per_task * (tasks if self.method != "variance" else 1))


def fit_sites(
    modality: Modality,
    covariates: Float[np.ndarray, "n k"],
    is_removed: Bool[np.ndarray, " k"],
    dataset: Dataset,
    tasks: Sequence[Task],
    selection: Selection,
    rows: Rows,
    place: str,
) -> Constants:
    """The constants of a fold, of w = `Selection.width` sites in the order of the modality.

    Args:
      covariates: nan where unknown.
      is_removed: whose effects are removed from every site.
      dataset: whose targets are the outcomes of the tasks.
      rows: the training rows.
      place: the fold, for messages.

    Returns:
      columns (w,) int32, the chosen sites, and the number of sites where there are fewer;
      alive (w,) bool, False there; mean, sd and coef (k, w) as in the module's formula; low, high
      (w,) the range of the training rows; c_mean, c_sd (k,) of the covariates.

    Raises:
      UserError: no training row with a value.
    """
    statistics = training_statistics(modality, rows, place)
    scale = covariate_scale(covariates, rows)
    removed = scaled_covariates(scale, covariates)[:, is_removed]
    fit = _regress(modality, rows, statistics, removed)
    coef = np.zeros((len(is_removed), len(modality.features)))
    coef[is_removed] = fit.coef
    is_chosen = _chosen(
        modality, removed, dataset, tasks, selection, rows, statistics, fit.variance
    )
    columns = np.flatnonzero(is_chosen).astype(np.int32)
    width = selection.width(len(modality.features), len(tasks))
    sd = np.sqrt(fit.variance)
    fitted = {
        "mean": fit.mean,
        "sd": np.where(sd > _LEAST_SD, sd, CONSTANT_SD),
        "low": statistics.low,
        "high": statistics.high,
    }
    places = np.full(width, len(modality.features), np.int32)
    places[: len(columns)] = columns
    return {
        "columns": places,
        "alive": np.arange(width) < len(columns),
        **{name: _padded(values[columns], width) for name, values in fitted.items()},
        "coef": _padded(coef[:, columns], width),
        **scale,
    }


def _padded(values: Float[np.ndarray, "*k c"], width: int) -> Float[np.ndarray, "*k w"]:
    """float32 values with zeros behind them, up to the width."""
    padded = np.zeros((*values.shape[:-1], width), np.float32)
    padded[..., : values.shape[-1]] = values
    return padded


# --- covariates -----------------------------------------------------------------------------------


class Fit(NamedTuple):
    """The least-squares fit of every site on the covariates: mean_s, b_s and the variance left."""

    mean: Float[np.ndarray, " S"]
    coef: Float[np.ndarray, "k S"]
    variance: Float[np.ndarray, " S"]


def _regress(
    modality: Modality, rows: Rows, statistics: Statistics, u: Float[np.ndarray, "n k"]
) -> Fit:
    """Every site on the covariates u over its observed rows, by the normal equations.

    In one pass over blocks of rows; far values count as the farthest plausible ones.
    """
    sites, k = len(modality.features), u.shape[1]
    sums, moments, products = np.zeros((k, sites)), np.zeros((k, sites)), np.zeros((k * k, sites))
    squares = np.zeros(sites)
    step = max(1, _BLOCK_CELLS // max(1, sites))
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        values, mask = modality.values.take(block, axis=0), modality.mask.take(block, axis=0)
        clipped = values.clip(statistics.low, statistics.high)
        deviation = np.where(mask, clipped - statistics.mean, 0)
        own = u[block].astype(np.float64)
        pairs = (own[:, :, None] * own[:, None, :]).reshape(len(own), k * k)
        observed = mask.astype(np.float64)
        sums += own.T @ observed
        products += pairs.T @ observed
        moments += own.T @ deviation
        squares += (deviation**2).sum(axis=0)
    count = np.maximum(statistics.count, 1)
    mean = sums / count  # of the covariates in the rows of each site
    gram = products.reshape(k, k, sites) - mean[:, None] * mean[None] * count
    ridge = _RIDGE * count[:, None, None] * np.eye(k)
    coef = np.linalg.solve(gram.transpose(2, 0, 1) + ridge, moments.T[:, :, None])[:, :, 0].T
    coef = np.where(statistics.count >= ROWS_PER_COVARIATE * (k + 1), coef, 0)
    left = np.maximum(squares - (coef * moments).sum(axis=0), 0)
    return Fit(statistics.mean - (coef * mean).sum(axis=0), coef, left / count)


# --- selection ------------------------------------------------------------------------------------


def _chosen(
    modality: Modality,
    removed: Float[np.ndarray, "n k"],
    dataset: Dataset,
    tasks: Sequence[Task],
    selection: Selection,
    rows: Rows,
    statistics: Statistics,
    variance: Float[np.ndarray, " S"],
) -> Bool[np.ndarray, " S"]:
    """Which sites are chosen; never one that no training row observed."""
    observed = statistics.count > 0
    if selection.method == "none":
        return observed
    if selection.method == "variance":
        return _best(np.where(observed, -variance, np.inf), selection.per_task)
    is_chosen = np.zeros(len(observed), bool)
    for task in tasks:
        t, p = task_tests(modality, removed, dataset, task, selection.method, rows)
        # Of the strongest sites p is 0 in floating point, and only t orders them.
        score = np.where(observed, p, np.inf)
        is_chosen |= _best(score, selection.per_task, tie=-np.abs(t))
    return is_chosen


def _best(
    score: Float[np.ndarray, " S"], count: int, tie: Float[np.ndarray, " S"] | None = None
) -> Bool[np.ndarray, " S"]:
    """The `count` finite entries of least score; of ties those of least `tie`, then the first."""
    keys = (score,) if tie is None else (tie, score)
    best = np.lexsort(keys)[:count]
    is_best = np.zeros(len(score), bool)
    is_best[best[np.isfinite(score[best])]] = True
    return is_best


def task_tests(
    modality: Modality,
    removed: Float[np.ndarray, "n k"],
    dataset: Dataset,
    task: Task,
    method: str,
    rows: Rows,
) -> tuple[Float[np.ndarray, " S"], Float[np.ndarray, " S"]]:
    """t and p of every site's difference between cases and controls, or trend of a number.

    Only rows with a known outcome count, so that a disease is tested within its own studies; the
    effects of covariates are removed.

    Raises:
      UserError: a moderated t of fewer than two sites that vary.
    """
    effects = task_effects(modality, removed, dataset, task, rows)
    if method == "t":
        return t_test(effects)
    varying = int((np.nan_to_num(effects.variance) > 0).sum())
    if varying < 2:
        raise UserError(
            f"selection.method=moderated_t compares the variances of sites, and {varying} of "
            f"{len(effects.variance):,} sites varies among the people of {task.name}; set "
            "--config.selection.method=t"
        )
    return moderated_t(effects)


def task_effects(
    modality: Modality,
    removed: Float[np.ndarray, "n k"],
    dataset: Dataset,
    task: Task,
    rows: Rows,
) -> Effects:
    """The effect of a task's outcome on every site among these rows, see `linear_effects`."""
    known = rows[known_rows(dataset, task)[rows]]
    group = np.asarray(outcome(dataset, task, known), float)
    design = design_matrix(group, removed[known])
    step = max(1, _BLOCK_CELLS // max(1, len(known)))
    sites = len(modality.features)
    parts = []
    for start in range(0, sites, step):
        block = slice(start, min(start + step, sites))
        values, mask = modality.values[:, block][known], modality.mask[:, block][known]
        parts.append(linear_effects(values, mask, design))
    return Effects(*(np.concatenate(fields) for fields in zip(*parts, strict=True)))


# --- the scale ------------------------------------------------------------------------------------


def standardized(
    constants: Mapping[str, Any],
    x: Float[Any, "n w"],
    mask: Bool[Any, "n w"],
    c: Float[Any, "n k"],
) -> Float[Any, "n w"]:
    """z of the module for the chosen sites; for numpy and jax arrays alike.

    c: covariates, nan where unknown.
    """
    xp = x.__array_namespace__()
    expected = constants["mean"] + scaled_covariates(constants, c) @ constants["coef"]
    sd = xp.where(constants["alive"], constants["sd"], 1)
    z = xp.clip((x - expected) / sd, -LIMIT, LIMIT)
    return xp.where(mask & constants["alive"], z, 0).astype(xp.float32)
