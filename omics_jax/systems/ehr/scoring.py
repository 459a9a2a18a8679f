"""How imputations and outcome predictions are judged, and against which simple models."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Shaped

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.evaluation import classifiers, imputation, series_baselines
from omics_jax.evaluation.measures import better_sides
from omics_jax.evaluation.summary_features import flatten_series, summary_features
from omics_jax.evaluation.tables import Evaluation, Frame, is_constant
from omics_jax.study.doubts import PROBABILITY, Span, observed_range
from omics_jax.study.system import Predictions
from omics_jax.systems.ehr.device_rows import HeldLevels, measured_values
from omics_jax.systems.ehr.scales import scale_of, without_far
from omics_jax.tasks.binary import BETTER, binary_frame, binary_scores

ERRORS = ("mae", "rmse", "mre")
SHOWN_PATIENTS, SHOWN_VARIABLES = 4, 6


def better(levels: Sequence[str]) -> dict[str, str]:
    """Metric -> the better side."""
    errors = [f"{kind}_{level}" for level in levels for kind in (*ERRORS, "mre_units")]
    validation = [f"validation_{name}" for name in BETTER]
    return better_sides((*BETTER, *validation, *errors))


def ranges(levels: Sequence[str], dataset: Dataset) -> dict[str, Span]:
    """Field of a prediction -> the range of what it predicts, of every variable for imputations."""
    measured = measured_values(dataset)
    mask = dataset.modalities["series"].mask
    if "truth" in dataset.modalities:
        mask = mask | dataset.modalities["truth"].mask
    of_variables = observed_range(measured, mask, by_feature=True)
    fields = ["imputed", *(f"imputed_{level}" for level in levels)]
    return {**dict.fromkeys(fields, of_variables), "probability": PROBABILITY}


def evaluate(
    held: HeldLevels,
    levels: Sequence[str],
    predictions: Predictions,
    test: Dataset,
    train: Dataset,
) -> Evaluation:
    """Scores of whatever was predicted of the test patients.

    predictions: probability (n,) of the outcome and / or imputed_LEVEL (n, T, D) in the input's
      units.

    Returns the metrics
      of `tasks.binary.binary_scores`, over patients with a known outcome;
      mae_LEVEL, rmse_LEVEL, mre_LEVEL on the scale of the training rows (z-scores per variable) and
      mre_units_LEVEL in the input's units, over the cells held out at that level of variables that
      a training row has.
    """
    metrics: dict[str, float] = {}
    frames: dict[str, Frame] = {}
    constant: frozenset[str] = frozenset()
    if "probability" in predictions:
        metrics, frames["probability"] = _outcome_scores(predictions["probability"], test)
        if is_constant(frames["probability"].rows["probability"].to_numpy()):
            constant = frozenset(metrics)
    numbered = dict(enumerate(levels, 1))
    imputed = {k: name for k, name in numbered.items() if f"imputed_{name}" in predictions}
    if imputed:
        errors, frames["errors"] = _imputation_scores(held, imputed, predictions, test, train)
        metrics |= errors
    if "clipped" in predictions:
        frames["clipped"] = _clipped_cells(predictions, test)
    if "imputed" in predictions:
        frames["series"] = _shown_series(held, levels[0], predictions, test)
    return Evaluation(metrics, frames, constant)


def known_outcome(dataset: Dataset) -> tuple[Float[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Values of the outcome and where it is known."""
    return next(iter(dataset.targets.values()))


def _outcome_scores(
    probability: Float[np.ndarray, " n"], test: Dataset
) -> tuple[dict[str, float], Frame]:
    """Metrics of the patients with a known outcome, and their probabilities."""
    label, known = known_outcome(test)
    frame = binary_frame(test.ids, test.groups, np.asarray(probability), label, known)
    p, y = (frame.rows[name].to_numpy() for name in ("probability", "label"))
    return binary_scores(p, y), frame


