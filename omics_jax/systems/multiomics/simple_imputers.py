"""Simple imputers to compare the deep ones with, and the scores of both.

The simple imputers are the mean, nearest neighbours, and ridge on principal components, each fitted
to the training rows alone at fixed settings. Left out: any search over these settings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.preprocessing.selection import Rules
from omics_jax.errors import UserError
from omics_jax.evaluation import metrics
from omics_jax.evaluation.measures import better_sides
from omics_jax.evaluation.tables import Evaluation
from omics_jax.study.patients.features import (
    Matrix,
    TestMatrix,
    fit_modalities,
    scaled_features,
    side_by_side,
)
from omics_jax.study.system import Predictions
from omics_jax.tasks.baselines import component_scores, ridge_on_components

NEIGHBOURS = 10
BETTER = better_sides(("rmse", "mae", "pearson"))

Fields = dict[str, np.ndarray]
Targets = Float[np.ndarray, "n G"]
Estimates = Float[np.ndarray, "t G"]


def imputation_baselines(
    rules: Mapping[str, Rules], edges: Mapping[str, Sequence[str]], train: Dataset, test: Dataset
) -> dict[str, Fields]:
    """Each modality of `edges` imputed by the mean, 10 nearest neighbours, and ridge.

    Ridge is on at most 100 principal components. All are fitted to the training rows that have the
    target and a source; missing cells are filled with the training mean.

    edges: modality -> the sources it is estimated from.

    Returns:
      name of the imputer -> M_estimate and M_truth (t, F) in [0, 1], the training mean where there
      is none, and M_scored (t, F), the cells that were observed in rows with a source. Every
      imputer is scored on the same cells, although the mean needs no source.

    Raises:
      UserError: fewer than two training rows with a target and a source of it, or an error of
        `fit_folds`.
    """
    predictions: dict[str, Fields] = {name: {} for name in _IMPUTE}
    for target, sources in edges.items():
        by_imputer = _impute_target(rules, target, sources, train, test)
        for name, fields in by_imputer.items():
            for field, values in fields.items():
                predictions[name][f"{target}_{field}"] = values
    return predictions


def _impute_target(
    rules: Mapping[str, Rules],
    target: str,
    sources: Sequence[str],
    train: Dataset,
    test: Dataset,
) -> dict[str, Fields]:
    """Imputer -> estimate, truth and scored cells of one modality."""
    constants = fit_modalities(rules, (target,), train)
    y, y_test = side_by_side(constants, train, test)
    x, x_test = scaled_features(rules, sources, train, test)
    is_learned = _having(train, sources) & _having(train, (target,))
    has_source = _having(test, sources)
    count = int(is_learned.sum())
    if count < 2:
        raise UserError(
            f"{count} of {len(train)} training rows have {target} and "
            f"{' or '.join(sources)}, too few to estimate one from the other; leave this "
            "imputation out, or give the training part more rows"
        )
    x_learned, y_learned = x[is_learned], y[is_learned]
    columns = constants[target]["columns"]
    scored = test.modalities[target].mask[:, columns] & has_source[:, None]
    predictions = {}
    for name, impute in _IMPUTE.items():
        estimate = np.tile(y_learned.mean(axis=0), (len(test), 1))
        if has_source.any():
            estimate[has_source] = impute(x_learned, y_learned, x_test[has_source])
        predictions[name] = {"estimate": estimate, "truth": y_test, "scored": scored}
    return predictions


def _having(dataset: Dataset, modalities: Sequence[str]) -> Bool[np.ndarray, " n"]:
    """The rows with a value of any of the modalities."""
    return np.logical_or.reduce([dataset.modalities[name].observed_rows for name in modalities])


def _impute_mean(x: Matrix, y: Targets, x_test: TestMatrix) -> Estimates:
    return np.broadcast_to(y.mean(axis=0), (len(x_test), y.shape[1]))


def _impute_neighbours(x: Matrix, y: Targets, x_test: TestMatrix) -> Estimates:
    from sklearn.neighbors import KNeighborsRegressor

    return KNeighborsRegressor(min(NEIGHBOURS, len(x))).fit(x, y).predict(x_test)


def _impute_ridge(x: Matrix, y: Targets, x_test: TestMatrix) -> Estimates:
    scores, scores_test = component_scores(x, x_test)
    estimate = ridge_on_components(scores, y, scores_test)
    return np.clip(estimate, 0, 1)  # the scale of the truth


_IMPUTE = {"mean": _impute_mean, "kNN": _impute_neighbours, "PCA + ridge": _impute_ridge}


# --- scores ---------------------------------------------------------------------------------------


def imputation_sides(targets: Iterable[str]) -> dict[str, str]:
    """Metric -> the better side, of the imputed modalities."""
    sides = {f"{name}_{metric}": side for name in targets for metric, side in BETTER.items()}
    return sides | {f"validation_{metric}": side for metric, side in sides.items()}


def evaluate_imputation(predictions: Predictions, test: Dataset, train: Dataset) -> Evaluation:
    """M_rmse, M_mae and M_pearson of every imputed modality M, on the scale of its training rows.

    pearson is the median over the features of the correlation across rows, 0 for a constant
    estimate. Features whose truth does not vary, or is known in fewer than 3 rows, do not count.

    predictions: M_estimate and M_truth (n, F), both min-max scaled by training rows, and M_scored
      (n, F), the cells in which there are both; nothing else is read.
    """
    scores = {}
    for field in predictions:
        name = field.removesuffix("_scored")
        needed = {f"{name}_estimate", f"{name}_truth"}
        if name == field or not needed <= predictions.keys():
            continue
        estimate = np.asarray(predictions[f"{name}_estimate"], np.float64)
        truth = np.asarray(predictions[f"{name}_truth"], np.float64)
        errors = _imputation_errors(estimate, truth, np.asarray(predictions[field]))
        for metric, value in errors.items():
            scores[f"{name}_{metric}"] = value
    return Evaluation(scores)


def _imputation_errors(
    estimate: Float[np.ndarray, "n F"],
    truth: Float[np.ndarray, "n F"],
    cells: Bool[np.ndarray, "n F"],
) -> dict[str, float]:
    """rmse, mae and pearson over the cells; nan where no cell or no feature can be scored."""
    errors = {"rmse": float("nan"), "mae": float("nan"), "pearson": float("nan")}
    residual = np.abs(estimate[cells] - truth[cells])
    if len(residual):
        errors["rmse"] = float(np.sqrt((residual**2).mean()))
        errors["mae"] = float(residual.mean())
    lowest = np.where(cells, truth, np.inf).min(axis=0)
    highest = np.where(cells, truth, -np.inf).max(axis=0)
    varies = lowest < highest
    pearson = metrics.pearson_rows(estimate.T[varies], truth.T[varies], cells.T[varies])
    if np.isfinite(pearson).any():
        errors["pearson"] = float(np.nanmedian(pearson))
    return errors
