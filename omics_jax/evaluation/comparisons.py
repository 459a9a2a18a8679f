"""Whether one model beats another over resampled splits: tests, intervals and corrections for many
tests.

Splits of repeated cross-validation share training rows, so their scores are correlated; the
variance of
Nadeau & Bengio (2003, Machine Learning 52:239-281), which Bouckaert & Frank (2004, PAKDD) use for
repeated
k-fold, accounts for it, while the Mann-Whitney test of the PertVAE paper does not and is kept only
to
reproduce its numbers. Left out: comparisons of more than two models at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float

from omics_jax.errors import UserError

Alternative = Literal["two-sided", "greater", "less"]
Model = str | tuple[str, str]
SPLIT = ("fold", "repeat")


@dataclass(frozen=True)
class TestResult:
    """A statistic, its p-value, the mean difference it judges with a 95 % interval, the degrees of
    freedom.

    `ci95` is always the two-sided interval of the difference, whatever the alternative. Quantities
    that a
    test does not have, or that cannot be computed, are nan.
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
    """Corrected resampled t-test of mean difference 0 over J splits (Nadeau & Bengio 2003, section
    4).

    t = mean(d) / sqrt((1/J + n_test/n_train) s^2), s^2 the sample variance, with J - 1 degrees of
    freedom. `test_train_ratio` is n_test / n_train, 1/(k-1) in k-fold; 0 gives the ordinary t-test,
    which is right
    for independent differences only. "greater" asks whether the mean difference is above 0.

    With J < 2, statistic, p and interval are nan. With all differences equal, statistic and p are
    nan (there
    is no variance to judge by) and the interval has zero width. A nan among the differences makes
    all nan.
    """
    if not (np.isfinite(test_train_ratio) and test_train_ratio >= 0):
        raise ValueError(f"n_test/n_train must be a number of 0 or more, not {test_train_ratio}")
    return _t_test(differences, 1.0 / max(len(differences), 1) + test_train_ratio, alternative)


def corrected_interval(
    values: Float[np.ndarray, " splits"], test_train_ratio: float
) -> tuple[float, float]:
    """95 % interval of the mean of J scores over overlapping splits, as in `corrected_resampled_t`.

    (nan, nan) for J < 2; of zero width when all values are equal.
    """
    return corrected_resampled_t(values, test_train_ratio).ci95


def mann_whitney_greater(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " m"]) -> TestResult:
    """The PertVAE paper's test: one-sided Mann-Whitney U, "scores in a tend to be above those in
    b".

    It takes the splits for independent, hence its p is too small on overlapping ones; use it beside
    `corrected_resampled_t`, not in its place. `difference` is mean(a) - mean(b); interval and df
    are nan, and
    so are statistic and p when a side is empty or holds a nan.
    """
    from scipy.stats import mannwhitneyu

    if len(a) == 0 or len(b) == 0 or np.isnan(a).any() or np.isnan(b).any():
        return TestResult(np.nan, np.nan, np.nan, (np.nan, np.nan), np.nan)
    test = mannwhitneyu(a, b, alternative="greater")
    difference = float(np.mean(a, dtype=np.float64) - np.mean(b, dtype=np.float64))
    return TestResult(
        float(test.statistic), float(test.pvalue), difference, (np.nan, np.nan), np.nan
    )