def _imputation_scores(
    held: HeldLevels,
    levels: dict[int, str],
    predictions: Predictions,
    test: Dataset,
    train: Dataset,
) -> tuple[dict[str, float], Frame]:
    """Errors at every level on the scale of the training rows, and by variable. levels: number ->
    name.
    """
    # A far value is no truth that an imputation can be held against.
    held_levels, truth = held(test), measured_values(without_far(train, test))
    mean, sd = scale_of(train.modalities["series"])
    # The others have no scale.
    scored = train.modalities["series"].mask.any(axis=(0, 1))
    z_truth = (truth - mean) / sd
    variables = test.modalities["series"].features.tolist()
    metrics, frames = {}, []
    for k, level in levels.items():
        cells = (held_levels > 0) & (held_levels <= k)
        imputed = np.asarray(predictions[f"imputed_{level}"], np.float64)
        z_imputed = (imputed - mean) / sd
        errors = imputation.imputation_errors(z_imputed, z_truth, cells & scored)
        in_units = imputation.imputation_errors(imputed, truth, cells & scored)
        metrics |= {f"{kind}_{level}": value for kind, value in errors.items()}
        metrics[f"mre_units_{level}"] = in_units["mre"]
        z = _errors_by_variable(z_imputed, z_truth, cells, variables)
        z.loc[~scored, list(ERRORS)] = np.nan
        units = _errors_by_variable(imputed, truth, cells, variables)
        units = units[list(ERRORS)].add_suffix("_units")
        frames.append(pd.concat([z, units], axis=1).assign(level=level))
    return metrics, Frame("errors", pd.concat(frames))


def _clipped_cells(predictions: Predictions, test: Dataset) -> Frame:
    """How many imputed values of each variable were drawn in to the training range."""
    series = test.modalities["series"]
    rows = pd.DataFrame(
        {
            "variable": series.features.astype(str),
            "imputed": (~series.mask).sum(axis=(0, 1)),
            "clipped": predictions["clipped"].sum(axis=0),
        }
    )
    return Frame("clipped", rows)


def _errors_by_variable(
    imputed: Float[np.ndarray, "n T D"],
    truth: Float[np.ndarray, "n T D"],
    cells: Bool[np.ndarray, "n T D"],
    variables: Sequence[str],
) -> pd.DataFrame:
    return pd.DataFrame(imputation.errors_by_variable(imputed, truth, cells, variables))


def _shown_series(held: HeldLevels, level: str, predictions: Predictions, test: Dataset) -> Frame:
    """Observed, held-out and imputed values of a few patients, for the figure."""
    observations = test.modalities["series"].mask.sum(axis=(0, 1))
    most_observed = np.argsort(-observations, kind="stable")[:SHOWN_VARIABLES].tolist()
    held_levels = held(test)
    panels = [
        _panel(held_levels, level, predictions, test, patient, variable)
        for patient in _shown_patients(test)
        for variable in most_observed
    ]
    rows = pd.concat(panels, ignore_index=True)
    band = rows.pop("spread").where(rows["role"] == "imputed")
    return Frame("series", rows.assign(low=rows["value"] - band, high=rows["value"] + band))


def _panel(
    held_levels: Shaped[np.ndarray, "n T D"],
    level: str,
    predictions: Predictions,
    test: Dataset,
    patient: int,
    variable: int,
) -> pd.DataFrame:
    """The values of one variable of one patient, with their role in the figure."""
    cell = (patient, slice(None), variable)
    series, hours = test.modalities["series"], test.modalities["hours"].values[patient]
    hidden = held_levels[cell] == 1
    imputed = predictions[f"imputed_{level}"][cell]
    parts = {
        "observed": (series.mask[cell] & ~hidden, series.values[cell]),
        "held out": (hidden, measured_values(test)[cell]),
        "imputed": (np.ones(len(hours), bool), imputed),
    }
    spread = predictions[f"disagreement_{level}"][cell]
    title, name = _panel_title(test, patient), str(series.features[variable])
    frames = []
    for role, (cells, values) in parts.items():
        columns = {"x": hours[cells], "value": values[cells], "spread": spread[cells]}
        frames.append(pd.DataFrame(columns).assign(panel=title, variable=name, role=role))
    return pd.concat(frames, ignore_index=True)


def _shown_patients(test: Dataset) -> list[int]:
    """The best observed patients, half with and half without the outcome where it is known."""
    observations = test.modalities["series"].mask.sum(axis=(1, 2))
    order = np.argsort(-observations, kind="stable").tolist()
    if not test.targets:
        return order[:SHOWN_PATIENTS]
    label, known = known_outcome(test)
    half = SHOWN_PATIENTS // 2
    deaths = [i for i in order if known[i] and label[i] == 1][:half]
    survivors = [i for i in order if known[i] and label[i] == 0][:half]
    return [*deaths, *survivors] or order[:SHOWN_PATIENTS]


