"""Arms that are asked for pairs of genes, and what their networks might say of them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import jax
import numpy as np
import pandas as pd
from batches import constants_of
from gene_patients import FreshArm, arms_on, patients

from omics_jax.study.system import MODEL
from omics_jax.systems.gene_transformer import patient_groups
from omics_jax.systems.gene_transformer.model import SLOT
from omics_jax.tasks.task import Task

NETWORK = "--config.experiment=network"
FEW = "--config.preprocess.top_k=5"
COVARIATES = "--config.data.covariates=('age','sex')"
GROUPS = "--config.interpret.groups=kind"
ALONE = ("--config.experiment=multitask", "--config.compare.mlp=()")
KIND = patient_groups.Groups(Task("kind", "classification", ("A", "B")), ("A", "B"))
METHODS = ("strength_dose", "interaction_dose", "gradient_attention_dose", "attention", "rollout")


@cache
def named_alike():
    """Patients in whom a gene of both modalities has the name rna1."""
    mirna = patients().modalities["mirna"]
    features = np.array(["rna1", *mirna.features[1:]])
    both = {**patients().modalities, "mirna": replace(mirna, features=features)}
    return replace(patients(), modalities=both)


@cache
def arm_of(*words, alike=False):
    """A network's arm, not trained, without those of the null, which take their time."""
    return arms_on(named_alike() if alike else patients(), *ALONE, FEW, *words)[0]


def parts_of(arm, fold=0):
    replicate = arm.replicates[fold]
    return arm.dataset.take(replicate.test), arm.dataset.take(replicate.rows[SLOT])


def random_fields(arm, fold=0):
    """What a network might say of the pairs of a fold's genes."""
    rng, constants = np.random.default_rng(fold), arm.replicates[fold].constants
    names = list(arm.dataset.modalities)
    alive = [constants[f"{name}_alive"] & (constants[f"{name}_sd"] > 0) for name in names]
    fields = {f"columns_{name}": constants[f"{name}_columns"] for name in names}
    fields["alive"] = np.concatenate(alive)
    for method in METHODS:
        matrix = rng.random((len(fields["alive"]),) * 2)
        fields[method] = np.triu(matrix, 1) + np.triu(matrix, 1).T
    return fields


def alive_genes(arm, fields):
    """(modality, feature) of the genes that there are, in their order."""
    genes = [
        (name, [*arm.dataset.modalities[name].features, None][column])
        for name in arm.dataset.modalities
        for column in fields[f"columns_{name}"]
    ]
    return [gene for gene, alive in zip(genes, fields["alive"], strict=True) if alive]


def folds(frames):
    """As `Results` have them."""
    parts = [
        frame.rows.assign(model=MODEL, arm="network", group="all", fold=fold)
        for fold, frame in enumerate(frames)
    ]
    return pd.concat(parts, ignore_index=True)


@cache
def compared():
    """An arm that is not trained, the fields of its first fold, and its compared patients."""
    arm = FreshArm(*ALONE, FEW, COVARIATES, dataset=patients(100))
    arm.arm = patient_groups.with_patients(arm.arm, KIND, SLOT)
    arm.replicate = arm.arm.replicates[0]
    arm.constants = constants_of(arm.replicate)
    arm.variables = {**arm.variables, "constants": arm.constants}
    fields = jax.jit(lambda variables: patient_groups.group_fields(arm.shape, variables))
    return arm, {name: np.asarray(values) for name, values in fields(arm.variables).items()}
