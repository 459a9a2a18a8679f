"""A block of 4 units on 6 features and a head per task: the least that `tasks` can train."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from batches import batch_of, constants_of
from ml_collections import ConfigDict
from outcome_rows import labelled

from omics_jax.data.dataset.dataset import Modality
from omics_jax.nn.blocks import Block
from omics_jax.nn.modules import apply_module
from omics_jax.study.folds import most_rows
from omics_jax.tasks.assembly import task_system
from omics_jax.tasks.network import Encoded, TaskNetwork, init_network, row_info
from omics_jax.tasks.replicates import deal_tasks, task_replicates
from omics_jax.training.stage import Term

SLOT = "rows"
FEATURES, WIDTH = 6, 4
KINDS = ("classification", "regression", "survival")
ENCODER_WEIGHT = 0.5


def tiny_config(**changes) -> ConfigDict:
    """The sections that `tasks` reads; `changes` are sections' values, as training={...}."""
    head = dict(widths=(3,), dropout=0.1)
    optimizer = dict(name="adam", learning_rate=0.02, clip=0.0, weight_decay=0.0)
    sections = dict(
        seed=0,
        folds=3,
        repeats=1,
        weights="",
        model=dict(regression_loss="mae"),
        heads={kind: dict(head) for kind in KINDS},
        survival=dict(bins=4, grid="quantile", convention="containing", hazard="proper", times=()),
        balancing=dict(name="fixed", learning_rate=0.025, alpha=1.5, smoothing=0.5, order="fresh"),
        training=dict(
            stages=("heads", "all"),
            epochs=dict(heads=2, all=2, calibration=100),
            rates=dict(heads=1.0, all=1.0),
            batch_size=16,
            patience=20,
            stopping="",
            optimizer=optimizer,
        ),
        predict=dict(coverage=0.9),
    )
    for section, values in changes.items():
        if isinstance(values, dict):
            sections[section].update(values)
        else:
            sections[section] = values
    return ConfigDict(sections)


def tiny_dataset(n: int = 90, seed: int = 0):
    """Rows whose class, number and survival time depend on their features; some are unknown."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, FEATURES)).astype(np.float32)
    score = x[:, 0] + x[:, 1] + 0.7 * random.normal(size=n)
    death = random.exponential(500 * np.exp(-x[:, 2]))
    censoring = random.uniform(100, 1500, n)
    known = random.random((3, n)) > 0.1
    targets = {
        "type": ((score > 0).astype(np.int32), known[0]),
        "age": ((60 + 8 * x[:, 3] + random.normal(size=n)).astype(np.float32), known[1]),
        "OS.time": (np.minimum(death, censoring).astype(np.float32), known[2]),
        "OS.event": ((death <= censoring).astype(np.float32), known[2]),
    }
    names = np.array([f"f{j}" for j in range(FEATURES)])
    modality = Modality(x, np.ones(x.shape, bool), names)
    return labelled(targets, classes={"type": ("A", "B")}, modalities={"x": modality})


def encode(block: Block, variables, rows, key) -> Encoded:
    z, stats = apply_module(block, "encoder", variables, key, rows["x"], row_info(rows))
    live = rows["live"]
    squares = jnp.sum(jnp.where(live, jnp.mean(z**2, axis=1), 0))
    return Encoded(z, {"squares": Term(squares, jnp.sum(live, dtype=z.dtype))}, stats)


def encoder_loss(terms):
    return terms["squares"].mean


def tiny_network(config, tasks, weights=None) -> TaskNetwork:
    return TaskNetwork(
        config=config,
        tasks=tasks,
        slot=SLOT,
        encode=partial(encode, Block(WIDTH, 0.1)),
        encoder_loss=encoder_loss,
        encoder_weight=ENCODER_WEIGHT,
        weights=weights or {},
    )


def inputs(dataset) -> dict[str, np.ndarray]:
    return {"x": dataset.modalities["x"].values}


class Tiny:
    """The network with its system, replicates, fresh variables and the first replicate's rows."""

    def __init__(self, dataset=None, **changes):
        self.config = tiny_config(**changes)
        self.dataset = dataset or tiny_dataset()
        self.tasks, self.splits = deal_tasks(self.config, self.dataset)
        self.replicates = task_replicates(
            self.config, self.dataset, self.tasks, self.splits, SLOT, lambda split: {}
        )
        self.network = tiny_network(self.config, self.tasks)
        self.system = task_system(
            self.network,
            most_rows(self.replicates),
            inputs=inputs,
            init=self.init,
            features=lambda train, test: (inputs(train)["x"], inputs(test)["x"]),
        )
        self.stages = {stage.name: stage for stage in self.system.stages}
        first = self.replicates[0]
        self.constants = constants_of(first)
        self.rows = self.rows_at(first.rows[SLOT])
        fresh = self.init(jax.random.key(0), {SLOT: self.rows}, self.constants)
        self.variables = {**fresh, "constants": self.constants}

    def init(self, key, batch, constants):
        rows = batch[SLOT]
        encoder = {"encoder": (Block(WIDTH, 0.1), rows["x"], row_info(rows))}
        return init_network(self.network, key, rows, encoder, WIDTH)

    def rows_at(self, row):
        """Rows of the dataset as a batch of them alone."""
        return batch_of(self.system.arrays(self.dataset), row)
