"""What the multi-omics experiments say over all folds, where arms or modalities are missing."""

import numpy as np
import pandas as pd

from omics_jax.evaluation.tables import Frame
from omics_jax.study.system import Results
from omics_jax.systems.multiomics import conclusions


def scored(arm, model, shift):
    place = {"arm": arm, "model": model, "group": "all", "repeat": 0, "n_train": 60, "n_test": 20}
    values = shift + np.random.default_rng(0).random(4) / 10
    return [{**place, "fold": f, "metric": "age_rmse", "value": v} for f, v in enumerate(values)]


def predicted(arm):
    numbers = np.random.default_rng(1).normal(size=(20, 2))
    frame = pd.DataFrame({"value": numbers[:, 0], "observed": numbers[:, 1]})
    return frame.assign(
        arm=arm, model="model", group="all", fold=0, id=[f"p{i}" for i in range(20)]
    )


def test_arms_with_a_network_per_task_alone_have_their_tests_and_pictures():
    arms = ("A, rna, age", "C, rna, age")
    labels = {arm: {"letter": arm[0], "modalities": "rna", "tasks": "age"} for arm in arms}
    scores = [
        row for arm, shift in zip(arms, (1, 2), strict=True) for row in scored(arm, "model", shift)
    ]
    scores += [row for arm in arms for row in scored(arm, "mean", 5)]
    tables = {"age": Frame("regression", pd.concat(map(predicted, arms)))}
    found = conclusions.conclude_arms(Results(pd.DataFrame(scores), tables, {}, labels))
    assert {(t["a"], t["b"]) for t in found.comparisons} >= {arms, (arms[0], f"{arms[0]}/mean")}
    assert {"arms", "paper", "age_scatter"} <= set(found.tables)
    assert found.tables["arms"].frame["arm"].tolist() == ["A", "C"]


def test_an_outcome_may_be_called_as_columns_of_tables_are():
    axes = {"x": [0.0, 1], "y": [1.0, 0], "id": ["a", "b"]}
    latent = pd.DataFrame({**axes, "risk": ["high", "low"], "observed": [1.0, 2]}).assign(
        arm="all", model="model", group="all", fold=0
    )
    scores = pd.DataFrame(scored("all", "model", 1))
    found = (
        conclusions.conclude_multitask(
            Results(scores, {"latent": Frame("embedding", latent)}, {}, {"all": {}})
        )
        .tables["map"]
        .frame
    )
    assert sorted(set(found["panel"])) == ["observed", "risk"]


def test_shares_of_imputed_values_stand_by_what_was_measured():
    shares = pd.DataFrame({"modalities": ["rna", "rna", "rna + mirna"], "imputed": [0.5, 0.7, 0.0]})
    shares = shares.assign(arm="all", model="model", group="all", fold=0, id=list("abc"))
    scores = pd.DataFrame(scored("all", "model", 1))
    tables = conclusions.conclude_multitask(
        Results(scores, {"imputed_share": Frame("imputed_share", shares)}, {}, {"all": {}})
    ).tables
    frame = tables["imputed_share"].frame
    assert frame["measured"].tolist() == ["rna", "rna + mirna"] and frame["patients"].tolist() == [
        2,
        1,
    ]
    np.testing.assert_allclose(frame["imputed, mean"], [0.6, 0])
