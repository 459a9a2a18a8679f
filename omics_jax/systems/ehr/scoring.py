"""How imputations and outcome predictions are judged, and by which simple models beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.preprocessing.standardize import fit_standardizer
from omics_jax.evaluation import classification, classifiers, imputation, series_baselines
from omics_jax.evaluation.summary_features import flatten_series, summary_features
from omics_jax.evaluation.tables import Evaluation, Table
from omics_jax.study.system import Predictions

OUTCOME = {
    "auroc": "higher", "auprc": "higher", "brier": "lower", "calibration_error": "lower", "hard_label_auroc": "higher",
}  # fmt: skip
SHOWN_PATIENTS, SHOWN_VARIABLES = 4, 6

Held = Callable[[Dataset], np.ndarray]


def better(levels: Sequence[str]) -> dict[str, str]:
    """Metric -> the better side."""
    errors = {
        f"{kind}_{level}": "lower"
        for level in levels
        for kind in ("mae", "rmse", "mre", "mre_units")
    }
    return {**OUTCOME, **{f"validation_{name}": side for name, side in OUTCOME.items()}, **errors}


def evaluate(
    held: Held, levels: Sequence[str], predictions: Predictions, test: Dataset, train: Dataset
) -> Evaluation:
    """Scores of whatever was predicted of the test patients.

    predictions: probability (n,) of the outcome and / or imputed_LEVEL (n, T, D) in the input's
      units.

    Returns the metrics
      auroc, auprc (average precision), brier, calibration_slope, calibration_intercept (of a
      logistic recalibration), calibration_error (expected), hard_label_auroc (of the 0/1 decision
      at .5): over patients with a known outcome; mae_LEVEL, rmse_LEVEL, mre_LEVEL on the scale of
      the training rows (z-scores per variable) and mre_units_LEVEL in the input's units, over the
      cells held out at that level of variables that a training row has.
    """
    metrics, tables = {}, {}
    if "probability" in predictions:
        found, tables["probability"] = _outcome_scores(predictions["probability"], test)
        metrics |= found
    named = [(k, level) for k, level in enumerate(levels, 1) if f"imputed_{level}" in predictions]
    if named:
        found, tables["variables"] = _imputation_scores(held, named, predictions, test, train)
        metrics |= found
    if "imputed" in predictions:
        tables["series"] = _shown_series(held, levels[0], predictions, test)
    return Evaluation(metrics, tables)


def _outcome_scores(probability: np.ndarray, test: Dataset) -> tuple[dict[str, float], Table]:
    label, mask = next(iter(test.targets.values()))
    p, y = np.asarray(probability, np.float64)[mask], label[mask].astype(int)
    intercept, slope = classification.logistic_recalibration(p, y)
    metrics = {
        "auroc": classification.auroc(p, y),
        "auprc": classification.auprc(p, y),
        "brier": classification.brier(p, y),
        "calibration_slope": slope,
        "calibration_intercept": intercept,
        "calibration_error": classification.expected_calibration_error(p, y),
        "hard_label_auroc": classification.hard_label_auroc(p, y),
    }
    ids, groups = (names[mask].astype(str) for names in (test.ids, test.groups))
    frame = pd.DataFrame({"id": ids, "person": groups, "probability": p, "label": y})
    return metrics, Table("table", frame, "Predicted probabilities", "")


def _imputation_scores(held: Held, named, predictions: Predictions, test: Dataset, train: Dataset):
    series = test.modalities["series"]
    levels, truth = held(test), known(test)
    mean, sd = scale_of(train)
    learned = train.modalities["series"].mask.any(axis=(0, 1))  # the others have no scale
    scaled = lambda values: (values - mean) / sd
    by_variable = lambda *arrays: pd.DataFrame(
        imputation.errors_by_variable(*arrays, series.features.tolist())
    )
    metrics, frames = {}, []
    for k, level in named:
        cells = (levels > 0) & (levels <= k)
        imputed = np.asarray(predictions[f"imputed_{level}"], np.float64)
        errors = imputation.imputation_errors(scaled(imputed), scaled(truth), cells & learned)
        metrics |= {f"{kind}_{level}": value for kind, value in errors.items()}
        metrics[f"mre_units_{level}"] = imputation.imputation_errors(
            imputed, truth, cells & learned
        )["mre"]
        units = by_variable(imputed, truth, cells)[["mae", "rmse", "mre"]].add_suffix("_units")
        z = by_variable(scaled(imputed), scaled(truth), cells)
        z.loc[~learned, ["mae", "rmse", "mre"]] = np.nan
        frames.append(pd.concat([z, units], axis=1).assign(level=level))
    return metrics, Table("table", pd.concat(frames), "Errors by variable", "")


def _shown_series(held: Held, level: str, predictions: Predictions, test: Dataset) -> Table:
    """Observed, held-out and imputed values of a few patients, for the figure."""
    series, hours = test.modalities["series"], test.modalities["hours"].values
    levels, imputed = held(test), predictions[f"imputed_{level}"]
    spread = predictions[f"disagreement_{level}"]
    often = np.argsort(-series.mask.sum(axis=(0, 1)), kind="stable")[:SHOWN_VARIABLES]
    frames = []
    for i in _shown_patients(test):
        for d in often:
            hidden = levels[i, :, d] == 1
            parts = {
                "observed": (series.mask[i, :, d] & ~hidden, series.values[i, :, d]),
                "held out": (hidden, known(test)[i, :, d]),
                "imputed": (np.ones(len(hours[i]), bool), imputed[i, :, d]),
            }
            for role, (cells, values) in parts.items():
                columns = {"x": hours[i], "value": values, "spread": spread[i, :, d]}
                part = pd.DataFrame({name: column[cells] for name, column in columns.items()})
                frames.append(
                    part.assign(panel=_panel(test, i), variable=str(series.features[d]), role=role)
                )
    frame = pd.concat(frames, ignore_index=True)
    band = frame.pop("spread").where(frame["role"] == "imputed")
    frame = frame.assign(low=frame["value"] - band, high=frame["value"] + band)
    return Table("series", frame, "Imputed series", "")


def _shown_patients(test: Dataset) -> list[int]:
    """The best observed patients, half with and half without the outcome where it is known."""
    order = np.argsort(-test.modalities["series"].mask.sum(axis=(1, 2)), kind="stable")
    if not test.targets:
        return order[:SHOWN_PATIENTS].tolist()
    label, mask = next(iter(test.targets.values()))
    of = lambda value: [int(i) for i in order if mask[i] and label[i] == value][
        : SHOWN_PATIENTS // 2
    ]
    return [*of(1), *of(0)] or order[:SHOWN_PATIENTS].tolist()


def _panel(test: Dataset, i: int) -> str:
    if not test.targets:
        return str(test.ids[i])
    name, (label, mask) = next(iter(test.targets.items()))
    return f"{test.ids[i]}, {name} {label[i]:.0f}" if mask[i] else f"{test.ids[i]}, {name} unknown"


def known(dataset: Dataset) -> np.ndarray:
    """(n, T, D): what was measured, including what the file holds out; 0 elsewhere."""
    series, truth = dataset.modalities["series"], dataset.modalities.get("truth")
    return series.values if truth is None else np.where(truth.mask, truth.values, series.values)


def scale_of(train: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Mean and s.d. (D,) of each variable over the observed cells of the training rows."""
    series = train.modalities["series"]
    cells = lambda a: a.reshape(-1, a.shape[-1])
    platform = np.zeros(series.mask.shape[0] * series.mask.shape[1], int)
    found = fit_standardizer(cells(series.values), cells(series.mask), platform, 1)
    return found["mean"][0], found["sd"][0]


