"""Measures of scores and probabilities against scikit-learn, scipy and hand computation."""

import inspect

import numpy as np
import pandas as pd
import pytest
import scipy.optimize
import scipy.stats
import sklearn.metrics
from binary_outcomes import patients
from numpy.testing import assert_allclose, assert_array_equal

from omics_jax.evaluation import classification

RANKINGS = {
    "auroc": sklearn.metrics.roc_auc_score,
    "auprc": sklearn.metrics.average_precision_score,
}
OF_PROBABILITIES = (
    "hard_label_auroc",
    "brier",
    "logistic_recalibration",
    "expected_calibration_error",
    "calibration_curve",
)
CURVES = ("roc_curve", "precision_recall_curve")
MEASURES = (*RANKINGS, *OF_PROBABILITIES, *CURVES)


@pytest.mark.parametrize("name", RANKINGS)
@pytest.mark.parametrize("levels", [None, 1, 3, 20])
def test_rankings_are_scikit_learns_with_ties(name, levels):
    for seed in range(5):
        score, label = patients(50, levels, seed)
        expected = RANKINGS[name](label, score)
        assert getattr(classification, name)(score, label) == pytest.approx(expected, rel=1e-12)


def test_auroc_counts_pairs_and_half_ties():
    score, label = np.array([0.1, 0.4, 0.4, 0.8, 0.9]), np.array([0, 0, 1, 0, 1])
    assert classification.auroc(score, label) == (1 + 0.5 + 0 + 3) / 6


@pytest.mark.parametrize("name", RANKINGS)
@pytest.mark.parametrize("kind", [bool, int, np.float32])
def test_rankings_see_order_alone(name, kind):
    score, label = patients()
    measure = getattr(classification, name)
    assert measure(np.log(score) * 1e3, label.astype(kind)) == measure(score, label)


def test_infinite_scores_rank_at_the_ends():
    score, label = np.array([-np.inf, 0.0, np.inf, np.inf]), np.array([0, 0, 1, 0])
    assert classification.auroc(score, label) == 2.5 / 3
    assert classification.auprc(score, label) == 1 / 2


@pytest.mark.parametrize("name", CURVES)
def test_curves_take_infinite_scores_though_scikit_learn_does_not(name):
    score, label = patients(40)
    curve = getattr(classification, name)(score, label)
    order = np.argsort(score)
    lowest, highest = score[order[0]], score[order[-1]]
    score[order[0]], score[order[-1]] = -np.inf, np.inf
    infinite = getattr(classification, name)(score, label)
    for axis in ("x", "y"):
        assert_array_equal(infinite[axis], curve[axis])
    threshold = curve["threshold"]
    expected = np.where(threshold == lowest, -np.inf, threshold)
    expected = np.where(threshold == highest, np.inf, expected)
    assert_array_equal(infinite["threshold"], expected)


def test_hard_labels_give_the_mean_of_sensitivity_and_specificity():
    probability, label = patients()
    expected = sklearn.metrics.balanced_accuracy_score(label, probability >= 0.5)
    assert classification.hard_label_auroc(probability, label) == pytest.approx(expected, rel=1e-12)
    assert classification.hard_label_auroc(probability, label) < classification.auroc(
        probability, label
    )


def test_brier_is_scikit_learns():
    probability, label = patients()
    expected = sklearn.metrics.brier_score_loss(label, probability)
    assert classification.brier(probability, label) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("sharpness", [0.05, 1.0, 30.0])
def test_calibration_is_the_maximum_likelihood_recalibration(sharpness):
    """The oracle minimises the negative log likelihood without derivatives of ours."""
    probability, label = patients()
    logit = np.log(probability / (1 - probability)) * sharpness
    logit = np.clip(logit, -np.log(1e6), np.log(1e6))
    sign = 2.0 * label - 1

    def loss(ab):
        intercept, slope = ab
        margin = sign * (intercept + slope * logit / sharpness)
        return np.logaddexp(0, -margin).sum()

    fit = scipy.optimize.minimize(
        loss, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12}
    )
    found = classification.logistic_recalibration(1 / (1 + np.exp(-logit)), label)
    assert_allclose(found, [fit.x[0], fit.x[1] / sharpness], rtol=1e-4, atol=1e-6)


