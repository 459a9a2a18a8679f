"""PertVAE as a `System`: the user's files or the simulator in, the model's functions bound to a config out."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from omics_jax.data.dataset import Dataset
from omics_jax.errors import UserError
from omics_jax.systems.pertvae import conclusions, model, scoring
from omics_jax.systems.system import DataSpec, System
from omics_jax.training.schedules import optimizer


def read(config) -> Dataset:
    """Pairs and singletons from the files `config.data` names, or from the simulator where it names none."""
    if config.data.path:
        from omics_jax.data.perturbations import read_perturbations

        return read_perturbations(config.data)
    from omics_jax.data.simulate import simulate_perturbations

    return simulate_perturbations(**config.simulator)[0]


def build(config, spec: DataSpec) -> System:
    """The system for one config and one shape of data.

    Raises:
      UserError: a value of `config.model` or `config.training` that cannot be.
    """
    _check(config)
    genes = len(spec.features["control"])
    network = model.Network(config.model, genes)
    batch_size = shares(config.training.batch_size, spec.rows)
    steps = max(math.ceil(spec.rows[slot] / size) for slot, size in batch_size.items())
    adam = optimizer(config.optimizer, config.training.epochs * steps)
    paired = "pairs" in spec.rows
    return System(
        arrays=arrays,
        init=partial(model.init, network),
        stages=model.stages(network, adam, config.training, batch_size),
        predict=partial(model.predict if paired else model.reconstruct, network, config.model.draws),
        evaluate=scoring.evaluate_perturbation if paired else scoring.evaluate_reconstruction,
        baselines=scoring.perturbation_baselines if paired else partial(scoring.pca_baseline, config.model.latent),
        conclude=conclusions.conclude_perturbation if paired else conclusions.conclude_reconstruction,
        better=scoring.BETTER,
    )


def shares(batch_size: int, rows: dict[str, int]) -> dict[str, int]:
    """Slots of one batch in proportion to the rows, e.g. 300 pairs and 1,300 singletons of 200: 38 and 163.

    So that an epoch sees every row once and every row weighs the same, as in equation (10).
    """
    total = sum(rows.values())
    steps = max(1, math.ceil(total / batch_size))
    return {slot: max(1, math.ceil(count / steps)) for slot, count in rows.items() if count}


def arrays(dataset: Dataset) -> dict[str, np.ndarray]:
    """The rows as the device sees them: x1, m1, x2, m2 (n, genes) and platform (n,)."""
    control = dataset.modalities["control"]
    out = {"x1": control.values, "m1": control.mask, "platform": platform_codes(dataset)[0]}
    if "treated" in dataset.modalities:
        treated = dataset.modalities["treated"]
        out |= {"x2": treated.values, "m2": treated.mask}
    return out


def platform_codes(dataset: Dataset) -> tuple[np.ndarray, tuple[str, ...]]:
    """(n,) int32 platform of each row, and the platforms' names in order."""
    names, codes = np.unique(dataset.table["platform"].astype(str).to_numpy(), return_inverse=True)
    return codes.astype(np.int32), tuple(names)


def _check(config) -> None:
    m, t = config.model, config.training
    choices = {"posterior": ("iaf", "gaussian"), "free_bits_mode": ("batch", "example")}
    for key, allowed in choices.items():
        if m[key] not in allowed:
            raise UserError(f"config.model.{key} is {m[key]!r}; choose one of {', '.join(allowed)}")
    least = {
        "model.latent": (m.latent, 1),
        "model.context": (m.context, 1),
        "model.flow_steps": (m.flow_steps, 0),
        "model.draws": (m.draws, 1),
        "model.free_bits": (m.free_bits, 0),
        "model.l2": (m.l2, 0),
        "model.input_noise": (m.input_noise, 0),
        "training.epochs": (t.epochs, 1),
        "training.batch_size": (t.batch_size, 2),
        "training.patience": (t.patience, 1),
        "training.monitor_every": (t.monitor_every, 1),
        "training.monitor_draws": (t.monitor_draws, 1),
    }
    for key, (value, minimum) in least.items():
        if value < minimum:
            raise UserError(f"config.{key} is {value}; give {minimum} or more")
