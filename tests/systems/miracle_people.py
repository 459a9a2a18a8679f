"""People of tiny studies for the tests of MIRACLE, and arms of its smoke config."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import jax
import numpy as np
import pandas as pd
from batches import batch_of, constants_of
from command import ROOT, config_of

from omics_jax.data.dataset.dataset import Dataset, Modality
from omics_jax.data.methylation.simulate import CLASSES, MODALITY
from omics_jax.run.command import system_module
from omics_jax.systems.miracle import assembly, model
from omics_jax.systems.miracle.model import SLOT
from omics_jax.tasks.settings import weights_of
from omics_jax.tasks.task import Task

MODULE = system_module("miracle")
SMOKE = f"--config={ROOT}/configs/miracle.py:smoke"


def people(values, mask=None, targets=None, table=None) -> Dataset:
    """A dataset of beta values (n, S); targets: disease -> (codes, known)."""
    values = np.asarray(values, np.float32)
    ids = np.array([f"P{i:03d}" for i in range(len(values))])
    mask = np.ones(values.shape, bool) if mask is None else mask
    names = np.array([f"cg{j:08d}" for j in range(values.shape[1])])
    return Dataset(
        ids=ids,
        groups=ids,
        modalities={MODALITY: Modality(values, mask, names)},
        table=pd.DataFrame(table or {}, index=ids),
        targets=targets or {},
        classes=dict.fromkeys(targets or {}, CLASSES),
    )


def disease(name: str) -> Task:
    return Task(name, "classification", CLASSES)


@cache
def smoke_data(*words: str):
    """(config, dataset) of the smoke size."""
    config = config_of(SMOKE, *words)
    return config, MODULE.read(config)


def arms(*words: str, with_age: bool = False):
    """The arms of the experiment that the words name.

    with_age: whether everyone's age is an outcome beside the diseases.
    """
    config, dataset = smoke_data(*words)
    if with_age:
        age = dataset.table["age"].to_numpy(np.float32)
        targets = {**dataset.targets, "age": (age, np.ones(len(age), bool))}
        dataset = replace(dataset, targets=targets)
    return MODULE.EXPERIMENTS[config.experiment].arms(config, dataset)


class FreshArm:
    """The last arm of an experiment (or that of index `arm`), not trained, and some of its rows."""

    def __init__(self, *words: str, arm: int = -1, size: int = 12, with_age: bool = False):
        self.arm = arms(*words, with_age=with_age)[arm]
        config, spec = self.arm.config, self.arm.spec
        self.shape = model.ModelShape(
            config=config,
            sites=spec.sites,
            units=(spec.genes, *spec.pathways),
            tasks=spec.tasks,
            inputs=assembly.places_of_inputs(config, spec.levels),
            has_bounds=spec.has_bounds,
        )
        self.network = model.network_of(self.shape, weights_of(config))
        self.replicate = self.arm.replicates[0]
        self.table = self.arm.system.arrays(self.arm.dataset)
        self.rows = batch_of(self.table, self.replicate.rows[SLOT][:size])
        self.constants = constants_of(self.replicate)
        init = jax.jit(self.arm.system.init)
        fresh = init(jax.random.key(0), {SLOT: self.rows}, self.constants)
        self.variables = {**fresh, "constants": self.constants}
        self.stages = {stage.name: stage for stage in self.arm.system.stages}
        self.predict = jax.jit(self.arm.system.predict)
