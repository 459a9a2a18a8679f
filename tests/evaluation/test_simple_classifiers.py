"""Classical classifiers: a planted effect is learned, and the promises that they share."""

import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LogisticRegression

from omics_jax.errors import UserError
from omics_jax.evaluation import classification, classifiers

CLASSIFIERS = {
    "logistic": classifiers.logistic_on_summary,
    "boosting": classifiers.boosting_on_summary,
    "svm": classifiers.svm,
    "xgboost": classifiers.xgboost,
}
every = pytest.mark.parametrize("name", CLASSIFIERS)


def patients(n=300, seed=0):
    """x (n, 6) with nan, a constant and an empty column, y (n,): only columns 0 and 1 matter."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, 6))
    logit = 2.5 * x[:, 0] + x[:, 1] - 1
    label = random.random(n) < 1 / (1 + np.exp(-logit))
    x[random.random((n, 6)) < 0.15] = np.nan
    x[:, 4] = 3.0
    x[:, 5] = np.nan
    return x, label.astype(np.float32)


def train_and_test(rows, train_rows):
    """x_train, y_train, x_test of `patients`."""
    x, y = patients(rows)
    return x[:train_rows], y[:train_rows], x[train_rows:]


@every
def test_a_planted_effect_is_learned_and_probabilities_hold(name):
    x, y = patients(700)
    probability = CLASSIFIERS[name](x[:400], y[:400], x[400:])
    assert probability.shape == (300,)
    assert probability.min() >= 0 and probability.max() <= 1
    assert classification.auroc(probability, y[400:]) > 0.8
    assert classification.expected_calibration_error(probability, y[400:]) < 0.12


@every
def test_the_same_call_gives_the_same_bits_and_a_row_stands_alone(name):
    x, y, test = train_and_test(120, 80)
    probability = CLASSIFIERS[name](x, y, test)
    assert_array_equal(CLASSIFIERS[name](x, y, test), probability)
    alone = CLASSIFIERS[name](x, y, test[[5]])
    assert_allclose(alone, probability[[5]], rtol=1e-6)
    assert CLASSIFIERS[name](x, y, test[:0]).shape == (0,)


@every
def test_labels_may_be_of_any_kind(name):
    x, y, test = train_and_test(120, 80)
    expected = CLASSIFIERS[name](x, y, test)
    assert_array_equal(CLASSIFIERS[name](x, y.astype(bool), test), expected)


@every
def test_one_class_is_refused_in_words(name):
    x, y = patients(60)
    with pytest.raises(UserError, match="60 training rows hold the label 0 only"):
        CLASSIFIERS[name](x, 0 * y, x)
    with pytest.raises(ValueError, match="labels are 0 or 1"):
        CLASSIFIERS[name](x, y + 1, x)


@pytest.mark.parametrize("name", ["logistic", "svm"])
def test_units_do_not_matter(name):
    x, y, test = train_and_test(120, 80)
    scale = np.array([1e-3, 10.0, 1.0, 2.0, 5.0, 1.0])
    shift = np.array([0.0, -40.0, 7.0, 1.0, 0.0, 0.0])
    expected = CLASSIFIERS[name](x, y, test)
    found = CLASSIFIERS[name](x * scale + shift, y, test * scale + shift)
    assert_allclose(found, expected, rtol=1e-4)


def test_logistic_regression_is_fitted_on_training_medians_and_scales():
    x, y, test = train_and_test(150, 100)
    used = x[:, :4]
    median = np.nanmedian(used, axis=0)
    filled = np.where(np.isnan(used), median, used)
    filled_test = np.where(np.isnan(test[:, :4]), median, test[:, :4])
    mean, sd = filled.mean(axis=0), filled.std(axis=0)
    oracle = LogisticRegression(C=0.1, tol=1e-8, max_iter=5000)
    oracle.fit((filled - mean) / sd, y)
    expected = oracle.predict_proba((filled_test - mean) / sd)[:, 1]
    found = classifiers.logistic_on_summary(x, y, test)
    assert_allclose(found, expected, rtol=1e-4)


def test_the_svms_calibration_needs_three_rows_of_a_class():
    x, _ = patients(30)
    with pytest.raises(UserError, match="needs 3 training rows of each class and one class has 2"):
        classifiers.svm(x, np.arange(30) < 2, x)


def test_xgboost_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "xgboost", None)
    x, y = patients(30)
    with pytest.raises(UserError, match=r"pip install 'omics_jax\[boost\]'"):
        classifiers.xgboost(x, y, x)
