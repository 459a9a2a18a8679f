"""Patients for the tests of the gene transformer: tables by hand, files, and arms not trained."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import jax
import numpy as np
import pandas as pd
from batches import batch_of, constants_of
from command import ROOT, config_of

from omics_jax.data.dataset.dataset import Dataset, Modality
from omics_jax.run.command import system_module
from omics_jax.systems.gene_transformer import assembly, dense, model
from omics_jax.systems.gene_transformer.model import SLOT
from omics_jax.tasks.settings import weights_of

MODULE = system_module("gene_transformer")
SMOKE = f"--config={ROOT}/configs/gene_transformer.py:smoke"
CONSTANT, UNSEEN = "rna2", "rna4"  # a gene with one value, and one that was never measured


@cache
def patients(size: int = 45) -> Dataset:
    """Patients with two modalities, age and sex, and outcomes, each of them unknown in some."""
    rng = np.random.default_rng(0)
    ids = np.array([f"P{i:03d}" for i in range(size)])
    modalities = {name: _modality(rng, name, size, w) for name, w in (("rna", 9), ("mirna", 5))}
    rna = modalities["rna"]
    rna.values[:, 2], rna.mask[:, 2] = 5.1, True
    rna.mask[:, 4] = False
    age, sex = rng.integers(30, 80, size).astype(str), np.where(rng.random(size) < 0.5, "f", "m")
    age[::7], sex[::9] = "NA", ""
    known = rng.random((size, 2)) < 0.85
    kind = (rng.random(size) < 0.5).astype(np.int32)
    dose = rng.normal(20, 5, size).astype(np.float32)
    return Dataset(
        ids=ids,
        groups=ids,
        modalities=modalities,
        table=pd.DataFrame({"age": age, "sex": sex}, index=ids),
        targets={"kind": (kind, known[:, 0]), "dose": (dose, known[:, 1])},
        classes={"kind": ("A", "B")},
    )


def _modality(rng: np.random.Generator, name: str, size: int, width: int) -> Modality:
    """Uniform values, so that none is far, every gene on a scale of its own."""
    values = rng.uniform(2, 12, width) + rng.uniform(0.5, 2, width) * rng.random((size, width))
    mask = rng.random(values.shape) > 0.1
    features = np.array([f"{name}{j}" for j in range(width)])
    return Modality(values.astype(np.float32), mask, features)


def arms_on(dataset: Dataset, *words: str):
    """The arms that a command with these words would train on a dataset."""
    config = config_of(SMOKE, *words)
    return MODULE.EXPERIMENTS[config.experiment].arms(config, dataset)


class FreshArm:
    """An arm that is not trained, of a dataset (`patients` by default), with all of its rows.

    arm: index among those of the experiment.
    """

    def __init__(self, *words: str, dataset: Dataset | None = None, arm: int = 0):
        self.dataset = patients() if dataset is None else dataset
        self.arm = arms_on(self.dataset, *words)[arm]
        self.config, spec = self.arm.config, self.arm.spec
        self.shape = assembly.shape_of(self.config, spec)
        is_mlp = spec.encoder == assembly.MLP
        network_of = dense.mlp_of if is_mlp else model.network_of
        self.network = network_of(self.shape, weights_of(self.config))
        self.replicate = self.arm.replicates[0]
        self.train = self.replicate.rows[SLOT]
        self.rows = batch_of(self.arm.system.arrays(self.arm.dataset), np.arange(len(self.dataset)))
        self.constants = constants_of(self.replicate)
        init = jax.jit(self.arm.system.init)
        fresh = init(jax.random.key(0), {SLOT: self.rows}, self.constants)
        self.variables = {"batch_stats": {}, **fresh, "constants": self.constants}
        self.stages = {stage.name: stage for stage in self.arm.system.stages}
        self.predict = jax.jit(self.arm.system.predict)

    def chosen(self, name: str) -> list[str]:
        """The genes of a modality that the replicate chose, in the order of their tokens."""
        columns, alive = (self.replicate.constants[f"{name}_{k}"] for k in ("columns", "alive"))
        return self.arm.dataset.modalities[name].features[columns[alive]].tolist()


@cache
def fresh_arm(*words: str) -> FreshArm:
    """The first arm of `patients`, shared by tests."""
    return FreshArm(*words)


def with_cells(dataset: Dataset, name: str, rows, column: int, value: float) -> Dataset:
    """The dataset with another observed value in these rows of a gene."""
    modality = dataset.modalities[name]
    values, mask = modality.values.copy(), modality.mask.copy()
    values[rows, column], mask[rows, column] = value, True
    changed = replace(modality, values=values, mask=mask)
    return replace(dataset, modalities={**dataset.modalities, name: changed})


# --- files ----------------------------------------------------------------------------------------

GENES = tuple(f"G{j}" for j in range(6))


@cache
def tables(size: int = 45) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Log2 expression of `GENES`, and a clinical table with the columns kind, age and sex."""
    rng = np.random.default_rng(1)
    ids = pd.Index([f"P{i:03d}" for i in range(size)], name="patient")
    expression = pd.DataFrame(8 + rng.normal(size=(size, len(GENES))).clip(-2, 2), ids, GENES)
    clinical = {
        "kind": np.where(expression["G0"] + 0.5 * rng.normal(size=size) > 8, "A", "B"),
        "age": rng.integers(30, 80, size),
        "sex": np.where(rng.random(size) < 0.5, "f", "m"),
    }
    return expression.round(3), pd.DataFrame(clinical, ids)


def written(folder, expression: pd.DataFrame, clinical: pd.DataFrame) -> list[str]:
    """The tables as files, and the words of a command that names them and the outcome kind."""
    expression.to_csv(folder / "expression.csv")
    clinical.to_csv(folder / "clinical.csv")
    return [
        f"--config.data.modalities=rna={folder}/expression.csv",
        f"--config.data.clinical={folder}/clinical.csv",
        "--config.data.classes=kind=kind",
    ]
