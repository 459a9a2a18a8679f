"""Features of multi-omics tables, fitted on training rows: selection, mean fill, min-max to [0, 1].

The steps are those of the paper that couples deep imputation with multi-task learning on TCGA;
mean fill and range are scikit-learn's `SimpleImputer` and `MinMaxScaler`. Left out: batch
correction, and anything that fits one modality to another.

All folds of a modality get constants of one shape, with a mask `alive` of the features that the
fold itself keeps.
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
    column_mad,
    column_variance,
    training_statistics,
)

Constants = Mapping[str, Any]
SPREADS = {"variance": column_variance, "mad": column_mad}  # by which the most variable are chosen


def fit_folds(
    modality: Modality,
    folds: Sequence[np.ndarray],
    rules: Rules,
    name: str,
    with_sd: bool = False,
) -> list[dict[str, np.ndarray]]:
    """The constants of every fold, all of one shape.

    Args:
      folds: the indices of each fold's training rows.
      name: the modality's, for messages.
      with_sd: whether standard deviations are among the constants.

    Returns:
      for each fold, of k features in column order,
        columns: (k,) int32, their indices in the modality;
        alive: (k,) bool, True if the fold itself keeps the feature. Unless `top_k` gives all folds
          as many, the columns are the union over the folds, and the other three are 0 where it is
          False;
        fill: (k,) float32, mean of the observed training values;
        low, high: (k,) float32, their smallest and largest;
        sd: (k,) float32, where asked for, their population s.d.
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
            _most_variable_mask(modality, rows, fold, mask, rules)
            for rows, fold, mask in zip(folds, statistics, kept_by_fold, strict=True)
        ]
        if all(mask.sum() == rules.top_k for mask in kept_by_fold):
            every_one = np.ones(rules.top_k, bool)
            columns = [np.flatnonzero(mask).astype(np.int32) for mask in kept_by_fold]
            chosen = [(own, every_one) for own in columns]
            return _all_constants(modality, folds, statistics, chosen, with_sd)
    columns, alive = union_of_folds(kept_by_fold)
    chosen = [(columns, own) for own in alive]
    return _all_constants(modality, folds, statistics, chosen, with_sd)


def _all_constants(
    modality: Modality,
    folds: Sequence[np.ndarray],
    statistics: Sequence[Statistics],
    chosen: Sequence[tuple[Int[np.ndarray, " k"], Bool[np.ndarray, " k"]]],
    with_sd: bool,
) -> list[dict[str, np.ndarray]]:
    """Every fold's constants of its (columns, alive)."""
    constants = []
    for rows, fold, (columns, alive) in zip(folds, statistics, chosen, strict=True):
        own = constants_of(fold, columns, alive)
        if with_sd:
            sd = np.sqrt(column_variance(modality, rows, fold))
            own["sd"] = np.where(alive, sd[columns], 0).astype(np.float32)
        constants.append(own)
    return constants


def _most_variable_mask(
    modality: Modality,
    rows: Int[np.ndarray, " r"],
    statistics: Statistics,
    is_kept: Bool[np.ndarray, " f"],
    rules: Rules,
) -> Bool[np.ndarray, " f"]:
    """The `top_k` kept features that vary most in training rows, or all if there are fewer."""
    spread = SPREADS[rules.spread](modality, rows, statistics)
    chosen = np.zeros(len(is_kept), bool)
    chosen[most_variable(spread, is_kept, min(rules.top_k, int(is_kept.sum())))] = True
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


def on_own_columns(
    folds: Sequence[Constants], features: int, width: int
) -> tuple[Int[np.ndarray, " u"], list[dict[str, np.ndarray]]]:
    """The columns that any fold uses, ascending, and every fold's constants on its own of these.

    Folds that selected different features can thereby share one table, while what is fitted in a
    fold has a shape (`Rules.width`) and an order that depend on no other fold: the training rows of
    one are test rows of another.

    Args:
      folds: as returned by `fit_folds`, of a modality with so many `features`.
      width: w, at least as many as any fold uses.

    Returns:
      (u,) int32 columns of the table, and for each fold (w,): columns, the places of its features
      in the table, ascending; alive, True for these; fill, low, high, and sd if it has one. Behind
      them, up to w, columns is u (no place), alive False, and the others are 0.
    """
    used = np.zeros(features, bool)
    for constants in folds:
        used[constants["columns"][constants["alive"]]] = True
    table = np.flatnonzero(used).astype(np.int32)
    return table, [_on_own(constants, table, width) for constants in folds]


def _on_own(
    constants: Constants, table: Int[np.ndarray, " u"], width: int
) -> dict[str, np.ndarray]:
    """One fold's constants on its own columns, in a table of these columns."""
    alive = constants["alive"]
    count = int(alive.sum())
    place = np.full(width, len(table), np.int32)
    place[:count] = np.searchsorted(table, constants["columns"][alive])
    own = {"columns": place, "alive": np.arange(width) < count}
    for name in constants.keys() - own.keys():
        own[name] = np.zeros(width, np.float32)
        own[name][:count] = constants[name][alive]
    return own


def own_columns(columns: Int[Any, " w"], table: Any) -> Any:
    """(n, w) the fold's columns of a table (n, u), see `on_own_columns`; 0 where it has no place.

    For jax arrays.
    """
    return table.at[:, columns].get(mode="fill", fill_value=0)


def in_table(columns: Int[Any, " w"], values: Any, table: int) -> Any:
    """The inverse of `own_columns`: (..., w) values in a table of so many columns, 0 elsewhere."""
    empty = values.__array_namespace__().zeros((*values.shape[:-1], table), values.dtype)
    return empty.at[..., columns].set(values, mode="drop")


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
