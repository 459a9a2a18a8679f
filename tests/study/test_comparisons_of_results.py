"""Which models and pairs an experiment compares, how they are named, and p over the family."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from omics_jax.study import comparisons
from omics_jax.study.system import MODEL, Results

FOLDS, TRAIN, TEST = 5, 80, 20
# (arm, model) -> metric -> mean over the folds; arms and metrics in no alphabetical order.
MEANS = {
    ("second", MODEL): {"rmse": 1.0, "auc": 0.8},
    ("second", "ridge"): {"rmse": 1.3, "auc": 0.75},
    ("second", "mean"): {"rmse": 2.0},
    ("first", MODEL): {"rmse": 1.1},
    ("first", "ridge"): {"rmse": 1.35},
}


@pytest.fixture(scope="module")
def results():
    random = np.random.default_rng(0)
    rows = []
    for (arm, model), metrics in MEANS.items():
        for metric, mean in metrics.items():
            for fold, value in enumerate(mean + 0.1 * random.normal(size=FOLDS)):
                place = {"arm": arm, "model": model, "group": "all", "fold": fold, "repeat": 0}
                scored = {"metric": metric, "value": value, "n_train": TRAIN, "n_test": TEST}
                rows.append({**place, **scored})
    return Results(pd.DataFrame(rows), {}, {})


def values_of(results, model, metric):
    scores = results.scores
    chosen = (scores["arm"] == model[0]) & (scores["model"] == model[1])
    return scores.loc[chosen & (scores["metric"] == metric), "value"].to_numpy()


def p_by_hand(results, a, b, metric):
    """The corrected resampled t-test of Nadeau and Bengio."""
    difference = values_of(results, a, metric) - values_of(results, b, metric)
    error = np.sqrt((1 / FOLDS + TEST / TRAIN) * difference.var(ddof=1))
    return 2 * scipy.stats.t.sf(abs(difference.mean()) / error, FOLDS - 1)


def test_models_arms_and_metrics_are_in_the_order_of_the_scores(results):
    assert comparisons.network("second") == ("second", MODEL)
    assert comparisons.metrics_of(results, "second") == ["rmse", "auc"]
    assert comparisons.metrics_of(results, "first") == ["rmse"]
    assert comparisons.metrics_of(results, "nobody") == []
    assert comparisons.arms_with(results, "rmse") == ["second", "first"]
    assert comparisons.arms_with(results, "auc") == ["second"]


def test_simple_models_are_those_of_an_arm_and_of_a_metric(results):
    of_second = [("second", "ridge"), ("second", "mean")]
    assert comparisons.simple_models(results) == [*of_second, ("first", "ridge")]
    assert comparisons.simple_models(results, "second") == of_second
    assert comparisons.simple_models(results, "second", "auc") == [("second", "ridge")]
    assert comparisons.simple_models(results, metric="auc") == [("second", "ridge")]


CONTRASTS = [
    (("second", MODEL), ("second", "mean"), "rmse"),
    (("second", MODEL), ("first", MODEL), "rmse"),
    (("second", MODEL), ("second", "ridge"), "auc"),
    (("first", MODEL), ("first", "ridge"), "rmse"),
]


def test_contrasts_are_tested_in_their_order_each_by_itself(results):
    tests = comparisons.compare_all(results, CONTRASTS)
    for test, (a, b, metric) in zip(tests, CONTRASTS, strict=True):
        assert (test["a"], test["b"], test["metric"]) == ("/".join(a), "/".join(b), metric)
        expected = p_by_hand(results, a, b, metric)
        assert test["p"] == pytest.approx(expected)
        assert test["p_adjusted"] == pytest.approx(expected)


def test_another_test_may_take_the_place_of_that_over_folds(results):
    def two_lines(a, b, metric):
        return [{"a": a, "b": b, "metric": metric, "line": line} for line in range(2)]

    tests = comparisons.compare_all(results, iter(CONTRASTS[:2]), two_lines)
    expected = [(*contrast, line) for contrast in CONTRASTS[:2] for line in range(2)]
    assert [(t["a"], t["b"], t["metric"], t["line"]) for t in tests] == expected


def test_p_is_adjusted_over_the_family_after_holm(results):
    tests = comparisons.compare_all(results, CONTRASTS)
    p = np.array([p_by_hand(results, *contrast) for contrast in CONTRASTS])
    adjusted, largest = np.empty(len(p)), 0.0
    for rank, i in enumerate(np.argsort(p)):
        largest = max(largest, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = largest
    assert not np.allclose(adjusted, p)
    family = comparisons.adjusted_family(tests)
    np.testing.assert_allclose([test["p_adjusted"] for test in family], adjusted, rtol=1e-6)
    np.testing.assert_allclose([test["p"] for test in family], p, rtol=1e-6)
    assert comparisons.adjusted_family([]) == []


def test_models_are_named_short_or_in_full(results):
    tests = comparisons.compare_all(results, CONTRASTS)
    short = [(test["a"], test["b"]) for test in comparisons.adjusted_family(tests)]
    assert short == [
        ("second", "mean"),
        ("second", "first"),
        ("second", "ridge"),
        ("first", "ridge"),
    ]
    family = comparisons.adjusted_family(tests, comparisons.full_label)
    assert [(test["a"], test["b"]) for test in family] == [
        ("second", "second/mean"),
        ("second", "first"),
        ("second", "second/ridge"),
        ("first", "first/ridge"),
    ]
    assert comparisons.short_label("second/ridge") == "ridge"
    assert comparisons.short_label(f"second/{MODEL}") == "second"
    assert comparisons.full_label(f"second/{MODEL}") == "second"


def test_the_mean_of_a_score_is_over_the_folds_of_that_model(results):
    ridge = ("first", "ridge")
    expected = values_of(results, ridge, "rmse").mean()
    assert comparisons.mean_score(results.scores, ridge, "rmse") == pytest.approx(expected)
    assert np.isnan(comparisons.mean_score(results.scores, ridge, "auc"))