# --- baselines ------------------------------------------------------------------------------------


def imputation_baselines(
    held: Held, levels: Sequence[str], train: Dataset, test: Dataset
) -> dict[str, Predictions]:
    """Training mean, last observation carried forward, linear interpolation, nearest in time; at
    every level.
    """
    series, hours = test.modalities["series"], test.modalities["hours"].values
    fitted, level_of = train.modalities["series"], held(test)
    out: dict[str, dict[str, np.ndarray]] = {name: {} for name in series_baselines.IMPUTERS}
    for k, level in enumerate(levels, 1):
        left = series.mask & ~((level_of > 0) & (level_of <= k))
        values = np.where(left, series.values, 0)
        for name, imputer in series_baselines.IMPUTERS.items():
            out[name][f"imputed_{level}"] = imputer(fitted.values, fitted.mask, values, left, hours)
    return out


def outcome_baselines(train: Dataset, test: Dataset) -> dict[str, Predictions]:
    """Logistic regression and gradient boosting on plain summaries, and logistic regression on what
    was measured alone.

    Fitted on the training rows with a known outcome, like the network. Boosting reads all summaries
    that the network reads; logistic regression five of the eight, with which it does better.
    """
    label, mask = next(iter(train.targets.values()))
    known_rows = train.take(mask)
    y = label[mask].astype(int)
    plain, extended = (
        (summaries(known_rows, more), summaries(test, more)) for more in (False, True)
    )
    rates = lambda d: d.modalities["series"].mask.mean(axis=1)
    fitted = {
        "logistic regression": classifiers.logistic_on_summary(plain[0], y, plain[1]),
        "gradient boosting": classifiers.boosting_on_summary(extended[0], y, extended[1]),
        "logistic, rates of measurement": classifiers.logistic_on_summary(
            rates(known_rows), y, rates(test)
        ),
    }
    return {name: {"probability": p} for name, p in fitted.items()}


def summaries(dataset: Dataset, extended: bool = False) -> np.ndarray:
    """(n, F) mean, minimum, maximum, last and rate of every variable, extended first, s.d. and
    slope, and statics.
    """
    series, static = dataset.modalities["series"], dataset.modalities.get("static")
    extra = (static.values, static.mask) if static is not None else (None, None)
    hours = dataset.modalities["hours"].values
    return summary_features(series.values, series.mask, hours, *extra, extended=extended)[0]


def learned_features(
    on_train: Predictions, train: Dataset, on_test: Predictions, test: Dataset
) -> dict[str, Predictions]:
    """The paper's classical models: XGBoost and SVM on the imputed series and on the last hidden
    state.
    """
    label, mask = next(iter(train.targets.values()))
    y = label[mask].astype(int)
    flat = lambda p: flatten_series(p["imputed"], np.ones(p["imputed"].shape, bool))
    inputs = {
        "imputed series": (flat(on_train)[mask], flat(on_test)),
        "hidden state": (on_train["hidden"][mask], on_test["hidden"]),
    }
    models = {"XGBoost": classifiers.xgboost, "SVM": classifiers.svm}
    return {
        f"{name}, {what}": {"probability": fit(x, y, x_test)}
        for what, (x, x_test) in inputs.items()
        for name, fit in models.items()
    }
