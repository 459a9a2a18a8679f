"""Link prediction: edges held out of a network, pairs without an edge, and simple scores of pairs.

It asks what vectors of genes know of the network: held-out edges should score above pairs without
an edge. The scores here are what such vectors must surpass, in the notation of Liben-Nowell &
Kleinberg (2007), with N(u) the neighbours of u among the training edges:

    common neighbours  |N(u) & N(v)|
    degree product     |N(u)| |N(v)|                              (preferential attachment)
    Adamic-Adar        sum of 1 / log |N(w)| over w in N(u) & N(v)  (Adamic & Adar 2003)

Nothing here has the size genes x genes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64, Int, Int32, Int64
from scipy import sparse
from scipy.sparse import csgraph

from omics_jax.data.gene_networks.network import Network
from omics_jax.errors import UserError

Pairs = Int[np.ndarray, "P 2"]
Scores = Float64[np.ndarray, " P"]

_PAIRS_AT_ONCE = 2048  # whose neighbours are compared at a time


def split_edges(
    network: Network, seed: int, shares: Sequence[float] = (0.85, 0.05, 0.10)
) -> tuple[Int32[np.ndarray, "a 2"], Int32[np.ndarray, "b 2"], Int32[np.ndarray, "c 2"]]:
    """The edges for training, validation and test: each edge in one of them, in ascending order.

    Deviates: TxT draws all three at random (RandomLinkSplit in its load_network). Here a random
    spanning forest is always trained on, so that every gene keeps an edge and every component stays
    in one piece: of a gene without any edge nothing can be learned, and its held-out edges would
    measure chance alone. node2vec's authors keep their network connected too (Grover & Leskovec
    2016, link prediction). The price: held-out edges always lie on a cycle, and are a little easier
    than edges drawn from all. Where the forest has more than the first share, the two others shrink
    in proportion; of a network without cycles they are empty.

    Args:
      shares: of the edges, that add up to 1.

    Raises:
      ValueError: shares that are negative or do not add up to 1.
    """
    if min(shares) < 0 or len(shares) != 3 or not np.isclose(sum(shares), 1):
        raise ValueError(f"shares {shares} are not three parts of 1")
    rng = np.random.default_rng(seed)
    free = rng.permutation(np.flatnonzero(~_is_in_forest(network, rng)))
    total = len(network.edges)
    validation, test = round(shares[1] * total), round(shares[2] * total)
    if validation + test > len(free):
        validation = round(len(free) * validation / (validation + test))
        test = len(free) - validation
    part = np.zeros(total, np.int8)
    part[free[:validation]] = 1
    part[free[validation : validation + test]] = 2
    training, validating, testing = (network.edges[part == p] for p in range(3))
    return training, validating, testing


def _is_in_forest(network: Network, rng: np.random.Generator) -> Bool[np.ndarray, " E"]:
    """Which edges are a random spanning forest: the least under random lengths."""
    n, total = len(network.genes), len(network.edges)
    length = rng.permutation(total) + 1.0  # all different, and none 0, which would be no edge
    forest = csgraph.minimum_spanning_tree(_square(network.edges, length, n))
    is_in_forest = np.zeros(total, bool)
    is_in_forest[np.argsort(length)[forest.data.astype(np.int64) - 1]] = True
    return is_in_forest


def negative_pairs(network: Network, count: int, seed: int) -> Int32[np.ndarray, "_ 2"]:
    """(count, 2) different pairs of genes without an edge, the smaller first, each alike probable.

    All pairs are numbered row by row of the upper triangle. The r-th without an edge has the number
    r and as many more as edges stand before it.

    Raises:
      UserError: the network has fewer pairs without an edge.
    """
    n = len(network.genes)
    row_start = np.arange(n, dtype=np.int64) * (2 * n - np.arange(n, dtype=np.int64) - 1) // 2
    of_edges = np.sort(_numbers(network.edges, row_start))
    free = n * (n - 1) // 2 - len(of_edges)
    if count > free:
        raise UserError(
            f"the network of {n:,} genes has {free:,} pairs without an edge, and {count:,} are "
            "needed for link prediction; leave out weak edges, or hold out fewer"
        )
    rank = _distinct(count, free, np.random.default_rng(seed))
    number = rank + np.searchsorted(of_edges - np.arange(len(of_edges)), rank, side="right")
    first = np.searchsorted(row_start, number, side="right") - 1
    second = number - row_start[first] + first + 1
    return np.stack([first, second], axis=1).astype(np.int32)


def _numbers(pairs: Pairs, row_start: Int64[np.ndarray, " N"]) -> Int64[np.ndarray, " P"]:
    return row_start[pairs[:, 0]] + pairs[:, 1] - pairs[:, 0] - 1


def _distinct(count: int, limit: int, rng: np.random.Generator) -> Int64[np.ndarray, " count"]:
    """So many different numbers below the limit, in random order."""
    if 2 * count > limit:
        return rng.permutation(limit)[:count]
    drawn = np.empty(0, np.int64)
    while len(drawn) < count:
        more = np.concatenate([drawn, rng.integers(limit, size=count)])
        drawn = more[np.sort(np.unique(more, return_index=True)[1])]
    return drawn[:count]


# --- scores of pairs ------------------------------------------------------------------------------


def common_neighbours(train_edges: Int[np.ndarray, "E 2"], n: int, pairs: Pairs) -> Scores:
    """(P,) how many of n nodes are neighbours of both.

    train_edges: each in one direction, once.
    """
    return _over_common(train_edges, n, pairs, np.ones(n))


def degree_product(train_edges: Int[np.ndarray, "E 2"], n: int, pairs: Pairs) -> Scores:
    """(P,) the number of neighbours of one times that of the other."""
    degree = _degrees(train_edges, n).astype(np.float64)
    return degree[pairs[:, 0]] * degree[pairs[:, 1]]


def adamic_adar(train_edges: Int[np.ndarray, "E 2"], n: int, pairs: Pairs) -> Scores:
    """(P,) the sum of 1 / log of its degree over all neighbours of both.

    A neighbour of both has a degree of 2 or more.
    """
    degree = _degrees(train_edges, n)
    return _over_common(train_edges, n, pairs, 1 / np.log(np.maximum(degree, 2)))


def _over_common(
    edges: Int[np.ndarray, "E 2"], n: int, pairs: Pairs, value: Float64[np.ndarray, " n"]
) -> Scores:
    """(P,) the sum of a value over the neighbours of both."""
    half = _square(edges, np.ones(len(edges)), n)
    adjacency = (half + half.T).tocsr()
    scores = np.empty(len(pairs))
    for start in range(0, len(pairs), _PAIRS_AT_ONCE):
        part = slice(start, start + _PAIRS_AT_ONCE)
        first, second = pairs[part].T
        scores[part] = adjacency[first].multiply(adjacency[second]) @ value
    return scores


def _degrees(edges: Int[np.ndarray, "E 2"], n: int) -> Int64[np.ndarray, " n"]:
    return np.bincount(edges.ravel(), minlength=n)


def _square(
    edges: Int[np.ndarray, "E 2"], values: Float64[np.ndarray, " E"], n: int
) -> sparse.csr_array:
    """(n, n), with the values above its diagonal."""
    return sparse.csr_array((values, (edges[:, 0], edges[:, 1])), shape=(n, n))
