"""Vectors of a network's nodes as an arm of its own, from which networks of patients start.

Its rows are the nodes, from which walks start, and below them pairs of nodes: the edges that it is
trained on, and for validation and for the test held-out edges and as many pairs without an edge.
Walks and simple models know the training edges alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float32, Int, Shaped
from scipy import sparse

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.gene_networks.link_prediction import negative_pairs, split_edges
from omics_jax.data.gene_networks.network import Network
from omics_jax.errors import UserError
from omics_jax.study import folds
from omics_jax.study.system import Arm
from omics_jax.systems.gene_transformer.assembly import Spec
from omics_jax.systems.gene_transformer.node_vectors import (
    EDGES,
    NODES,
    TARGET,
    VECTORS,
    vectors_system,
)
from omics_jax.training.stage import Replicate

# The parts of a config that the vectors depend on.
SECTIONS = ("system", "seed", "data", "simulator", "network", "embedding")

Pairs = Int[np.ndarray, "_ 2"]


def vectors_arm(config: Any, network: Network, digest: str = "") -> Arm:
    """The arm that trains a vector for every gene of a network, in one replicate.

    digest: of the network, by which trainings on others are told apart.

    Raises:
      UserError: no edge can be held out, or fewer pairs than that have no edge.
    """
    parts = _parts_of(config, network)
    nodes, training, validation, no_edges, test, no_edges_of_test = _consecutive(parts)
    replicate = Replicate(
        rows={EDGES: training, NODES: nodes},
        validation={EDGES: np.concatenate([validation, no_edges])},
        test=np.concatenate([test, no_edges_of_test]),
        seed=config.seed,
        constants=neighbour_lists(
            parts[1], weights_of_edges(network, parts[1]), len(network.genes)
        ),
        labels={"group": "network"},
    )
    genes = network.genes.astype(str)
    spec = Spec(
        {NODES: tuple(genes.tolist())},
        folds.most_rows([replicate]),
        encoder=VECTORS,
        vector_digest=digest,
    )
    return Arm(
        name=VECTORS,
        system=vectors_system(config, spec),
        config=config,
        spec=spec,
        dataset=_dataset(genes, parts),
        replicates=[replicate],
        labels={"vectors": True},
        sections=SECTIONS,
    )


def weights_of_edges(network: Network, edges: Pairs) -> Float32[np.ndarray, " e"]:
    """The weights of some of a network's edges."""
    number = lambda pairs: pairs[:, 0].astype(np.int64) * len(network.genes) + pairs[:, 1]
    return network.weights[np.searchsorted(number(network.edges), number(edges))]


def neighbour_lists(
    edges: Pairs, weights: Float32[np.ndarray, " e"], count: int
) -> dict[str, Shaped[np.ndarray, " _"]]:
    """indptr, neighbours and cumulative of so many nodes, see `node_vectors.random_walks`.

    edges: each in one direction, once. weights: of these, above 0.
    """
    ends = np.concatenate([edges, edges[:, ::-1]]).T
    both = np.concatenate([weights, weights]).astype(np.float64)
    adjacency = sparse.csr_array((both, tuple(ends)), (count, count))
    adjacency.sort_indices()
    return {
        "indptr": adjacency.indptr.astype(np.int32),
        "neighbours": adjacency.indices.astype(np.int32),
        "cumulative": _cumulative_shares(adjacency),
    }


def _cumulative_shares(adjacency: sparse.csr_array) -> Float32[np.ndarray, " e"]:
    """Of every entry of a row the share of the row's weights that it and those before it have."""
    degree = np.diff(adjacency.indptr)
    shares = adjacency.data / np.repeat(adjacency.sum(axis=1), degree)
    up_to = np.concatenate([[0], np.cumsum(shares)])
    before = np.repeat(up_to[adjacency.indptr[:-1]], degree)
    return (up_to[1:] - before).astype(np.float32)


def _parts_of(config: Any, network: Network) -> list[Pairs]:
    """Every node with itself, training edges, and for validation and test edges and no edges."""
    settings, count = config.embedding, len(network.genes)
    shares = (1 - settings.validation - settings.test, settings.validation, settings.test)
    training, validation, test = split_edges(network, config.seed, shares)
    for name, edges in {"validation": validation, "the test": test}.items():
        if not len(edges):
            raise UserError(
                f"the network of {count:,} genes has {len(network.edges):,} edges, of which none "
                f"can be held out for {name}: they are too few, or it would fall apart without "
                "them; give a larger network, or vectors of genes in place of it"
            )
    no_edges = negative_pairs(network, len(validation) + len(test), config.seed)
    nodes = np.repeat(np.arange(count, dtype=np.int32)[:, None], 2, axis=1)
    of_validation, of_test = np.split(no_edges, [len(validation)])
    return [nodes, training, validation, of_validation, test, of_test]


def _consecutive(parts: Sequence[Pairs]) -> list[Int[np.ndarray, " _"]]:
    """The rows of every part where all stand below each other."""
    bounds = np.cumsum([0, *map(len, parts)])
    return [np.arange(*ends) for ends in pairwise(bounds)]


def _dataset(genes: Shaped[np.ndarray, " N"], parts: Sequence[Pairs]) -> Dataset:
    """The pairs of `_parts_of` as rows; of a node with itself it is not asked whether it is one."""
    pairs = np.concatenate(parts)
    first, second = pairs.T
    is_node = np.arange(len(pairs)) < len(parts[0])
    names = np.strings.add(np.strings.add(genes[first], " | "), genes[second])
    ids = np.where(is_node, genes[first], names)
    is_edge = np.repeat(np.array([0, 1, 1, 0, 1, 0], np.int32), [len(part) for part in parts])
    return Dataset(
        ids=ids,
        groups=ids,
        modalities={},
        table=pd.DataFrame({"first": first, "second": second}, index=pd.Index(ids, name="id")),
        targets={TARGET: (is_edge, ~is_node)},
        classes={TARGET: ("no", "yes")},
    )
