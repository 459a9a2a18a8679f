"""Survival models of what is known of a patient without any measurement: class, age and the like.

Cancers differ in survival, so that a network which recognises the cancer orders patients of many
cancers well and those of one cancer not at all. These models say how far the class and the clinical
outcomes alone get. They read the other outcomes of the test rows too, as a clinic would know them.
Left out: outcomes that are themselves times to an event.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Real, Shaped

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.evaluation import follow_up, survival_models
from omics_jax.tasks.task import Observed, class_names, known_rows, outcome, tasks_of

CLASS, CLINICAL = "class alone", "class and clinical"

Grid = Real[np.ndarray, " m"]
Prediction = tuple[Float[np.ndarray, " t"], Float[np.ndarray, "t m"]]


def clinical_survival(
    train: Dataset, known: np.ndarray, observed: Observed, test: Dataset, grid: Grid
) -> dict[str, Prediction]:
    """Model -> (risk (t,), survival (t, m)) of the test rows.

      "class alone": Kaplan-Meier of the training rows of the row's class (`class_names`); its risk
        is minus the mean survival time up to the end of the grid;
      "class and clinical": Cox regression on all outcomes of the data that are classes or numbers;
        of unknown ones an indicator and the mean stand in. Only where there are others than the
        class.

    {} where the rows have no class, or all training rows the same one.

    known: (n,) the training rows with a known survival time, of which `observed` is.
    """
    classes, test_classes = class_names(train), class_names(test)
    if classes is None or test_classes is None or len({*classes[known]} - {""}) < 2:
        return {}
    models = {CLASS: _kaplan_meier_by_class(classes[known], observed, test_classes, grid)}
    if sum(task.kind != "survival" for task in tasks_of(train)) > 1:
        x, x_test = _covariates(train), _covariates(test)
        cox = survival_models.cox_on_components
        models[CLINICAL] = cox(x[known], *observed, x_test, grid)
    return models


def _kaplan_meier_by_class(
    classes: Shaped[np.ndarray, " n"],
    observed: Observed,
    test_classes: Shaped[np.ndarray, " t"],
    grid: Grid,
) -> Prediction:
    """The curve of a row's class; that of all rows for a class that no training row has."""
    times, events = observed
    overall = follow_up.kaplan_meier_at(times, events, grid)
    curves = np.tile(overall, (len(test_classes), 1))
    for name in np.unique(test_classes):
        rows = classes == name
        if rows.any():
            curve = follow_up.kaplan_meier_at(times[rows], events[rows], grid)
            curves[test_classes == name] = curve
    # The curves are steps: a value holds until the next time.
    mean_time = (curves[:, :-1] * np.diff(grid)).sum(axis=1)
    return -mean_time, curves


def _covariates(dataset: Dataset) -> Float[np.ndarray, "n c"]:
    """An indicator per class and for unknown, and every number, nan where it is unknown."""
    columns = []
    for task in tasks_of(dataset):
        known = known_rows(dataset, task)
        values = outcome(dataset, task) if task.kind != "survival" else None
        if task.kind == "classification":
            codes = np.where(known, values, len(task.classes)).astype(int)
            columns += list(np.eye(len(task.classes) + 1)[codes].T)
        elif task.kind == "regression":
            columns += [np.where(known, values, np.nan).astype(np.float64)]
    return np.stack(columns, axis=1)
