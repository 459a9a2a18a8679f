"""What is concluded of several networks on the same folds, from scores by hand."""

import numpy as np
import pandas as pd
import pytest

from omics_jax.study.system import MODEL, Results
from omics_jax.tasks.varied import (
    ALONE,
    conclude_joint,
    conclude_varied,
    difference_table,
    networks_table,
    with_means_of,
)

FOLDS = 4
SIMPLE = "ridge"


def line(arm, metric, value, fold=0, model=MODEL):
    columns = {"group": "all", "repeat": 0, "replicate": fold, "n_train": 30, "n_test": 10}
    return {"arm": arm, "model": model, "metric": metric, "value": value, "fold": fold, **columns}


def scored(*lines, labels=None):
    return Results(pd.DataFrame(lines), {}, {}, labels or {})


def over_folds(arm, means, model=MODEL):
    """Lines of an arm whose metrics have these means and vary from fold to fold."""
    rng = np.random.default_rng(len(arm))
    return [
        line(arm, metric, mean + 0.01 * rng.standard_normal(), fold, model)
        for metric, mean in means.items()
        for fold in range(FOLDS)
    ]


# --- means over networks --------------------------------------------------------------------------


def test_the_mean_over_networks_is_over_classes_of_the_same_fold():
    results = scored(
        *(line("A alone", "A_auroc", v, f) for f, v in enumerate((0.6, 0.8))),
        *(line("B alone", "B_auroc", v, f) for f, v in enumerate((0.7, 0.5))),
        *(line("age alone", "age_rmse", v, f) for f, v in enumerate((9.0, 8.0))),
    )
    outcomes = {"A alone": "A", "B alone": "B", "age alone": "age"}
    joined, names = with_means_of(results, outcomes, "each")
    assert names == ["each"]
    own = joined.scores[joined.scores["arm"] == "each"]
    assert own["metric"].unique().tolist() == ["mean_auroc"]
    np.testing.assert_allclose(own.sort_values("fold")["value"], [0.65, 0.65])
    assert own["n_test"].tolist() == [20, 20]


def test_of_one_network_there_is_no_mean():
    results = scored(line("A alone", "A_auroc", 0.6))
    joined, names = with_means_of(results, {"A alone": "A"}, "each")
    assert names == [] and joined is results


def test_a_fold_without_one_of_the_scores_has_no_mean():
    results = scored(
        *(line("A alone", "A_auroc", v, f) for f, v in enumerate((0.6, np.nan))),
        *(line("B alone", "B_auroc", v, f) for f, v in enumerate((0.7, 0.5))),
    )
    joined, _ = with_means_of(results, {"A alone": "A", "B alone": "B"}, "each")
    own = joined.scores[joined.scores["arm"] == "each"].sort_values("fold")
    np.testing.assert_allclose(own["value"], [0.65, np.nan])


def test_means_are_of_the_measures_that_all_networks_have():
    results = scored(
        *(line("A alone", f"A_{m}", 0.6) for m in ("auroc", "accuracy", "f1")),
        *(line("B alone", f"B_{m}", 0.8) for m in ("accuracy", "auroc")),
        line("B alone", "A_f1", 0.1),
    )
    joined, _ = with_means_of(results, {"A alone": "A", "B alone": "B"}, "each")
    own = joined.scores[joined.scores["arm"] == "each"]
    assert dict(zip(own["metric"], own["value"], strict=True)) == {
        "mean_auroc": pytest.approx(0.7),
        "mean_accuracy": pytest.approx(0.7),
    }


# --- tables of differences ------------------------------------------------------------------------


def compared(b, metric, difference):
    interval = [difference - 1, difference + 1]
    return {"a": "joint", "b": b, "metric": metric, "difference": difference, "ci95": interval}


def test_differences_have_the_sign_of_the_test():
    tests = [compared("RA alone", "RA_auroc", 0.1), compared("RA alone", "RA_rmse", 5.0)]
    table = difference_table(tests, "title", "joint")
    assert table.frame.to_dict("records") == [
        {"label": "RA alone", "value": 0.1, "low": -0.9, "high": 1.1, "series": "RA"}
    ]
    assert table.title == "title" and "AUROC of joint" in table.caption


def test_a_panel_is_named_by_its_outcome_and_what_is_no_auroc_by_its_metric_too():
    metrics = (
        "RA_auroc",
        "dose_r2",
        "OS_c_index",
        "OS_c_index_uno",
        "OS_ibs",
        "r2_auroc",
        "wider2",
    )
    tests = [compared("ridge", metric, 0.1) for metric in metrics]
    series = difference_table(tests, "title", "joint").frame["series"].tolist()
    assert series == ["RA", "dose (R2)", "OS (C-index)", "r2"]


