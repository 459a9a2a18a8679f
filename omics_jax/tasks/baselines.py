"""Simple models to set beside the network: of the tasks on principal components, and of missing
modalities.

Each is fitted on the training rows alone, at fixed ordinary settings that no data chose, and
returns the fields that `scoring` reads. Left out: any search over settings, and models of one
modality beside another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Real

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.preprocessing.features import Constants, apply, fit_folds
from omics_jax.data.preprocessing.selection import Rules
from omics_jax.errors import UserError
from omics_jax.evaluation import survival, survival_models
from omics_jax.evaluation.baselines import ALPHAS
from omics_jax.tasks.task import Observed, Task, event_times_at, known, outcome

COMPONENTS = 100
NEGLIGIBLE = 1e-4  # components of so small a share of the first one's s.d. are rounding in float32
ROWS_PER_COMPONENT = 10  # of the Cox regression, which gives every component unit variance
TREES = 200
NEIGHBOURS = 10
GRID_TIMES = 30

Features = Float[np.ndarray, "n F"]
TestFeatures = Float[np.ndarray, "t F"]
Fields = dict[str, np.ndarray]


def baselines(
    tasks: Sequence[Task],
    rules: Mapping[str, Rules],
    modalities: Sequence[str],
    train: Dataset,
    test: Dataset,
) -> dict[str, Fields]:
    """Linear models and forests on principal components of all features, and what needs no feature.

    Each modality is preprocessed by its rules, what a patient lacks is filled with the training
    mean, and at most 100 components are fitted, all on the training rows; each task then on those
    with its label. Settings are fixed and ordinary. "PCA + linear": logistic regression (C = 1,
    components in units of the first one's s.d.), ridge (leave-one-out alpha), Cox on the first
    components, one per 10 rows; "forest": random forests and `survival_forest`; "no features":
    class frequencies, mean, Kaplan-Meier. The fields are those that `evaluate` reads; survival
    curves stand at 0 and 30 quantiles of the training events.

    Raises:
      UserError: a task without a labelled training row, with one class only, or without an event;
        features of which none varies; what preprocessing refuses.
    """
    x, x_test = _component_scores(*_features(_fitted(rules, modalities, train), train, test))
    found: dict[str, Fields] = {name: {} for name in ("PCA + linear", "forest", "no features")}
    for task in tasks:
        rows = known(train, task)
        if not rows.any():
            raise UserError(
                f"none of {len(train)} training rows has a known {task.name!r}, so that no model "
                "can learn it; check its column, or leave the target out"
            )
        for name, fields in _FIT[task.kind](
            task, x[rows], outcome(train, task, rows), x_test
        ).items():
            found[name] |= {f"{task.name}_{field}": values for field, values in fields.items()}
    return found


def imputation_baselines(
    rules: Mapping[str, Rules], edges: Mapping[str, Sequence[str]], train: Dataset, test: Dataset
) -> dict[str, Fields]:
    """Mean, 10 nearest neighbours and ridge on 100 components, each modality of `edges` from its
    sources.

    edges: modality -> the modalities it is estimated from. Fitted on the training rows that have
    the target and a source; what they lack is filled with the training mean.

    Returns name -> m_estimate and m_truth (n, F) in [0, 1], the training mean where there is none,
    and m_scored (n, F), the cells that were observed in rows with a source: with the mean too, so
    that all are scored on the same cells.

    Raises:
      UserError: fewer than two training rows with a target and a source of it; what preprocessing
        refuses.
    """
    found: dict[str, Fields] = {name: {} for name in _IMPUTE}
    for target, sources in edges.items():
        constants = _fitted(rules, (target,), train)
        y, y_test = _features(constants, train, test)
        x, x_test = _features(_fitted(rules, sources, train), train, test)
        rows, able = _having(train, sources) & _having(train, (target,)), _having(test, sources)
        if rows.sum() < 2:
            raise UserError(
                f"{int(rows.sum())} of {len(train)} training rows have {target} and "
                f"{' or '.join(sources)}, too few to estimate one from the other; leave this "
                "imputation out, or give the training part more rows"
            )
        scored = test.modalities[target].mask[:, constants[target]["columns"]] & able[:, None]
        for name, impute in _IMPUTE.items():
            estimate = np.tile(y[rows].mean(axis=0), (len(test), 1))
            if able.any():
                estimate[able] = impute(x[rows], y[rows], x_test[able])
            found[name] |= {
                f"{target}_estimate": estimate,
                f"{target}_truth": y_test,
                f"{target}_scored": scored,
            }
    return found


def _having(dataset: Dataset, modalities: Sequence[str]) -> Bool[np.ndarray, " n"]:
    """The rows with a value of any of the modalities."""
    return np.logical_or.reduce([dataset.modalities[name].observed_rows for name in modalities])


def _fitted(
    rules: Mapping[str, Rules], modalities: Sequence[str], train: Dataset
) -> dict[str, Constants]:
    rows = np.arange(len(train))
    return {
        name: fit_folds(train.modalities[name], [rows], rules[name], name)[0] for name in modalities
    }


def _features(constants: Mapping[str, Constants], *datasets: Dataset) -> list[np.ndarray]:
    """The scaled modalities of every dataset side by side, float32 in [0, 1]."""
    scaled = lambda dataset, name: apply(
        constants[name], dataset.modalities[name].values, dataset.modalities[name].mask
    )
    return [
        np.concatenate([scaled(dataset, name) for name in constants], axis=1)
        for dataset in datasets
    ]


def _component_scores(x: Features, x_test: TestFeatures) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.decomposition import PCA

    pca = PCA(min(COMPONENTS, len(x) - 1, x.shape[1]), random_state=0).fit(x)
    sd = np.sqrt(pca.explained_variance_)
    if not sd[0] > 0:
        raise UserError(
            f"none of {x.shape[1]} features varies over {len(x)} training rows, so that a baseline "
            "has nothing to learn from; check the files, or choose other rules for features"
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
    unit = x[
        :, 0
        # of all components: at unit variance each, the last of a small cohort drown the first in noise
    ].std()

    def probability(model):
        model.fit(x / unit, codes)
        found = np.zeros((len(x_test), len(task.classes)))
        found[:, model.classes_] = model.predict_proba(x_test / unit)
        return {"probability": found}

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
        "PCA + linear": {"value": _ridge(x, values, x_test)},
        "forest": {"value": forest.fit(x, values).predict(x_test)},
        "no features": {"value": np.full(len(x_test), values.mean())},
    }


def _fit_survival(
    task: Task, x: Features, observed: Observed, x_test: TestFeatures
) -> dict[str, Fields]:
    shares = np.arange(1, GRID_TIMES + 1) / GRID_TIMES
    grid = np.unique(np.insert(event_times_at(observed, shares), 0, 0.0))
    first = max(1, len(x) // ROWS_PER_COMPONENT)
    models = {
        "PCA + linear": (survival_models.cox_on_components, first),
        "forest": (survival_models.survival_forest, None),
        "no features": (survival_models.kaplan_meier_for_all, None),
    }

    def fields(model, components):
        risk, curves = model(x[:, :components], *observed, x_test[:, :components], grid)
        median, times = survival.median_survival(curves, grid), np.tile(grid, (len(x_test), 1))
        reached = {"median": np.minimum(median, grid[-1]), "median_reached": np.isfinite(median)}
        return {"risk": risk, "survival": curves, "times": times, **reached}

    return {name: fields(*model) for name, model in models.items()}


def _ridge(
    x: Features, y: Float[np.ndarray, "n ..."], x_test: TestFeatures
) -> Float[np.ndarray, "t ..."]:
    """Ridge regression on components as they are scaled, one alpha for all columns of y by
    leave-one-out error.
    """
    from sklearn.linear_model import RidgeCV

    return RidgeCV(alphas=ALPHAS).fit(x, y).predict(x_test)


def _impute_mean(x, y, x_test):
    return np.broadcast_to(y.mean(axis=0), (len(x_test), y.shape[1]))


def _impute_neighbours(x, y, x_test):
    from sklearn.neighbors import KNeighborsRegressor

    return KNeighborsRegressor(min(NEIGHBOURS, len(x))).fit(x, y).predict(x_test)


def _impute_ridge(x, y, x_test):
    scores, scores_test = _component_scores(x, x_test)
    return np.clip(_ridge(scores, y, scores_test), 0, 1)  # what it estimates is in [0, 1]


_FIT = {"classification": _fit_classes, "regression": _fit_values, "survival": _fit_survival}
_IMPUTE = {"mean": _impute_mean, "kNN": _impute_neighbours, "PCA + ridge": _impute_ridge}
