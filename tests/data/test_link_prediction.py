"""Held-out edges, pairs without an edge, and scores of pairs against counts by brute force."""

from itertools import combinations

import numpy as np
import pytest

from omics_jax.data.gene_networks.link_prediction import (
    adamic_adar,
    common_neighbours,
    degree_product,
    negative_pairs,
    split_edges,
)
from omics_jax.data.gene_networks.network import Network
from omics_jax.errors import UserError

SHARES = (0.85, 0.05, 0.10)


def network_of(pairs, n=None):
    edges = np.array(sorted(map(tuple, map(sorted, pairs))), np.int32).reshape(-1, 2)
    n = n or int(edges.max()) + 1
    genes = np.array([f"G{i}" for i in range(n)])
    return Network(genes, edges, np.ones(len(edges), np.float32))


def random_network(n, chance, seed=0):
    rng = np.random.default_rng(seed)
    return network_of([pair for pair in combinations(range(n), 2) if rng.random() < chance], n)


def block_network(n=200, blocks=5, within=0.4, between=0.02, seed=0):
    """Genes of the same block have an edge far more often than others."""
    rng = np.random.default_rng(seed)
    first, second = np.triu_indices(n, 1)
    chance = np.where(first % blocks == second % blocks, within, between)
    chosen = rng.random(len(first)) < chance
    return network_of(zip(first[chosen].tolist(), second[chosen].tolist(), strict=True), n)


def pairs_of(edges):
    return set(map(tuple, edges.tolist()))


def neighbours_of(edges, n):
    found = [set() for _ in range(n)]
    for u, v in edges.tolist():
        found[u].add(v)
        found[v].add(u)
    return found


def components(edges, n):
    """The label of each node, by spreading the least number along edges until nothing changes."""
    label = list(range(n))
    while True:
        before = list(label)
        for u, v in edges.tolist():
            label[u] = label[v] = min(label[u], label[v])
        if label == before:
            return label


def auroc(positive, negative):
    """The share of pairs of scores in which the positive is larger, ties counting half."""
    difference = positive[:, None] - negative[None]
    return ((difference > 0) + 0.5 * (difference == 0)).mean()


# --- the split ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_every_edge_is_in_one_part_and_every_component_in_one_piece(seed):
    network = network_of(
        [*random_network(40, 0.25, seed).edges.tolist(), (40, 41), (41, 42), (40, 42), (42, 43)]
    )
    parts = split_edges(network, seed)
    total = len(network.edges)
    assert [len(part) for part in parts] == [
        total - round(0.05 * total) - round(0.1 * total),
        *(round(share * total) for share in SHARES[1:]),
    ]
    assert sum(len(pairs_of(part)) for part in parts) == total
    assert set.union(*map(pairs_of, parts)) == pairs_of(network.edges)
    n = len(network.genes)
    assert components(parts[0], n) == components(network.edges, n)
    for part in parts:
        assert part.dtype == np.int32 and part.tolist() == sorted(part.tolist())


def test_a_split_is_that_of_its_seed():
    network = random_network(40, 0.3)
    for part, again in zip(split_edges(network, 1), split_edges(network, 1), strict=True):
        np.testing.assert_array_equal(part, again)
    assert pairs_of(split_edges(network, 1)[2]) != pairs_of(split_edges(network, 2)[2])


def test_any_edge_of_a_cycle_is_held_out_alike():
    ring = network_of([(i, (i + 1) % 6) for i in range(6)])
    held = [tuple(split_edges(ring, seed, (0.8, 0.0, 0.2))[2][0]) for seed in range(600)]
    counts = [held.count(tuple(edge)) for edge in ring.edges.tolist()]
    assert sum(counts) == 600 and min(counts) > 60 and max(counts) < 145


def test_where_the_forest_is_larger_than_its_share_less_is_held_out():
    tree = [(0, i) for i in range(1, 10)]
    sizes = [len(part) for part in split_edges(network_of(tree), 0)]
    assert sizes == [9, 0, 0]
    sizes = [
        len(part)
        for part in split_edges(network_of([*tree, (1, 2), (3, 4), (5, 6)]), 0, (0.2, 0.4, 0.4))
    ]
    assert sizes[0] == 9 and sorted(sizes[1:]) == [1, 2]


