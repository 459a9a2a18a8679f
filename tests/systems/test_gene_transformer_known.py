"""Vectors of genes that are known before: from a file, or trained on a network by another arm."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from batches import batch_of, constants_of
from command import ROOT, command, config_of

from omics_jax.errors import UserError
from omics_jax.run.command import system_module
from omics_jax.systems.gene_transformer import assembly, known_genes, model

SMOKE = f"--config={ROOT}/configs/gene_transformer.py:smoke"
MODULE = system_module("gene_transformer")
GENES = [f"gene{i:04d}" for i in range(1, 13)]


def vectors_file(tmp_path, genes, channels=3):
    """A table of vectors of these genes, and the vectors."""
    values = np.random.default_rng(0).normal(size=(len(genes), channels)).astype(np.float32)
    pd.DataFrame(values, index=genes).to_csv(tmp_path / "vectors.csv", index_label="gene")
    return tmp_path / "vectors.csv", values


def edges_file(tmp_path):
    """A ring of the simulator's genes with some chords."""
    edges = [(GENES[i], GENES[(i + step) % 12]) for i in range(12) for step in (1, 2)]
    pd.DataFrame(edges, columns=["gene1", "gene2"]).to_csv(tmp_path / "edges.csv", index=False)
    return tmp_path / "edges.csv"


def arms_of(*words):
    config = config_of(SMOKE, "--config.compare.mlp=()", *words)
    return MODULE.EXPERIMENTS["multitask"].arms(config, MODULE.read(config))


def test_a_genes_vector_gets_what_is_known_of_it(tmp_path):
    """Also where a fold chose some of the genes: the constants name each gene's own place."""
    known = [*reversed(GENES[3:]), "SOMETHING ELSE"]
    file, values = vectors_file(tmp_path, known)
    (arm,) = arms_of(f"--config.network.vectors={file}", "--config.preprocess.top_k=7")
    assert "9 of 12 genes have a node" in arm.notes[-1]
    shape = assembly.shape_of(arm.config, arm.spec)
    features = arm.spec.features["rna"]
    for replicate in arm.replicates:
        rows = batch_of(arm.system.arrays(arm.dataset), replicate.test[:2])
        constants = constants_of(replicate)
        variables = arm.system.init(jax.random.key(0), {model.SLOT: rows}, constants)
        variables = {**variables, "constants": constants}
        projection = np.asarray(variables["params"][model.ENCODER]["projection"])
        found = np.asarray(model.known_vectors(shape, variables))[0]
        assert found.shape == (1 + 7, shape.config.model.channels)
        assert not found[0].any()  # the first token is no gene
        for place, column in enumerate(replicate.constants["rna_columns"]):
            gene = features[column]
            expected = values[known.index(gene)] @ projection if gene in known else 0
            np.testing.assert_allclose(found[1 + place], expected, rtol=1e-5, atol=1e-6)


def test_places_follow_names_and_not_the_order_of_the_file(tmp_path):
    first, _ = vectors_file(tmp_path, GENES)
    config = config_of(SMOKE, f"--config.network.vectors={first}")
    dataset = MODULE.read(config)
    known = known_genes.known_genes(config, dataset)
    names = known.genes.astype(str)[known.places["rna"]]
    assert names.tolist() == dataset.modalities["rna"].features.tolist()
    assert known.channels(config) == 3


def test_another_content_of_the_file_is_another_training(tmp_path):
    file, values = vectors_file(tmp_path, GENES)
    (before,) = arms_of(f"--config.network.vectors={file}")
    pd.DataFrame(values + 1, index=GENES).to_csv(file, index_label="gene")
    (after,) = arms_of(f"--config.network.vectors={file}")
    assert before.spec.vector_digest != after.spec.vector_digest


def test_another_edge_between_the_same_genes_is_another_training(tmp_path):
    """Of the vectors too, which other runs may take over."""
    file = edges_file(tmp_path)
    before, _ = arms_of(f"--config.network.edges={file}")
    edges = pd.read_csv(file)
    edges.loc[0] = [GENES[0], GENES[6]]
    edges.to_csv(file, index=False)
    after, _ = arms_of(f"--config.network.edges={file}")
    assert before.spec.features == after.spec.features
    assert before.spec.vector_digest != after.spec.vector_digest != ""


def test_weights_of_edges_are_those_of_the_walks_and_others_another_training(tmp_path):
    file, network = edges_file(tmp_path), "--config.network.edges="
    edges = pd.read_csv(file)
    arms = []
    for weights in (np.arange(24) + 1, np.arange(24)[::-1] + 1):
        edges.assign(weight=weights).to_csv(file, index=False)
        arms.append(arms_of(f"{network}{file}")[0])
    before, after = (arm.replicates[0].constants for arm in arms)
    np.testing.assert_array_equal(before["neighbours"], after["neighbours"])
    assert (before["cumulative"] != after["cumulative"]).any()
    assert arms[0].spec.vector_digest != arms[1].spec.vector_digest
    strong, _ = arms_of(f"{network}{file}", "--config.network.least_weight=4")
    assert "edges.csv: 3 edges of a weight below 4 left out." in strong.notes
    assert len(strong.replicates[0].constants["neighbours"]) < len(before["neighbours"])


