"""Simple models of outcomes against scikit-learn and lifelines, and what they may not see."""

from dataclasses import replace

import lifelines
import numpy as np
import pytest
from outcome_rows import (
    AGE,
    MODALITIES,
    OS,
    RULES,
    TYPE,
    assert_same,
    everyone,
    ignore_follow_up,
    make_cohort,
    poisoned,
    score,
)
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from omics_jax.errors import UserError
from omics_jax.evaluation.baselines import ALPHAS
from omics_jax.study.patients.features import scaled_features
from omics_jax.tasks import baselines
from omics_jax.tasks.clinical import CLASS, CLINICAL
from omics_jax.tasks.task import known_rows, outcome

pytestmark = ignore_follow_up


def outcome_models(tasks, rules, modalities, train, test):
    """The simple models of the tasks on the modalities, scaled by the training rows."""
    features = scaled_features(rules, modalities, train, test)
    return baselines.simple_models(tasks, *features, train, test)


@pytest.fixture(scope="module")
def cohort():
    return make_cohort()


@pytest.fixture(scope="module")
def fitted(cohort):
    train, test = cohort
    return outcome_models((TYPE, AGE, OS), RULES, MODALITIES, train, test)


@pytest.fixture(scope="module", autouse=True)
def small_forests():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("omics_jax.tasks.baselines.TREES", 40)
        yield


def test_baselines_find_what_is_planted_and_no_features_find_nothing(cohort, fitted):
    train, test = cohort
    found = {name: score(fields, test, train).metrics for name, fields in fitted.items()}
    nothing, linear, forest = found["no features"], found["PCA + linear"], found["forest"]
    assert linear["type_auroc"] > 0.8 and linear["age_r2"] > 0.4 and linear["OS_c_index"] > 0.75
    assert forest["type_auroc"] > 0.6 and forest["age_r2"] > 0.1 and forest["OS_c_index"] > 0.6
    assert (
        linear["type_log_loss"] < nothing["type_log_loss"] and linear["OS_ibs"] < nothing["OS_ibs"]
    )
    assert (
        nothing["type_auroc"]
        == nothing["OS_c_index"]
        == nothing["OS_c_index_uno"]
        == nothing["OS_auc_t"]
        == 0.5
    )
    assert -0.2 < nothing["age_r2"] <= 0


def test_no_features_are_frequencies_mean_and_kaplan_meier(cohort, fitted):
    train, test = cohort
    fields = fitted["no features"]
    codes, ages = (outcome(train, task)[known_rows(train, task)] for task in (TYPE, AGE))
    np.testing.assert_allclose(
        fields["type_probability"][7], [(codes == c).mean() for c in range(4)]
    )
    np.testing.assert_allclose(fields["age_value"], np.full(len(test), ages.mean()), rtol=1e-6)
    times, events = (part[known_rows(train, OS)] for part in outcome(train, OS))
    grid = fields["OS_times"][0]
    assert grid[0] == 0 and grid[-1] == times[events == 1].max() and len(grid) == 31
    curve = lifelines.KaplanMeierFitter().fit(times, events).predict(grid)
    np.testing.assert_allclose(fields["OS_survival"][7], curve, atol=1e-12)


def test_a_median_is_reached_or_stands_at_the_end_of_the_grid(cohort, fitted):
    of_survival = {name: fields for name, fields in fitted.items() if "OS_median" in fields}
    assert {"PCA + linear", "forest", "no features"} <= of_survival.keys()
    for name, fields in of_survival.items():
        median, reached = fields["OS_median"], fields["OS_median_reached"]
        assert reached.tolist() == (fields["OS_survival"][:, -1] <= 0.5).tolist()
        assert (median[~reached] == fields["OS_times"][0, -1]).all(), name
        rows = zip(
            median[reached],
            fields["OS_times"][reached],
            fields["OS_survival"][reached],
            strict=True,
        )
        for m, grid, curve in rows:
            assert (
                np.interp(m, grid, curve) == pytest.approx(0.5, abs=1e-9)
                or curve[grid <= m][-1] <= 0.5
            ), name
    assert (
        not fitted["PCA + linear"]["OS_median_reached"].all()
        and fitted["PCA + linear"]["OS_median_reached"].any()
    )


