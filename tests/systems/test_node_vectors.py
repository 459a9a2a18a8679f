"""Vectors of nodes: walks, loss and scores against brute force, and planted blocks are found."""

from dataclasses import replace
from functools import cache
from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fitted_arms import fitted
from ml_collections import ConfigDict
from scipy.stats import chisquare

from omics_jax.data.gene_networks.network import Network
from omics_jax.errors import Stopped, UserError
from omics_jax.study.starts import start_of
from omics_jax.systems.gene_transformer import node_vectors
from omics_jax.systems.gene_transformer.node_vectors import EDGES, NODES, STAGE, VECTORS
from omics_jax.systems.gene_transformer.node_vectors_arm import neighbour_lists, vectors_arm
from omics_jax.training.initial_variables import replace_by_start
from omics_jax.training.job import Options, Training

LEAST_P = 1e-3  # of a chi-square test at a fixed seed


def config_of(seed=0, **settings):
    embedding = dict(
        channels=16,
        walk_length=20,
        context=10,
        walks=10,
        negatives=1,
        validation=0.05,
        test=0.1,
        epochs=30,
        batch_size=32,
        patience=10,
        optimizer=dict(name="adam", learning_rate=0.01, clip=0.0, weight_decay=0.0),
    )
    return ConfigDict(dict(seed=seed, embedding={**embedding, **settings}))


def network_of(pairs):
    edges = np.array(sorted(map(tuple, map(sorted, pairs))), np.int32)
    genes = np.array([f"G{i}" for i in range(edges.max() + 1)])
    return Network(genes, edges, np.ones(len(edges), np.float32))


def weighted(network):
    """The network with weights of very different sizes."""
    weights = np.random.default_rng(4).lognormal(0, 1.5, len(network.edges))
    return replace(network, weights=weights.astype(np.float32))


def matrix_of(network, count=None):
    """The symmetric matrix of weights, 0 without an edge."""
    matrix = np.zeros(2 * [count or len(network.genes)])
    matrix[tuple(network.edges.T)] = matrix[tuple(network.edges[:, ::-1].T)] = network.weights
    return matrix


def planted_network(n=100, blocks=4, within=0.5, between=0.02, seed=0):
    """Nodes of the same block have an edge far more often than others."""
    rng = np.random.default_rng(seed)
    chance = lambda i, j: within if i % blocks == j % blocks else between
    return network_of([pair for pair in combinations(range(n), 2) if rng.random() < chance(*pair)])


def random_network(n, edges, seed=0):
    """So many edges, each of any two nodes alike."""
    pairs = list(combinations(range(n), 2))
    chosen = np.random.default_rng(seed).permutation(len(pairs))[:edges]
    return network_of([pairs[i] for i in chosen])