def _panel_title(test: Dataset, patient: int) -> str:
    name = str(test.ids[patient])
    if not test.targets:
        return name
    outcome, (label, known) = next(iter(test.targets.items()))
    value = f"{label[patient]:.0f}" if known[patient] else "unknown"
    return f"{name}, {outcome} {value}"


# --- baselines ------------------------------------------------------------------------------------


def imputation_baselines(
    held: HeldLevels, levels: Sequence[str], train: Dataset, test: Dataset
) -> dict[str, Predictions]:
    """Training mean, last observation carried forward, linear interpolation, nearest in time; at
    every level.
    """
    hours, held_levels = test.modalities["hours"].values, held(test)
    # What the network is spared, these are spared, too.
    fitted = without_far(train, train).modalities["series"]
    series = without_far(train, test).modalities["series"]
    predictions: dict[str, dict[str, np.ndarray]] = {}
    for k, level in enumerate(levels, 1):
        visible = series.mask & ~((held_levels > 0) & (held_levels <= k))
        values = np.where(visible, series.values, 0)
        for name, imputer in series_baselines.IMPUTERS.items():
            imputed = imputer(fitted.values, fitted.mask, values, visible, hours)
            predictions.setdefault(name, {})[f"imputed_{level}"] = imputed
    return predictions


def outcome_baselines(train: Dataset, test: Dataset) -> dict[str, Predictions]:
    """Logistic regression and gradient boosting on plain summaries, and logistic regression on what
    was measured alone.

    Fitted on the training rows with a known outcome, like the network. Boosting reads all summaries
    that the network reads; logistic regression five of the eight, with which it does better.
    """
    label, known = known_outcome(train)
    train, test = without_far(train, train), without_far(train, test)
    known_rows = train.take(known)
    y = label[known].astype(int)
    logistic, boosting = classifiers.logistic_on_summary, classifiers.boosting_on_summary
    fitted = {
        "logistic regression": logistic(summaries(known_rows), y, summaries(test)),
        "gradient boosting": boosting(
            summaries(known_rows, extended=True), y, summaries(test, extended=True)
        ),
        "logistic, rates of measurement": logistic(_rates(known_rows), y, _rates(test)),
    }
    return {name: {"probability": p} for name, p in fitted.items()}


def summaries(dataset: Dataset, extended: bool = False) -> Float[np.ndarray, "n F"]:
    """Mean, minimum, maximum, last and rate of every variable, extended first, s.d. and slope, and
    statics.
    """
    series, static = dataset.modalities["series"], dataset.modalities.get("static")
    extra = (static.values, static.mask) if static is not None else (None, None)
    hours = dataset.modalities["hours"].values
    return summary_features(series.values, series.mask, hours, *extra, extended=extended)[0]


def _rates(dataset: Dataset) -> Float[np.ndarray, "n D"]:
    """The share of steps at which every variable was measured."""
    return dataset.modalities["series"].mask.mean(axis=1)


def learned_features(
    on_train: Predictions, train: Dataset, on_test: Predictions, test: Dataset
) -> dict[str, Predictions]:
    """The paper's classical models: XGBoost and SVM on the imputed series and on the last hidden
    state.
    """
    label, known = known_outcome(train)
    y = label[known].astype(int)
    inputs = {
        "imputed series": (_flat_series(on_train)[known], _flat_series(on_test)),
        "hidden state": (on_train["hidden"][known], on_test["hidden"]),
    }
    models = {"XGBoost": classifiers.xgboost, "SVM": classifiers.svm}
    return {
        f"{name}, {what}": {"probability": fit(x, y, x_test)}
        for what, (x, x_test) in inputs.items()
        for name, fit in models.items()
    }


def _flat_series(predictions: Predictions) -> Float[np.ndarray, "n F"]:
    """The imputed series of every patient as one row."""
    imputed = predictions["imputed"]
    return flatten_series(imputed, np.ones(imputed.shape, bool))
