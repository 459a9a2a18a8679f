"""The gene transformer as a `System`: the functions of `model` bound to a config and data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.formats.annotated import AnnotatedMatrix
from omics_jax.data.preprocessing.selection import Rules
from omics_jax.data.vocabulary import Missing, parse_missing
from omics_jax.errors import UserError
from omics_jax.evaluation.tables import Evaluation
from omics_jax.nn.initial import Constant
from omics_jax.nn.value_encodings import STEPWISE
from omics_jax.settings.checks import check_values
from omics_jax.study.covariates import (
    Levels,
    covariate_columns,
    covariate_scale,
    covariate_values,
    scaled_covariates,
)
from omics_jax.study.patients import features, reading
from omics_jax.study.system import DataSpec, Predictions, System
from omics_jax.systems.gene_transformer import dense, explained, model
from omics_jax.systems.gene_transformer.model import VECTOR_MODULE
from omics_jax.systems.gene_transformer.node_vectors import VECTORS, vectors_system
from omics_jax.systems.gene_transformer.pathways import PATHWAYS
from omics_jax.systems.gene_transformer.pretraining import (
    PRETRAINING,
    RESTORED,
    RESTORER,
    evaluate_restored,
    predict_restored,
    pretraining_stage,
    restorer_description,
)
from omics_jax.systems.gene_transformer.reading import read_new
from omics_jax.systems.gene_transformer.settings import SETTINGS
from omics_jax.tasks.assembly import task_system
from omics_jax.tasks.attribution import attribution_frames
from omics_jax.tasks.binary_models import binary_models
from omics_jax.tasks.embedding import EMBEDDING, annotated_embedding
from omics_jax.tasks.external import task_frames
from omics_jax.tasks.prediction import prediction_columns
from omics_jax.tasks.scoring import evaluate_tasks
from omics_jax.tasks.settings import weights_of
from omics_jax.tasks.task import Task

TRANSFORMER, MLP = "transformer", "mlp"
Matrix, TestMatrix = Float[np.ndarray, "n F"], Float[np.ndarray, "t F"]


@dataclass(frozen=True)
class Spec(DataSpec):
    """What building an arm's system needs to know of its data.

    tasks: those that have a head.
    widths: modality -> the number of genes that a replicate reads of it at most.
    levels: covariate -> its words, () for a number.
    times: survival task -> the times at which its curves are stored.
    logged: the modalities whose logarithms were taken, log2(x + 1).
    encoder: "transformer", or "mlp", the dense layers that it is compared with.
    shared_test: whether all replicates are tested on the same patients.
    nodes: the number of known genes whose vectors are trained; 0 for none.
    vector_channels: d of the vectors of known genes; 0 for none.
    vector_digest: of the files of known genes.
    pathways: the number of pathways that attend to each other in place of genes; 0 for none.
    pathway_digest: of these and their genes.
    """

    tasks: tuple[Task, ...] = ()
    widths: Mapping[str, int] = field(default_factory=dict)
    levels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    times: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    logged: tuple[str, ...] = ()
    encoder: str = TRANSFORMER
    shared_test: bool = False
    nodes: int = 0
    vector_channels: int = 0
    vector_digest: str = ""
    pathways: int = 0
    pathway_digest: str = ""


def build(config: Any, spec: Spec) -> System:
    """The system for one config and one shape of data.

    Raises:
      UserError: an invalid value in `config`.
    """
    check(config)
    if spec.encoder == VECTORS:
        return vectors_system(config, spec)
    shape = shape_of(config, spec)
    is_mlp = spec.encoder == MLP
    network = (dense.mlp_of if is_mlp else model.network_of)(shape, weights_of(config))
    init = partial(dense.init_mlp, shape, network)
    encode_profile = partial(explained.by_dense if is_mlp else explained.by_transformer, shape)
    if not is_mlp:
        further = {RESTORER: restorer_description(shape)} if restores(config) else {}
        if spec.nodes:
            further[VECTOR_MODULE] = vector_description(spec.nodes, spec.vector_channels)
        init = partial(model.init, shape, network, further)
    columns = prediction_columns(spec.tasks)
    # Of a patient without any gene nothing is said.
    emptied = (*columns, EMBEDDING) if spec.tasks else ()
    predict = partial(explained.predict, shape, network, encode_profile)
    restoring: dict[str, Any] = {}
    if not spec.tasks:  # pretraining alone
        restoring = {
            "predict": partial(predict_restored, shape),
            "evaluate": evaluate_restored,
            "better": {RESTORED: "higher"},
        }
    return task_system(
        network,
        spec.rows,
        inputs=partial(inputs, spec.levels, missing_of(config), tuple(spec.features)),
        init=init,
        features=partial(scaled_values, config, spec),
        models=binary_models,
        encoder_stages={
            PRETRAINING: partial(pretraining_stage, shape, network, spec.rows[model.SLOT])
        },
        columns=columns,
        predict_batch=config.predict.batch_size,
        read_new=partial(read_new, spec, config),
        sources=reading.sources,
        prepare_new=partial(reading.prepare_new, spec.logged),
        training_range=partial(features.training_range, tuple(spec.features)),
        finish_new=partial(reading.without_empty_rows, emptied),
        of_variables=None if is_mlp else partial(explained.gene_fields, shape),
        annotated=partial(annotated, spec),
        **{"predict": predict, "evaluate": partial(evaluate, spec), **restoring},
    )


def annotated(spec: Spec, predictions: Predictions, rows: Dataset) -> dict[str, AnnotatedMatrix]:
    """The vectors of patients, and of genes where the predictions hold them."""
    return {
        **annotated_embedding(spec.tasks, predictions, rows),
        **explained.annotated_genes(spec.features, predictions),
    }


def evaluate(
    spec: Spec,
    predictions: Predictions,
    test: Dataset,
    train: Dataset,
) -> Evaluation:
    """The scores of all tasks, see `tasks.scoring`.

    With "attribution_TASK" where there are attributions, and frames of `tasks.external` where all
    replicates are tested on the same patients.
    """
    scored = evaluate_tasks(spec.tasks, predictions, test, train, times=spec.times)
    frames = {
        **scored.frames,
        **attribution_frames(spec.tasks, tuple(spec.features), predictions, test),
    }
    if spec.shared_test:
        frames |= task_frames(spec.tasks, predictions, test, {})
    return replace(scored, frames=frames)


def vector_description(nodes: int, channels: int) -> dict[str, Any]:
    """The description of vectors that another arm trains."""
    return {"table": Constant((nodes, channels), 0.0)}


def restores(config: Any) -> bool:
    """Whether a stage hides values of genes and restores them."""
    return PRETRAINING in config.training.stages


def shape_of(config: Any, spec: Spec) -> model.ModelShape:
    """The shapes of the network for one config and one shape of data."""
    widths = {name: spec.widths[name] for name in spec.features}
    covariates = len(covariate_columns(spec.levels))
    return model.ModelShape(
        config, widths, covariates, spec.tasks, spec.vector_channels, spec.pathways
    )


def inputs(
    levels: Levels, missing: Missing, names: Sequence[str], dataset: Dataset
) -> dict[str, np.ndarray]:
    """The fields of a row that the network reads, see `model`."""
    fields = features.inputs(names, dataset)
    fields.pop("has")
    return {**fields, "c": covariate_values(dataset, levels, missing)}


def missing_of(config: Any) -> Missing:
    """The words and numbers for unknown in the tables of patients."""
    return parse_missing(config.data.missing_values)


def rules_of(config: Any, name: str) -> Rules:
    """The rules by which a modality's genes are chosen in every fold."""
    return replace(features.rules_of(config, name), spread=config.preprocess.spread)


