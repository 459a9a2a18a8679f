"""MIRACLE as a `System`: the functions of `model` bound to a config and data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from omics_jax.data.dataset import mapped
from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.methylation.simulate import MODALITY
from omics_jax.data.vocabulary import Missing, parse_missing
from omics_jax.evaluation.tables import Evaluation
from omics_jax.settings.checks import check_values
from omics_jax.study.covariates import Levels, covariate_columns, covariate_values
from omics_jax.study.system import DataSpec, Predictions, System
from omics_jax.systems.miracle import model, reading, sites
from omics_jax.systems.miracle.settings import SETTINGS
from omics_jax.systems.miracle.sites import CONSTANT_SD
from omics_jax.tasks.assembly import task_system
from omics_jax.tasks.baselines import most_variable
from omics_jax.tasks.binary_models import binary_models
from omics_jax.tasks.losses import BY_BOUND
from omics_jax.tasks.prediction import prediction_columns
from omics_jax.tasks.settings import weights_of
from omics_jax.tasks.task import Task
from omics_jax.training.stage import Variables

RECONSTRUCTION = "sites_explained_variance"  # a metric
Matrix = Float[np.ndarray, "n w"]
Evaluate = Callable[[Predictions, Dataset, Dataset], Evaluation]


@dataclass(frozen=True)
class Spec(DataSpec):
    """What building an arm's system needs to know of its data.

    tasks: those that have a head.
    sites: w, the number of sites that a replicate reads.
    genes, pathways: numbers of genes and of units of every level of pathways.
    names: of the pathways in the bottleneck.
    levels: covariate -> its words, () for a number; of all columns in `config.adjust`.
    has_bounds: whether its accuracies bound those of networks of several tasks.
    """

    tasks: tuple[Task, ...] = ()
    sites: int = 0
    genes: int = 0
    pathways: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    levels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    has_bounds: bool = False


def build(config: Any, spec: Spec) -> System:
    """The system for one config and one shape of data.

    Raises:
      UserError: an invalid value in `config`.
    """
    check_values(config, SETTINGS)
    shape = shape_of(config, spec)
    network = model.network_of(shape, weights_of(config))
    columns = {**prediction_columns(spec.tasks), "activity": spec.names}
    system = task_system(
        network,
        spec.rows,
        inputs=partial(inputs, spec.levels, missing_of(config)),
        init=partial(model.init, shape, network),
        features=partial(scaled_sites, config, spec),
        models=binary_models,
        encoder_stages={
            model.AUTOENCODER: partial(model.autoencoder_stage, network, spec.rows[model.SLOT])
        },
        predict=partial(model.predict, shape, network),
        columns=columns,
        matrices=("activity",),
        predict_batch=config.predict.batch_size,
        read_new=partial(reading.read_new, spec, config),
        sources=reading.sources,
        training_range=partial(training_range, len(spec.features[MODALITY])),
    )
    return replace(
        system,
        evaluate=partial(evaluate, system.evaluate),
        better={**system.better, RECONSTRUCTION: "higher"},
    )


def evaluate(
    evaluate_tasks: Evaluate, predictions: Predictions, test: Dataset, train: Dataset
) -> Evaluation:
    """The scores of the tasks and, of a network, how much of the sites' variance it reconstructs.

    That is 1 - sum (x' - x)^2 / sum x^2 over the observed cells, standardised: 0 where every site
    is reconstructed by its training mean.
    """
    evaluation = evaluate_tasks(predictions, test, train)
    if "squared_error" not in predictions:  # of a simple model
        return evaluation
    error, value = (
        np.sum(predictions[f"squared_{name}"], dtype=np.float64) for name in ("error", "value")
    )
    r2 = float(1 - error / value) if value > 0 else float("nan")
    return replace(evaluation, metrics={**evaluation.metrics, RECONSTRUCTION: r2})


def shape_of(config: Any, spec: Spec) -> model.ModelShape:
    """The shapes of the network for one config and one shape of data."""
    return model.ModelShape(
        config=config,
        sites=spec.sites,
        units=(spec.genes, *spec.pathways),
        tasks=spec.tasks,
        inputs=places_of_inputs(config, spec.levels),
        has_bounds=spec.has_bounds or config.balancing.name in BY_BOUND,
    )


def selection_of(config: Any) -> sites.Selection:
    """How the config chooses sites in a fold."""
    return sites.Selection(config.selection.method, config.selection.sites)


def missing_of(config: Any) -> Missing:
    """The words and numbers for unknown in the tables of people."""
    return parse_missing(config.data.missing_values)


def places_of_inputs(config: Any, levels: Levels) -> tuple[int, ...]:
    """Places of the covariates that the heads read, among all covariates."""
    names = [column for column, _ in covariate_columns(levels)]
    return tuple(i for i, name in enumerate(names) if name in config.adjust.inputs)


def is_removed(config: Any, levels: Levels) -> Bool[np.ndarray, " k"]:
    """The covariates whose effects are removed from every site."""
    names = [column for column, _ in covariate_columns(levels)]
    return np.array([name in config.adjust.remove for name in names], bool)


def inputs(levels: Levels, missing: Missing, dataset: Dataset) -> dict[str, np.ndarray]:
    """The fields of a row that the network reads, see `model`."""
    modality = dataset.modalities[MODALITY]
    return {
        "x": mapped.zero_missing(modality.values, modality.mask),
        "m": modality.mask,
        "c": covariate_values(dataset, levels, missing),
    }


def scaled_sites(config: Any, spec: Spec, train: Dataset, test: Dataset) -> tuple[Matrix, Matrix]:
    """The sites that a fold's network reads, of both datasets, on its scale.

    Of more than `MOST_FEATURES` those that vary most among the training rows, once the effects of
    covariates are removed.
    """
    modality = train.modalities[MODALITY]
    missing = missing_of(config)
    constants = sites.fit_sites(
        modality,
        covariate_values(train, spec.levels, missing),
        is_removed(config, spec.levels),
        train,
        spec.tasks,
        selection_of(config),
        np.arange(len(train)),
        "the training rows of the simple models",
    )
    alive = np.flatnonzero(constants["alive"])
    sd = constants["sd"][alive]
    read = alive[most_variable(np.where(sd == CONSTANT_SD, 0, sd))]
    own = {name: constants[name][..., read] for name in ("mean", "sd", "coef", "alive")}
    own |= {name: constants[name] for name in ("c_mean", "c_sd")}
    columns = constants["columns"][read]

    def scaled(dataset: Dataset) -> Matrix:
        part = dataset.modalities[MODALITY]
        c = covariate_values(dataset, spec.levels, missing)
        return sites.standardized(own, part.values[:, columns], part.mask[:, columns], c)

    return scaled(train), scaled(test)


def training_range(
    count: int, variables: Variables
) -> dict[str, tuple[Float[np.ndarray, " S"], Float[np.ndarray, " S"]]]:
    """`System.training_range` of so many sites; those that a fold did not choose have none."""
    fitted = ("columns", "alive", "low", "high")
    columns, alive, *ends = (np.asarray(variables["constants"][name]) for name in fitted)
    low, high = np.full((2, count), np.nan)
    low[columns[alive]], high[columns[alive]] = (end[alive] for end in ends)
    return {MODALITY: (low, high)}
