"""Vectors of a network's nodes by random walks and skip-gram: node2vec with p = q = 1.

    loss = - mean over pairs (i, j) of walks           of log s(z_i . z_j)
           - mean over pairs (i, j) of random nodes    of log s(-z_i . z_j),   s(x) = 1 / (1 + e^-x)

From every node start several walks, each step to a neighbour with a chance in proportion to the
weight of the edge. Any two nodes of a walk that are less than `context` steps apart are a pair.
The negatives are nodes drawn from all alike, in rows as long as a walk, and paired like those of a
walk. So z_i . z_j estimates the log odds that a pair comes from a walk and not from chance, and an
edge is scored by it.

Source: Perozzi et al. 2014 (DeepWalk), which node2vec (Grover & Leskovec 2016) is for p = q = 1.
One table of vectors serves as centre and context, and negatives are paired with each other, as in
PyTorch Geometric's Node2Vec, which the authors of TxT use.
Deviates: the vectors start near 0 and not from N(0, 1), which takes many epochs to forget; all
pairs of a walk count, and not only those whose first node has a full window behind it; a node makes
no pair with itself; training stops by the same loss on held-out edges and not by the accuracy of a
logistic regression on the products z_ik z_jk, which ranks pairs much as their sum does.
Left out: walks that prefer to return or to move on (p, q).

A row is a pair of nodes, `first` and `second`, with `edge`, whether it is one. Walks start from the
rows of the slot "nodes", whose `first` and `second` are the same node.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int, Int32, PRNGKeyArray

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.gene_networks.link_prediction import (
    adamic_adar,
    common_neighbours,
    degree_product,
)
from omics_jax.evaluation import classification
from omics_jax.evaluation.measures import better_sides
from omics_jax.evaluation.tables import Evaluation, is_constant
from omics_jax.nn.initial import Uniform, draw
from omics_jax.nn.noise import row_keys
from omics_jax.study.system import DataSpec, Predictions, System
from omics_jax.training.monitors import auroc, binary_cross_entropy
from omics_jax.training.stage import Batch, Stage, Term, Terms, Variables
from omics_jax.training.stage_builder import build_stage

VECTORS = "vectors"  # `Spec.encoder` of an arm of node vectors
NODES, EDGES = "nodes", "edges"  # slots: nodes from which walks start, pairs of nodes
STAGE = "walks"
TARGET, SCORE = "edge", "edge_score"  # the outcome of a pair, and the field of its prediction
PAIRS_AT_ONCE = 1024  # that are predicted together
SIMPLE_MODELS = {
    "degree product": degree_product,
    "common neighbours": common_neighbours,
    "Adamic-Adar": adamic_adar,
}

Rows = Mapping[str, Array]


# --- walks ----------------------------------------------------------------------------------------


def random_walks(
    indptr: Int32[Array, " _"],
    neighbours: Int32[Array, " e"],
    cumulative: Float32[Array, " e"],
    start: Int32[Array, " n"],
    keys: jax.Array,
    length: int,
) -> Int32[Array, "n _"]:
    """(n, length + 1) walks of so many steps, each to a neighbour by the weights of edges.

    A node without neighbours stays where it is.

    indptr, neighbours: node i has the neighbours neighbours[indptr[i] : indptr[i + 1]].
    cumulative: of each of these the share of i's weights that it and those before it have.
    keys: (n,) of the walks, each of which is a function of its key and start alone.
    """

    def draw_steps(key: PRNGKeyArray) -> Float[Array, " length"]:
        return jax.random.uniform(key, (length,), jnp.float32)

    def step(node, number):
        first, end = indptr[node], indptr[node + 1]
        chosen = neighbours[first_above(cumulative, first, end, number)]
        after = jnp.where(first < end, chosen, node)
        return after, after

    _, visited = jax.lax.scan(step, start, jax.vmap(draw_steps)(keys).T)
    return jnp.concatenate([start[:, None], visited.T], axis=1)


def first_above(
    cumulative: Float32[Array, " e"],
    first: Int32[Array, " n"],
    end: Int32[Array, " n"],
    number: Float32[Array, " n"],
) -> Int32[Array, " n"]:
    """The first place from `first` on whose value is above the number; `end` - 1 where none is.

    By halving, in as many rounds as the longest part has binary digits. Values ascend in a part.
    """

    def halve(ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) // 2
        is_above = cumulative[middle] > number
        is_open = low < high
        return jnp.where(is_open & ~is_above, middle + 1, low), jnp.where(is_above, middle, high)

    return jax.lax.while_loop(lambda ends: jnp.any(ends[0] < ends[1]), halve, (first, end - 1))[0]


def window_pairs(length: int, context: int) -> tuple[Int[np.ndarray, " P"], Int[np.ndarray, " P"]]:
    """The places of the two nodes of every pair in a walk of so many nodes, the earlier first."""
    first, second = np.triu_indices(length, 1)
    is_near = second - first < context
    return first[is_near], second[is_near]


# --- the loss -------------------------------------------------------------------------------------


def skip_gram_terms(
    table: Float[Array, "N d"],
    walks: Int32[Array, "n length"],
    negatives: Int32[Array, "m length"],
    live: Bool[Array, " n"],
    context: int,
) -> Terms:
    """The terms "positives" and "negatives" of the loss, sums over pairs and their numbers.

    live: whether a walk counts, and with it its m / n rows of negatives, which follow each other.
    """
    live_negatives = jnp.repeat(live, len(negatives) // len(live))
    return {
        "positives": _pairs_term(table, walks, live, context, 1),
        "negatives": _pairs_term(table, negatives, live_negatives, context, -1),
    }


def _pairs_term(
    table: Float[Array, "N d"],
    nodes: Int32[Array, "n length"],
    live: Bool[Array, " n"],
    context: int,
    sign: int,
) -> Term:
    """-log s(sign z_i . z_j) over the pairs of every row."""
    first, second = window_pairs(nodes.shape[1], context)
    counts = live[:, None] & (nodes[:, first] != nodes[:, second])
    z = table[nodes]
    # All products of a row at once, also of nodes that are no pair: an eighth of the time that the
    # vectors of every pair would take.
    products = jnp.einsum("nid,njd->nij", z, z)
    losses = jax.nn.softplus(-sign * products[:, first, second])
    total = jnp.sum(jnp.where(counts, losses, 0))
    return Term(total, jnp.sum(counts, dtype=total.dtype))


def loss(
    settings: Any, variables: Variables, batch: Batch, key: PRNGKeyArray
) -> tuple[Terms, dict[str, Any]]:
    """The terms of `skip_gram_terms` for the walks from a batch of nodes.

    settings: the section `embedding` of a config.
    """
    rows, constants = batch[NODES], variables["constants"]
    table = variables["params"][NODES]["table"]
    walk_key, negative_key = jax.random.split(key)
    walks = random_walks(
        constants["indptr"],
        constants["neighbours"],
        constants["cumulative"],
        jnp.repeat(rows["first"], settings.walks),
        keys_of_walks(walk_key, rows["row"], settings.walks),
        settings.walk_length - 1,
    )
    negatives = draw_negatives(
        negative_key,
        rows["row"],
        len(table),
        (settings.walks * settings.negatives, settings.walk_length),
    )
    live = jnp.repeat(rows["live"], settings.walks)
    return skip_gram_terms(table, walks, negatives, live, settings.context), {}


def keys_of_walks(key: PRNGKeyArray, rows: Int[Array, " n"], walks: int) -> jax.Array:
    """(n * walks,) keys, those of a row after each other and a function of its id."""

    def split(row_key: PRNGKeyArray) -> jax.Array:
        return jax.random.split(row_key, walks)

    return jax.vmap(split)(row_keys(key, rows)).reshape(-1)


def draw_negatives(
    key: PRNGKeyArray, rows: Int[Array, " n"], count: int, shape: tuple[int, int]
) -> Int32[Array, "_ _"]:
    """(n * shape[0], shape[1]) of `count` nodes, all alike probable; those of a row by its id."""

    def draw_row(row_key: PRNGKeyArray) -> Int32[Array, "_ _"]:
        return jax.random.randint(row_key, shape, 0, count, jnp.int32)

    return jax.vmap(draw_row)(row_keys(key, rows)).reshape(-1, shape[1])


def objective(terms: Terms) -> Float[Array, ""]:
    """The loss of the module: both means, whatever the number of negatives."""
    return terms["positives"].mean + terms["negatives"].mean


# --- the system -----------------------------------------------------------------------------------


def vectors_system(config: Any, spec: DataSpec) -> System:
    """The vectors of a network's nodes, scored by the edges that were held out.

    spec: of the modality "nodes" the names of all nodes.
    """
    nodes = len(spec.features[NODES])
    return System(
        arrays=arrays,
        init=partial(init, config.embedding),
        stages=(_stage(config.embedding, spec.rows),),
        predict=predict,
        evaluate=evaluate,
        baselines=partial(simple_models, nodes),
        baseline_slots=(EDGES,),
        columns={SCORE: (SCORE,)},
        better=better_sides((f"{TARGET}_auroc", f"{TARGET}_auprc")),
        predict_batch=PAIRS_AT_ONCE,
    )


def _stage(settings: Any, rows: Mapping[str, int]) -> Stage:
    return build_stage(
        STAGE,
        loss=partial(loss, settings),
        objective=objective,
        rows=rows,
        batch_size={NODES: settings.batch_size},
        epochs=settings.epochs,
        optimizer_settings=settings.optimizer.to_dict(),
        monitor=monitor,
        patience=settings.patience,
    )


def arrays(dataset: Dataset) -> dict[str, np.ndarray]:
    """first and second (n,) int32, the nodes of every pair, and edge (n,) float32, 0 or 1."""
    first, second = nodes_of(dataset).T
    return {"first": first, "second": second, "edge": dataset.targets[TARGET][0].astype(np.float32)}


def nodes_of(dataset: Dataset) -> Int32[np.ndarray, "n 2"]:
    """The nodes of every pair."""
    return dataset.table[["first", "second"]].to_numpy(np.int32)


def init(settings: Any, key: PRNGKeyArray, batch: Batch, constants: Variables) -> dict[str, Any]:
    """{"nodes": {"table": (N, d)}}, from U(-1 / sqrt(d), 1 / sqrt(d))."""
    shape = (len(constants["indptr"]) - 1, settings.channels)
    return {"params": {NODES: draw(key, {"table": Uniform(shape, settings.channels)})}}


def edge_scores(variables: Variables, rows: Rows) -> Float[Array, " n"]:
    """z_i . z_j of every pair."""
    table = variables["params"][NODES]["table"]
    return jnp.sum(table[rows["first"]] * table[rows["second"]], axis=1)


def monitor(variables: Variables, batch: Batch) -> dict[str, Float[Array, ""]]:
    """monitor, the mean of -log s(+-z_i . z_j) over edges (+) and other pairs (-); auroc."""
    rows = batch[EDGES]
    judged = edge_scores(variables, rows), rows["edge"], rows["live"]
    return {"monitor": binary_cross_entropy(*judged), "auroc": auroc(*judged)}


def predict(variables: Variables, rows: Rows) -> dict[str, Array]:
    """edge_score (n,), the log odds z_i . z_j; as probabilities all large ones would round to 1."""
    return {SCORE: edge_scores(variables, rows)}


def evaluate(predictions: Predictions, test: Dataset, train: Dataset) -> Evaluation:
    """edge_auroc and edge_auprc of the test pairs, half of which are edges."""
    score = np.asarray(predictions[SCORE], np.float64)
    label = test.targets[TARGET][0]
    metrics = {
        f"{TARGET}_auroc": classification.auroc(score, label),
        f"{TARGET}_auprc": classification.auprc(score, label),
    }
    return Evaluation(metrics, constant=metrics.keys() if is_constant(score) else ())


def simple_models(
    nodes: int, train: Dataset, test: Dataset
) -> dict[str, dict[str, Float[np.ndarray, " n"]]]:
    """The scores of pairs that need no vectors, from the training edges; see `link_prediction`."""
    edges, pairs = nodes_of(train), nodes_of(test)
    return {name: {SCORE: score(edges, nodes, pairs)} for name, score in SIMPLE_MODELS.items()}