def scaled_values(
    config: Any, spec: Spec, train: Dataset, test: Dataset
) -> tuple[Matrix, TestMatrix]:
    """The genes and covariates that a fold's network reads, of both datasets, for simple models.

    Covariates have the mean s.d. of the genes, and their training mean where they are unknown.
    """
    # The dataset holds a random share of the genes already, so no share of it is drawn again.
    rules = {name: replace(rules_of(config, name), share=1.0) for name in spec.features}
    x, x_test = features.scaled_features(rules, tuple(spec.features), train, test)
    if not spec.levels:
        return x, x_test
    c, c_test = (covariate_values(d, spec.levels, missing_of(config)) for d in (train, test))
    scale, unit = covariate_scale(c, np.arange(len(c))), np.float32(x.std(axis=0).mean())
    added = (unit * scaled_covariates(scale, part) for part in (c, c_test))
    both = zip((x, x_test), added, strict=True)
    x, x_test = (np.concatenate(parts, axis=1) for parts in both)
    return x, x_test


def check(config: Any) -> None:
    """Refuses invalid values of the config."""
    check_values(config, SETTINGS)
    model_settings = config.model
    if model_settings.channels % model_settings.heads:
        raise UserError(
            f"config.model.channels is {model_settings.channels}, which {model_settings.heads} "
            "heads do not divide; choose a multiple of config.model.heads"
        )
    if model_settings.linear_penalty and not model_settings.linear:
        raise UserError(
            f"config.model.linear_penalty is {model_settings.linear_penalty:g}, and there is no "
            "linear map (config.model.linear is 0); set it, to 64 for instance, or the penalty to 0"
        )
    if model_settings.attention == PATHWAYS and restores(config):
        raise UserError(
            f"config.training.stages has {PRETRAINING}, which restores values of genes, and with "
            f"config.model.attention={PATHWAYS} no token is a gene's; leave out {PRETRAINING}, or "
            "choose exact or induced attention"
        )
    if config.predict.attributions and model_settings.encoding in STEPWISE:
        raise UserError(
            f"config.model.encoding is {model_settings.encoding}, by which no outcome has a "
            "gradient by a gene's value, and attributions (config.predict.attributions, the "
            "experiment interpret) are integrated gradients; choose another encoding than "
            f"{' and '.join(STEPWISE)}, or leave attributions out"
        )
