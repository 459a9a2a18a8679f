"""Comparisons against scipy where it has the test, by hand where not, and by simulation."""

import itertools

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from numpy.testing import assert_allclose, assert_equal

from omics_jax.errors import UserError
from omics_jax.evaluation import comparisons

ALTERNATIVES = ("two-sided", "greater", "less")


def correlated_normals(random, experiments, splits, correlation, shift=0.0):
    """(experiments, splits) normal differences of mean `shift`, correlated in an experiment."""
    shared = random.normal(size=(experiments, 1))
    own = random.normal(size=(experiments, splits))
    return shift + np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own


def three_standard_errors(experiments, level=0.05):
    return 3 * np.sqrt(level * (1 - level) / experiments)


def rejections(differences, ratio):
    """Share of experiments (rows) in which the two-sided test rejects at 5 %."""
    return np.mean([comparisons.corrected_resampled_t(row, ratio).p < 0.05 for row in differences])


def squared_error(x, y, test):
    """Of each experiment's regression on x without intercept, over the test rows."""
    train_x, train_y = x[:, ~test], y[:, ~test]
    covariance = (train_x * train_y).sum(axis=1)
    slope = covariance / (train_x**2).sum(axis=1)
    residual = y[:, test] - slope[:, None] * x[:, test]
    return (residual**2).mean(axis=1)


def cross_validation_differences(random, experiments, rows=50, repeats=10, folds=5):
    """Squared-error differences (experiments, splits) of two linear models that are equally good.

    y = u + v + noise; one model regresses y on u, the other on v, without intercept, so that a
    fold's sums are all that a fit needs.
    """
    u, v = random.normal(size=(2, experiments, rows))
    y = u + v + random.normal(size=(experiments, rows))
    splits = []
    for _ in range(repeats):
        order = random.permutation(rows)
        for fold in range(folds):
            test = np.zeros(rows, dtype=bool)
            test[order[fold::folds]] = True
            error_u = squared_error(u, y, test)
            error_v = squared_error(v, y, test)
            splits.append(error_u - error_v)
    return np.stack(splits, axis=1)


@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_without_overlap_it_is_the_ordinary_t_test(alternative):
    differences = np.random.default_rng(0).normal(0.2, 1.0, 17)
    result = comparisons.corrected_resampled_t(differences, 0.0, alternative)
    expected = scipy.stats.ttest_1samp(differences, 0.0, alternative=alternative)
    interval = scipy.stats.ttest_1samp(differences, 0.0).confidence_interval(0.95)
    assert_allclose([result.statistic, result.p], [expected.statistic, expected.pvalue], rtol=1e-12)
    assert_allclose(result.ci95, interval, rtol=1e-12)
    assert result.df == 16 and result.difference == differences.mean()


def test_the_corrected_test_by_hand():
    """d = (1, 2, 3, 6): mean 3, s^2 = 14/3; t = 3 / sqrt((1/4 + 1/3) 14/3) = 9 / sqrt(24.5)."""
    result = comparisons.corrected_resampled_t(np.array([1.0, 2.0, 3.0, 6.0]), 1 / 3)
    t = 9 / np.sqrt(24.5)
    assert result.statistic == pytest.approx(t, rel=1e-12)
    # Student's t on 3 degrees of freedom has an elementary distribution function.
    x = t / np.sqrt(3)
    upper = 0.5 - (np.arctan(x) + x / (1 + x**2)) / np.pi
    assert result.p == pytest.approx(2 * upper, rel=1e-9)
    half = 3.182446305284263 * np.sqrt(24.5) / 3
    assert result.ci95 == pytest.approx((3 - half, 3 + half), rel=1e-9)


def test_alternatives_are_consistent():
    differences = np.random.default_rng(1).normal(0.3, 1.0, 50)
    two, greater, less = (
        comparisons.corrected_resampled_t(differences, 0.25, a) for a in ALTERNATIVES
    )
    assert greater.p + less.p == pytest.approx(1.0)
    assert two.p == pytest.approx(2 * min(greater.p, less.p))
    assert two.ci95 == greater.ci95 == less.ci95
    swapped = comparisons.corrected_resampled_t(-differences, 0.25, "less")
    assert swapped.p == pytest.approx(greater.p)
    assert swapped.difference == -greater.difference