@pytest.mark.parametrize("shares", [(0.8, 0.1, 0.2), (1.1, -0.1, 0.0), (0.5, 0.5)])
def test_shares_that_are_not_three_parts_of_1_are_refused(shares):
    with pytest.raises(ValueError, match="are not three parts of 1"):
        split_edges(random_network(10, 0.5), 0, shares)


# --- pairs without an edge ------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0, 0.2, 0.9, 1])
def test_negatives_are_different_pairs_without_an_edge(share):
    network = random_network(25, 0.3)
    free = set(combinations(range(25), 2)) - pairs_of(network.edges)
    count = int(share * len(free))
    pairs = negative_pairs(network, count, 0)
    assert pairs.shape == (count, 2) and pairs.dtype == np.int32
    assert len(pairs_of(pairs)) == count and pairs_of(pairs) <= free
    np.testing.assert_array_equal(pairs, negative_pairs(network, count, 0))
    with pytest.raises(UserError, match=f"25 genes has {len(free)} pairs without an edge, and"):
        negative_pairs(network, len(free) + 1, 0)


@pytest.mark.parametrize("count", [4, 9])
def test_every_pair_without_an_edge_is_drawn_alike(count):
    network = network_of([(0, 1), (1, 2), (2, 5), (3, 4), (4, 5)])
    free = sorted(set(combinations(range(6), 2)) - pairs_of(network.edges))
    assert len(free) == 10
    drawn = [tuple(p) for seed in range(400) for p in negative_pairs(network, count, seed).tolist()]
    counts = np.array([drawn.count(pair) for pair in free])
    chance = count / 10
    assert (np.abs(counts - 400 * chance) < 4 * np.sqrt(400 * chance * (1 - chance))).all()


def test_negatives_of_many_genes_take_no_square_of_memory():
    n = 200_000
    network = network_of([(i, i + 1) for i in range(n - 1)])
    pairs = negative_pairs(network, 1000, 0)
    gap = pairs[:, 1] - pairs[:, 0]
    assert len(pairs_of(pairs)) == 1000 and gap.min() > 1
    assert abs(gap.mean() / n - 1 / 3) < 0.04
    assert common_neighbours(network.edges, n, np.array([[5, 7], [5, 8]])).tolist() == [1, 0]


# --- scores ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_those_of_a_count(seed):
    n = 70  # more pairs than are compared at a time
    network = random_network(n, 0.12, seed)
    edges = split_edges(network, seed)[0]
    pairs = np.array(list(combinations(range(n), 2)))
    near = neighbours_of(edges, n)
    shared = [near[u] & near[v] for u, v in pairs.tolist()]
    expected = {
        common_neighbours: [len(both) for both in shared],
        degree_product: [len(near[u]) * len(near[v]) for u, v in pairs.tolist()],
        adamic_adar: [sum(1 / np.log(len(near[w])) for w in both) for both in shared],
    }
    assert len(pairs) > 2048 and max(expected[common_neighbours]) > 2
    for score, values in expected.items():
        found = score(edges, n, pairs)
        np.testing.assert_allclose(found, values, rtol=1e-12)
        np.testing.assert_array_equal(found, score(edges, n, pairs[:, ::-1]))


def test_scores_of_no_pairs_and_of_genes_without_edges():
    for score in (common_neighbours, degree_product, adamic_adar):
        assert score(np.array([[0, 1]]), 4, np.zeros((0, 2), int)).shape == (0,)
        assert score(np.array([[0, 1]]), 4, np.array([[2, 3], [0, 2]])).tolist() == [0, 0]


def test_common_neighbours_find_the_edges_of_planted_blocks():
    network = block_network()
    n = len(network.genes)
    training, _, test = split_edges(network, 0)
    negative = negative_pairs(network, len(test), 0)
    for score in (common_neighbours, adamic_adar):
        assert auroc(score(training, n, test), score(training, n, negative)) > 0.8
    # Without blocks there is nothing to find.
    flat = block_network(within=0.1, between=0.1)
    training, _, test = split_edges(flat, 0)
    negative = negative_pairs(flat, len(test), 0)
    found = auroc(common_neighbours(training, n, test), common_neighbours(training, n, negative))
    assert abs(found - 0.5) < 0.1


def test_random_scores_find_nothing():
    network = block_network()
    _, _, test = split_edges(network, 0)
    negative = negative_pairs(network, len(test), 0)
    rng = np.random.default_rng(0)
    found = [auroc(rng.random(len(test)), rng.random(len(negative))) for _ in range(20)]
    assert abs(np.mean(found) - 0.5) < 0.02