def test_without_a_test_the_table_has_its_columns():
    frame = difference_table([compared("ridge", "dose_rmse", 1.0)], "title", "joint").frame
    assert frame.empty and list(frame) == ["label", "value", "low", "high", "series"]


# --- one network or several -----------------------------------------------------------------------

JOINT = {"A_auroc": 0.8, "B_auroc": 0.7, "mean_auroc": 0.75, "dose_r2": 0.4, "OS_c_index": 0.6}
RIVALS = {
    "A alone": {"A_auroc": 0.7},
    "B alone": {"B_auroc": 0.7},
    "dose alone": {"dose_r2": 0.5},
    "MLP": {**dict.fromkeys(JOINT, 0.55), "sites": 1.0},
}


def joint_results(*rivals):
    lines = [*over_folds("joint", JOINT), *over_folds("joint", {"dose_r2": 0.1}, SIMPLE)]
    labels = {"joint": {}}
    for rival in rivals:
        lines += over_folds(rival, RIVALS[rival])
        outcome = rival.removesuffix(" alone")
        labels[rival] = {"single": outcome} if outcome != rival else {}
    return scored(*lines, labels=labels)


def difference(findings, b, metric):
    (found,) = [
        t["difference"] for t in findings.comparisons if (t["b"], t["metric"]) == (b, metric)
    ]
    return found


def test_a_joint_network_alone_is_tested_against_its_simple_models():
    findings = conclude_joint(joint_results(), "joint", [])
    assert [(t["a"], t["b"], t["metric"]) for t in findings.comparisons] == [
        ("joint", f"joint/{SIMPLE}", "dose_r2")
    ]
    assert findings.tables == {}


def test_a_joint_network_is_tested_against_each_rival_in_the_metrics_of_both():
    rivals = list(RIVALS)
    findings = conclude_joint(joint_results(*rivals), "joint", rivals, ["sites"])
    pairs = {(t["b"], t["metric"]) for t in findings.comparisons}
    assert pairs == {
        (f"joint/{SIMPLE}", "dose_r2"),
        ("A alone", "A_auroc"),
        ("B alone", "B_auroc"),
        ("dose alone", "dose_r2"),
        (ALONE, "mean_auroc"),
        *(("MLP", metric) for metric in JOINT),
    }
    assert len(findings.comparisons) == len(pairs)
    assert all(test["a"] == "joint" for test in findings.comparisons)
    assert all(test["p"] <= test["p_adjusted"] <= 1 for test in findings.comparisons)
    assert difference(findings, "A alone", "A_auroc") == pytest.approx(0.1, abs=0.03)
    assert difference(findings, "dose alone", "dose_r2") == pytest.approx(-0.1, abs=0.03)
    assert difference(findings, ALONE, "mean_auroc") == pytest.approx(0.05, abs=0.03)
    differences = findings.tables["network_differences"].frame
    assert len(differences) == len(pairs)
    assert set(differences["series"]) == {"A", "B", "mean", "dose (R2)", "OS (C-index)"}
    networks = findings.tables["networks"].frame
    assert networks["network"].tolist() == ["joint", *rivals, ALONE]
    by_name = networks.set_index("network")
    assert by_name.loc["MLP", "sites"].startswith("1.0") and by_name.loc["joint", "sites"] == ""
    assert by_name.loc["A alone", "B_auroc"] == "" != by_name.loc["A alone", "A_auroc"]


# --- variants of one network ----------------------------------------------------------------------


def test_variants_are_tested_against_the_first_and_stand_in_one_table():
    lines = [
        *over_folds("bias", {"dose_r2": 0.5}),
        *over_folds("bias", {"dose_r2": 0.1}, SIMPLE),
        *over_folds("linear", {"dose_r2": 0.3}),
        *over_folds("other", {"dose_r2": 0.9}),
    ]
    labels = {"other": {}, "bias": {"encoding": "bias"}, "linear": {"encoding": "linear"}}
    findings = conclude_varied(scored(*lines, labels=labels), "encoding", "Encodings", "caption")
    tested = [(t["a"], t["b"], t["metric"]) for t in findings.comparisons]
    assert tested == [("bias", f"bias/{SIMPLE}", "dose_r2"), ("bias", "linear", "dose_r2")]
    assert difference(findings, "linear", "dose_r2") == pytest.approx(0.2, abs=0.03)
    assert set(findings.tables) == {"encoding", "encoding_differences"}
    table = findings.tables["encoding"]
    assert table.frame["network"].tolist() == ["bias", "linear"] and table.caption == "caption"


def test_a_network_has_the_mean_and_the_spread_of_its_folds():
    values = (0.5, 0.7, 0.6)
    results = scored(*(line("net", "dose_r2", v, fold) for fold, v in enumerate(values)))
    (row,) = networks_table(results, ["net"], "title", "caption").frame.to_dict("records")
    assert row == {"network": "net", "dose_r2": "0.600 (0.100)"}