def test_interval_and_p_agree():
    """The 95 % interval of differences shifted to have 0 at its end gives p = 0.05."""
    differences = np.random.default_rng(2).normal(size=30)
    low, high = comparisons.corrected_interval(differences, 0.25)
    for end in (low, high):
        assert comparisons.corrected_resampled_t(differences - end, 0.25).p == pytest.approx(
            0.05, rel=1e-9
        )


@pytest.mark.parametrize("values", [[], [0.3]])
def test_fewer_than_two_splits_have_no_test(values):
    result = comparisons.corrected_resampled_t(np.array(values, dtype=float), 0.25)
    assert np.isnan([result.statistic, result.p, *result.ci95]).all()
    assert_equal(result.difference, values[0] if values else np.nan)


@pytest.mark.parametrize("value", [0.0, 0.1])
def test_equal_differences_have_no_variance_to_judge_by(value):
    result = comparisons.corrected_resampled_t(np.full(10, value), 0.25)
    assert np.isnan(result.statistic) and np.isnan(result.p)
    assert result.ci95 == (result.difference, result.difference) == pytest.approx((value, value))


def test_a_nan_difference_is_not_passed_over():
    result = comparisons.corrected_resampled_t(np.array([0.1, np.nan, 0.3]), 0.25)
    assert np.isnan([result.statistic, result.p, result.difference, *result.ci95]).all()


@pytest.mark.parametrize("ratio", [-0.1, np.nan, np.inf])
def test_a_ratio_must_be_a_number_of_0_or_more(ratio):
    with pytest.raises(ValueError, match="n_test/n_train"):
        comparisons.corrected_resampled_t(np.array([1.0, 2.0]), ratio)


def test_the_corrected_test_is_exact_under_its_assumption():
    """If two splits correlate by n_test / n, as Nadeau & Bengio assume, it is an exact t-test."""
    experiments, ratio = 4000, 0.25
    correlation = ratio / (1 + ratio)
    random = np.random.default_rng(3)
    differences = correlated_normals(random, experiments, 50, correlation)
    error = abs(rejections(differences, ratio) - 0.05)
    assert error <= three_standard_errors(experiments)
    assert rejections(differences, 0.0) > 0.5


def test_on_repeated_cross_validation_the_corrected_test_holds_its_level_and_the_naive_does_not():
    experiments = 2000
    differences = cross_validation_differences(np.random.default_rng(4), experiments)
    assert rejections(differences, 0.25) <= 0.05 + three_standard_errors(experiments)
    assert rejections(differences, 0.0) > 0.25


def test_the_corrected_interval_covers_the_mean():
    experiments, ratio, truth = 2000, 0.25, 0.4
    values = correlated_normals(
        np.random.default_rng(5), experiments, 20, ratio / (1 + ratio), truth
    )
    intervals = [comparisons.corrected_interval(row, ratio) for row in values]
    covered = np.mean([low <= truth <= high for low, high in intervals])
    assert abs(covered - 0.95) <= three_standard_errors(experiments)


@pytest.mark.parametrize("size", [6, 50])
def test_mann_whitney_counts_wins(size):
    a, b = np.random.default_rng(size).normal(size=(2, size))
    a += 0.4
    result = comparisons.mann_whitney_greater(a, b)
    assert result.statistic == (a[:, None] > b).sum()
    assert result.p == scipy.stats.mannwhitneyu(a, b, alternative="greater").pvalue < 0.5
    assert result.difference == pytest.approx(a.mean() - b.mean())


def test_mann_whitney_of_two_complete_separations_by_hand():
    """All of a above all of b: one of the C(6, 3) = 20 equally likely orders."""
    above = np.array([4.0, 5.0, 6.0])
    below = np.array([1.0, 2.0, 3.0])
    result = comparisons.mann_whitney_greater(above, below)
    assert result.p == pytest.approx(1 / 20)