SMALL = network_of([(0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (3, 4), (4, 5), (6, 7), (1, 6), (2, 7)])


def lists_of(network, nodes=None):
    lists = neighbour_lists(network.edges, network.weights, nodes or len(network.genes))
    return [jnp.asarray(lists[name]) for name in ("indptr", "neighbours", "cumulative")]


def walks_from(network, start, seed=0, length=6, nodes=None):
    keys = jax.random.split(jax.random.key(seed), len(start))
    walks = jax.jit(node_vectors.random_walks, static_argnames="length")
    return np.asarray(walks(*lists_of(network, nodes), jnp.int32(start), keys, length=length))


# --- walks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", [SMALL, weighted(SMALL)], ids=["alike", "weighted"])
def test_the_neighbours_of_every_node_and_their_shares_of_its_weights(network):
    indptr, neighbours, cumulative = map(np.asarray, lists_of(network, 9))
    matrix = matrix_of(network, 9)
    for node in range(9):
        own = slice(indptr[node], indptr[node + 1])
        expected = np.flatnonzero(matrix[node])
        assert neighbours[own].tolist() == expected.tolist()
        shares = np.cumsum(matrix[node, expected]) / matrix[node].sum()
        np.testing.assert_allclose(cumulative[own], shares, rtol=1e-6)


def test_shares_of_a_node_do_not_depend_on_how_heavy_others_are():
    edges = np.array([(0, 1), (2, 3), (2, 4)], np.int32)
    lists = neighbour_lists(edges, np.float32([1e30, 1e-30, 3e-30]), 5)
    np.testing.assert_allclose(lists["cumulative"], [1, 1, 0.25, 1, 1, 1], rtol=1e-6)


@pytest.mark.parametrize("network", [SMALL, weighted(SMALL)], ids=["alike", "weighted"])
def test_walks_follow_edges_as_often_as_their_weights_say(network):
    """Also rare steps: of the weighted network the shares of a node go from .02 to .9."""
    start = np.arange(100_000) % 8
    walks = walks_from(network, start)
    assert walks.shape == (100_000, 7) and (walks[:, 0] == start).all()
    steps = np.concatenate([walks[:, k : k + 2] for k in range(6)])
    counts = np.zeros((8, 8), int)
    np.add.at(counts, tuple(steps.T), 1)
    matrix = matrix_of(network)
    assert not counts[matrix == 0].any()
    for node in np.flatnonzero((matrix > 0).sum(axis=1) > 1):
        own = matrix[node] > 0
        expected = matrix[node, own] / matrix[node].sum() * counts[node].sum()
        assert chisquare(counts[node, own], expected).pvalue > LEAST_P


@pytest.mark.parametrize("degree", [1, 2, 7, 8, 1000])
def test_every_number_chooses_the_neighbour_whose_share_it_falls_in(degree):
    rng = np.random.default_rng(degree)
    shares = np.cumsum(rng.random(degree))
    shares = np.float32(shares / shares[-1])
    cumulative = jnp.asarray(np.concatenate([[0.9], shares, [0.1]]), jnp.float32)
    ends = shares[:-1]  # a number on the border belongs to the next
    numbers = np.concatenate([[0], np.nextafter(np.float32(1), 0)[None], ends, rng.random(50)])
    numbers = np.float32(numbers)
    first, end = (jnp.full(len(numbers), place, jnp.int32) for place in (1, 1 + degree))
    found = node_vectors.first_above(cumulative, first, end, jnp.asarray(numbers))
    expected = np.minimum(np.searchsorted(shares, numbers, side="right"), degree - 1)
    np.testing.assert_array_equal(found, 1 + expected)


def test_walks_depend_on_their_own_key_and_start_alone():
    start, rows = jnp.arange(8, dtype=jnp.int32), jnp.arange(8)
    lists = lists_of(SMALL)

    def walk(order):
        keys = node_vectors.keys_of_walks(jax.random.key(3), rows[order], 2)
        return node_vectors.random_walks(*lists, jnp.repeat(start[order], 2), keys, 5)

    both = walk(jnp.arange(8)).reshape(8, 2, 6)
    order = jnp.array([5, 2, 7])
    np.testing.assert_array_equal(walk(order).reshape(3, 2, 6), both[order])
    assert (both[:, 0] != both[:, 1]).any(axis=1).sum() >= 6


def test_a_node_without_neighbours_stays_where_it_is():
    walks = walks_from(SMALL, [8, 0, 8], nodes=9)
    assert (walks[[0, 2]] == 8).all() and (walks[1] != 8).all()


def test_negatives_are_any_nodes_alike_and_those_of_their_row():
    draw = lambda rows: node_vectors.draw_negatives(jax.random.key(0), rows, 7, (5, 20))
    rows = jnp.arange(200)
    negatives = np.asarray(draw(rows))
    assert negatives.shape == (1000, 20) and negatives.dtype == np.int32
    assert chisquare(np.bincount(negatives.ravel(), minlength=7)).pvalue > LEAST_P
    np.testing.assert_array_equal(
        draw(rows[::-1]).reshape(200, -1)[::-1].reshape(-1, 20), negatives
    )


# --- the loss -------------------------------------------------------------------------------------


def losses_by_hand(table, nodes, live, context, sign):
    """(sum, number) of the pairs, one by one."""
    losses = []
    for row, counts in zip(nodes, live, strict=True):
        for i, j in combinations(range(len(row)), 2):
            if counts and j - i < context and row[i] != row[j]:
                product = float(table[row[i]] @ table[row[j]])
                losses.append(np.log(1 + np.exp(-sign * product)))
    return sum(losses), len(losses)


@pytest.mark.parametrize("context", [2, 4, 20])
def test_the_loss_is_that_of_all_pairs_one_by_one(context):
    rng = np.random.default_rng(0)
    table = rng.standard_normal((9, 5))
    walks = walks_from(SMALL, [0, 8, 4, 7], nodes=9)
    negatives = rng.integers(0, 9, (8, 7), dtype=np.int32)
    live = np.array([True, True, True, False])
    terms = node_vectors.skip_gram_terms(
        jnp.float32(table), *map(jnp.asarray, (walks, negatives, live)), context
    )
    of_walks = losses_by_hand(table, walks, live, context, 1)
    by_chance = losses_by_hand(table, negatives, np.repeat(live, 2), context, -1)
    for name, (total, count) in {"positives": of_walks, "negatives": by_chance}.items():
        assert float(terms[name].sum) == pytest.approx(total, rel=1e-5)
        assert float(terms[name].weight) == count
    expected = of_walks[0] / of_walks[1] + by_chance[0] / by_chance[1]
    assert float(node_vectors.objective(terms)) == pytest.approx(expected, rel=1e-5)


def test_the_gradient_of_the_loss(gradient_error):
    rng = np.random.default_rng(1)
    walks = jnp.asarray(walks_from(SMALL, np.arange(8)))
    negatives = jnp.asarray(rng.integers(0, 8, walks.shape), jnp.int32)
    live = jnp.arange(8) != 3

    def loss(params):
        terms = node_vectors.skip_gram_terms(params["table"], walks, negatives, live, 4)
        return node_vectors.objective(terms)

    assert gradient_error(loss, {"table": rng.standard_normal((8, 3))}) < 1e-7


@cache
def fresh():
    """A small arm, its constants with fresh vectors, and a batch of nodes of which two are live."""
    arm = vectors_arm(config_of(negatives=2), planted_network(40, 2))
    constants = jax.tree.map(jnp.asarray, arm.replicates[0].constants)
    variables = arm.system.init(jax.random.key(0), {}, constants)
    return arm, {**variables, "constants": constants}


def batch_of(arm, rows, live=True):
    table = arm.system.arrays(arm.dataset)
    fields = {name: jnp.asarray(values[np.array(rows)]) for name, values in table.items()}
    live = jnp.broadcast_to(jnp.asarray(live), (len(rows),))
    return {**fields, "row": jnp.asarray(rows, jnp.int32), "live": live}


def test_sums_over_parts_of_a_batch_add_up_and_padding_adds_nothing():
    arm, variables = fresh()
    (stage,) = arm.system.stages

    def terms(rows, live=True, key=0):
        batch = {NODES: batch_of(arm, rows, live)}
        return stage.loss(variables, batch, jax.random.key(key))[0]

    whole = terms([4, 9, 11, 30])
    parts = [terms([30, 11, 0], [True, True, False]), terms([9, 4])]
    for name, term in whole.items():
        for own, *added in zip(term, *(part[name] for part in parts), strict=True):
            assert float(sum(added)) == pytest.approx(float(own), rel=1e-6)
    # Other steps have other walks and other negatives.
    other = terms([4, 9, 11, 30], key=1)
    assert all(other[name].sum != whole[name].sum for name in whole)


# --- the arm --------------------------------------------------------------------------------------


def test_rows_are_nodes_and_edges_that_are_trained_on_or_held_out():
    network = weighted(planted_network(40, 2))
    arm = vectors_arm(config_of(), network)
    replicate, pairs = arm.replicates[0], node_vectors.nodes_of(arm.dataset)
    edge, known = arm.dataset.targets["edge"]
    edges = set(map(tuple, network.edges.tolist()))
    held_out = (*replicate.validation.values(), replicate.test)
    parts = [replicate.rows[EDGES], *(rows[edge[rows] == 1] for rows in held_out)]
    found = [tuple(pair) for rows in parts for pair in pairs[rows].tolist()]
    assert len(found) == len(edges) and set(found) == edges
    others = [tuple(pair) for rows in held_out for pair in pairs[rows[edge[rows] == 0]].tolist()]
    assert len(set(others)) == len(others) and not set(others) & edges
    assert [edge[rows].mean() for rows in held_out] == [0.5, 0.5]
    assert pairs[replicate.rows[NODES]].tolist() == [[i, i] for i in range(40)]
    assert sorted(np.flatnonzero(~known)) == sorted(replicate.rows[NODES])
    assert arm.dataset.ids[replicate.rows[EDGES][0]] == "G{} | G{}".format(*found[0])
    assert arm.spec.rows == {EDGES: len(parts[0]), NODES: 40}
    # Walks know the training edges alone, with their own weights.
    training = pairs[replicate.rows[EDGES]]
    weight_of = dict(zip(map(tuple, network.edges.tolist()), network.weights, strict=True))
    weights = np.array([weight_of[tuple(pair)] for pair in training.tolist()])
    expected = neighbour_lists(training, weights, 40)
    assert replicate.constants.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(replicate.constants[name], values)


def test_a_network_without_cycles_is_refused():
    tree = network_of([(0, i) for i in range(1, 60)])
    with pytest.raises(UserError, match="60 genes has 59 edges, of which none can be held out"):
        vectors_arm(config_of(), tree)


def test_scores_and_monitor_are_those_of_the_products():
    arm, variables = fresh()
    replicate, table = arm.replicates[0], np.asarray(variables["params"][NODES]["table"])
    rows = replicate.validation[EDGES]
    batch = batch_of(arm, rows)
    first, second = node_vectors.nodes_of(arm.dataset)[rows].T
    products = np.array([table[i] @ table[j] for i, j in zip(first, second, strict=True)])
    np.testing.assert_allclose(
        arm.system.predict(variables, batch)["edge_score"], products, rtol=1e-5, atol=1e-7
    )
    edge = arm.dataset.targets["edge"][0][rows]
    seen = arm.system.stages[0].monitor(variables, {EDGES: batch})
    expected = np.log(1 + np.exp(np.where(edge == 1, -products, products))).mean()
    assert float(seen["monitor"]) == pytest.approx(expected, rel=1e-5)
    scored = arm.system.evaluate({"edge_score": products}, arm.dataset.take(rows), arm.dataset)
    assert float(seen["auroc"]) == pytest.approx(scored.metrics["edge_auroc"], abs=1e-6)


# --- what is learned ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """`trained(arm, **options)`: final variables (1, ...) and scores of the test pairs."""

    def train(arm, **options):
        folder = tmp_path_factory.mktemp("vectors")
        by_stage, (predicted,) = fitted(arm, folder, **options)
        return by_stage[STAGE], predicted

    return train


@pytest.fixture(scope="module")
def blocks(trained):
    arm = vectors_arm(config_of(), planted_network())
    return arm, *trained(arm)


def scores_of(arm, predicted):
    """Model -> edge_auroc, of the vectors and of the simple models."""
    replicate = arm.replicates[0]
    test, train = (arm.dataset.take(rows) for rows in (replicate.test, replicate.rows[EDGES]))
    models = {VECTORS: predicted, **arm.system.baselines(train, test)}
    return {name: arm.system.evaluate(own, test, train).metrics for name, own in models.items()}


def test_held_out_edges_of_planted_blocks_are_found(blocks):
    arm, _, predicted = blocks
    scores = scores_of(arm, predicted)
    assert set(scores) == {VECTORS, "degree product", "common neighbours", "Adamic-Adar"}
    assert scores[VECTORS]["edge_auroc"] > 0.8 and scores[VECTORS]["edge_auprc"] > 0.75
    assert scores[VECTORS]["edge_auroc"] > scores["degree product"]["edge_auroc"] + 0.2


def test_in_a_random_network_there_is_nothing_to_find(blocks, trained):
    """As many edges as that of the blocks has, of any two nodes alike."""
    edges, found = len(planted_network().edges), []
    for seed in range(3):
        arm = vectors_arm(config_of(seed), random_network(100, edges, seed))
        found.append(scores_of(arm, trained(arm)[1])[VECTORS]["edge_auroc"])
    n = len(arm.replicates[0].test) // 2
    error = np.sqrt((2 * n + 1) / (12 * n**2))  # s.d. of the AUROC of n and n alike
    assert abs(np.mean(found) - 0.5) < 2 * error / np.sqrt(3) < 0.06


def test_the_same_seed_gives_the_same_bits_also_after_a_stop(blocks, tmp_path, trained):
    arm, variables, predicted = blocks
    looks = iter([None, None, 15])
    options = Options(block_steps=3)
    with pytest.raises(Stopped):
        fitted(arm, tmp_path, stop=lambda: next(looks), options=options)
    by_stage, (again,) = fitted(arm, tmp_path, options=options)
    assert_same_bits(by_stage[STAGE], variables)
    assert_same_bits(again, predicted)
    other = replace(arm.replicates[0], seed=1)
    table = trained(replace(arm, replicates=[other]))[0]["params"][NODES]["table"]
    assert (table != variables["params"][NODES]["table"]).mean() > 0.99


def assert_same_bits(found, expected):
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_another_arm_starts_every_replicate_from_the_vectors(blocks):
    arm, variables, _ = blocks
    later = replace(arm, start_from=VECTORS, takes=(NODES,), starts=(0, 0, 0))
    start = start_of(later, {VECTORS: variables})
    table = variables["params"][NODES]["table"]
    assert table.shape == (1, 100, 16) and list(start["params"]) == [NODES]
    initial = {"params": {NODES: {"table": np.zeros((3, 100, 16))}, "encoder": {}}}
    training = Training(
        later.system.stages, later.system.init, {}, arm.dataset.ids, (), start, later.starts
    )
    taken = replace_by_start(training, {**initial, "batch_stats": {}}, [0, 1, 2])
    np.testing.assert_array_equal(taken["params"][NODES]["table"], np.repeat(table, 3, axis=0))
