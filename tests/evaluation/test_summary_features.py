"""Feature tables against pandas patient by patient, and the classifiers that read them."""

import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from omics_jax.errors import UserError
from omics_jax.evaluation import classification, classifiers
from omics_jax.evaluation.summary_features import flatten_series, summary_features

CLASSIFIERS = {
    "logistic": classifiers.logistic_on_summary,
    "boosting": classifiers.boosting_on_summary,
    "svm": classifiers.svm,
    "xgboost": classifiers.xgboost,
}
every = pytest.mark.parametrize("name", CLASSIFIERS)


def series(seed=0):
    """values, mask (6, 9, 3) and hours (6, 9): a variable never observed, some observed once; nan
    where unobserved.
    """
    random = np.random.default_rng(seed)
    mask = random.random((6, 9, 3)) < 0.35
    mask[:, :, 2] = False
    mask[0, :, 0] = np.arange(9) == 4
    values = np.where(mask, random.normal(size=mask.shape), np.nan).astype(np.float32)
    return values, mask, np.cumsum(random.uniform(0.5, 3.0, (6, 9)), axis=1).astype(np.float32)


def test_summaries_are_those_of_pandas():
    values, mask, hours = series()
    features, names = summary_features(
        values, mask, hours, extended=True, variables=["HR", "pH", "Lactate"]
    )
    table = pd.DataFrame(features, columns=list(names))
    for i in range(len(values)):
        for d, variable in enumerate(["HR", "pH", "Lactate"]):
            seen = pd.Series(values[i, :, d].astype(np.float64)).dropna()
            expected = {"mean": seen.mean(), "min": seen.min(), "max": seen.max(), "sd": seen.std()}
            expected |= (
                {"first": seen.iloc[0], "last": seen.iloc[-1]}
                if len(seen)
                else {"first": np.nan, "last": np.nan}
            )
            expected |= {"rate": len(seen) / 9, "slope": np.nan}
            if len(seen) > 1:
                expected["slope"] = np.polyfit(hours[i, seen.index].astype(np.float64), seen, 1)[0]
            for what, number in expected.items():
                np.testing.assert_allclose(
                    table.loc[i, f"{what} {variable}"], number, rtol=1e-6, err_msg=what
                )
    assert table.isna().to_numpy().any()


def test_the_plain_summaries_are_the_first_of_the_extended_ones():
    plain, names = summary_features(*series())
    extended, more = summary_features(*series(), extended=True)
    assert plain.shape == (6, 15) and extended.shape == (6, 24)
    assert names == more[:15] and names[0] == "mean variable 0" and names[-1] == "rate variable 2"
    np.testing.assert_array_equal(plain, extended[:, :15])


def test_static_descriptors_come_last_with_nan_where_unobserved():
    static, observed = np.array([[70.0, 1.0]] * 6), np.array([[True, False]] * 6)
    features, names = summary_features(*series(), static, observed, descriptors=["Age", "Male"])
    assert names[-2:] == ("Age", "Male") and features.shape == (6, 17)
    np.testing.assert_array_equal(features[:, 15:], [[70.0, np.nan]] * 6)
    without_mask, _ = summary_features(*series(), static)
    np.testing.assert_array_equal(without_mask[:, 15:], static)


def test_names_and_variables_must_pair():
    with pytest.raises(ValueError, match="2 names and 3 variables do not pair"):
        summary_features(*series(), variables=["HR", "pH"])


def test_slope_needs_two_hours():
    values, mask = np.array([[[1.0], [3.0]]]), np.ones((1, 2, 1), dtype=bool)
    features, names = summary_features(values, mask, np.array([[5.0, 5.0]]), extended=True)
    assert np.isnan(features[0, names.index("slope variable 0")])


def test_flattened_goes_step_by_step():
    values, mask, _ = series()
    flat = flatten_series(values, mask)
    assert flat.shape == (6, 27)
    np.testing.assert_array_equal(flat[:, 3 * 4 + 1], values[:, 4, 1])
    np.testing.assert_array_equal(np.isnan(flat), ~mask.reshape(6, 27))