@pytest.mark.parametrize("b", [[], [0.1, np.nan]])
def test_mann_whitney_of_nothing_or_nan_is_nan(b):
    result = comparisons.mann_whitney_greater(np.array([0.1, 0.2]), np.array(b, dtype=float))
    assert np.isnan([result.statistic, result.p, result.difference]).all()


@pytest.mark.parametrize("m", [1, 2, 19, 200])
def test_benjamini_hochberg_agrees_with_its_formula_and_scipy(m):
    p = np.random.default_rng(m).uniform(size=m) ** 2
    p[m // 2 :] = np.round(p[m // 2 :], 1)
    rank = scipy.stats.rankdata(p, method="ordinal")
    scaled = p * m / rank
    expected = [min(1.0, scaled[rank >= r].min()) for r in rank]
    assert_allclose(comparisons.benjamini_hochberg(p), expected, rtol=1e-12)
    scipys = scipy.stats.false_discovery_control(p)
    assert_allclose(comparisons.benjamini_hochberg(p), scipys, rtol=1e-12)


def test_holm_by_hand():
    """Sorted .01 .02 .03 .5 times 4 3 2 1 is .04 .06 .06 .5."""
    adjusted = comparisons.holm(np.array([0.03, 0.01, 0.5, 0.02]))
    assert_allclose(adjusted, [0.06, 0.04, 0.5, 0.06])
    assert_allclose(comparisons.holm(np.array([0.9, 0.8])), [1.0, 1.0])


def test_holm_is_the_closed_bonferroni_procedure():
    """Holm's p is the largest Bonferroni p over all sets of hypotheses that contain the one."""
    p = np.random.default_rng(9).uniform(size=6) / 3
    expected = np.zeros(6)
    for size in range(1, 7):
        for hypotheses in itertools.combinations(range(6), size):
            members = list(hypotheses)
            bonferroni = min(1.0, size * p[members].min())
            expected[members] = np.maximum(expected[members], bonferroni)
    assert_allclose(comparisons.holm(p), expected, rtol=1e-12)


@pytest.mark.parametrize("adjust", [comparisons.benjamini_hochberg, comparisons.holm])
def test_undefined_p_values_stay_and_are_not_counted(adjust):
    p = np.array([0.01, np.nan, 0.04, np.nan, 0.03])
    defined = ~np.isnan(p)
    adjusted = adjust(p)
    assert_allclose(adjusted[defined], adjust(p[defined]))
    assert np.isnan(adjusted[~defined]).all()
    assert adjust(np.array([])).shape == (0,)
    with pytest.raises(ValueError, match="between 0 and 1"):
        adjust(np.array([0.5, 1.5]))


def test_a_summary_of_splits():
    values = np.array([0.5, np.nan, 0.7, 0.6])
    summary = comparisons.summarize(values, 0.25)
    assert summary["mean"] == pytest.approx(0.6)
    assert summary["sd"] == pytest.approx(0.1)
    assert summary["n"] == 3
    defined = values[~np.isnan(values)]
    assert summary["ci95"] == list(comparisons.corrected_interval(defined, 0.25))
    assert summary["ci_method"] == "corrected resampled t (Nadeau-Bengio), n_test/n_train = 0.25"


@pytest.mark.parametrize("values, n", [([], 0), ([np.nan], 0), ([0.4], 1)])
def test_a_summary_of_too_few_splits_says_so(values, n):
    summary = comparisons.summarize(np.array(values, dtype=float), 0.25)
    assert summary["n"] == n and summary["ci_method"] == "none, fewer than two splits"
    assert np.isnan([summary["sd"], *summary["ci95"]]).all()
    assert np.isnan(summary["mean"]) == (n == 0)


@pytest.fixture
def scores():
    """Tidy scores of 3 drugs, 5 folds, 4 repeats, 2 models and 2 metrics; only drug A differs."""
    columns = ["group", "fold", "repeat", "model", "metric"]
    levels = ("ABC", range(5), range(4), ("model", "ridge"), ("spearman", "rmse"))
    frame = pd.DataFrame([*itertools.product(*levels)], columns=columns)
    noise = np.random.default_rng(10).normal(size=len(frame))
    better = (frame["model"] == "model") & (frame["group"] == "A")
    frame["value"] = 0.5 + 0.01 * noise + 0.1 * better
    frame = frame.assign(arm="pertvae", n_train=36, n_test=9)
    return frame.sample(frac=1.0, random_state=0)


def paired(scores, drug, metric="spearman"):
    chosen = (scores["group"] == drug) & (scores["metric"] == metric)
    part = scores[chosen]
    wide = part.pivot(index=["fold", "repeat"], columns="model", values="value")
    return (wide["model"] - wide["ridge"]).to_numpy()


@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_a_comparison_is_one_corrected_test_per_group(scores, alternative):
    rows = comparisons.compare(scores, "model", "ridge", "spearman", alternative=alternative)
    expected = {
        drug: comparisons.corrected_resampled_t(paired(scores, drug), 0.25, alternative)
        for drug in "ABC"
    }
    assert [row["group"] for row in rows] == ["A", "B", "C"]
    for row in rows:
        result = expected[row["group"]]
        assert set(row) == {
            "a", "b", "metric", "group", "difference", "ci95", "p", "p_adjusted", "test"
        }  # fmt: skip
        assert (row["a"], row["b"], row["metric"]) == ("model", "ridge", "spearman")
        assert row["test"] == f"corrected resampled t, {alternative}, 20 splits"
        assert_allclose(row["difference"], result.difference)
        assert_allclose(row["p"], result.p)
        assert_allclose(row["ci95"], result.ci95)
    adjusted = scipy.stats.false_discovery_control([expected[drug].p for drug in "ABC"])
    assert_allclose([row["p_adjusted"] for row in rows], adjusted)


def test_a_true_difference_is_found_and_no_other(scores):
    found = {
        row["group"]: row["p_adjusted"] < 0.05
        for row in comparisons.compare(scores, "model", "ridge", "rmse")
    }
    assert found == {"A": True, "B": False, "C": False}


def test_splits_without_a_pair_are_left_out_and_counted(scores):
    scores = scores.reset_index(drop=True)
    side = scores.query("metric == 'spearman' and group == 'B' and model == 'ridge'")
    scores.loc[side.index[0], "value"] = np.nan
    scores = scores.drop(side.index[1])
    rows = comparisons.compare(scores, "model", "ridge", "spearman")
    by_drug = {row["group"]: row for row in rows}
    assert by_drug["B"]["test"].endswith("18 of 20 splits")
    assert by_drug["A"]["test"].endswith("20 splits")
    assert np.isfinite(by_drug["B"]["p"])


def test_arms_are_compared_by_name(scores):
    other = scores.assign(arm="gaussian", value=scores["value"] - 0.05)
    both = pd.concat([scores, other])
    with pytest.raises(ValueError, match=r"'model' has several 'spearman' at .*\(arm, model\)"):
        comparisons.compare(both, "model", "ridge", "spearman")
    rows = comparisons.compare(both, ("pertvae", "model"), ("gaussian", "model"), "spearman")
    assert (rows[0]["a"], rows[0]["b"]) == ("pertvae/model", "gaussian/model")
    assert rows[0]["difference"] == pytest.approx(0.05)


def test_the_larger_ratio_of_two_arms_counts(scores):
    fewer = scores["model"] == "ridge"
    scores.loc[fewer, "n_train"] = 18
    row = comparisons.compare(scores, "model", "ridge", "spearman")[1]
    expected = comparisons.corrected_resampled_t(paired(scores, "B"), 0.5)
    assert row["p"] == pytest.approx(expected.p)


def test_a_model_that_was_not_scored_is_named(scores):
    with pytest.raises(UserError, match="no scores of 'lasso' in 'spearman'.*models: model, ridge"):
        comparisons.compare(scores, "model", "lasso", "spearman")
    with pytest.raises(ValueError, match=r"lacks the columns \['n_test'\]"):
        comparisons.compare(scores.drop(columns="n_test"), "model", "ridge", "spearman")