def test_calibration_finds_the_planted_miscalibration():
    """Labels were drawn at logit .4 + .7 logit(p)."""
    assert_allclose(
        classification.logistic_recalibration(*patients(100_000)), [0.4, 0.7], atol=0.03
    )


def test_calibration_takes_certainties_as_one_in_a_million():
    probability, label = patients()
    certain = np.where(probability > 0.8, 1.0, np.where(probability < 0.1, 0.0, probability))
    clipped = np.clip(certain, 1e-6, 1 - 1e-6)
    assert classification.logistic_recalibration(
        certain, label
    ) == classification.logistic_recalibration(clipped, label)


@pytest.mark.parametrize(
    "probability, label",
    [
        ([0.1, 0.2, 0.7, 0.8], [0, 0, 1, 1]),
        ([0.1, 0.2, 0.7, 0.8], [1, 1, 0, 0]),
        ([0.1, 0.5, 0.5, 0.8], [0, 0, 1, 1]),
        ([0.3, 0.3, 0.3, 0.3], [0, 0, 1, 1]),
        ([0.1, 0.2, 0.7, 0.8], [1, 1, 1, 1]),
    ],
    ids=["separated", "separated the wrong way", "separated up to ties", "all equal", "one class"],
)
def test_calibration_without_a_finite_fit_is_nan(probability, label):
    assert np.isnan(
        classification.logistic_recalibration(np.array(probability), np.array(label))
    ).all()


def test_classes_that_barely_overlap_still_have_a_calibration():
    intercept, slope = classification.logistic_recalibration(
        np.array([0.1] * 40 + [0.2, 0.3] + [0.9] * 40), np.arange(82) > 40
    )
    assert np.isnan([intercept, slope]).all()
    label = np.array([0] * 40 + [1, 0] + [1] * 40)
    intercept, slope = classification.logistic_recalibration(
        np.array([0.1] * 40 + [0.2, 0.3] + [0.9] * 40), label
    )
    assert np.isfinite([intercept, slope]).all() and slope > 1


def test_expected_calibration_error_by_hand():
    """Bins [0, .5) with mean .2 and rate 1/2, and [.5, 1] with mean .8 and rate 2/3."""
    probability, label = np.array([0.1, 0.3, 0.5, 0.9, 1.0]), np.array([0, 1, 0, 1, 1])
    expected = (2 * 0.3 + 3 * (0.8 - 2 / 3)) / 5
    assert classification.expected_calibration_error(probability, label, bins=2) == pytest.approx(
        expected
    )


def test_expected_calibration_error_vanishes_for_probabilities_that_hold():
    probability = np.repeat([0.25, 0.75], 400)
    label = np.concatenate([np.arange(400) < 100, np.arange(400) < 300])
    assert classification.expected_calibration_error(probability, label) == pytest.approx(
        0.0, abs=1e-12
    )


def test_calibration_curve_is_scikit_learns_on_quantile_bins():
    from sklearn.calibration import calibration_curve

    probability, label = patients(500)
    curve = classification.calibration_curve(probability, label)
    rate, mean = calibration_curve(label, probability, n_bins=10, strategy="quantile")
    assert_allclose(curve["x"], mean, rtol=1e-12)
    assert_allclose(curve["y"], rate, rtol=1e-12)
    assert curve["count"].sum() == 500 and np.ptp(curve["count"]) <= 1


def test_calibration_curve_has_wilsons_intervals():
    curve = classification.calibration_curve(*patients(100))
    for rate, low, high, count in zip(
        *(curve[c] for c in ("y", "low", "high", "count")), strict=True
    ):
        expected = scipy.stats.binomtest(round(rate * count), int(count)).proportion_ci(
            0.95, method="wilson"
        )
        assert_allclose([low, high], expected, atol=1e-9)


