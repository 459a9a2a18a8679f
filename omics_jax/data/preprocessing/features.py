"""Features of multi-omics tables, fitted on training rows: selection, mean fill, min-max to [0, 1].

The steps are those of the paper that couples deep imputation with multi-task learning on TCGA;
mean fill and range are scikit-learn's `SimpleImputer` and `MinMaxScaler`. Left out: batch
correction, and anything that fits one modality to another.

All folds of a modality get constants of one shape: a fixed number of features (`top_k`), or the
union of the features that each fold keeps, with a mask `alive` of those that the fold itself keeps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from omics_jax.data.dataset.dataset import Modality
from omics_jax.data.preprocessing.selection import (
    Rules,
    kept_features,
    most_variable,
    union_of_folds,
)
from omics_jax.data.preprocessing.statistics import (
    Statistics,
    column_variance,
    training_statistics,
)

Constants = Mapping[str, Any]


def fit_folds(
    modality: Modality, folds: Sequence[np.ndarray], rules: Rules, name: str
) -> list[dict[str, np.ndarray]]:
    """The constants of every fold, all of one shape.

    Args:
      folds: the indices of each fold's training rows.
      name: the modality's, for messages.

    Returns:
      for each fold, of k features in column order,
        columns: (k,) int32, their indices in the modality;
        alive: (k,) bool, True if the fold itself keeps the feature. Unless `top_k` gives all folds
          as many, the columns are the union over the folds, and the other three are 0 where it is
          False;
        fill: (k,) float32, mean of the observed training values;
        low, high: (k,) float32, their smallest and largest.
      A feature that no training row of a fold observed is not kept there: nothing could be fitted
      to it.

    Raises:
      UserError: no training rows, none with a value of this modality, an observed training value
        that is not finite, no feature that passes the rules.
    """
    places = [f"{name}, fold {i} of {len(folds)}" for i in range(1, len(folds) + 1)]
    statistics = [
        training_statistics(modality, rows, place)
        for rows, place in zip(folds, places, strict=True)
    ]
    kept_by_fold = [
        kept_features(fold, rules, place) for fold, place in zip(statistics, places, strict=True)
    ]
    if rules.top_k is not None:
        kept_by_fold = [
            _most_variable_mask(modality, rows, fold, mask, rules.top_k)
            for rows, fold, mask in zip(folds, statistics, kept_by_fold, strict=True)
        ]
        if all(mask.sum() == rules.top_k for mask in kept_by_fold):
            every_one = np.ones(rules.top_k, bool)
            return [
                constants_of(fold, np.flatnonzero(mask).astype(np.int32), every_one)
                for fold, mask in zip(statistics, kept_by_fold, strict=True)
            ]
    columns, alive = union_of_folds(kept_by_fold)
    return [
        constants_of(fold, columns, fold_alive)
        for fold, fold_alive in zip(statistics, alive, strict=True)
    ]


def _most_variable_mask(
    modality: Modality,
    rows: Int[np.ndarray, " r"],
    statistics: Statistics,
    is_kept: Bool[np.ndarray, " f"],
    top_k: int,
) -> Bool[np.ndarray, " f"]:
    """The `top_k` kept features of largest training variance, or all if there are fewer."""
    variance = column_variance(modality, rows, statistics)
    chosen = np.zeros(len(is_kept), bool)
    chosen[most_variable(variance, is_kept, min(top_k, int(is_kept.sum())))] = True
    return chosen


def constants_of(
    statistics: Statistics, columns: Int[np.ndarray, " k"], alive: Bool[np.ndarray, " k"]
) -> dict[str, np.ndarray]:
    """One fold's constants as `fit_folds` describes them."""
    fitted = {"fill": statistics.mean, "low": statistics.low, "high": statistics.high}
    constants = {"columns": columns, "alive": alive}
    for name, values in fitted.items():
        constants[name] = np.where(alive, values[columns], 0).astype(np.float32)
    return constants


def on_union(
    folds: Sequence[Constants], width: int
) -> tuple[Int[np.ndarray, " k"], list[dict[str, np.ndarray]]]:
    """The columns that any fold uses, ascending, and every fold's constants on these.

    Folds that selected different features can thereby share one table and one network.

    Args:
      folds: as returned by `fit_folds`, of a modality with `width` features.

    Returns:
      (k,) int32 columns, and for each fold `alive`, `fill`, `low` and `high` (k,); where a fold
      does not use a column it is not alive and the other three are 0.
    """
    used = np.zeros(width, bool)
    for constants in folds:
        used[constants["columns"][constants["alive"]]] = True
    columns = np.flatnonzero(used).astype(np.int32)
    return columns, [_spread(constants, columns) for constants in folds]


def _spread(constants: Constants, columns: Int[np.ndarray, " k"]) -> dict[str, np.ndarray]:
    """One fold's constants on the ascending columns of the union."""
    alive = constants["alive"]
    place = np.searchsorted(columns, constants["columns"][alive])
    spread = {"alive": np.zeros(len(columns), bool)}
    spread["alive"][place] = True
    for name in ("fill", "low", "high"):
        spread[name] = np.zeros(len(columns), np.float32)
        spread[name][place] = constants[name][alive]
    return spread


def apply(
    constants: Constants, values: Float[Any, "n f"], mask: Bool[Any, "n f"]
) -> Float[Any, "n k"]:
    """`scale` of the columns that the constants name."""
    columns = constants["columns"]
    return scale(constants, values[:, columns], mask[:, columns])


def scale(
    constants: Constants, values: Float[Any, "n k"], mask: Bool[Any, "n k"]
) -> Float[Any, "n k"]:
    """(clip(x, low, high) - low) / (high - low) of the fold's features, x = fill where unobserved.

    float32 in [0, 1]. Values outside the training range, which only unseen rows have, become 0 or
    1. A feature that is constant in the training rows, or not alive, is 0 everywhere. For numpy and
    jax arrays alike; unobserved cells are never read.
    """
    xp = values.__array_namespace__()
    low, high = constants["low"], constants["high"]
    span = high - low
    filled = xp.where(mask, values, constants["fill"])
    # Clipped before the division, which a far value over a small span would overflow.
    scaled = (xp.clip(filled, low, high) - low) / xp.where(span > 0, span, 1)
    return scaled.astype(xp.float32)


def invert(constants: Constants, scaled: Float[Any, "n k"]) -> Float[Any, "n k"]:
    """low + (high - low) s: from [0, 1] to the fitted units (after log2); 0 where not alive."""
    return constants["low"] + (constants["high"] - constants["low"]) * scaled
