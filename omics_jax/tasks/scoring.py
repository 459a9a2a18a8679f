"""How predicted outcomes and imputed modalities are judged.

The paper scores AUC and F1, RMSE and R2, and the C-index; what is here beside them asks whether
probabilities, curves and imputed values can be believed. Left out: the simple models beside the
network (`baselines`), and comparisons over folds, which are the experiment's to conclude.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Real

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.dataset.summary import combinations, overlaps
from omics_jax.errors import UserError
from omics_jax.evaluation import classification, concordance, metrics, survival
from omics_jax.evaluation.tables import Evaluation, Table
from omics_jax.study.system import Predictions
from omics_jax.tasks.task import Observed, Task, event_times_at, known, outcome

# What a prediction of each kind of task consists of; the field of task t is called t_FIELD.
FIELDS = {
    "classification": ("probability",),
    "regression": ("value",),
    "survival": ("risk", "survival", "times", "median", "median_reached"),
}
BETTER = {
    "classification": {
        "accuracy": "higher",
        "macro_f1": "higher",
        "auroc": "higher",
        "log_loss": "lower",
    },
    "regression": {"rmse": "lower", "mae": "lower", "r2": "higher"},
    "survival": {"c_index": "higher", "c_index_uno": "higher", "ibs": "lower", "auc_t": "higher"},
    "imputation": {"rmse": "lower", "mae": "lower", "pearson": "higher"},
}
PROBABILITY_FLOOR = float(
    np.finfo(np.float32).eps
)  # the log loss of a class that was ruled out stays finite
BRIER_SHARES = np.array(
    [0.05, 0.95]
)  # of the test events, between which the Brier score is integrated
BRIER_TIMES = 50
QUARTILES = np.array([0.25, 0.5, 0.75])

Complete = Callable[[Dataset], np.ndarray]
Fields = dict[str, np.ndarray]


def better(tasks: Sequence[Task], targets: Iterable[str]) -> dict[str, str]:
    """Metric -> the better side, of the tasks and of the imputed modalities `targets`."""
    of_tasks = {
        f"{task.name}_{metric}{rows}": side
        for task in tasks
        for metric, side in BETTER[task.kind].items()
        for rows in ("", "_complete")
    }
    of_targets = {
        f"{name}_{metric}": side
        for name in targets
        for metric, side in BETTER["imputation"].items()
    }
    found = of_tasks | of_targets
    return found | {f"validation_{metric}": side for metric, side in found.items()}


# --- scores ---------------------------------------------------------------------------------------


def evaluate(
    tasks: Sequence[Task],
    complete: Complete | None,
    times: Mapping[str, Sequence[float]],
    predictions: Predictions,
    test: Dataset,
    train: Dataset,
) -> Evaluation:
    """Scores of whatever was predicted of the test patients; those without the label are left out
    of its task.

    predictions: of a classification t, t_probability (n, C); of a regression, t_value (n,) in the
    input's units; of a survival task, t_risk (n,), t_survival (n, m) at t_times (n, m), every row
    the same and the first time 0, t_median (n,) and t_median_reached (n,), False where the curve
    stays above one half; of an imputed modality, see `imputation_scores`. What lacks a field is not
    scored. complete: test rows -> (n,) bool, those with
    every modality; None where all are. times: survival task -> the times at which its curves are
    kept; where it has none, the quartiles of the training events.

    Returns the metrics, t_METRIC,
      accuracy, macro_f1 (mean over classes that occur among the labels or the predicted classes),
      auroc (of two
        classes the ordinary one, else the mean of one-versus-rest over the classes that it is
      defined for), log_loss; rmse, mae, r2;
      c_index (Harrell), c_index_uno, ibs (integrated Brier score between the 5th and 95th
        percentile of the test events), auc_t (cumulative/dynamic AUC at the quartiles of the test
        events, their mean weighted as in `cumulative_dynamic_auc`), d_calibration_p; censoring
        weights are those of the training rows.
    A metric that the rows do not suffice for is nan. t_METRIC_complete is the same of the complete
    rows alone.

    Tables: t, what was predicted beside what was observed, a row per labelled patient; "latent",
    two principal components of predictions["embedding"] (n, L); "overlap", how many patients have
    which modalities; "imputed_share", of every patient.
    """
    parts = {"": np.ones(len(test), bool)} | ({"_complete": complete(test)} if complete else {})
    found, tables = imputation_scores(predictions), {}
    for task in tasks:
        names = {field: f"{task.name}_{field}" for field in FIELDS[task.kind]}
        if not all(name in predictions for name in names.values()):
            continue
        metrics_of, columns_of = _OF_KIND[task.kind]
        fitted = outcome(train, task, known(train, task))
        for suffix, part in parts.items():
            rows = part & known(test, task)
            fields = {
                field: np.asarray(predictions[name], np.float64)[rows]
                for field, name in names.items()
            }
            observed = outcome(test, task, rows)
            values = metrics_of(fields, observed, fitted)
            found |= {f"{task.name}_{metric}{suffix}": value for metric, value in values.items()}
            if not suffix:
                kept = {"times": times[task.name]} if times.get(task.name) else {}
                columns = {
                    "id": test.ids[rows].astype(str),
                    **columns_of(task, fields, observed, fitted, **kept),
                }
                tables[task.name] = Table(
                    "table", pd.DataFrame(columns), f"Predictions of {task.name}", ""
                )
    if "imputed_share" in predictions:
        shares = pd.DataFrame({"id": test.ids.astype(str), "modalities": combinations(test)})
        shares["imputed"] = np.asarray(predictions["imputed_share"], np.float64)
        tables["imputed_share"] = Table("table", shares, "Share of imputed values", "")
    if "embedding" in predictions:
        tables["overlap"] = Table("table", overlaps(test), "Modalities of the test patients", "")
        tables["latent"] = _latent(tasks, np.asarray(predictions["embedding"], np.float64), test)
    return Evaluation(found, tables)


def imputation_scores(predictions: Predictions) -> dict[str, float]:
    """m_rmse, m_mae and m_pearson of every imputed modality m, on the scale of its training rows.

    predictions: m_estimate and m_truth (n, F), both min-max scaled by training rows, and m_scored
      (n, F), the cells
    in which there are both; nothing else is read. pearson is the median over the features of the
    correlation across rows, 0 for a constant estimate; features whose truth does not vary, or is
    known in fewer than 3 rows, do not count.
    """
    found = {}
    for field in predictions:
        name = field.removesuffix("_scored")
        if name == field or not {f"{name}_estimate", f"{name}_truth"} <= predictions.keys():
            continue
        estimate, truth = (
            np.asarray(predictions[f"{name}_{key}"], np.float64) for key in ("estimate", "truth")
        )
        cells = np.asarray(predictions[field])
        error = np.abs(estimate[cells] - truth[cells])
        varies = np.where(cells, truth, np.inf).min(axis=0) < np.where(cells, truth, -np.inf).max(
            axis=0
        )
        pearson = metrics.pearson_rows(estimate.T[varies], truth.T[varies], cells.T[varies])
        found |= {
            f"{name}_rmse": float(np.sqrt((error**2).mean())) if len(error) else float("nan"),
            f"{name}_mae": float(error.mean()) if len(error) else float("nan"),
            f"{name}_pearson": float(np.nanmedian(pearson))
            if np.isfinite(pearson).any()
            else float("nan"),
        }
    return found


def _class_metrics(fields: Fields, label: Int[np.ndarray, " n"], fitted) -> dict[str, float]:
    p = fields["probability"]
    if not len(label):
        return dict.fromkeys(BETTER["classification"], float("nan"))
    predicted, classes = p.argmax(axis=1), p.shape[1]
    hits = np.bincount(label[predicted == label], minlength=classes)
    named = np.bincount(label, minlength=classes) + np.bincount(predicted, minlength=classes)
    asked = range(classes) if classes > 2 else (1,)
    areas = np.array([classification.auroc(p[:, c], label == c) for c in asked])
    of_label = np.clip(p[np.arange(len(label)), label], PROBABILITY_FLOOR, 1)
    return {
        "accuracy": float((predicted == label).mean()),
        "macro_f1": float((2 * hits[named > 0] / named[named > 0]).mean()),
        "auroc": float(np.nanmean(areas)) if np.isfinite(areas).any() else float("nan"),
        "log_loss": float(-np.log(of_label).mean()),
    }


def _class_columns(
    task: Task, fields: Fields, label: Int[np.ndarray, " n"], fitted
) -> dict[str, np.ndarray]:
    names, p = np.array(task.classes, dtype=str), fields["probability"]
    return {
        "label": names[label],
        "predicted": names[p.argmax(axis=1)],
        "probability": p[np.arange(len(label)), label],
    }


def _value_metrics(fields: Fields, observed: Real[np.ndarray, " n"], fitted) -> dict[str, float]:
    if not len(observed):
        return dict.fromkeys(BETTER["regression"], float("nan"))
    observed = observed.astype(np.float64)
    error, spread = fields["value"] - observed, ((observed - observed.mean()) ** 2).sum()
    return {
        "rmse": float(np.sqrt((error**2).mean())),
        "mae": float(np.abs(error).mean()),
        "r2": float(1 - (error**2).sum() / spread) if np.ptp(observed) > 0 else float("nan"),
    }


def _value_columns(
    task: Task, fields: Fields, observed: Real[np.ndarray, " n"], fitted
) -> dict[str, np.ndarray]:
    return {"value": fields["value"], "observed": observed}


def _survival_metrics(fields: Fields, test: Observed, fitted: Observed) -> dict[str, float]:
    risk, curves, times = fields["risk"], fields["survival"], fields["times"]
    scores = {
        "c_index": lambda: concordance.concordance(*test, risk),
        "c_index_uno": lambda: concordance.concordance_uno(fitted, test, risk),
        "ibs": lambda: _integrated_brier(fitted, test, curves, _grid(times)),
        "auc_t": lambda: _mean_auc(fitted, test, risk),
        "d_calibration_p": lambda: _d_calibration_p(test, curves, _grid(times)),
    }
    return {name: _or_nan(score) for name, score in scores.items()}


def _or_nan(score: Callable[[], float]) -> float:
    """nan where the rows do not suffice: no row, no event, no two rows to compare, no follow-up."""
    try:
        return score()
    except UserError:
        return float("nan")


def _grid(times: Real[np.ndarray, "n m"]) -> Real[np.ndarray, " m"]:
    if not len(times):
        raise UserError("there is no row with a time and an event to evaluate; give at least one")
    if (times != times[0]).any():
        raise ValueError(
            "survival curves of one prediction stand on the same times in every row, and these do "
            "not"
        )
    return times[0]


def _integrated_brier(
    train: Observed, test: Observed, curves: Real[np.ndarray, "n m"], grid
) -> float:
    at = np.unique(np.linspace(*event_times_at(test, BRIER_SHARES), BRIER_TIMES))
    if len(at) < 2:
        return float("nan")
    return survival.integrated_brier_score(
        train, test, np.stack([np.interp(at, grid, curve) for curve in curves]), at
    )


def _mean_auc(train: Observed, test: Observed, risk: Real[np.ndarray, " n"]) -> float:
    at = np.unique(event_times_at(test, QUARTILES))
    return concordance.cumulative_dynamic_auc(train, test, risk, at)[1]


def _d_calibration_p(test: Observed, curves: Real[np.ndarray, "n m"], grid) -> float:
    times, events = test
    return survival.d_calibration(survival.survival_at_own_time(curves, grid, times), events).p


def _survival_columns(
    task: Task, fields: Fields, test: Observed, fitted: Observed, times: Sequence[float] = ()
) -> dict[str, np.ndarray]:
    """Survival stands at the times, or the quartiles of the training events; nan where there is
    none.
    """
    quartiles = (
        event_times_at(fitted, QUARTILES) if fitted[1].any() else np.full(len(QUARTILES), np.nan)
    )
    at = np.asarray(times, np.float64) if len(times) else quartiles
    rows = zip(fields["times"], fields["survival"], strict=True)
    curves = np.array([np.interp(at, grid, curve) for grid, curve in rows]).reshape(-1, len(at))
    return {
        "time": test[0],
        "event": test[1],
        "risk": fields["risk"],
        "median": fields["median"],
        "median_reached": fields["median_reached"].astype(bool),
        **{f"survival_{k}": column for k, column in enumerate(curves.T, 1)},
        **{f"time_{k}": np.full(len(curves), time) for k, time in enumerate(at, 1)},
    }


def _latent(tasks: Sequence[Task], embedding: Real[np.ndarray, "n L"], test: Dataset) -> Table:
    """Each patient's place on the first two principal axes of the test rows, with the outcomes."""
    x, y = _principal_plane(embedding).T
    columns = {"id": test.ids.astype(str), "x": x, "y": y}
    for task in tasks:
        rows, first = known(test, task), outcome(test, task)
        first = first[0] if task.kind == "survival" else first
        if task.kind == "classification":
            columns[task.name] = np.array(
                [task.classes[int(c)] if k else "" for c, k in zip(first, rows, strict=True)]
            )
        else:
            columns[task.name] = np.where(rows, first, np.nan)
    return Table("table", pd.DataFrame(columns), "Embedding", "")


def _principal_plane(embedding: Real[np.ndarray, "n L"]) -> Float[np.ndarray, "n 2"]:
    """Scores on the first two axes, each turned so that its largest loading is positive; 0 on one
    that is not there.
    """
    centred = embedding - embedding.mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:2]
    axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
    return np.pad(centred @ axes.T, ((0, 0), (0, 2 - len(axes))))


_OF_KIND = {
    "classification": (_class_metrics, _class_columns),
    "regression": (_value_metrics, _value_columns),
    "survival": (_survival_metrics, _survival_columns),
}
