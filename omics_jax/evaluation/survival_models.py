"""Survival models to set beside a network: Kaplan-Meier, Cox regression on components, a forest.

Each is a function (x_train, times, events, x_test, grid) -> (risk (t,), survival (t, m)), fitted on
the training rows alone, at fixed ordinary settings that no data chose, with the same result on
every call. A higher risk means an earlier event; survival is S(grid), a step function that falls at
an event's own time and is held after the last. Left out: strata, covariates that change with time,
competing risks, and any search over settings.

Common to all: conventions and errors of `times`, `events` and `grid` are those of `follow_up`;
UserError when no training row has an event. Features (columns) are standardised by the training
rows inside; a missing one (nan) is set to its training mean, and one that does not vary in training
is not used. UserError when none varies, ValueError for an infinite one.
"""

from __future__ import annotations

import warnings

import numpy as np
from jaxtyping import Bool, Float, Int, Real

from omics_jax.errors import UserError
from omics_jax.evaluation.follow_up import (
    Events,
    Times,
    checked_outcome,
    checked_times,
    kaplan_meier_at,
    life_table,
    no_events_error,
)

TrainFeatures = Float[np.ndarray, "n F"]
TestFeatures = Float[np.ndarray, "t F"]
Grid = Real[np.ndarray, " m"]
Prediction = tuple[Float[np.ndarray, " t"], Float[np.ndarray, "t m"]]

# lifelines' own tolerances leave errors of 1e-5 in coefficients.
EXACT = {"precision": 1e-14, "r_precision": 1e-14}
# A component this much smaller than the first may be rounding, which unit variance would blow up.
ROUNDING = 1e-6
LARGEST_LOG_HAZARD = 700.0  # exp of it is finite, and exp(-exp(it)) is 0


def kaplan_meier_for_all(
    x_train: TrainFeatures,
    times: Times,
    events: Events,
    x_test: TestFeatures,
    grid: Grid,
) -> Prediction:
    """The Kaplan-Meier curve of the training rows for every test row, and risk 0: no features."""
    times, events, grid = _checked(times, events, grid)
    curve = kaplan_meier_at(times, events, grid)
    return np.zeros(len(x_test)), np.tile(curve, (len(x_test), 1))


def cox_on_components(
    x_train: TrainFeatures,
    times: Times,
    events: Events,
    x_test: TestFeatures,
    grid: Grid,
    components: int = 100,
    penalty: float = 0.1,
) -> Prediction:
    """Cox (1972) regression on principal components of unit variance, with a ridge penalty.

    Risk is eta = z' beta; S(t | z) = exp(-H_0(t) exp(eta)), H_0 by `breslow_hazard`. `components`
    is a maximum: fewer are used where the training rows or the features are fewer, or do not span
    as many directions (n rows span n - 1 at most). `penalty` as in `cox_coefficients`. A large
    table's components are approximate (scikit-learn's randomised PCA).
    """
    times, events, grid = _checked(times, events, grid)
    z_train, z_test = _component_scores(*_standardised(x_train, times, x_test), components)
    beta = cox_coefficients(z_train, times, events, penalty)
    # The hazard is 0 before the first event, and survival exp(-exp(-inf)) = 1.
    with np.errstate(divide="ignore"):
        log_hazard = np.log(breslow_hazard(times, events, z_train @ beta, grid))
    eta = z_test @ beta
    log_cumulative_hazard = np.minimum(eta[:, None] + log_hazard, LARGEST_LOG_HAZARD)
    return eta, np.exp(-np.exp(log_cumulative_hazard))