def patients(n=300, seed=0):
    """x (n, 6) with nan, a constant and an empty column, y (n,): only columns 0 and 1 (by its size)
    matter.
    """
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, 6))
    label = (random.random(n) < 1 / (1 + np.exp(1 - 2.5 * x[:, 0] - x[:, 1]))).astype(np.float32)
    x[random.random((n, 6)) < 0.15] = np.nan
    x[:, 4], x[:, 5] = 3.0, np.nan
    return x, label


@every
def test_a_planted_effect_is_learned_and_probabilities_hold(name):
    x, y = patients(700)
    probability = CLASSIFIERS[name](x[:400], y[:400], x[400:])
    assert probability.shape == (300,) and ((probability >= 0) & (probability <= 1)).all()
    assert classification.auroc(probability, y[400:]) > 0.8
    assert classification.expected_calibration_error(probability, y[400:]) < 0.12


@every
def test_the_same_call_gives_the_same_bits_and_a_row_stands_alone(name):
    x, y = patients(120)
    probability = CLASSIFIERS[name](x[:80], y[:80], x[80:])
    np.testing.assert_array_equal(CLASSIFIERS[name](x[:80], y[:80], x[80:]), probability)
    np.testing.assert_allclose(
        CLASSIFIERS[name](x[:80], y[:80], x[[85]]), probability[[5]], rtol=1e-6
    )
    assert CLASSIFIERS[name](x[:80], y[:80], x[:0]).shape == (0,)


@every
def test_labels_may_be_of_any_kind(name):
    x, y = patients(120)
    expected = CLASSIFIERS[name](x[:80], y[:80], x[80:])
    np.testing.assert_array_equal(CLASSIFIERS[name](x[:80], y[:80].astype(bool), x[80:]), expected)


@every
def test_one_class_is_refused_in_words(name):
    x, y = patients(60)
    with pytest.raises(UserError, match="60 training rows hold the label 0 only"):
        CLASSIFIERS[name](x, 0 * y, x)
    with pytest.raises(ValueError, match="labels are 0 or 1"):
        CLASSIFIERS[name](x, y + 1, x)


@pytest.mark.parametrize("name", ["logistic", "svm"])
def test_units_do_not_matter(name):
    x, y = patients(120)
    scale, shift = (
        np.array([1e-3, 10.0, 1.0, 2.0, 5.0, 1.0]),
        np.array([0.0, -40.0, 7.0, 1.0, 0.0, 0.0]),
    )
    expected = CLASSIFIERS[name](x[:80], y[:80], x[80:])
    found = CLASSIFIERS[name](x[:80] * scale + shift, y[:80], x[80:] * scale + shift)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_logistic_regression_is_fitted_on_training_medians_and_scales():
    x, y = patients(150)
    train, test = x[:100, :4], x[100:, :4]
    median = np.nanmedian(train, axis=0)
    filled = [np.where(np.isnan(part), median, part) for part in (train, test)]
    mean, sd = filled[0].mean(axis=0), filled[0].std(axis=0)
    oracle = LogisticRegression(C=0.1, tol=1e-8, max_iter=5000).fit(
        (filled[0] - mean) / sd, y[:100]
    )
    expected = oracle.predict_proba((filled[1] - mean) / sd)[:, 1]
    np.testing.assert_allclose(
        classifiers.logistic_on_summary(x[:100], y[:100], x[100:]), expected, rtol=1e-4
    )


def test_the_svms_calibration_needs_three_rows_of_a_class():
    x, _ = patients(30)
    with pytest.raises(UserError, match="needs 3 training rows of each class and one class has 2"):
        classifiers.svm(x, np.arange(30) < 2, x)


def test_xgboost_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "xgboost", None)
    x, y = patients(30)
    with pytest.raises(UserError, match=r"pip install 'omics_jax\[boost\]'"):
        classifiers.xgboost(x, y, x)
