"""Rows with a class, a number and a survival time, for tests of what is predicted of them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.patients.simulate import simulate_omics
from omics_jax.data.preprocessing.selection import Rules
from omics_jax.evaluation.follow_up import FollowUpWarning
from omics_jax.tasks import scoring
from omics_jax.tasks.task import Task, known_rows

TYPE, AGE, OS = (
    Task("type", "classification", ("A", "B", "C", "D")),
    Task("age", "regression"),
    Task("OS", "survival"),
)
MODALITIES = ("rna", "methylation", "mirna")
RULES = dict.fromkeys(MODALITIES, Rules())
# Folds and halves of a cohort end at different times; what lies beyond is clipped with a warning.
ignore_follow_up = pytest.mark.filterwarnings(
    f"ignore::{FollowUpWarning.__module__}.{FollowUpWarning.__name__}"
)
GRID = np.array([0.0, 200.0, 500.0, 900.0, 1500.0, 2500.0])


def everyone(dataset):
    return np.ones(len(dataset), bool)


def all_measured(dataset):
    return np.logical_and.reduce([m.observed_rows for m in dataset.modalities.values()])


def labelled(targets, classes=None, modalities=None):
    """A dataset of these targets, {name: values or (values, mask)}."""
    pairs = {
        name: v if isinstance(v, tuple) else (v, np.ones(len(v), bool))
        for name, v in targets.items()
    }
    n = len(next(iter(pairs.values()))[0])
    ids = np.array([f"P{i}" for i in range(n)])
    return Dataset(
        ids, ids, modalities or {}, pd.DataFrame(index=ids), pairs, classes=classes or {}
    )


def guesses(n, seed=0):
    """Predictions of all three tasks that have nothing to do with the outcomes."""
    random = np.random.default_rng(seed)
    falls = np.sort(random.random((n, len(GRID) - 1)), axis=1)[:, ::-1]
    curves = np.concatenate([np.ones((n, 1)), falls], axis=1)
    return {
        "type_probability": random.dirichlet(np.ones(4), n),
        "age_value": random.normal(60, 12, n),
        "OS_risk": random.normal(size=n),
        "OS_survival": curves,
        "OS_times": np.tile(GRID, (n, 1)),
        "OS_median": random.random(n) * 1000,
        "OS_median_reached": random.random(n) < 0.5,
    }


def make_cohort():
    """(train, test): 100 and 60 patients, some of whom lack modalities, cells and labels."""
    features = {"rna": 40, "methylation": 40, "mirna": 20}
    dataset, _ = simulate_omics(
        160, features=features, latent=4, missing_labels=0.15, noise=0.4, signal=2.0, seed=4
    )
    return dataset.take(np.arange(100)), dataset.take(np.arange(100, 160))


def score(predictions, test, train=None, tasks=(TYPE, AGE, OS), complete=None):
    subsets = {"complete": complete} if complete else {}
    train = test if train is None else train
    return scoring.evaluate_tasks(tasks, predictions, test, train, subsets=subsets)


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name in found:
        np.testing.assert_allclose(found[name], expected[name], err_msg=name)


def poisoned(dataset, rows_of=known_rows):
    """The dataset with nonsense in the outcomes of the rows that `rows_of` does not name."""
    wrong = {"type": 99, "age": 1e9, "OS.time": np.nan, "OS.event": 7}
    targets = {}
    for task, names in ((TYPE, ("type",)), (AGE, ("age",)), (OS, ("OS.time", "OS.event"))):
        kept = rows_of(dataset, task)
        for name in names:
            values, mask = dataset.targets[name]
            targets[name] = (np.where(kept, values, wrong[name]).astype(values.dtype), mask)
    return replace(dataset, targets=targets)
