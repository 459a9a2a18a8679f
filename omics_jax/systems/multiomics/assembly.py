"""The multi-omics system as a value: the functions of `model` bound to a config and data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.dataset.summary import combinations, overlaps
from omics_jax.data.preprocessing.selection import Rules
from omics_jax.errors import UserError
from omics_jax.evaluation.tables import Evaluation, Frame
from omics_jax.settings.checks import check_values
from omics_jax.study.patients import features, reading
from omics_jax.study.system import DataSpec, Predictions, System
from omics_jax.systems.multiomics import imputation, model, simple_imputers
from omics_jax.systems.multiomics.conclusions import COMPLETE
from omics_jax.systems.multiomics.patients import OTHERS, SLOT, ModelShape
from omics_jax.systems.multiomics.settings import SETTINGS
from omics_jax.tasks.assembly import task_system
from omics_jax.tasks.attribution import attribution_frames
from omics_jax.tasks.external import task_frames
from omics_jax.tasks.prediction import prediction_columns
from omics_jax.tasks.scoring import better_sides, evaluate_tasks
from omics_jax.tasks.settings import check_task_settings, weights_of
from omics_jax.tasks.stages import encoder_stage
from omics_jax.tasks.task import Task


@dataclass(frozen=True)
class Spec(DataSpec):
    """What building an arm's system needs to know of its data.

    used: the modalities that are embedded.
    widths: modality -> the number of features that a replicate chooses of it at most.
    edges: modality -> the sources from which it is imputed.
    tasks: those that have a head; () for the imputers alone.
    times: survival task -> the times at which its curves are stored.
    some_incomplete: whether some tested patients lack a modality; the complete ones are then also
      scored by themselves.
    logged: the modalities whose logarithms were taken, log2(x + 1).
    shared_test: whether all replicates are tested on the same patients.
    """

    used: tuple[str, ...] = ()
    edges: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tasks: tuple[Task, ...] = ()
    times: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    some_incomplete: bool = False
    widths: Mapping[str, int] = field(default_factory=dict)
    logged: tuple[str, ...] = ()
    shared_test: bool = False


def build(config: Any, spec: Spec) -> System:
    """The system for one config and one shape of data: the imputers if `spec` has no task.

    Raises:
      UserError: an invalid value in `config`.
    """
    check(config)
    shape = shape_of(config, spec)
    build_system = _network_system if spec.tasks else _imputing_system
    return build_system(config, spec, shape)


def shape_of(config: Any, spec: Spec) -> ModelShape:
    """The shapes of the model for one config and one shape of data."""
    sizes = {name: len(features) for name, features in spec.features.items()}
    return ModelShape(config, sizes, spec.used, spec.edges, spec.tasks, spec.widths)


def _imputing_system(config: Any, spec: Spec, shape: ModelShape) -> System:
    columns = {}
    for name in spec.edges:
        columns |= {name: spec.features[name], f"{name}_sd": spec.features[name]}
    return System(
        arrays=partial(features.inputs, tuple(shape.sizes)),
        init=partial(imputation.init, shape),
        stages=imputation.stages(shape, spec.rows),
        predict=partial(imputation.predict, shape),
        evaluate=simple_imputers.evaluate_imputation,
        baselines=partial(simple_imputers.imputation_baselines, _rules(config, spec), spec.edges),
        # Simple imputers are fitted and scored on the same patients and scale as the network.
        baseline_slots=(SLOT,) if OTHERS in spec.rows else (),
        columns=columns,
        imputes={name: name for name in spec.edges},
        better=simple_imputers.imputation_sides(spec.edges),
        predict_batch=config.predict.batch_size,
        read_new=partial(reading.read_new, spec, spec.logged, config),
        sources=reading.sources,
        prepare_new=partial(reading.prepare_new, spec.logged),
        predict_new=partial(imputation.predict_new, shape),
        training_range=partial(features.training_range, tuple(spec.features)),
        finish_new=partial(imputation.in_user_units, spec.logged),
    )


def _network_system(config: Any, spec: Spec, shape: ModelShape) -> System:
    network = model.network_of(shape, weights_of(config))
    columns = {"imputed_share": ("imputed_share",), **prediction_columns(spec.tasks)}
    return task_system(
        network,
        spec.rows,
        inputs=partial(features.inputs, tuple(shape.sizes)),
        init=partial(model.init, shape, network),
        features=partial(features.scaled_features, _rules(config, spec), spec.used),
        encoder_stages={
            model.EMBEDDING: partial(encoder_stage, network, model.EMBEDDING, spec.rows[SLOT]),
        },
        predict=partial(model.predict, shape, network),
        evaluate=partial(evaluate, spec),
        columns=columns,
        better=better_sides(spec.tasks, (COMPLETE,)),
        predict_batch=config.predict.batch_size,
        read_new=partial(reading.read_new, spec, spec.logged, config),
        sources=reading.sources,
        prepare_new=partial(reading.prepare_new, spec.logged),
        training_range=partial(features.training_range, tuple(spec.features)),
        finish_new=partial(reading.without_empty_rows, tuple(columns)),
    )


def evaluate(spec: Spec, predictions: Predictions, test: Dataset, train: Dataset) -> Evaluation:
    """The scores of all tasks, see `tasks.scoring`; complete patients are also scored separately.

    Frames besides those of the tasks: "overlap", the number of patients per combination of
    modalities; "imputed_share" of every patient; "attribution_TASK" where there are attributions;
    those of `tasks.external` where all replicates are tested on the same patients.
    """
    subsets = {COMPLETE: partial(is_complete, spec.used)} if spec.some_incomplete else {}
    scored = evaluate_tasks(spec.tasks, predictions, test, train, times=spec.times, subsets=subsets)
    frames = dict(scored.frames)
    if "imputed_share" in predictions:
        shares = pd.DataFrame({"id": test.ids.astype(str), "modalities": combinations(test)})
        shares["imputed"] = np.asarray(predictions["imputed_share"], np.float64)
        frames["imputed_share"] = Frame("imputed_share", shares)
    if "embedding" in predictions:
        frames["overlap"] = Frame("overlap", overlaps(test))
    frames |= attribution_frames(spec.tasks, spec.used, predictions, test)
    if spec.shared_test:
        frames |= task_frames(spec.tasks, predictions, test, subsets)
    return replace(scored, frames=frames)


def is_complete(names: Sequence[str], dataset: Dataset) -> Bool[np.ndarray, " n"]:
    """(n,) whether a patient has all these modalities."""
    return np.all([dataset.modalities[name].observed_rows for name in names], axis=0)


# --- settings -------------------------------------------------------------------------------------


def _rules(config: Any, spec: Spec) -> dict[str, Rules]:
    """The rules for simple models, on the features that any fold uses.

    These are already limited to the random share, so no share of them is drawn again.
    """
    return {name: replace(features.rules_of(config, name), share=1.0) for name in spec.features}


def check(config: Any) -> None:
    """Refuses invalid values of the config."""
    check_values(config, SETTINGS)
    check_task_settings(config)
    if config.missing == "mask" and config.model.fusion == "early":
        raise UserError(
            "config.missing=mask leaves out the branch of a missing modality, but "
            "model.fusion=early has no branches; set model.fusion to intermediate, or missing to "
            "impute or complete"
        )