def survival_forest(
    x_train: TrainFeatures,
    times: Times,
    events: Events,
    x_test: TestFeatures,
    grid: Grid,
    trees: int = 200,
    min_leaf: int = 15,
) -> Prediction:
    """The ensemble cumulative hazard of Ishwaran et al. (2008), over extremely randomised trees.

    Each leaf holds the Nelson-Aalen hazard of its training rows; H is the mean over trees,
    S = exp(-H), and risk is the mortality sum_j H(T_j) over the n training times: the events to
    expect if all training rows were like this one.

    Deviates: trees (Geurts et al. 2006) are regressions of the `martingale_residuals` (Keles &
    Segal 2002), so that a split is judged by the log-rank score against the hazard of all rows, not
    by a log-rank test inside the node; thresholds are drawn at random (the best of one per
    feature); and every tree sees every row, not a bootstrap sample.
    """
    from sklearn.ensemble import ExtraTreesRegressor

    times, events, grid = _checked(times, events, grid)
    z_train, z_test = _standardised(x_train, times, x_test)
    forest = ExtraTreesRegressor(
        trees, min_samples_leaf=min_leaf, max_features="sqrt", random_state=0
    )
    forest.fit(z_train, martingale_residuals(times, events))
    risk, hazard = np.zeros(len(z_test)), np.zeros((len(z_test), len(grid)))
    if not len(z_test):  # scikit-learn refuses no rows
        return risk, np.exp(-hazard)
    for train_nodes, test_nodes in zip(
        forest.apply(z_train).T, forest.apply(z_test).T, strict=True
    ):
        leaf_nodes, train_leaf = np.unique(train_nodes, return_inverse=True)
        test_leaf = np.searchsorted(leaf_nodes, test_nodes)
        leaf_hazard, mortality = leaf_hazards(train_leaf, times, events, grid)
        hazard += leaf_hazard[test_leaf]
        risk += mortality[test_leaf]
    return risk / trees, np.exp(-hazard / trees)


def cox_coefficients(
    z: Float[np.ndarray, "n k"],
    times: Times,
    events: Events,
    penalty: float,
) -> Float[np.ndarray, " k"]:
    """argmax_beta l(beta) / n - penalty / 2 |beta|^2, l the log partial likelihood, by lifelines.

    Ties are Efron's (1977). z: columns of standard deviation 1 (n - 1 in the denominator), for
    which `penalty` is lifelines' `penalizer`: it rescales the columns and puts the penalty on the
    coefficients of the rescaled ones. penalty > 0 keeps beta finite and unique; UserError where
    lifelines does not reach it nevertheless.
    """
    import pandas as pd
    from lifelines import CoxPHFitter
    from lifelines.exceptions import ConvergenceError, ConvergenceWarning

    if penalty <= 0:
        raise ValueError(f"a Cox regression on components needs a positive penalty, not {penalty}")
    frame = pd.DataFrame(z).assign(time=times, event=events)
    model = CoxPHFitter(penalizer=penalty)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # harmless with a ridge
        warnings.filterwarnings("error", "Newton-Raphson failed", ConvergenceWarning)
        try:
            model.fit(frame, "time", "event", fit_options=EXACT)
        except (ConvergenceError, ConvergenceWarning):
            raise UserError(
                f"the Cox regression of {len(z)} rows on {z.shape[1]} components did not converge "
                f"with the penalty {penalty:g}; raise the penalty or use fewer components"
            ) from None
    return model.params_.to_numpy(dtype=np.float64)


def breslow_hazard(
    times: Times,
    events: Events,
    eta: Float[np.ndarray, " n"],
    at: Real[np.ndarray, " a"],
) -> Float[np.ndarray, " a"]:
    """H_0(at), H_0(t) = sum_{s <= t} d_s / sum_{i: T_i >= s} exp(eta_i) (Breslow 1972).

    Nelson-Aalen's where eta is 0. Hand-written because it is a step function; lifelines draws
    straight lines between event times.
    """
    table, order = life_table(times, events), np.argsort(times)
    log_sums = np.logaddexp.accumulate(eta[order][::-1])[::-1]
    log_at_risk = log_sums[np.searchsorted(times[order], table.times)]
    hazard = np.cumsum(table.died * np.exp(-log_at_risk))
    return np.insert(hazard, 0, 0.0)[np.searchsorted(table.times, at, side="right")]


def martingale_residuals(times: Times, events: Events) -> Float[np.ndarray, " n"]:
    """E_i - H(T_i), H Nelson-Aalen's of all rows; they add up to 0.

    Events seen less those expected if no feature mattered.
    """
    return events - breslow_hazard(times, events, np.zeros(len(times)), times)


