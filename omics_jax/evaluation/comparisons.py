"""Whether one model beats another over resampled splits: tests, intervals and corrections.

Splits of repeated cross-validation share training rows, so their scores are correlated. The
variance of Nadeau & Bengio (2003, Machine Learning 52:239-281), which Bouckaert & Frank (2004,
PAKDD) use for repeated k-fold, accounts for it; no library has that test. An interval of a score
stays within the score's bounds (`measures`). The Mann-Whitney test of
the PertVAE paper does not account for it and is here only to reproduce the paper's numbers. Left
out: comparisons of more than two models at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float

from omics_jax.errors import UserError
from omics_jax.evaluation.measures import Measure, measure_of

Alternative = Literal["two-sided", "greater", "less"]
Model = str | tuple[str, str]
SPLIT = ("fold", "repeat")


@dataclass(frozen=True)
class TestResult:
    """A test of a mean difference; what a test does not have, or cannot be computed, is nan.

    `ci95` is always the two-sided 95 % interval of the difference, whatever the alternative; `df`
    are the degrees of freedom.
    """

    statistic: float
    p: float
    difference: float
    ci95: tuple[float, float]
    df: float


def corrected_resampled_t(
    differences: Float[np.ndarray, " splits"],
    test_train_ratio: float,
    alternative: Alternative = "two-sided",
) -> TestResult:
    """Corrected resampled t-test of mean difference 0 over J splits.

    t = mean(d) / sqrt((1/J + n_test/n_train) s^2), s^2 the sample variance, with J - 1 degrees of
    freedom (Nadeau & Bengio 2003, section 4). `test_train_ratio` is n_test / n_train, 1/(k-1) in
    k-fold; 0 gives the ordinary t-test, which is right for independent differences only. "greater"
    asks whether the mean difference is above 0.

    With J < 2, statistic, p and interval are nan. With all differences equal, statistic and p are
    nan (there is no variance to judge by) and the interval has zero width. A nan among the
    differences makes all nan. Raises ValueError for a ratio that is not a number of 0 or more.
    """
    if not (np.isfinite(test_train_ratio) and test_train_ratio >= 0):
        raise ValueError(f"n_test/n_train must be a number of 0 or more, not {test_train_ratio}")
    inflation = 1.0 / max(len(differences), 1) + test_train_ratio
    return _t_test(differences, inflation, alternative)


def corrected_interval(
    values: Float[np.ndarray, " splits"],
    test_train_ratio: float,
    measure: Measure = Measure(),
) -> tuple[float, float]:
    """95 % interval of the mean m of J scores over overlapping splits, within their bounds.

    It is m -+ h as in `corrected_resampled_t`, cut off at the bound of a score that has one (an
    error, R2), where nothing can lie. Between two bounds it is that of the logit
    g(m) = log((m - low) / (high - m)) by the delta method, the inverse of g(m) -+ g'(m) h; Fisher's
    z of a correlation is half of it.

    (nan, nan) for J < 2, for p-values, and where m itself is out of bounds, which censoring weights
    make possible. Of zero width when all values are equal, also at a bound.
    """
    result = corrected_resampled_t(values, test_train_ratio)
    mean, (low, high) = result.difference, result.ci95
    if measure.is_p or np.isnan(low):
        return (np.nan, np.nan)
    if low == high:
        return (low, high)
    if not measure.low < mean < measure.high:
        return (np.nan, np.nan)
    if measure.has_two_bounds:
        return _logit_interval(mean, (high - low) / 2, measure)
    return (max(low, measure.low), min(high, measure.high))


def mann_whitney_greater(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " m"]) -> TestResult:
    """The PertVAE paper's test: one-sided Mann-Whitney U, "scores in a tend to exceed those in b".

    It treats the splits as independent, so its p is too small on overlapping ones; use it beside
    `corrected_resampled_t`, not in its place. `difference` is mean(a) - mean(b); interval and df
    are nan, and so are statistic and p when a side is empty or holds a nan.
    """
    from scipy.stats import mannwhitneyu

    incomplete = np.isnan(a).any() or np.isnan(b).any()
    if len(a) == 0 or len(b) == 0 or incomplete:
        return TestResult(np.nan, np.nan, np.nan, (np.nan, np.nan), np.nan)
    test = mannwhitneyu(a, b, alternative="greater")
    difference = float(np.mean(a, dtype=np.float64) - np.mean(b, dtype=np.float64))
    statistic, p = float(test.statistic), float(test.pvalue)
    return TestResult(statistic, p, difference, (np.nan, np.nan), np.nan)


def benjamini_hochberg(p: Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """p adjusted for the false discovery rate (Benjamini & Hochberg 1995).

    For sorted p_(i) of m tests: min over j >= i of p_(j) m / j, at most 1. nan stays nan and is not
    counted in m. ValueError outside [0, 1].
    """
    from scipy.stats import false_discovery_control

    return _adjust_defined(p, false_discovery_control)


def holm(p: Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """p adjusted for the family-wise error rate (Holm 1979).

    For sorted p_(i) of m tests: max over j <= i of p_(j) (m - j + 1), at most 1. nan stays nan and
    is not counted in m. ValueError outside [0, 1]. Hand-written because scipy has no such function.
    """
    return _adjust_defined(p, _step_down)


def with_adjusted_p(tests: Sequence[dict], method: Callable = holm) -> list[dict]:
    """The comparisons of a family (see `compare`) with "p_adjusted" over all of them."""
    adjusted = method(np.array([test["p"] for test in tests], dtype=float))
    return [{**test, "p_adjusted": float(p)} for test, p in zip(tests, adjusted, strict=True)]


def summarize(
    values: Float[np.ndarray, " splits"], test_train_ratio: float, measure: Measure = Measure()
) -> dict:
    """One metric over the splits of one experiment, as it stands in metrics.json.

    Returns {"mean", "sd", "ci95": [low, high], "ci_method", "n"} over the n values that are not
    nan; sd is the sample standard deviation and nan, like the interval, for n < 2. `values` holds
    one value per split: average several groups (drugs) within each split first.

    p-values have no interval, and "p_combined" besides: min(1, 2 mean) is a p-value of all splits
    together, however they depend on each other (Vovk & Wang 2020, Biometrika 107:791-808).
    """
    defined = np.asarray(values, dtype=np.float64)
    defined = defined[~np.isnan(defined)]
    n = len(defined)
    low, high = corrected_interval(defined, test_train_ratio, measure)
    summary = {
        "mean": float(defined.mean()) if n else np.nan,
        "sd": float(defined.std(ddof=1)) if n > 1 else np.nan,
        "ci95": [low, high],
        "ci_method": _interval_method((low, high), n, test_train_ratio, measure),
        "n": n,
    }
    if measure.is_p:
        summary["p_combined"] = min(1.0, (2 if n > 1 else 1) * summary["mean"]) if n else np.nan
    return summary


def _interval_method(
    interval: tuple[float, float], n: int, test_train_ratio: float, measure: Measure
) -> str:
    """How the interval of `summarize` was made, or why there is none."""
    if measure.is_p:
        return "none, p-values of the splits"
    if n < 2:
        return "none, fewer than two splits"
    if np.isnan(interval).any():
        return "none, a mean outside of what the score can be"
    scale = " on the logit scale" if measure.has_two_bounds else ""
    method = (
        f"corrected resampled t (Nadeau-Bengio){scale}, n_test/n_train = {test_train_ratio:.4g}"
    )
    cut = [f"{end:g}" for end in interval if end in (measure.low, measure.high)]
    return f"{method}, cut off at {cut[0]}" if cut and not measure.has_two_bounds else method


def compare(
    frame: pd.DataFrame,
    a: Model,
    b: Model,
    metric: str,
    by: str = "group",
    alternative: Alternative = "two-sided",
) -> list[dict]:
    """Corrected resampled t-tests of a minus b, one per value of column `by`, for metrics.json.

    Args:
      frame: tidy scores with columns arm, model, group, fold, repeat, metric, value, n_train,
        n_test.
      a, b: a name in column `model`, or (arm, model) where the frame holds several arms.
      metric: the name in column `metric`; "greater" is better or worse as the metric has it.

    Values are paired on (`by`, fold, repeat). Pairs that lack a side or in which one is nan are
    left out, and `test` then says how many were used of how many. n_test/n_train is the mean over
    the pairs, of the larger one where the two sides differ. ci95 is cut off where no difference of
    two such scores can lie, which leaves its coverage as it is, and 0 in it where p >= 0.05.
    p_adjusted is Benjamini-Hochberg over the groups of this call. Raises UserError for a model or
    metric that the frame does not hold, ValueError for missing columns and for a side with two
    values for one split.
    """
    scores_a, scores_b = (_scores(frame, model, metric, by) for model in (a, b))
    pairs = scores_a.join(scores_b, how="outer", lsuffix="_a", rsuffix="_b")
    names = {"a": _model_name(a), "b": _model_name(b), "metric": metric}
    tests = [
        {**names, "group": str(group), **_paired_test(part, alternative, measure_of(metric))}
        for group, part in pairs.groupby(level=by, sort=False)
    ]
    return with_adjusted_p(tests, benjamini_hochberg)


def _paired_test(pairs: pd.DataFrame, alternative: Alternative, measure: Measure) -> dict:
    """The test of one group, from the columns value_a, value_b, ratio_a and ratio_b."""
    used = pairs.dropna(subset=["value_a", "value_b"])
    larger_ratio = used[["ratio_a", "ratio_b"]].max(axis=1)
    ratio = float(larger_ratio.mean()) if len(used) else 0.0
    differences = (used["value_a"] - used["value_b"]).to_numpy(np.float64)
    result = corrected_resampled_t(differences, ratio, alternative)
    splits = f"{len(used)}" if len(used) == len(pairs) else f"{len(used)} of {len(pairs)}"
    return {
        "difference": result.difference,
        "ci95": [float(end) for end in np.clip(result.ci95, *measure.bounds_of_difference())],
        "p": result.p,
        "test": f"corrected resampled t, {alternative}, {splits} splits",
    }


def _scores(frame: pd.DataFrame, model: Model, metric: str, by: str) -> pd.DataFrame:
    """One side of a comparison: value and n_test/n_train, indexed by (by, fold, repeat)."""
    keys = [by, *SPLIT]
    needed = {*keys, "arm", "model", "metric", "value", "n_train", "n_test"}
    if missing := needed - set(frame.columns):
        raise ValueError(f"the table of scores lacks the columns {sorted(missing)}")
    arm, name = (None, model) if isinstance(model, str) else model
    chosen = (frame["metric"] == metric) & (frame["model"] == name)
    if arm is not None:
        chosen &= frame["arm"] == arm
    if not chosen.any():
        raise UserError(
            f"no scores of {_model_name(model)!r} in {metric!r} to compare; models: "
            f"{_listed(frame['model'])}; metrics: {_listed(frame['metric'])}; arms: "
            f"{_listed(frame['arm'])}"
        )
    side = frame[chosen].set_index(keys)
    if side.index.has_duplicates:
        twice = dict(zip(keys, side.index[side.index.duplicated()][0], strict=True))
        raise ValueError(
            f"{_model_name(model)!r} has several {metric!r} at {twice}; name it as (arm, model)"
        )
    return pd.DataFrame({"value": side["value"], "ratio": side["n_test"] / side["n_train"]})


def _model_name(model: Model) -> str:
    return model if isinstance(model, str) else "/".join(model)


def _listed(column: pd.Series) -> str:
    return ", ".join(sorted(map(str, column.unique())))


def _t_test(
    values: Float[np.ndarray, " splits"],
    inflation: float,
    alternative: Alternative,
) -> TestResult:
    """t = mean / sqrt(inflation * s^2) on len(values) - 1 degrees of freedom."""
    from scipy.stats import t as student

    values = np.asarray(values, dtype=np.float64)
    count, df = len(values), float(len(values) - 1)
    mean = float(values.mean()) if count else np.nan
    if count < 2 or not np.isfinite(values).all():
        mean = mean if np.isfinite(mean) else np.nan
        return TestResult(np.nan, np.nan, mean, (np.nan, np.nan), df)
    if np.ptp(values) == 0:
        return TestResult(np.nan, np.nan, mean, (mean, mean), df)
    error = float(np.sqrt(inflation * values.var(ddof=1)))
    statistic = mean / error
    p = {
        "two-sided": 2 * student.sf(abs(statistic), df),
        "greater": student.sf(statistic, df),
        "less": student.cdf(statistic, df),
    }
    half_width = float(student.ppf(0.975, df)) * error
    ci95 = (mean - half_width, mean + half_width)
    return TestResult(statistic, float(p[alternative]), mean, ci95, df)


def _logit_interval(mean: float, half_width: float, measure: Measure) -> tuple[float, float]:
    """The interval of `corrected_interval` between two bounds."""
    from scipy.special import expit

    below, above = mean - measure.low, measure.high - mean
    slope = 1 / below + 1 / above
    steps = np.array([-1.0, 1.0]) * half_width * slope
    shares = expit(np.log(below) - np.log(above) + steps)
    low, high = measure.low + (measure.high - measure.low) * shares
    return (float(low), float(high))


def _step_down(p: Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """Holm's adjustment of p-values without nan."""
    order = np.argsort(p, kind="stable")
    multiples = p[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(multiples), 1.0)
    return adjusted


def _adjust_defined(
    p: Float[np.ndarray, " tests"],
    adjust: Callable[[np.ndarray], np.ndarray],
) -> Float[np.ndarray, " tests"]:
    """The adjustment of the p-values that are not nan; the others stay nan."""
    p = np.asarray(p, dtype=np.float64)
    defined = ~np.isnan(p)
    if ((p[defined] < 0) | (p[defined] > 1)).any():
        raise ValueError("p-values lie between 0 and 1")
    adjusted = np.full(p.shape, np.nan)
    if defined.any():
        adjusted[defined] = adjust(p[defined])
    return adjusted
