"""Scores of predicted classes: decisions, their ranking, and the probabilities themselves.

Left out: what is pooled over folds and resampled (`binary`).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from omics_jax.evaluation import classification

OF_CLASSES = ("accuracy", "macro_f1", "auroc", "log_loss")
OF_TWO_CLASSES = ("auprc", "brier", "calibration_error")  # of two classes besides
# Keeps the log loss finite where the observed class was predicted with a probability of 0.
PROBABILITY_FLOOR = float(np.finfo(np.float32).eps)


def class_metrics(p: Float[np.ndarray, "n C"], label: Int[np.ndarray, " n"]) -> dict[str, float]:
    """`OF_CLASSES` and, of two classes, `OF_TWO_CLASSES`; all nan without a row.

    p: the probability of every class. label: the observed class.
    """
    if not len(label):
        names = (*OF_CLASSES, *(OF_TWO_CLASSES if p.shape[1] == 2 else ()))
        return dict.fromkeys(names, float("nan"))
    predicted = p.argmax(axis=1)
    p_label = np.clip(p[np.arange(len(label)), label], PROBABILITY_FLOOR, 1)
    of_two = _two_class_metrics(p[:, 1], label) if p.shape[1] == 2 else {}
    return {
        "accuracy": float((predicted == label).mean()),
        "macro_f1": _macro_f1(label, predicted, p.shape[1]),
        "auroc": _mean_auroc(p, label),
        "log_loss": float(-np.log(p_label).mean()),
        **of_two,
    }


def _two_class_metrics(
    probability: Float[np.ndarray, " n"], label: Int[np.ndarray, " n"]
) -> dict[str, float]:
    return {
        "auprc": classification.auprc(probability, label),
        "brier": classification.brier(probability, label),
        "calibration_error": classification.expected_calibration_error(probability, label),
    }


def _macro_f1(
    label: Int[np.ndarray, " n"], predicted: Int[np.ndarray, " n"], classes: int
) -> float:
    """2 TP / (2 TP + FP + FN), averaged over classes with a denominator above 0."""
    true_positives = np.bincount(label[predicted == label], minlength=classes)
    labelled = np.bincount(label, minlength=classes)
    denominator = labelled + np.bincount(predicted, minlength=classes)
    occurs = denominator > 0
    return float((2 * true_positives[occurs] / denominator[occurs]).mean())


def _mean_auroc(p: Float[np.ndarray, "n C"], label: Int[np.ndarray, " n"]) -> float:
    classes = p.shape[1]
    scored = range(classes) if classes > 2 else (1,)
    areas = np.array([classification.auroc(p[:, code], label == code) for code in scored])
    return float(np.nanmean(areas)) if np.isfinite(areas).any() else float("nan")
