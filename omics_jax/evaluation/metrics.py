"""How close predicted profiles come to observed ones: numpy in, float64 numbers out.

The paper's measure is the Spearman correlation within a profile. A treated profile resembles its
own control, so the same correlations should be taken on changes (predicted minus control) as well.
Left out: averages over splits (see `comparisons`) and survival metrics.

Common to all functions: rows are profiles, columns genes; `mask` is True where a cell is observed,
and the other cells are never read. A row with a non-finite value in an observed cell scores nan, so
that a broken prediction can neither pass for a poor one nor vanish.

Hand-written because each row has its own mask and may be constant: `scipy.stats.pearsonr` and
`spearmanr` take no mask and answer a constant row with a warning and nan.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from omics_jax.errors import UserError

Profiles = Float[np.ndarray, "n g"]
Mask = Bool[np.ndarray, "n g"]
Rows = Bool[np.ndarray, " n"]
RowScores = Float[np.ndarray, " n"]

MIN_CELLS = 3  # a correlation over two cells is always -1 or 1


def pearson_rows(a: Profiles, b: Profiles, mask: Mask | None = None) -> RowScores:
    """Pearson correlation of a[i] with b[i] over the observed cells of row i.

    A row in which either side is constant scores 0, "no association": the prediction of no change
    is thereby a baseline with a score and not a gap in the table. Fewer than three observed cells
    score nan.
    """
    mask, broken, (a, b) = _observed_cells(mask, a, b)
    products = _unit_rows(a, mask) * _unit_rows(b, mask)
    correlation = products.sum(axis=1)
    correlation = np.clip(correlation, -1.0, 1.0)
    too_few = mask.sum(axis=1) < MIN_CELLS
    return np.where(broken | too_few, np.nan, correlation)


def spearman_rows(a: Profiles, b: Profiles, mask: Mask | None = None) -> RowScores:
    """Spearman correlation of a[i] with b[i]: `pearson_rows` of the ranks, ties averaged.

    Constant rows score 0 and rows of fewer than three observed cells nan, as in `pearson_rows`.
    """
    from scipy.stats import rankdata

    mask, broken, (a, b) = _observed_cells(mask, a, b)
    # Unobserved cells rank above all observed ones, whose ranks stay what they would be alone.
    ranks_a = rankdata(np.where(mask, a, np.inf), axis=1)
    ranks_b = rankdata(np.where(mask, b, np.inf), axis=1)
    correlation = pearson_rows(ranks_a, ranks_b, mask)
    return np.where(broken, np.nan, correlation)


def rmse(predicted: Profiles, observed: Profiles, mask: Mask | None = None) -> float:
    """Root mean squared error over all observed cells together, in the data's units.

    nan without observed cells.
    """
    mask, broken, (predicted, observed) = _observed_cells(mask, predicted, observed)
    if broken.any() or not mask.any():
        return float("nan")
    squared_errors = (predicted - observed) ** 2
    mean = squared_errors.sum() / mask.sum()
    return float(np.sqrt(mean))


def top_change_recall(
    predicted: Profiles,
    observed: Profiles,
    k: int = 50,
    mask: Mask | None = None,
) -> RowScores:
    """Share of a row's k most changed genes that are among the k predicted to change most.

    `predicted` and `observed` are changes (treated minus control); size counts, sign does not.
    Genes tied at the k-th place, on either side, are scored by the expected value under independent
    random tie breaking: with P(gene in top k) = (k - genes above) / genes tied,
    recall = sum_g P_predicted(g) P_observed(g) / k.
    So a prediction of no change scores k/g, as a random choice of genes does. Rows with k or fewer
    observed cells score nan; k outside [1, g) raises UserError.
    """
    genes = observed.shape[1]
    if not 1 <= k < genes:
        raise UserError(
            f"the recall of the k = {k} most changed genes needs 1 <= k < {genes}, the number of "
            "genes; choose another k"
        )
    mask, broken, (predicted, observed) = _observed_cells(mask, predicted, observed)
    size_predicted = np.where(mask, np.abs(predicted), -np.inf)
    size_observed = np.where(mask, np.abs(observed), -np.inf)
    chance_in_both = _chance_in_top(size_predicted, k) * _chance_in_top(size_observed, k)
    recall = chance_in_both.sum(axis=1) / k
    too_few = mask.sum(axis=1) <= k
    return np.where(broken | too_few, np.nan, recall)


def interval_coverage(
    mean: Profiles,
    sd: Profiles,
    observed: Profiles,
    level: float = 0.95,
    mask: Mask | None = None,
) -> float:
    """Share of all observed cells inside the central Gaussian interval of the given level.

    The interval is mean +- z sd; a calibrated prediction is covered `level` of the time. nan
    without observed cells or with a non-finite one. Raises ValueError where an observed cell has
    sd <= 0 or `level` is outside (0, 1).
    """
    from scipy.special import ndtri

    if not 0.0 < level < 1.0:
        raise ValueError(f"the level of an interval lies between 0 and 1, not at {level}")
    mask, broken, (mean, sd, observed) = _observed_cells(mask, mean, sd, observed)
    sd = _positive_sd(sd, mask, broken)
    if broken.any() or not mask.any():
        return float("nan")
    half_width = ndtri(0.5 + level / 2) * sd
    inside = np.abs(observed - mean) <= half_width
    covered = (inside & mask).sum()
    return float(covered / mask.sum())


def _observed_cells(
    mask: Bool[np.ndarray, ...] | None, *arrays: Float[np.ndarray, ...]
) -> tuple[Mask, Rows, list[Profiles]]:
    """The mask, the rows with a non-finite observed value, and the arrays in float64.

    Cells that must not be read (unobserved ones and those of broken rows) become 0.
    """
    shape = arrays[0].shape
    if mask is None:
        mask = np.ones(shape, dtype=bool)
    shapes = {array.shape for array in (mask, *arrays)}
    if len(shapes) != 1 or len(shape) != 2:
        raise ValueError(
            f"metrics compare arrays of one shape (profiles, genes), not {sorted(shapes)}"
        )
    broken = np.zeros(len(mask), dtype=bool)
    for array in arrays:
        broken |= (mask & ~np.isfinite(array)).any(axis=1)
    readable = _readable(mask, broken)
    complete = [np.where(readable, array, 0.0) for array in arrays]
    return mask, broken, [array.astype(np.float64) for array in complete]


def _readable(mask: Mask, broken: Rows) -> Mask:
    """The observed cells of rows that are not broken."""
    return mask & ~broken[:, None]


def _centred_rows(values: Profiles, mask: Mask) -> Profiles:
    count = np.maximum(mask.sum(axis=1), 1)
    mean = values.sum(axis=1, where=mask) / count
    deviations = values - mean[:, None]
    return np.where(mask, deviations, 0.0)


def _constant_rows(values: Profiles, mask: Mask) -> Rows:
    """By the values themselves: rounding can leave a constant row a variance just above zero."""
    lowest = values.min(axis=1, where=mask, initial=np.inf)
    highest = values.max(axis=1, where=mask, initial=-np.inf)
    return lowest >= highest


def _unit_rows(values: Profiles, mask: Mask) -> Profiles:
    """Rows centred over their observed cells and scaled to length 1; constant rows are all 0."""
    constant = _constant_rows(values, mask)
    centred = _centred_rows(values, mask)
    length = np.linalg.norm(centred, axis=1)
    unit = centred / np.where(constant, 1.0, length)[:, None]
    return np.where(constant[:, None], 0.0, unit)


def _chance_in_top(scores: Profiles, k: int) -> Profiles:
    """Probability that a gene is among the row's k largest scores when ties break at random."""
    rank = k - 1
    descending = -np.partition(-scores, rank, axis=1)
    threshold = descending[:, rank:k]
    above = scores > threshold
    tied = scores == threshold
    places_left = k - above.sum(axis=1, keepdims=True)
    share = places_left / tied.sum(axis=1, keepdims=True)
    return above + tied * share


def _positive_sd(sd: Profiles, mask: Mask, broken: Rows) -> Profiles:
    """The sd with 1 in cells that are not read; ValueError where another is not positive."""
    readable = _readable(mask, broken)
    wrong = np.argwhere(readable & (sd <= 0))
    if len(wrong):
        row, gene = wrong[0].tolist()
        raise ValueError(
            f"a predicted sd must be positive; row {row}, column {gene} has {sd[row, gene]}"
        )
    return np.where(readable, sd, 1.0)