@pytest.mark.parametrize(
    ("name", "steps"), [("PCA + linear", [PCA(99)]), ("ridge", [])], ids=["components", "features"]
)
def test_ridge_on_components_or_scaled_features(cohort, fitted, name, steps):
    """scikit-learn's own mean fill, min-max scaling and PCA, fitted on all training rows, labelled
    or not; features of unit variance among the labelled.
    """
    train, test = cohort
    blank = lambda d: np.concatenate(
        [np.where(m.mask, m.values, np.nan) for m in d.modalities.values()], axis=1
    )
    prepared = make_pipeline(SimpleImputer(), MinMaxScaler(clip=True), *steps).fit(
        blank(train).astype(np.float64)
    )
    rows = known_rows(train, AGE)
    model = RidgeCV(alphas=ALPHAS)
    if not steps:
        model = make_pipeline(StandardScaler(), model)
    model.fit(prepared.transform(blank(train))[rows], outcome(train, AGE)[rows])
    expected = model.predict(prepared.transform(blank(test)))
    np.testing.assert_allclose(fitted[name]["age_value"], expected, rtol=1e-3)


def test_ridge_reads_the_features_that_vary_most(cohort, monkeypatch):
    train, test = cohort
    x, x_test = scaled_features(RULES, MODALITIES, train, test)
    monkeypatch.setattr(baselines, "MOST_FEATURES", 7)
    found = baselines.simple_models((AGE,), x, x_test, train, test)["ridge"]["age_value"]
    most = np.sort(np.argsort(x.var(axis=0))[-7:])
    rows = known_rows(train, AGE)
    model = make_pipeline(StandardScaler(), RidgeCV(alphas=ALPHAS))
    model.fit(x[rows][:, most].astype(float), outcome(train, AGE)[rows])
    np.testing.assert_allclose(found, model.predict(x_test[:, most].astype(float)), rtol=1e-4)


def test_baselines_see_no_test_outcome_no_other_test_row_and_no_row_without_a_label(cohort, fitted):
    train, test = cohort
    nobody, odd = lambda dataset, task: np.zeros(len(dataset), bool), np.arange(len(test)) % 2 == 1
    moved = {
        k: replace(m, values=np.where(odd[:, None], 1e3, m.values))
        for k, m in test.modalities.items()
    }
    wrong = poisoned(test, nobody).targets

    def fitted_to_others(names):
        """The models for test rows that keep the outcomes of these names alone."""
        targets = {**wrong, **{name: test.targets[name] for name in names}}
        other = replace(test, modalities=moved, targets=targets)
        return outcome_models((AGE, OS, TYPE), RULES, MODALITIES, poisoned(train), other)

    # The models of the class and of clinical numbers read those of the row, but no survival.
    clinical = fitted_to_others(("type", "age"))
    for name in (CLASS, CLINICAL):
        assert_same(clinical[name], fitted[name])
    found = fitted_to_others(("type",))
    assert found.keys() == fitted.keys()
    for name in found.keys() - {CLASS, CLINICAL}:
        kept = {field: values[~odd] for field, values in fitted[name].items()}
        assert_same({field: values[~odd] for field, values in found[name].items()}, kept)


def test_a_class_without_a_training_row_keeps_its_column(cohort):
    train, test = cohort
    absent = known_rows(train, TYPE) & (outcome(train, TYPE) == 1)
    for name, fields in outcome_models((TYPE,), RULES, ("rna",), train.take(~absent), test).items():
        p = fields["type_probability"]
        assert (
            p.shape == (60, 4) and (p[:, 1] == 0).all() and (p[:, [0, 2, 3]] > 0).any(axis=0).all()
        ), name
        np.testing.assert_allclose(p.sum(axis=1), 1, err_msg=name)


def test_outcomes_that_teach_nothing_are_refused(cohort):
    train, test = cohort
    fit = lambda task, **targets: outcome_models(
        (task,), RULES, ("mirna",), replace(train, targets=train.targets | targets), test
    )
    n, every, none = len(train), everyone(train), ~everyone(train)
    with pytest.raises(UserError, match="all 100 training rows with a known 'type' are 'C'"):
        fit(TYPE, type=(np.full(n, 2, np.int32), every))
    with pytest.raises(UserError, match="none of 100 training rows has a known 'age'"):
        fit(AGE, age=(np.zeros(n), none))
    with pytest.raises(UserError, match="rows has an event"):
        fit(OS, **{"OS.event": (np.zeros(n), every)})
    flat = {
        "mirna": replace(
            train.modalities["mirna"], values=np.ones_like(train.modalities["mirna"].values)
        )
    }
    with pytest.raises(UserError, match="none of 20 features varies over 100 training rows"):
        outcome_models((AGE,), RULES, ("mirna",), replace(train, modalities=flat), test)
