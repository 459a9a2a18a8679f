"""Median survival in files of predicted rows, where some replicates do not reach it."""

from functools import partial

import numpy as np
import pandas as pd
import pytest

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.run.predict import _write_group
from omics_jax.study.system import System
from omics_jax.tasks.prediction import pool_medians, prediction_columns
from omics_jax.tasks.task import Task


def test_a_median_that_is_not_reached_is_empty_in_its_file(tmp_path):
    """One of three folds ends above one half at 5152: that number enters no mean."""
    task = Task("OS", "survival")
    ends = {"slow": [0.9, 0.9], "fast": [0.1, 0.9], "faster": [0.0, 0.8]}
    replicates = [
        {
            "OS_risk": np.zeros(2),
            "OS_times": np.tile([0.0, 5152.0], (2, 1)),
            "OS_survival": np.stack([np.ones(2), np.array(curves)], axis=1),
            "OS_median": np.array([5152.0 if c > 0.5 else 0.5 / (1 - c) * 5152 for c in curves]),
            "OS_median_reached": np.array(curves) <= 0.5,
        }
        for curves in ends.values()
    ]
    unused = dict.fromkeys(("arrays", "init", "predict", "evaluate", "baselines"), print)
    system = System(
        **unused,
        stages=(),
        columns=prediction_columns([task]),
        pool_new=partial(pool_medians, [task]),
    )
    ids = np.array(["a", "b"])
    patients = Dataset(ids, ids, {}, pd.DataFrame(index=ids), {})
    _write_group(tmp_path / "all", replicates, patients, system, {}, pd.DataFrame())
    read = lambda name: pd.read_csv(tmp_path / f"all.OS_{name}.csv", index_col="id").iloc[:, 0]
    # The mean curve of patient a falls to 1/3, that of patient b to .87.
    assert read("median")["a"] == pytest.approx(0.5 / (2 / 3) * 5152)
    assert np.isnan(read("median")["b"])
    assert read("median_reached").tolist() == [1, 0]
    assert read("median_between_replicates").isna().all()
    text = (tmp_path / "all.OS_median.csv").read_text()
    assert text.splitlines()[2] == "b," and "5152" not in text
