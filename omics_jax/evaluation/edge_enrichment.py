"""Whether scores of pairs of genes agree with known edges, or with known sets of genes.

    AUROC   P(S_ij of a known edge > S_kl of another pair), a tie counting half
    ratio   mean of S_ij over the pairs within a set / mean of S_ij over all pairs

The null deals the genes' names anew: S_ij becomes S_pi(i)pi(j) with a random permutation pi, while
edges and sets stay. So all scores of a gene move together, and a strong gene, or a group of
correlated ones, is as strong in the null. p = (1 + #{null >= observed}) / (1 + permutations).

Source: Mantel 1967, Hubert & Schultz 1976 (quadratic assignment). Left out: a null that keeps the
number of edges of each gene, so that genes with many edges and high scores count as agreement.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Int

_AT_ONCE = 2_000_000  # numbers in memory
_ROUNDING = 1e-9  # of a sum whose parts are added in another order

Scores = Float[np.ndarray, "m w w"]  # of m methods, symmetric; the diagonal is not read
Permutations = Int[np.ndarray, "b w"]


def permutations_of(count: int, genes: int, seed: int) -> Permutations:
    """(count, genes) random permutations of the genes' places."""
    order = np.tile(np.arange(genes), (count, 1))
    return np.random.default_rng(seed).permuted(order, axis=1)


def edge_auroc(
    scores: Scores, known: Bool[np.ndarray, "w w"], permutations: Permutations
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """AUROC of the known edges by every method, and p.

    Both are nan where all pairs or none are known, and of a method with a nan. Without permutations
    (0 rows) p is 1.

    known: symmetric.
    """
    first, second = np.triu_indices(len(known), 1)
    i, j = np.nonzero(np.triu(known, 1))
    edges, others = len(i), len(first) - len(i)
    auroc, p = np.full((2, len(scores)), np.nan)
    if not (edges and others):
        return auroc, p
    for place, matrix in enumerate(scores):
        values = matrix[first, second]
        if np.isnan(values).any():
            continue
        ranks = np.zeros(matrix.shape)
        ranks[first, second] = ranks[second, first] = _mean_ranks(values)
        total = ranks[i, j].sum()
        null = _permuted_sums(ranks, i, j, permutations)
        auroc[place] = (total - edges * (edges + 1) / 2) / (edges * others)
        p[place] = (1 + (null >= total).sum()) / (1 + len(null))
    return auroc, p


def _mean_ranks(values: Float[np.ndarray, " P"]) -> Float[np.ndarray, " P"]:
    """From 1; tied values have the mean of their ranks, so that sums of ranks are exact."""
    from scipy.stats import rankdata

    return rankdata(values)


def _permuted_sums(
    matrix: Float[np.ndarray, "w w"],
    i: Int[np.ndarray, " e"],
    j: Int[np.ndarray, " e"],
    permutations: Permutations,
) -> Float[np.ndarray, " b"]:
    """Of every permutation the sum over the pairs (i, j)."""
    sums = np.empty(len(permutations))
    step = max(1, _AT_ONCE // len(i))
    for start in range(0, len(permutations), step):
        part = permutations[start : start + step]
        sums[start : start + step] = matrix[part[:, i], part[:, j]].sum(axis=1)
    return sums


def set_strength(
    scores: Scores, members: Bool[np.ndarray, "k w"], permutations: Permutations
) -> tuple[Float[np.ndarray, "m k"], Float[np.ndarray, "m k"]]:
    """The ratio of the module of every method and set, and p.

    Under the null a set of s genes is any s genes, so that sets of one size share their null: the
    first s genes of every permutation. Both are nan for sets of fewer than two genes.

    members: of every set; scores: not negative.
    """
    sizes = members.sum(axis=1)
    scores = np.where(np.eye(scores.shape[1], dtype=bool), 0, scores)
    part = members.astype(np.float64)
    totals = np.einsum("kw,mwv,kv->mk", part, scores, part, optimize=True) / 2
    reached = np.zeros(totals.shape, int)
    for null in _sums_by_size(scores, int(sizes.max(initial=2)), permutations):
        reached += null[:, sizes] >= totals * (1 - _ROUNDING)
    with np.errstate(invalid="ignore", divide="ignore"):
        within = totals / (sizes * (sizes - 1) / 2)
        ratio = within / _mean_of_pairs(scores)[:, None]
    p = (1 + reached) / (1 + len(permutations))
    return np.where(sizes > 1, ratio, np.nan), np.where(sizes > 1, p, np.nan)


def _sums_by_size(
    scores: Scores, largest: int, permutations: Permutations
) -> Iterator[Float[np.ndarray, "m _"]]:
    """Of every permutation the sums over the pairs of its first 0, 1, 2, ..., `largest` genes."""
    w = scores.shape[1]
    by_pair = np.ascontiguousarray(scores.reshape(len(scores), -1).T)
    later, earlier = np.tril_indices(largest, -1)
    starts = np.flatnonzero(earlier == 0)  # the second gene's pairs, the third's, and so on
    for order in permutations:
        pairs = np.take(by_pair, order[later] * w + order[earlier], axis=0)
        added = np.add.reduceat(pairs, starts, axis=0)
        yield np.pad(np.cumsum(added, axis=0), [(2, 0), (0, 0)]).T


def _mean_of_pairs(scores: Scores) -> Float[np.ndarray, " m"]:
    w = scores.shape[1]
    return scores.sum(axis=(1, 2)) / (w * (w - 1))
