"""Simple models to compare the network with, on the same features or their principal components.

Beside them stand those of survival that read no feature at all (`clinical`).

Each is fitted to the training rows alone, with fixed, ordinary settings, and returns the fields
that `scoring` reads. Left out: any search over settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Real

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.errors import UserError
from omics_jax.evaluation import survival, survival_models
from omics_jax.evaluation.baselines import ALPHAS, ridge
from omics_jax.tasks.clinical import clinical_survival
from omics_jax.tasks.task import Observed, Task, event_times_at, known_rows, outcome

COMPONENTS = 100
MOST_FEATURES = 20_000  # of linear models on features: 365,860 sites would take 13 GiB and hours
# A component whose s.d. is a smaller share of the first one's is a rounding error of float32.
NEGLIGIBLE = 1e-4
ROWS_PER_COMPONENT = 10  # of the Cox regression, which gives every component unit variance
TREES = 200
GRID_TIMES = 30
MODELS = ("PCA + linear", "forest", "no features")

Features = Float[np.ndarray, "n F"]
TestFeatures = Float[np.ndarray, "t F"]
Fields = dict[str, np.ndarray]


def simple_models(
    tasks: Sequence[Task], x: Features, x_test: TestFeatures, train: Dataset, test: Dataset
) -> dict[str, Fields]:
    """Linear models, forests on principal components of all features, and featureless models.

    At most 100 components are fitted to the training rows x, and each task's models to the training
    rows with a known outcome.

      "PCA + linear": logistic regression (C = 1, components in units of the first one's s.d.),
        ridge (leave-one-out alpha), or Cox regression on the first components, one per 10 rows;
      "ridge": of numbers, on all features, of more than `MOST_FEATURES` on those that vary most
        (leave-one-out alpha);
      "forest": random forests and `survival_forest`;
      "no features": class frequencies, the mean, or Kaplan-Meier;
      "class alone", "class and clinical": of survival tasks, see `clinical.clinical_survival`.

    Survival curves are given at 0 and 30 quantiles of the training events.

    Args:
      x, x_test: features of the rows of `train` and `test` on one scale, nothing missing.

    Returns:
      name of the model -> TASK_FIELD, see `prediction.predict_tasks`.

    Raises:
      UserError: a task without a labelled training row, with one class only, or without an event;
        no feature that varies.
    """
    scores, test_scores = component_scores(x, x_test)
    read = most_variable(x.var(axis=0))
    predictions: dict[str, Fields] = {name: {} for name in MODELS}
    for task in tasks:
        rows = known_rows(train, task)
        if not rows.any():
            raise UserError(
                f"none of {len(train)} training rows has a known {task.name!r}, so that no model "
                "can learn it; check its column, or leave the target out"
            )
        observed = outcome(train, task, rows)
        by_model = _FIT[task.kind](task, scores[rows], observed, test_scores)
        if task.kind == "regression":
            fitted = ridge(x[rows][:, read], np.asarray(observed, float)[:, None], x_test[:, read])
            by_model["ridge"] = {"value": fitted[:, 0]}
        if task.kind == "survival":
            by_model |= _fit_clinical(observed, rows, train, test)
        for name, fields in by_model.items():
            named = {f"{task.name}_{field}": v for field, v in fields.items()}
            predictions[name] = predictions.get(name, {}) | named
    return predictions


def component_scores(
    x: Features, x_test: TestFeatures
) -> tuple[Float[np.ndarray, "n c"], Float[np.ndarray, "t c"]]:
    """Scores of both on the principal components of x, without `NEGLIGIBLE` components.

    Raises:
      UserError: no feature varies.
    """
    from sklearn.decomposition import PCA

    pca = PCA(min(COMPONENTS, len(x) - 1, x.shape[1]), random_state=0).fit(x)
    sd = np.sqrt(pca.explained_variance_)
    if not sd[0] > 0:
        raise UserError(
            f"none of {x.shape[1]} features varies over {len(x)} training rows, so that a baseline "
            "has nothing to learn from; check the files, or change the rules that select features"
        )
    axes = pca.components_[sd > NEGLIGIBLE * sd[0]].T
    return tuple(((part - pca.mean_) @ axes).astype(np.float64) for part in (x, x_test))


def _fit_classes(
    task: Task, x: Features, codes: Int[np.ndarray, " n"], x_test: TestFeatures
) -> dict[str, Fields]:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(codes)) < 2:
        raise UserError(
            f"all {len(codes)} training rows with a known {task.name!r} are "
            f"{task.classes[codes[0]]!r}, and a classifier needs two classes; check its column, or "
            "leave the target out"
        )
    # One unit for all components: if each had unit variance, the last components of a small cohort,
    # which are noise, would weigh as much as the first.
    unit = x[:, 0].std()

    def probability(model: Any) -> Fields:
        model.fit(x / unit, codes)
        values = np.zeros((len(x_test), len(task.classes)))
        values[:, model.classes_] = model.predict_proba(x_test / unit)
        return {"probability": values}

    frequencies = np.bincount(codes, minlength=len(task.classes)) / len(codes)
    return {
        "PCA + linear": probability(LogisticRegression(max_iter=5000)),
        "forest": probability(RandomForestClassifier(TREES, random_state=0)),
        "no features": {"probability": np.tile(frequencies, (len(x_test), 1))},
    }


def _fit_values(
    task: Task, x: Features, values: Real[np.ndarray, " n"], x_test: TestFeatures
) -> dict[str, Fields]:
    from sklearn.ensemble import RandomForestRegressor

    values = values.astype(np.float64)
    forest = RandomForestRegressor(TREES, min_samples_leaf=3, max_features=1 / 3, random_state=0)
    return {
        "PCA + linear": {"value": ridge_on_components(x, values, x_test)},
        "forest": {"value": forest.fit(x, values).predict(x_test)},
        "no features": {"value": np.full(len(x_test), values.mean())},
    }


def _fit_survival(
    task: Task, x: Features, observed: Observed, x_test: TestFeatures
) -> dict[str, Fields]:
    grid = _curve_grid(observed)
    first = max(1, len(x) // ROWS_PER_COMPONENT)
    models = {
        "PCA + linear": (survival_models.cox_on_components, first),
        "forest": (partial(survival_models.survival_forest, trees=TREES), None),
        "no features": (survival_models.kaplan_meier_for_all, None),
    }

    return {
        name: _survival_fields(
            *model(x[:, :components], *observed, x_test[:, :components], grid), grid
        )
        for name, (model, components) in models.items()
    }


def _fit_clinical(
    observed: Observed, rows: Bool[np.ndarray, " n"], train: Dataset, test: Dataset
) -> dict[str, Fields]:
    """The models of `clinical.clinical_survival`. rows: of `train`, those with a known outcome."""
    grid = _curve_grid(observed)
    models = clinical_survival(train, rows, observed, test, grid)
    return {name: _survival_fields(*predicted, grid) for name, predicted in models.items()}


def _curve_grid(observed: Observed) -> Float[np.ndarray, " m"]:
    """0 and `GRID_TIMES` quantiles of the events."""
    shares = np.arange(1, GRID_TIMES + 1) / GRID_TIMES
    return np.unique(np.insert(event_times_at(observed, shares), 0, 0.0))


def _survival_fields(
    risk: Float[np.ndarray, " t"],
    curves: Float[np.ndarray, "t m"],
    grid: Float[np.ndarray, " m"],
) -> Fields:
    median = survival.median_survival(curves, grid)
    return {
        "risk": risk,
        "survival": curves,
        "times": np.tile(grid, (len(risk), 1)),
        "median": np.minimum(median, grid[-1]),
        "median_reached": np.isfinite(median),
    }


def most_variable(variance: Float[np.ndarray, " F"]) -> Int[np.ndarray, " f"]:
    """The places of the at most `MOST_FEATURES` largest variances, ascending."""
    return np.sort(np.argsort(-variance, kind="stable")[:MOST_FEATURES])


def ridge_on_components(
    x: Features, y: Float[np.ndarray, "n ..."], x_test: TestFeatures
) -> Float[np.ndarray, "t ..."]:
    """Ridge regression with one alpha for all columns of y, chosen by the leave-one-out error."""
    from sklearn.linear_model import RidgeCV

    return RidgeCV(alphas=ALPHAS).fit(x, y).predict(x_test)


_FIT = {"classification": _fit_classes, "regression": _fit_values, "survival": _fit_survival}