def leaf_hazards(
    leaf: Int[np.ndarray, " n"],
    times: Times,
    events: Bool[np.ndarray, " n"],
    grid: Grid,
) -> tuple[Float[np.ndarray, "l m"], Float[np.ndarray, " l"]]:
    """Per leaf: Nelson-Aalen's H(grid) of its own rows, and sum_j H(T_j) over all n rows' times.

    leaf: the leaf of each row, 0 to l - 1. H(t) = sum over the leaf's events e with T_e <= t of 1 /
    Y_e, Y_e its rows with T >= T_e. So the sum over j is the sum over e of #{j: T_j >= T_e} / Y_e.
    """
    distinct, time_rank = np.unique(times, return_inverse=True)
    # In this order the rows of a leaf are neighbours, by rising time.
    position = leaf * len(distinct) + time_rank
    ordered = np.sort(position)
    event_leaf, event_times = leaf[events], times[events]
    leaf_end = np.searchsorted(ordered, (event_leaf + 1) * len(distinct))
    at_risk = leaf_end - np.searchsorted(ordered, position[events])
    at_risk_of_all = len(times) - np.searchsorted(np.sort(times), event_times)
    leaves, columns = leaf.max() + 1, len(grid) + 1
    first_grid_time = np.searchsorted(grid, event_times)  # the first that has seen the event
    cell = event_leaf * columns + first_grid_time
    steps = np.bincount(cell, weights=1 / at_risk, minlength=leaves * columns)
    hazard = np.cumsum(steps.reshape(leaves, columns)[:, :-1], axis=1)
    mortality = np.bincount(event_leaf, weights=at_risk_of_all / at_risk, minlength=leaves)
    return hazard, mortality


def _checked(
    times: Times,
    events: Events,
    grid: Grid,
) -> tuple[Float[np.ndarray, " n"], Bool[np.ndarray, " n"], Float[np.ndarray, " m"]]:
    """Times, events (at least one) and grid in the form of `follow_up`."""
    times, events = checked_outcome(times, events)
    if not events.any():
        raise no_events_error(len(events))
    return times, events, checked_times(grid)


def _standardised(
    x_train: TrainFeatures,
    times: Float[np.ndarray, " times"],
    x_test: TestFeatures,
) -> tuple[Float[np.ndarray, "n G"], Float[np.ndarray, "t G"]]:
    """Both tables in float64: columns that vary in training, scaled by it, 0 where missing."""
    if len(x_train) != len(times):
        raise ValueError(f"{len(x_train)} rows of features and {len(times)} times do not pair")
    for name, x in (("x_train", x_train), ("x_test", x_test)):
        infinite = np.argwhere(np.isinf(x))
        if len(infinite):
            row, column = (int(i) for i in infinite[0])
            raise ValueError(
                f"{name} holds {x[row, column]} at row {row}, column {column}; mask it or leave it "
                "out"
            )
    varies = np.fmax.reduce(x_train, axis=0) > np.fmin.reduce(x_train, axis=0)
    if not varies.any():
        raise UserError(
            f"none of {x_train.shape[1]} features varies over the {len(x_train)} training rows, so "
            "that a survival model has nothing to learn from; check the file, or leave this "
            "baseline out"
        )
    train, test = (np.asarray(x[:, varies], dtype=np.float64) for x in (x_train, x_test))
    mean = np.nanmean(train, axis=0)
    train, test = (np.nan_to_num(x - mean, copy=False) for x in (train, test))
    sd = train.std(axis=0)
    return train / sd, test / sd


def _component_scores(
    train: Float[np.ndarray, "n G"],
    test: Float[np.ndarray, "t G"],
    components: int,
) -> tuple[Float[np.ndarray, "n k"], Float[np.ndarray, "t k"]]:
    """Scores on the first principal axes, of standard deviation 1 (n - 1 below) in training."""
    from sklearn.decomposition import PCA

    if components < 1:
        raise ValueError(f"a Cox regression needs at least 1 component, not {components}")
    pca = PCA(min(components, len(train) - 1, train.shape[1]), random_state=0).fit(train)
    sd = np.sqrt(pca.explained_variance_)
    is_kept = sd > ROUNDING * sd[0]
    axes = pca.components_[is_kept] / sd[is_kept, None]
    return (train - pca.mean_) @ axes.T, (test - pca.mean_) @ axes.T