def benjamini_hochberg(p: Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """p adjusted for the false discovery rate (Benjamini & Hochberg 1995); nan stays nan and is not
    counted.

    For sorted p_(i) of m tests: min over j >= i of p_(j) m / j, at most 1. ValueError outside [0,
    1].
    """

    def step_up(ranked):
        scaled = ranked * len(ranked) / np.arange(1, len(ranked) + 1)
        return np.minimum.accumulate(scaled[::-1])[::-1]

    return _adjusted(p, step_up)


def holm(p: Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """p adjusted for the family-wise error rate (Holm 1979); nan stays nan and is not counted.

    For sorted p_(i) of m tests: max over j <= i of p_(j) (m - j + 1), at most 1. ValueError outside
    [0, 1].
    """
    return _adjusted(
        p, lambda ranked: np.maximum.accumulate(ranked * np.arange(len(ranked), 0, -1))
    )


def with_adjusted_p(tests: Sequence[dict], method: Callable = holm) -> list[dict]:
    """The comparisons of a family (see `compare`) with "p_adjusted" over all of them."""
    found = method(np.array([test["p"] for test in tests], dtype=float))
    return [{**test, "p_adjusted": float(p)} for test, p in zip(tests, found, strict=True)]


def summarize(values: Float[np.ndarray, " splits"], test_train_ratio: float) -> dict:
    """One metric over the splits of one experiment, as it stands in metrics.json.

    Returns {"mean", "sd", "ci95": [low, high], "ci_method", "n"} over the n values that are not
    nan; sd is
    the sample standard deviation and nan, like the interval, for n < 2. `values` holds one value
    per split:
    several groups (drugs) in one summary are to be averaged within each split first.
    """
    defined = np.asarray(values, dtype=np.float64)
    defined = defined[~np.isnan(defined)]
    n = len(defined)
    low, high = corrected_interval(defined, test_train_ratio)
    method = f"corrected resampled t (Nadeau-Bengio), n_test/n_train = {test_train_ratio:.4g}"
    return {
        "mean": float(defined.mean()) if n else np.nan,
        "sd": float(defined.std(ddof=1)) if n > 1 else np.nan,
        "ci95": [low, high],
        "ci_method": method if n > 1 else "none, fewer than two splits",
        "n": n,
    }


def compare(
    frame: pd.DataFrame,
    a: Model,
    b: Model,
    metric: str,
    by: str = "group",
    alternative: Alternative = "two-sided",
) -> list[dict]:
    """One corrected resampled t-test of a minus b per value of column `by`, as listed in
    metrics.json.

    Args:
      frame: tidy scores with columns arm, model, group, fold, repeat, metric, value, n_train,
        n_test.
      a, b: a name in column `model`, or (arm, model) where the frame holds several arms.
      metric: the name in column `metric`; "greater" is better or worse as the metric has it.

    Values are paired on (`by`, fold, repeat). Pairs that lack a side or in which one is nan are
    left out, and
    `test` then says how many were used of how many. n_test/n_train is the mean over the pairs, of
    the larger
    one where the two sides differ. p_adjusted is Benjamini-Hochberg over the groups of this call.
    Raises UserError for a model or metric that the frame does not hold, ValueError for missing
    columns and
    for a side with two values for one split.
    """
    left, right = (_scores(frame, model, metric, by) for model in (a, b))
    pairs = left.join(right, how="outer", lsuffix="_a", rsuffix="_b")
    names = {"a": _label(a), "b": _label(b)}
    rows = [
        {**names, "metric": metric, "group": str(group), **_paired_test(part, alternative)}
        for group, part in pairs.groupby(level=by, sort=False)
    ]
    adjusted = benjamini_hochberg(np.array([row["p"] for row in rows], dtype=np.float64))
    return [{**row, "p_adjusted": float(p)} for row, p in zip(rows, adjusted, strict=True)]


def _paired_test(pairs, alternative):
    used = pairs.dropna(subset=["value_a", "value_b"])
    ratio = float(used[["ratio_a", "ratio_b"]].max(axis=1).mean()) if len(used) else 0.0
    differences = (used["value_a"] - used["value_b"]).to_numpy(np.float64)
    result = corrected_resampled_t(differences, ratio, alternative)
    splits = f"{len(used)}" if len(used) == len(pairs) else f"{len(used)} of {len(pairs)}"
    return {
        "difference": result.difference,
        "ci95": list(result.ci95),
        "p": result.p,
        "test": f"corrected resampled t, {alternative}, {splits} splits",
    }


def _scores(frame, model, metric, by):
    """One side of a comparison: value and n_test/n_train, indexed by (by, fold, repeat)."""
    keys = [by, *SPLIT]
    missing = {*keys, "arm", "model", "metric", "value", "n_train", "n_test"} - set(frame.columns)
    if missing:
        raise ValueError(f"the table of scores lacks the columns {sorted(missing)}")
    arm, name = (None, model) if isinstance(model, str) else model
    chosen = (frame["metric"] == metric) & (frame["model"] == name)
    if arm is not None:
        chosen &= frame["arm"] == arm
    if not chosen.any():
        raise UserError(
            f"no scores of {_label(model)!r} in {metric!r} to compare; models: "
            f"{_listed(frame['model'])}; metrics: {_listed(frame['metric'])}; arms: "
            f"{_listed(frame['arm'])}"
        )
    side = frame[chosen].set_index(keys)
    if side.index.has_duplicates:
        twice = dict(zip(keys, side.index[side.index.duplicated()][0], strict=True))
        raise ValueError(
            f"{_label(model)!r} has several {metric!r} at {twice}; name it as (arm, model)"
        )
    return pd.DataFrame({"value": side["value"], "ratio": side["n_test"] / side["n_train"]})


def _label(model):
    return model if isinstance(model, str) else "/".join(model)


def _listed(column):
    return ", ".join(sorted(map(str, column.unique())))


def _t_test(values, inflation, alternative):
    """t = mean / sqrt(inflation * s^2) on len(values) - 1 degrees of freedom, as a TestResult."""
    from scipy.stats import t as student

    values = np.asarray(values, dtype=np.float64)
    count, df = len(values), float(len(values) - 1)
    mean = float(values.mean()) if count else np.nan
    if count < 2 or not np.isfinite(values).all():
        return TestResult(
            np.nan, np.nan, mean if np.isfinite(mean) else np.nan, (np.nan, np.nan), df
        )
    if np.ptp(values) == 0:
        return TestResult(np.nan, np.nan, mean, (mean, mean), df)
    error = float(np.sqrt(inflation * values.var(ddof=1)))
    statistic = mean / error
    p = {
        "two-sided": 2 * student.sf(abs(statistic), df),
        "greater": student.sf(statistic, df),
        "less": student.cdf(statistic, df),
    }[alternative]
    half_width = float(student.ppf(0.975, df)) * error
    return TestResult(statistic, float(p), mean, (mean - half_width, mean + half_width), df)


def _adjusted(p, adjust_sorted):
    """Apply an adjustment to the sorted defined p-values and put the results back in place."""
    p = np.asarray(p, dtype=np.float64)
    defined = ~np.isnan(p)
    if ((p[defined] < 0) | (p[defined] > 1)).any():
        raise ValueError("p-values lie between 0 and 1")
    order = np.flatnonzero(defined)[np.argsort(p[defined], kind="stable")]
    adjusted = np.full(p.shape, np.nan)
    adjusted[order] = np.minimum(adjust_sorted(p[order]), 1.0)
    return adjusted
