"""Simple imputers beside the deep ones, and the scores of both.

Each is fitted on the training rows alone at fixed settings: the mean, nearest neighbours, and ridge
on principal components.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.preprocessing.features import Constants, apply, fit_folds
from omics_jax.data.preprocessing.selection import Rules
from omics_jax.errors import UserError
from omics_jax.evaluation import metrics
from omics_jax.evaluation.tables import Evaluation
from omics_jax.study.system import Predictions
from omics_jax.tasks.baselines import component_scores, ridge

NEIGHBOURS = 10
BETTER = {"rmse": "lower", "mae": "lower", "pearson": "higher"}

Fields = dict[str, np.ndarray]
Matrix = Float[np.ndarray, "n F"]
Targets = Float[np.ndarray, "n G"]
TestMatrix = Float[np.ndarray, "t F"]
Estimates = Float[np.ndarray, "t G"]


def imputation_baselines(
    rules: Mapping[str, Rules], edges: Mapping[str, Sequence[str]], train: Dataset, test: Dataset
) -> dict[str, Fields]:
    """Mean, 10 nearest neighbours and ridge on 100 components, each modality of `edges` from its
    sources.

    Fitted on the training rows that have the target and a source; what they lack is filled with the
    training mean.

    edges: modality -> the modalities it is estimated from.

    Returns:
      name -> M_estimate and M_truth (n, F) in [0, 1], the training mean where there is none, and
      M_scored (n, F), the cells that were observed in rows with a source: with the mean too, so
      that all are scored on the same cells.

    Raises:
      UserError: fewer than two training rows with a target and a source of it; what preprocessing
        refuses.
    """
    predictions: dict[str, Fields] = {name: {} for name in _IMPUTE}
    for target, sources in edges.items():
        for name, fields in _impute_target(rules, target, sources, train, test).items():
            predictions[name] |= {f"{target}_{field}": v for field, v in fields.items()}
    return predictions


def _impute_target(
    rules: Mapping[str, Rules],
    target: str,
    sources: Sequence[str],
    train: Dataset,
    test: Dataset,
) -> dict[str, Fields]:
    """Name -> estimate, truth and scored cells of one modality."""
    constants = _fit(rules, (target,), train)
    y, y_test = _scaled(constants, train, test)
    x, x_test = scaled_features(rules, sources, train, test)
    learned = _having(train, sources) & _having(train, (target,))
    able = _having(test, sources)
    if learned.sum() < 2:
        raise UserError(
            f"{int(learned.sum())} of {len(train)} training rows have {target} and "
            f"{' or '.join(sources)}, too few to estimate one from the other; leave this "
            "imputation out, or give the training part more rows"
        )
    scored = test.modalities[target].mask[:, constants[target]["columns"]] & able[:, None]
    predictions = {}
    for name, impute in _IMPUTE.items():
        estimate = np.tile(y[learned].mean(axis=0), (len(test), 1))
        if able.any():
            estimate[able] = impute(x[learned], y[learned], x_test[able])
        predictions[name] = {"estimate": estimate, "truth": y_test, "scored": scored}
    return predictions


def scaled_features(
    rules: Mapping[str, Rules], modalities: Sequence[str], train: Dataset, test: Dataset
) -> tuple[Matrix, TestMatrix]:
    """The modalities of both datasets side by side, float32 in [0, 1], by the rules and scales of
    the training rows; what a row lacks is the training mean.
    """
    return _scaled(_fit(rules, modalities, train), train, test)


def _having(dataset: Dataset, modalities: Sequence[str]) -> Bool[np.ndarray, " n"]:
    """The rows with a value of any of the modalities."""
    return np.logical_or.reduce([dataset.modalities[name].observed_rows for name in modalities])


def _fit(
    rules: Mapping[str, Rules], modalities: Sequence[str], train: Dataset
) -> dict[str, Constants]:
    rows = [np.arange(len(train))]
    return {
        name: fit_folds(train.modalities[name], rows, rules[name], name)[0] for name in modalities
    }


def _scaled(
    constants: Mapping[str, Constants], train: Dataset, test: Dataset
) -> tuple[Matrix, TestMatrix]:
    def side_by_side(dataset: Dataset) -> np.ndarray:
        parts = [(fitted, dataset.modalities[name]) for name, fitted in constants.items()]
        return np.concatenate([apply(fitted, m.values, m.mask) for fitted, m in parts], axis=1)

    return side_by_side(train), side_by_side(test)


def _impute_mean(x: Matrix, y: Targets, x_test: TestMatrix) -> Estimates:
    return np.broadcast_to(y.mean(axis=0), (len(x_test), y.shape[1]))


def _impute_neighbours(x: Matrix, y: Targets, x_test: TestMatrix) -> Estimates:
    from sklearn.neighbors import KNeighborsRegressor

    return KNeighborsRegressor(min(NEIGHBOURS, len(x))).fit(x, y).predict(x_test)


def _impute_ridge(x: Matrix, y: Targets, x_test: TestMatrix) -> Estimates:
    scores, scores_test = component_scores(x, x_test)
    return np.clip(ridge(scores, y, scores_test), 0, 1)  # what it estimates is in [0, 1]


_IMPUTE = {"mean": _impute_mean, "kNN": _impute_neighbours, "PCA + ridge": _impute_ridge}


# --- scores ---------------------------------------------------------------------------------------


def better_imputation(targets: Iterable[str]) -> dict[str, str]:
    """Metric -> the better side, of the imputed modalities."""
    sides = {f"{name}_{metric}": side for name in targets for metric, side in BETTER.items()}
    return sides | {f"validation_{metric}": side for metric, side in sides.items()}


def evaluate_imputation(predictions: Predictions, test: Dataset, train: Dataset) -> Evaluation:
    """M_rmse, M_mae and M_pearson of every imputed modality M, on the scale of its training rows.

    predictions: M_estimate and M_truth (n, F), both min-max scaled by training rows, and M_scored
      (n, F), the cells in which there are both; nothing else is read.

    pearson is the median over the features of the correlation across rows, 0 for a constant
    estimate; features whose truth does not vary, or is known in fewer than 3 rows, do not count.
    """
    scores = {}
    for field in predictions:
        name = field.removesuffix("_scored")
        if name == field or not {f"{name}_estimate", f"{name}_truth"} <= predictions.keys():
            continue
        parts = (predictions[f"{name}_{key}"] for key in ("estimate", "truth"))
        estimate, truth = (np.asarray(part, np.float64) for part in parts)
        errors = _imputation_errors(estimate, truth, np.asarray(predictions[field]))
        scores |= {f"{name}_{metric}": value for metric, value in errors.items()}
    return Evaluation(scores)


def _imputation_errors(
    estimate: Float[np.ndarray, "n F"],
    truth: Float[np.ndarray, "n F"],
    cells: Bool[np.ndarray, "n F"],
) -> dict[str, float]:
    error = np.abs(estimate[cells] - truth[cells])
    lowest = np.where(cells, truth, np.inf).min(axis=0)
    highest = np.where(cells, truth, -np.inf).max(axis=0)
    varies = lowest < highest
    pearson = metrics.pearson_rows(estimate.T[varies], truth.T[varies], cells.T[varies])
    known = np.isfinite(pearson).any()
    return {
        "rmse": float(np.sqrt((error**2).mean())) if len(error) else float("nan"),
        "mae": float(error.mean()) if len(error) else float("nan"),
        "pearson": float(np.nanmedian(pearson)) if known else float("nan"),
    }
