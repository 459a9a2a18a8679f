"""Vectors of genes and patients, by hand and as they stand in a run directory."""

import jax
import numpy as np
import pandas as pd
from gene_patients import CONSTANT, FreshArm, fresh_arm

from omics_jax.systems.gene_transformer import explained
from omics_jax.systems.gene_transformer.model import ENCODER

COVARIATES = "--config.data.covariates=('age','sex')"
FIRST = 4  # the first gene's token, behind the first token, age, female and male


def found_genes(fresh):
    fields = jax.tree.map(np.asarray, explained.gene_fields(fresh.shape, fresh.variables))
    (matrix,) = explained.annotated_genes(fresh.arm.spec.features, fields).values()
    return matrix


def tokens_by_hand(fresh, first):
    """(modality, gene, its token) of every gene that varies in the training patients."""
    genes, start = [], first
    for name, width in fresh.shape.widths.items():
        chosen = fresh.chosen(name)
        genes += [(name, gene, start + i) for i, gene in enumerate(chosen) if gene != CONSTANT]
        start += width
    return genes


def test_a_genes_vector_is_that_of_its_token_with_its_name_and_modality():
    fresh = fresh_arm(COVARIATES)
    matrix, expected = found_genes(fresh), tokens_by_hand(fresh, FIRST)
    assert matrix.ids.tolist() == [gene for _, gene, _ in expected]
    assert matrix.annotations["modality"].tolist() == [name for name, _, _ in expected]
    assert {"rna", "mirna"} == set(matrix.annotations["modality"])
    tokens = np.asarray(fresh.variables["params"][ENCODER]["token"])
    np.testing.assert_array_equal(matrix.values, tokens[[token for *_, token in expected]])
    assert list(matrix.names) == [f"channel_{i + 1}" for i in range(8)]


def test_what_is_known_of_a_gene_is_added_to_its_vector(tmp_path):
    known = ["rna7", "rna1", "mirna3"]
    values = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    pd.DataFrame(values, index=known).to_csv(tmp_path / "vectors.csv", index_label="gene")
    fresh = FreshArm(f"--config.network.vectors={tmp_path}/vectors.csv")
    params = jax.tree.map(np.asarray, fresh.variables["params"][ENCODER])
    matrix = found_genes(fresh)
    assert set(known) < set(matrix.ids.tolist())
    for vector, (_, gene, token) in zip(matrix.values, tokens_by_hand(fresh, 1), strict=True):
        added = values[known.index(gene)] @ params["projection"] if gene in known else 0
        np.testing.assert_allclose(vector, params["token"][token] + added, rtol=1e-5, atol=1e-6)


def test_dense_layers_have_no_vectors_of_genes_and_those_of_patients():
    arm = fresh_arm(COVARIATES).arm
    mlp = FreshArm(COVARIATES, arm=1).arm
    assert arm.system.of_variables and mlp.system.of_variables is None
    rows = mlp.dataset.take(mlp.replicates[0].test)
    fields = {
        "embedding": np.zeros((len(rows), 3)),
        "kind_probability": np.full((len(rows), 2), 0.5),
        "dose_value": np.zeros(len(rows)),
    }
    assert list(mlp.system.annotated(fields, rows)) == ["embedding"]
