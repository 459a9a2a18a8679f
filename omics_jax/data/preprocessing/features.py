"""Preprocessing of multi-omics tables, fitted on training rows only: which features, mean fill,
min-max to [0, 1].

The steps are those of the paper that couples deep imputation with multi-task learning on TCGA:
log2, the zero-gene rule, sites that are mostly missing or on chromosome Y, a random share, the most
variable features, mean imputation, `MinMaxScaler`. Left out: batch correction, and anything that
fits one modality to another.

All folds of a modality get constants of one shape: a fixed number of features (`top_k`), or the
union of what each fold keeps, where a fold's `alive` says which of it are its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from omics_jax.data.dataset.dataset import Modality
from omics_jax.errors import UserError

ZEROS = ("keep", "drop_all_zero", "drop_any_zero")
_BLOCK_CELLS = 2**22
_LOCUS = re.compile(r"chr(\d{1,2}|x|y|mt?)(?:[:_.|-]|$)|(\d{1,2}|x|y|mt?):\d")

Constants = Mapping[str, Any]


@dataclass(frozen=True)
class Rules:
    """Which features of a modality are used. Each rule is asked of every feature by itself; a
    feature passes them all.

    Attributes:
      zeros: "drop_all_zero" drops a feature whose observed training values are all 0,
        "drop_any_zero" one with any 0 (the paper's "genes without zero values for every patient
        were retained" can be read either way).
      most_missing: a feature goes if a larger share of the training rows lacks it (0.9 in the
        paper, methylation).
        Rows without any value of the modality do not count.
      share, seed: this share of all features, drawn at random, the same in every fold (0.5 in the
      paper, methylation). top_k: of those that pass, the k of largest variance (5,000 in the
      paper's arms C and D), or all where there are
        fewer; None takes all.
    """

    zeros: str = "keep"
    most_missing: float = 1.0
    share: float = 1.0
    seed: int = 0
    top_k: int | None = None

    def __post_init__(self):
        if self.zeros not in ZEROS:
            raise UserError(
                f"the rule for zeros is {self.zeros!r}; choose one of {', '.join(ZEROS)}"
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


@dataclass(frozen=True)
class Statistics:
    """What the training rows of one fold say of each feature, over observed cells; 0 where nothing
    was observed.
    """

    rows: int  # with at least one value of the modality
    count: Int[np.ndarray, " f"]
    zeros: Int[np.ndarray, " f"]
    mean: Float[np.ndarray, " f"]
    low: Float[np.ndarray, " f"]
    high: Float[np.ndarray, " f"]


def log2_plus_one(modality: Modality, name: str, ids: np.ndarray) -> Modality:
    """log2(x + 1) of every observed value, float32; unobserved cells are 0. Fits nothing: for all
    rows alike.

    Args:
      name, ids: of the modality and of its rows, for messages.

    Raises:
      UserError: an observed value that is negative or not finite.
    """
    values = np.where(modality.mask, modality.values, 0).astype(np.float32, copy=False)
    if values.size and not (values.min() >= 0 and values.max() < np.inf):
        wrong = modality.mask & ~((values >= 0) & (values < np.inf))
        row, column = np.unravel_index(wrong.argmax(), wrong.shape)
        raise UserError(
            f"{name}: the value of feature {str(modality.features[column])!r} in row "
            f"{str(ids[row])!r} is {values[row, column]:g}, one of {wrong.sum():,} that are "
            "negative or not finite, and log2(x + 1) needs 0 or more; mend the table, or leave "
            "log2 out for this modality if its values are logarithms already"
        )
    values += 1
    return replace(modality, values=np.log2(values, out=values))


def on_chromosome_y(
    features: Sequence[str] | np.ndarray, name: str, chromosome: Mapping[str, Any] | None = None
) -> tuple[frozenset[str], str]:
    """The features of a modality that lie on chromosome Y, and a sentence on how that is known.

    An annotation says it for the features it names. For the others it is known only if the name is
    a locus: it begins with chr and a chromosome (`chrY:2655180`, `chrY_cg00050873`), or is a
    chromosome, a colon and a position (`Y:2655180`). Identifiers of probes (cg00050873) and genes
    (KDM5D) tell nothing.

    Args:
      name: the modality's, for messages.
      chromosome: feature -> chromosome (`Y`, `chrY`), of other features too; empty, NA and NaN are
        not known.

    Raises:
      UserError: an annotation of none of the features.
    """
    names = [str(feature) for feature in features]
    annotated = {
        str(feature): str(where).strip().lower() for feature, where in (chromosome or {}).items()
    }
    if annotated and names and not annotated.keys() & set(names):
        raise UserError(
            f"{name}: the annotation gives chromosomes of features such as "
            f"{next(iter(annotated))!r}, but of none of the modality's, such as {names[0]!r}; give "
            "an annotation by the same names"
        )
    known = {feature: _chromosome(feature, annotated.get(feature, "")) for feature in names}
    found = frozenset(feature for feature, where in known.items() if where in ("y", "chry"))
    unknown = [feature for feature, where in known.items() if not where]
    if len(unknown) == len(known):
        return found, (
            f"{name}: the chromosome of no feature is known (names such as {', '.join(names[:2])} "
            "do not tell it), so that sites of chromosome Y stay in; an annotation of chromosomes "
            "would find them."
        )
    rest = (
        f"; that of {len(unknown):,} is not known and they stay in, such as {unknown[0]}"
        if unknown
        else ""
    )
    return found, f"{name}: {len(found):,} of {len(known):,} features lie on chromosome Y{rest}."


def fit_folds(
    modality: Modality, folds: Sequence[np.ndarray], rules: Rules, name: str
) -> list[dict[str, np.ndarray]]:
    """The constants of every fold, of one shape, from `folds`: the indices of each fold's training
    rows.

    With k features in all, in column order, each fold has
      columns: (k,) int32, where they stand in the modality;
      alive: (k,) bool, True where the fold itself keeps the feature; unless `top_k` gives all folds
        as many, the columns are the union over the folds, and where it is False the other three are
        0;
      fill: (k,) float32, mean of the observed training values;
      low, high: (k,) float32, their smallest and largest.
    A feature that no training row of a fold observed is not kept there: nothing could be fitted to
      it.

    Raises:
      UserError: no training rows, none with a value of this modality, an observed training value
        that is not finite,
        no feature that passes the rules.
    """
    places = [f"{name}, fold {i} of {len(folds)}" for i in range(1, len(folds) + 1)]
    statistics = [
        training_statistics(modality, rows, place)
        for rows, place in zip(folds, places, strict=True)
    ]
    kept = [kept_features(s, rules, place) for s, place in zip(statistics, places, strict=True)]
    if rules.top_k is not None:
        variances = [
            column_variance(modality, rows, s) for rows, s in zip(folds, statistics, strict=True)
        ]
        chosen = [
            most_variable(v, own, min(rules.top_k, int(own.sum())))
            for v, own in zip(variances, kept, strict=True)
        ]
        if all(len(columns) == rules.top_k for columns in chosen):
            alive = np.ones(rules.top_k, bool)
            return [
                constants_of(s, columns, alive)
                for s, columns in zip(statistics, chosen, strict=True)
            ]
        kept = [
            np.isin(np.arange(len(own)), columns) for own, columns in zip(kept, chosen, strict=True)
        ]
    columns, alive = united(kept)
    return [constants_of(s, columns, own) for s, own in zip(statistics, alive, strict=True)]


def training_statistics(modality: Modality, rows: Int[np.ndarray, " r"], name: str) -> Statistics:
    """Statistics of the given training rows, in one pass over blocks of them; sums in float64.

    Raises:
      UserError: no rows, none with a value of this modality, or an observed value that is not
        finite.
    """
    if not len(rows):
        raise UserError(
            f"{name}: there are 0 training rows to fit to; give a split with rows to train on"
        )
    width = len(modality.features)
    count, zeros, total = np.zeros(width, int), np.zeros(width, int), np.zeros(width)
    low, high = np.full(width, np.inf, np.float32), np.full(width, -np.inf, np.float32)
    with_values = 0
    with np.errstate(invalid="ignore"):  # inf - inf: what is not finite is reported below
        for values, mask in _blocks(modality, rows):
            with_values += int(mask.any(axis=1).sum())
            count += mask.sum(axis=0)
            zeros += (mask & (values == 0)).sum(axis=0)
            total += np.where(mask, values, 0).sum(axis=0, dtype=np.float64)
            np.minimum(low, np.where(mask, values, np.inf).min(axis=0), out=low)
            np.maximum(high, np.where(mask, values, -np.inf).max(axis=0), out=high)
    _check_finite(modality, rows, np.flatnonzero(~np.isfinite(total)), name)
    if not with_values:
        raise UserError(
            f"{name}: none of the {len(rows):,} training rows has a value of this modality; "
            "split so that some have, or leave the modality out"
        )
    seen = count > 0
    return Statistics(
        rows=with_values,
        count=count,
        zeros=zeros,
        mean=total / np.maximum(count, 1),
        low=np.where(seen, low, np.float32(0)),
        high=np.where(seen, high, np.float32(0)),
    )


def column_variance(
    modality: Modality, rows: Int[np.ndarray, " r"], statistics: Statistics
) -> Float[np.ndarray, " f"]:
    """Population variance of every feature's observed cells, float64, about the mean of a first
    pass; 0 if unseen.
    """
    squares = np.zeros(len(modality.features))
    for values, mask in _blocks(modality, rows):
        squares += (np.where(mask, values - statistics.mean, 0) ** 2).sum(axis=0)
    return squares / np.maximum(statistics.count, 1)


def passing(statistics: Statistics, rules: Rules) -> dict[str, Bool[np.ndarray, " f"]]:
    """Rule, in words -> which features pass it, for the rules that are on. `top_k` is none of them."""
    seen = statistics.count
    found = {"observed": seen > 0}
    if rules.zeros == "drop_all_zero":
        found["not zero in every row"] = statistics.zeros < np.maximum(seen, 1)
    if rules.zeros == "drop_any_zero":
        found["zero in no row"] = statistics.zeros == 0
    if rules.most_missing < 1:
        missing = (statistics.rows - seen) / statistics.rows
        found[f"missing in at most {100 * rules.most_missing:g} %"] = missing <= rules.most_missing
    if rules.share < 1:
        found[f"in the random {100 * rules.share:g} %"] = random_share(
            len(seen), rules.share, rules.seed
        )
    return found


def kept_features(statistics: Statistics, rules: Rules, name: str) -> Bool[np.ndarray, " f"]:
    """(f,) bool: the features that pass all rules but `top_k`.

    Raises:
      UserError: none does.
    """
    by_rule = passing(statistics, rules)
    kept = np.logical_and.reduce(list(by_rule.values()))
    if not kept.any():
        counts = ", ".join(f"{rule} {mask.sum():,}" for rule, mask in by_rule.items())
        raise UserError(
            f"{name}: of {len(kept):,} features none passes all rules in the training rows "
            f"({counts}); loosen a rule, or leave the modality out"
        )
    return kept


def random_share(width: int, share: float, seed: int) -> Bool[np.ndarray, " f"]:
    """round(share f) of f features, at least 1; a smaller share of the same seed lies within a
    larger one.
    """
    chosen = np.zeros(width, bool)
    chosen[np.random.default_rng(seed).permutation(width)[: max(1, round(share * width))]] = True
    return chosen


def most_variable(
    variance: Float[np.ndarray, " f"], kept: Bool[np.ndarray, " f"], k: int
) -> Int[np.ndarray, " k"]:
    """int32 indices, ascending, of the k kept features of largest variance; of equal ones the first
    columns.
    """
    candidates = np.flatnonzero(kept)
    order = np.argsort(-variance[candidates], kind="stable")
    return np.sort(candidates[order[:k]]).astype(np.int32)


def united(
    kept: Sequence[Bool[np.ndarray, " f"]],
) -> tuple[Int[np.ndarray, " k"], Bool[np.ndarray, "folds k"]]:
    """The columns that any fold keeps, int32 and ascending, and which of them each fold keeps
    itself.
    """
    stacked = np.stack(kept)
    columns = np.flatnonzero(stacked.any(axis=0)).astype(np.int32)
    return columns, stacked[:, columns]


def constants_of(
    statistics: Statistics, columns: Int[np.ndarray, " k"], alive: Bool[np.ndarray, " k"]
) -> dict[str, np.ndarray]:
    """One fold's constants as `fit_folds` describes them."""
    fitted = {"fill": statistics.mean, "low": statistics.low, "high": statistics.high}
    gathered = {
        name: np.where(alive, values[columns], 0).astype(np.float32)
        for name, values in fitted.items()
    }
    return {"columns": columns, "alive": alive, **gathered}


def on_union(
    folds: Sequence[Constants], width: int
) -> tuple[Int[np.ndarray, " k"], list[dict[str, np.ndarray]]]:
    """The columns that any fold uses, ascending, and every fold's `alive`, `fill`, `low` and `high`
    on these.

    folds: as of `fit_folds`, of a modality of `width` features. Where a fold does not use a column
    it is not alive there and the other three are 0. So folds that chose other features can share
    one table, one network and its names.
    """
    used = np.zeros(width, bool)
    for constants in folds:
        used[constants["columns"][constants["alive"]]] = True
    columns = np.flatnonzero(used).astype(np.int32)
    place = np.cumsum(used) - 1

    def moved(constants):
        at = place[constants["columns"][constants["alive"]]]
        out = {"alive": np.zeros(len(columns), bool)}
        out["alive"][at] = True
        for name in ("fill", "low", "high"):
            out[name] = np.zeros(len(columns), np.float32)
            out[name][at] = constants[name][constants["alive"]]
        return out

    return columns, [moved(constants) for constants in folds]


def apply(
    constants: Constants, values: Float[Any, "n f"], mask: Bool[Any, "n f"]
) -> Float[Any, "n k"]:
    """`scale` of the columns that the constants name."""
    columns = constants["columns"]
    return scale(constants, values[:, columns], mask[:, columns])


def scale(
    constants: Constants, values: Float[Any, "n k"], mask: Bool[Any, "n k"]
) -> Float[Any, "n k"]:
    """(clip(x, low, high) - low) / (high - low) of the fold's features, x = fill where unobserved;
    float32 in [0, 1].

    Values outside the training range, which only unseen rows have, become 0 or 1. A feature that is
    constant in the training rows, or not alive, is 0 everywhere. For numpy and jax arrays alike;
    unobserved cells are never read.
    """
    xp = values.__array_namespace__()
    low, high = constants["low"], constants["high"]
    span = high - low
    filled = xp.where(mask, values, constants["fill"])
    # Clipped before the division, which a far value over a small span would overflow.
    scaled = (xp.clip(filled, low, high) - low) / xp.where(span > 0, span, 1)
    return scaled.astype(xp.float32)


def invert(constants: Constants, scaled: Float[Any, "n k"]) -> Float[Any, "n k"]:
    """low + (high - low) s: from [0, 1] to the units that were fitted (after log2); 0 where not
    alive.
    """
    return constants["low"] + (constants["high"] - constants["low"]) * scaled


def _blocks(modality: Modality, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Values and mask of the rows, some at a time: a copy in float64 of the whole would be twice
    the data.
    """
    step = max(1, _BLOCK_CELLS // max(1, len(modality.features)))
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        yield modality.values.take(block, axis=0), modality.mask.take(block, axis=0)


def _chromosome(feature: str, annotated: str) -> str:
    """In lower case; empty where neither the annotation nor the name tells it."""
    if annotated not in ("", "na", "nan", "none"):
        return annotated
    locus = _LOCUS.match(feature.lower())
    return (locus[1] or locus[2]) if locus else ""


def _check_finite(modality: Modality, rows: np.ndarray, columns: np.ndarray, name: str) -> None:
    for column in columns[:1]:
        row = rows[
            np.argmax(modality.mask[rows, column] & ~np.isfinite(modality.values[rows, column]))
        ]
        raise UserError(
            f"{name}: the value of row {row}, feature {str(modality.features[column])!r} is "
            f"{modality.values[row, column]} but marked as observed; mask it or mend it in the file"
        )