def test_equal_probabilities_share_a_bin():
    probability, label = patients(200, levels=4)
    curve = classification.calibration_curve(probability, label)
    _, counts = np.unique(probability, return_counts=True)
    assert 1 < len(curve["count"]) and set(np.cumsum(curve["count"])) <= set(np.cumsum(counts))
    constant = classification.calibration_curve(np.full(9, 0.3), np.arange(9) < 3)
    assert constant["count"] == 9 and constant["y"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("levels", [None, 3, 20])
def test_roc_curve_is_the_corners_of_scikit_learns(levels):
    score, label = patients(80, levels)
    curve = classification.roc_curve(score, label)
    alarms, hits, thresholds = sklearn.metrics.roc_curve(label, score, drop_intermediate=False)
    kept = np.isin(thresholds, curve["threshold"])
    assert_allclose(curve["x"], alarms[kept], rtol=1e-12)
    assert_allclose(curve["y"], hits[kept], rtol=1e-12)
    points = np.stack([curve["x"], curve["y"]], axis=1)
    for left, middle, right in zip(points, points[1:], points[2:], strict=False):
        assert abs(np.linalg.det([middle - left, right - middle])) > 1e-9
    area = np.trapezoid(curve["y"], curve["x"])
    assert area == pytest.approx(classification.auroc(score, label), rel=1e-12)


@pytest.mark.parametrize("levels", [None, 3, 20])
def test_precision_recall_curve_is_scikit_learns(levels):
    score, label = patients(80, levels)
    curve = classification.precision_recall_curve(score, label)
    precision, recall, thresholds = sklearn.metrics.precision_recall_curve(label, score)
    # scikit-learn rises in threshold and closes with the point (0, 1), which belongs to no
    # threshold.
    assert_allclose(curve["x"], recall[-2::-1], rtol=1e-12)
    assert_allclose(curve["y"], precision[-2::-1], rtol=1e-12)
    assert_array_equal(curve["threshold"], thresholds[::-1])


@pytest.mark.parametrize("name", ["calibration_curve", *CURVES])
@pytest.mark.parametrize("rows", [0, 1, 30])
def test_curves_are_columns_of_a_frame(name, rows):
    frame = pd.DataFrame(getattr(classification, name)(*patients(rows)))
    assert {"x", "y"} <= set(frame.columns) and np.isfinite(frame[["x", "y"]].to_numpy()).all()


@pytest.mark.parametrize("event", [0, 1])
def test_one_class_has_no_ranking_but_has_probabilities(event):
    probability, _ = patients(30)
    label = np.full(30, event)
    for name in ("auroc", "auprc", "hard_label_auroc"):
        assert np.isnan(getattr(classification, name)(probability, label))
    for name in CURVES:
        assert len(getattr(classification, name)(probability, label)["x"]) == 0
    assert classification.brier(probability, label) == pytest.approx(
        ((probability - event) ** 2).mean()
    )
    assert classification.expected_calibration_error(probability, label) > 0


@pytest.mark.parametrize(
    "name", ["auroc", "auprc", "hard_label_auroc", "brier", "expected_calibration_error"]
)
def test_no_rows_are_nan(name):
    assert np.isnan(getattr(classification, name)(np.empty(0), np.empty(0)))


@pytest.mark.parametrize("name", MEASURES)
def test_a_broken_row_is_refused_by_name(name):
    probability, label = patients(30)
    measure = getattr(classification, name)
    broken = probability.copy()
    broken[7] = np.nan
    with pytest.raises(ValueError, match="the score of row 7 is nan"):
        measure(broken, label)
    with pytest.raises(ValueError, match="the label of row 4 is 2.0"):
        measure(probability, np.where(np.arange(30) == 4, 2.0, label))
    with pytest.raises(ValueError, match="30 scores and 29 labels"):
        inspect.unwrap(measure)(probability, label[:29])


@pytest.mark.parametrize("name", OF_PROBABILITIES)
@pytest.mark.parametrize("value", [-0.01, 1.01, np.inf])
def test_a_probability_lies_between_0_and_1(name, value):
    probability, label = patients(30)
    probability[5] = value
    with pytest.raises(ValueError, match=f"row 5 has probability {value}"):
        getattr(classification, name)(probability, label)