def test_a_least_weight_without_edges_is_refused():
    with pytest.raises(UserError, match="least_weight is 700 and config.network.edges is empty"):
        arms_of("--config.network.least_weight=700")


def test_other_aliases_are_another_training(tmp_path):
    file, _ = vectors_file(tmp_path, ["A", "B"])
    digests = []
    for pair in (("A", "B"), ("B", "A")):
        aliases = pd.DataFrame({"alias": GENES[:2], "gene": pair})
        aliases.to_csv(tmp_path / "aliases.csv", index=False)
        words = (f"vectors={file}", f"aliases={tmp_path / 'aliases.csv'}")
        (arm,) = arms_of(*(f"--config.network.{word}" for word in words))
        digests.append(arm.spec.vector_digest)
    assert digests[0] != digests[1]


def test_a_modality_without_a_known_gene_is_told_and_one_with_is_enough(tmp_path):
    file, _ = vectors_file(tmp_path, GENES)
    config = config_of(SMOKE, f"--config.network.vectors={file}")
    dataset = MODULE.read(config)
    rna = dataset.modalities["rna"]
    sites = replace(rna, features=np.array([f"cg{i:08d}" for i in range(12)]))
    both = replace(dataset, modalities={"rna": rna, "methylation": sites})
    known = known_genes.known_genes(config, both)
    assert (known.places["methylation"] == known_genes.NO_NODE).all()
    assert (known.places["rna"] != known_genes.NO_NODE).all()
    assert any(note.startswith("methylation: none of its features") for note in known.notes)
    with pytest.raises(UserError):
        known_genes.known_genes(config, replace(dataset, modalities={"methylation": sites}))


def test_networks_start_from_the_vectors_that_another_arm_trained(tmp_path):
    vectors, network = arms_of(f"--config.network.edges={edges_file(tmp_path)}")
    assert (network.start_from, network.takes) == (vectors.name, (model.VECTOR_MODULE,))
    assert network.starts == (0,) * len(network.replicates)
    assert network.spec.nodes == 12 and network.spec.vector_channels == 4
    (stage,) = network.system.stages
    assert not any(pattern.startswith(model.VECTOR_MODULE) for pattern in stage.trainable)


def test_the_trained_vectors_reach_the_tokens(tmp_path):
    _, arm = arms_of(f"--config.network.edges={edges_file(tmp_path)}")
    shape, replicate = assembly.shape_of(arm.config, arm.spec), arm.replicates[0]
    rows = batch_of(arm.system.arrays(arm.dataset), replicate.test[:2])
    constants = constants_of(replicate)
    variables = arm.system.init(jax.random.key(0), {model.SLOT: rows}, constants)
    variables = {**variables, "constants": constants}
    assert not np.asarray(model.known_vectors(shape, variables)).any()  # 0 until they are handed on
    table = jnp.arange(12 * 4.0).reshape(12, 4)
    params = {**variables["params"], model.VECTOR_MODULE: {"table": table}}
    found = model.known_vectors(shape, {**variables, "params": params})[0, 1:]
    expected = table[constants["rna_node"]] @ params[model.ENCODER]["projection"]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.slow
def test_a_run_with_a_network_scores_its_edges_and_predicts_new_patients(tmp_path):
    words = [f"--workdir={tmp_path / 'run'}", "--config.compare.mlp=()"]
    network = f"--config.network.edges={edges_file(tmp_path)}"
    outcome = command(SMOKE, *words, network)
    assert outcome.status == 0, outcome.err
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert "edge_auroc" in found["arms"]["vectors"]["summary"]
    assert "common neighbours" in found["arms"]["vectors"]["baselines"]
    assert "response_auroc" in found["summary"]
    new = pd.DataFrame(np.full((2, 12), 8.0), index=["A", "B"], columns=GENES)
    new.to_csv(tmp_path / "new.csv", index_label="patient")
    files = f"--config.data.modalities=rna={tmp_path / 'new.csv'}"
    outcome = command(SMOKE, words[0], "--mode=predict", files)
    assert outcome.status == 0, outcome.err


def test_edges_and_vectors_together_are_refused(tmp_path):
    file, _ = vectors_file(tmp_path, GENES)
    both = (f"--config.network.vectors={file}", f"--config.network.edges={edges_file(tmp_path)}")
    with pytest.raises(UserError, match="names edges and vectors; leave one of them empty"):
        arms_of(*both)
