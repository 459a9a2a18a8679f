"""Percentile bootstraps over test patients: the interval of a metric, and of a difference of two.

Efron & Tibshirani (1993, An Introduction to the Bootstrap, chapter 13). Whole groups of rows (all
stays of a person, say) are drawn where rows are not independent. Hand-written because
`scipy.stats.bootstrap` draws rows only, never groups, and a single undefined draw turns its
interval into nan. Left out: what another training set would change (see `comparisons` and
`shared_test_set`), and bias-corrected intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float, Int, Shaped

Scores = Float[np.ndarray, " n"]
Labels = Shaped[np.ndarray, " n"]
Groups = Shaped[np.ndarray, " n"]
Draws = Float[np.ndarray, " draws"]
Statistic = Callable[[np.ndarray, np.ndarray], float]

UNDEFINED_DRAWS = 0.05  # with a larger share of draws without a value there is no interval


def bootstrap_interval(
    statistic: Statistic,
    score: Scores,
    label: Labels,
    groups: Groups | None = None,
    *,
    n: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """95 % percentile interval of statistic(score, label) over n draws with replacement.

    Rows are patients; with `groups`, whole groups are drawn, in sorted order. Classes are not held
    fixed, so a draw can lack one: undefined draws are left out, and with more than 5 % of them (too
    few events) the interval is (nan, nan).
    """
    drawn = [statistic(score[rows], label[rows]) for rows in draw_rows(len(label), groups, n, seed)]
    return percentile_interval(np.array(drawn, np.float64))


def paired_bootstrap(
    statistic: Statistic,
    score_a: Scores,
    score_b: Scores,
    label: Labels,
    groups: Groups | None = None,
    *,
    n: int = 2000,
    seed: int = 0,
) -> tuple[float, float, float, float]:
    """(difference, low, high, p) of statistic(a) - statistic(b) on the same drawn patients.

    low and high as in `bootstrap_interval`, p as in `interval_and_p`. It says whether these two
    predictions differ on patients like these, and nothing about another training of either model.
    """

    def difference(rows: Int[np.ndarray, " m"]) -> float:
        return statistic(score_a[rows], label[rows]) - statistic(score_b[rows], label[rows])

    drawn = np.array([difference(rows) for rows in draw_rows(len(label), groups, n, seed)])
    low, high, p = interval_and_p(drawn)
    every_row = np.arange(len(label))
    return (float(difference(every_row)), low, high, p)


def draw_rows(
    count: int,
    groups: Groups | None,
    n: int,
    seed: int,
) -> Iterator[Int[np.ndarray, " m"]]:
    """n arrays of row indices, drawn with replacement.

    Each holds `count` rows or, with `groups`, the rows of as many whole groups as there are. Raises
    ValueError where rows and groups differ in number.
    """
    random = np.random.default_rng(seed)
    if groups is None:
        for _ in range(n):
            yield random.integers(count, size=count)
        return
    if len(groups) != count:
        raise ValueError(f"{count} labels and {len(groups)} groups do not pair")
    names, codes = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    members = [np.flatnonzero(codes == code) for code in range(len(names))]
    for _ in range(n):
        drawn_groups = random.integers(len(names), size=len(names))
        yield np.concatenate([members[code] for code in drawn_groups])


def percentile_interval(drawn: Draws) -> tuple[float, float]:
    """The 2.5th and 97.5th percentile of bootstrap draws.

    (nan, nan) where more than 5 % of the draws are undefined (nan).
    """
    defined = drawn[~np.isnan(drawn)]
    if not len(defined) or len(defined) < (1 - UNDEFINED_DRAWS) * len(drawn):
        return (float("nan"), float("nan"))
    low, high = np.quantile(defined, [0.025, 0.975])
    return (float(low), float(high))


def interval_and_p(drawn: Draws) -> tuple[float, float, float]:
    """(low, high, p) of n bootstrap draws d* of a difference.

    p is two-sided, by inverting the percentile interval:
    min(1, 2 (1 + min(#{d* <= 0}, #{d* >= 0})) / (1 + n)), so at least 2 / (1 + n). Undefined draws
    do not count in n; without an interval p is nan.
    """
    low, high = percentile_interval(drawn)
    if not np.isfinite(low):
        return (low, high, float("nan"))
    smaller_tail = min((drawn <= 0).sum(), (drawn >= 0).sum())
    defined = np.isfinite(drawn).sum()
    p = min(1.0, 2 * (1 + smaller_tail) / (1 + defined))
    return (low, high, float(p))
