"""Which features of a modality are used, by rules asked of the training rows of a fold.

The rules are those of the paper that couples deep imputation with multi-task learning on TCGA: the
zero-gene rule, sites that are mostly missing, a random share, the most variable features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from omics_jax.data.preprocessing.statistics import Statistics
from omics_jax.errors import UserError

_ZEROS = ("keep", "drop_all_zero", "drop_any_zero")


@dataclass(frozen=True)
class Rules:
    """Rules for the features of a modality; a feature is used if it passes every one of them.

    Attributes:
      zeros: "drop_all_zero" drops a feature whose observed training values are all 0,
        "drop_any_zero" one with any 0 (the paper's "genes without zero values for every patient
        were retained" can be read either way).
      most_missing: a feature goes if a larger share of the training rows lacks it (0.9 in the
        paper, methylation). Rows without any value of the modality do not count.
      share, seed: this share of all features, drawn at random, the same in every fold (0.5 in the
        paper, methylation).
      top_k: of those that pass, the k that vary most (5,000 in the paper's arms C and D), or all if
        there are fewer; None takes all.
      spread: how much a feature varies: "variance" or "mad", the median absolute deviation.
    """

    zeros: str = "keep"
    most_missing: float = 1.0
    share: float = 1.0
    seed: int = 0
    top_k: int | None = None
    spread: str = "variance"

    def __post_init__(self):
        if self.zeros not in _ZEROS:
            raise UserError(
                f"the rule for zeros is {self.zeros!r}; choose one of {', '.join(_ZEROS)}"
            )
        if not 0 <= self.most_missing <= 1:
            raise UserError(
                f"most_missing is {self.most_missing}; give a share of rows from 0 to 1, such as "
                "0.9"
            )
        if not 0 < self.share <= 1:
            raise UserError(
                f"the random share of features is {self.share}; give one above 0, at most 1"
            )
        if self.top_k is not None and self.top_k < 1:
            raise UserError(
                f"top_k is {self.top_k}; give at least 1, or None to use all features that pass"
            )

    def width(self, features: int) -> int:
        """The most of so many features that can pass, whatever the values are."""
        drawn = max(1, round(self.share * features))
        return drawn if self.top_k is None else min(drawn, self.top_k)


def kept_features(statistics: Statistics, rules: Rules, name: str) -> Bool[np.ndarray, " f"]:
    """(f,) bool: the features that pass all rules except `top_k`.

    Raises:
      UserError: no feature does.
    """
    by_rule = _features_by_rule(statistics, rules)
    is_kept = np.logical_and.reduce(list(by_rule.values()))
    if not is_kept.any():
        counts = ", ".join(f"{rule} {passing.sum():,}" for rule, passing in by_rule.items())
        raise UserError(
            f"{name}: of {len(is_kept):,} features none passes all rules in the training rows "
            f"({counts}); loosen a rule, or leave the modality out"
        )
    return is_kept


def _features_by_rule(statistics: Statistics, rules: Rules) -> dict[str, Bool[np.ndarray, " f"]]:
    """Rule, in words -> which features pass it, for the rules that are on and are not `top_k`."""
    count = statistics.count
    by_rule = {"observed": count > 0}
    if rules.zeros == "drop_all_zero":
        by_rule["not zero in every row"] = statistics.zeros < np.maximum(count, 1)
    if rules.zeros == "drop_any_zero":
        by_rule["zero in no row"] = statistics.zeros == 0
    if rules.most_missing < 1:
        missing = (statistics.rows - count) / statistics.rows
        percent = f"{100 * rules.most_missing:g} %"
        by_rule[f"missing in at most {percent}"] = missing <= rules.most_missing
    if rules.share < 1:
        percent = f"{100 * rules.share:g} %"
        by_rule[f"in the random {percent}"] = random_share(len(count), rules.share, rules.seed)
    return by_rule


def random_share(width: int, share: float, seed: int) -> Bool[np.ndarray, " f"]:
    """round(share f) of f features, at least 1.

    A smaller share of the same seed is contained in a larger one.
    """
    order = np.random.default_rng(seed).permutation(width)
    chosen = np.zeros(width, bool)
    chosen[order[: max(1, round(share * width))]] = True
    return chosen


def most_variable(
    spread: Float[np.ndarray, " f"], is_kept: Bool[np.ndarray, " f"], k: int
) -> Int[np.ndarray, " k"]:
    """int32 indices, ascending, of the k kept features of largest spread; the first of ties."""
    candidates = np.flatnonzero(is_kept)
    order = np.argsort(-spread[candidates], kind="stable")
    return np.sort(candidates[order[:k]]).astype(np.int32)


def union_of_folds(
    kept_by_fold: Sequence[Bool[np.ndarray, " f"]],
) -> tuple[Int[np.ndarray, " k"], Bool[np.ndarray, "folds k"]]:
    """The columns that any fold keeps, int32 and ascending, and which of them each fold keeps."""
    stacked = np.stack(kept_by_fold)
    columns = np.flatnonzero(stacked.any(axis=0)).astype(np.int32)
    return columns, stacked[:, columns]
