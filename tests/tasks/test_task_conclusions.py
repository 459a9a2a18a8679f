"""What is concluded of a network that predicts outcomes, beside its simple models."""

import numpy as np
import pandas as pd
import pytest

from omics_jax.evaluation.tables import Frame
from omics_jax.study.comparisons import network
from omics_jax.study.system import MODEL, Results
from omics_jax.tasks import conclusions

METRICS = {"age_rmse": 1.0, "age_mae": 0.8, "validation_age_rmse": 0.9, "age_rmse_complete": 1.2}
FOLDS = 4


def scored(arm, model, shift):
    random = np.random.default_rng(shift)
    place = {"arm": arm, "model": model, "group": "all", "repeat": 0, "n_train": 60, "n_test": 20}
    return [
        {**place, "fold": fold, "metric": metric, "value": mean + shift + random.random() / 10}
        for metric, mean in METRICS.items()
        for fold in range(FOLDS)
    ]


@pytest.fixture(scope="module")
def results():
    """An earlier arm, and the last with two simple models."""
    models = [("earlier", MODEL), ("earlier", "mean"), ("last", MODEL), ("last", "mean")]
    rows = [row for i, pair in enumerate(models) for row in scored(*pair, i)]
    rows += scored("last", "ridge", 9)
    predicted = pd.DataFrame({"value": np.arange(9.0), "observed": np.arange(9.0)[::-1]})
    predicted = predicted.assign(arm="last", model=MODEL, group="all", fold=0, id="p")
    frames = {"age": Frame("regression", predicted)}
    return Results(pd.DataFrame(rows), frames, {}, {"earlier": {}, "last": {}})


def test_tested_are_the_scores_the_papers_give():
    names = ["type_accuracy", "type_log_loss", "OS_c_index", "OS_c_index_uno", "age_mae", "age_r2"]
    assert conclusions.tested_metrics(names) == ["type_accuracy", "OS_c_index", "age_r2"]
    # A name that merely ends alike is of no metric.
    assert conclusions.tested_metrics(["wider2", "rmse"]) == []


def test_the_last_arm_is_tested_against_each_of_its_simple_models(results):
    findings = conclusions.conclude_tasks(results)
    tested = ["age_rmse", "validation_age_rmse"]
    pairs = [(t["a"], t["b"], t["metric"]) for t in findings.comparisons]
    rivals = ("last/mean", "last/ridge")
    assert pairs == [("last", rival, metric) for metric in tested for rival in rivals]
    assert all(test["p"] <= test["p_adjusted"] <= 1 for test in findings.comparisons)
    assert findings.comparisons == conclusions.against_simple(results, "last")
    assert "age_scatter" in findings.tables


def test_contrasts_are_those_of_the_tests(results):
    contrasts = conclusions.contrasts_with_simple(results, "earlier")
    expected = [
        (network("earlier"), ("earlier", "mean"), metric)
        for metric in ("age_rmse", "validation_age_rmse")
    ]
    assert contrasts == expected


def test_means_are_of_the_arms_network_and_of_the_subset_asked_for(results):
    scores = results.scores
    own = scores[(scores["arm"] == "last") & (scores["model"] == MODEL)]

    def summary(metric):
        values = own.loc[own["metric"] == metric, "value"]
        return f"{values.mean():.3f} ({values.std():.3f})"

    assert conclusions.mean_and_sd(results, "last") == {
        metric: summary(metric) for metric in ("age_rmse", "validation_age_rmse")
    }
    on_complete = conclusions.mean_and_sd(results, "last", "_complete")
    assert on_complete == {"age_rmse": summary("age_rmse_complete")}
