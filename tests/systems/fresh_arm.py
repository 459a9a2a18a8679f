"""A multi-omics arm with fresh variables and a batch of its training rows."""

import jax
import numpy as np
from batches import batch_of, constants_of
from command import ROOT, config_of

from omics_jax.run.command import system_module
from omics_jax.systems.multiomics import assembly, model
from omics_jax.systems.multiomics.patients import SLOT
from omics_jax.tasks.settings import weights_of

MODULE = system_module("multiomics")
CONFIG = f"--config={ROOT}/configs/multiomics.py:smoke"


def network_of(config, shape):
    return model.network_of(shape, weights_of(config))


class FreshArm:
    """The last arm (or that of index `arm`) of an experiment, not trained.

    rows: the first training patients of its first replicate, as a batch.
    network: None of imputers.
    """

    def __init__(self, *words: str, arm: int = -1, size: int = 24):
        self.config = config_of(CONFIG, *words)
        self.dataset = MODULE.read(self.config)
        experiment = MODULE.EXPERIMENTS[self.config.experiment]
        self.arm = experiment.arms(self.config, self.dataset)[arm]
        self.shape = assembly.shape_of(self.arm.config, self.arm.spec)
        self.network = network_of(self.arm.config, self.shape) if self.shape.tasks else None
        self.replicate = self.arm.replicates[0]
        table = self.arm.system.arrays(self.arm.dataset)
        self.rows = batch_of(table, self.replicate.rows[SLOT][:size])
        self.constants = constants_of(self.replicate)
        init = jax.jit(self.arm.system.init)
        fresh = init(jax.random.key(0), {SLOT: self.rows}, self.constants)
        self.variables = {**fresh, "constants": self.constants}
        self.stages = {stage.name: stage for stage in self.arm.system.stages}
        self.predict = jax.jit(self.arm.system.predict)

    def has(self, name):
        """(n,) who has the modality."""
        place = list(self.shape.sizes).index(name)
        return np.asarray(self.rows["has"])[:, place]

    def fitted(self, name, *keys):
        """What the replicate fitted to a modality, (F,) each; 0 for features it did not choose."""
        alive, places = (np.asarray(self.constants[f"{name}_{k}"]) for k in ("alive", "columns"))
        on_rows = []
        for key in keys:
            values = np.asarray(self.constants[f"{name}_{key}"])
            on_rows.append(np.zeros(self.shape.sizes[name], values.dtype))
            on_rows[-1][places[alive]] = values[alive]
        return on_rows

    def alive(self, name):
        """How many features of a modality the replicate chose."""
        return int(self.constants[f"{name}_alive"].sum())

    def cells(self, name):
        """(n, F) the observed cells of the features that the replicate chose."""
        (chosen,) = self.fitted(name, "alive")
        return np.asarray(self.rows[f"m_{name}"]) & chosen


def numbers(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)
