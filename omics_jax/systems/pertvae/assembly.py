"""PertVAE as a `System`: the user's files or the simulator in, the model's functions bound to a
config out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from omics_jax.data.dataset.dataset import Dataset, Modality
from omics_jax.errors import UserError
from omics_jax.settings.checks import check_choices, check_minimum
from omics_jax.study.system import DataSpec, System
from omics_jax.systems.pertvae import model, scoring
from omics_jax.training.schedules import optimizer


@dataclass(frozen=True)
class Spec(DataSpec):
    """platforms: by name, in the order in which the network counts them."""

    platforms: tuple[str, ...] = ()


def read(config, on_progress=lambda done, total, what: None) -> Dataset:
    """Pairs and singletons from the files `config.data` names, or from the simulator where it names
    none.
    """
    if config.data.path:
        from omics_jax.data.perturbation.read import read_perturbations

        return read_perturbations(config.data)
    from omics_jax.data.perturbation.simulate import simulate_perturbations

    return simulate_perturbations(**config.simulator)[0]


def read_new(spec: Spec, config) -> Dataset:
    """Profiles before treatment from the matrix `config.data.path`, on the genes a run was trained
    with.

    They are taken to be of the platform that most training pairs were of. Genes that the file lacks
    are missing values.

    Raises:
      UserError: no path, or fewer than `data.min_genes` of the genes in the file.
    """
    from omics_jax.data.formats.matrix import read_matrix

    if not config.data.path:
        raise UserError(
            "--mode=predict needs the new profiles; name their file with --config.data.path"
        )
    genes = spec.features["control"]
    # The genes are known here, so "auto" need not guess: rows that bear their names are genes.
    told = config.data.orientation
    read = partial(read_matrix, config.data.path, repeated=config.data.repeated)
    try:
        matrix = read("samples" if told == "auto" else told)
    except UserError:
        # Genes that are to be averaged would be samples that stand twice.
        if told != "auto" or config.data.repeated == "error":
            raise
        matrix = read("genes")
    if told == "auto" and set(matrix.ids) & set(genes):
        matrix = read("genes")
    control = Modality(matrix.values, matrix.mask, np.asarray(matrix.features)).select_features(
        genes
    )
    shared = int(control.mask.any(axis=0).sum())
    if shared < config.data.min_genes:
        raise UserError(
            f"{config.data.path} has {shared} of the {len(genes)} genes of the training; the gene "
            f"names must be written alike, e.g. {control.features[0]!r} (or lower data.min_genes)"
        )
    ids = np.asarray(matrix.ids).astype(str)
    table = pd.DataFrame({"platform": spec.platforms[0]}, index=ids)
    return Dataset(
        ids, ids, {"control": control}, table, notes=(f"{shared} of {len(genes)} genes found",)
    )


def build(config, spec: Spec) -> System:
    """The system for one config and one shape of data.

    Raises:
      UserError: a value of `config.model` or `config.training` that cannot be.
    """
    _check(config)
    genes = len(spec.features["control"])
    network = model.Network(config.model, genes)
    batch_size = shares(config.training.batch_size, spec.rows)
    steps = max(math.ceil(spec.rows[slot] / size) for slot, size in batch_size.items())
    adam = optimizer(config.optimizer.to_dict(), config.training.epochs * steps)
    paired = "pairs" in spec.rows
    return System(
        arrays=partial(arrays, spec.platforms),
        init=partial(model.init, network),
        stages=model.stages(network, adam, config.training, batch_size),
        predict=partial(
            model.predict if paired else model.reconstruct, network, config.model.draws
        ),
        evaluate=scoring.evaluate_perturbation if paired else scoring.evaluate_reconstruction,
        baselines=scoring.perturbation_baselines
        if paired
        else partial(scoring.pca_baseline, config.model.latent),
        # Not z1 and z2: their dimensions mean something within one replicate only.
        columns=dict.fromkeys(("x2_mean", "x2_sd"), spec.features["control"]) if paired else {},
        better=scoring.BETTER,
        read_new=partial(read_new, spec),
    )


def shares(batch_size: int, rows: dict[str, int]) -> dict[str, int]:
    """Slots of one batch in proportion to the rows, e.g. 300 pairs and 1,300 singletons of 200: 38
    and 163.

    So that an epoch sees every row once and every row weighs the same, as in equation (10).
    """
    total = sum(rows.values())
    steps = max(1, math.ceil(total / batch_size))
    return {slot: max(1, math.ceil(count / steps)) for slot, count in rows.items() if count}


def arrays(levels: tuple[str, ...], dataset: Dataset) -> dict[str, np.ndarray]:
    """The rows as the device sees them: x1, m1, x2, m2 (n, genes) and platform (n,)."""
    control = dataset.modalities["control"]
    out = {"x1": control.values, "m1": control.mask, "platform": platform_codes(dataset, levels)}
    if "treated" in dataset.modalities:
        treated = dataset.modalities["treated"]
        out |= {"x2": treated.values, "m2": treated.mask}
    return out


def platforms(dataset: Dataset) -> tuple[str, ...]:
    """The platforms by name, the one with most pairs first."""
    of_row = dataset.table["platform"].astype(str)
    paired = (
        of_row[dataset.modalities["treated"].observed_rows]
        if "treated" in dataset.modalities
        else of_row
    )
    return tuple(sorted(set(of_row), key=lambda name: (-int((paired == name).sum()), name)))


def platform_codes(dataset: Dataset, levels: tuple[str, ...]) -> np.ndarray:
    """(n,) int32 place of each row's platform among the levels."""
    place = {name: i for i, name in enumerate(levels)}
    return dataset.table["platform"].astype(str).map(place).to_numpy(np.int32)


def _check(config) -> None:
    choices = {"model.posterior": ("iaf", "gaussian"), "model.free_bits_mode": ("batch", "example")}
    check_choices(config, choices)
    least = {
        "model.latent": 1, "model.context": 1, "model.encoder": 1, "model.decoder": 1, "model.flow_steps": 0,
        "model.flow_hidden": 1, "model.draws": 1, "model.free_bits": 0, "model.l2": 0, "model.input_noise": 0,
        "training.epochs": 1, "training.batch_size": 2, "training.patience": 1, "training.monitor_every": 1,
        "training.monitor_draws": 1,
    }  # fmt: skip
    check_minimum(config, least)
