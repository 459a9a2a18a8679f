"""The EHR system as a value: the model's functions bound to one config and one shape of data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from ml_collections import ConfigDict

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.errors import UserError
from omics_jax.settings.checks import check_values, choices
from omics_jax.study.system import DataSpec, Predictions, System
from omics_jax.systems.ehr import model, predictions, reading, scoring
from omics_jax.systems.ehr.device_rows import device_rows, held_levels
from omics_jax.systems.ehr.settings import SETTINGS
from omics_jax.systems.ehr.stays import ModelShape

GIVEN = "given"  # the level of cells that the file itself holds out

Probes = Callable[[Predictions, Dataset, Predictions, Dataset], Mapping[str, Predictions]]


def build(config: ConfigDict, spec: DataSpec, probes: Probes | None = None) -> System:
    """The system for one config and one shape of data: an imputer or, with a network, a classifier.

    The network is `config.classifier.network`.

    probes: classical models on the output of an imputer, see `System.probes`.

    Raises:
      UserError: an invalid value in `config`.
    """
    check_config(config)
    shape = shape_of(config, spec)
    held = partial(held_levels, tuple(config.held_out), config.seed)
    system = partial(
        System,
        arrays=partial(device_rows, held),
        evaluate=partial(scoring.evaluate, held, shape.levels),
        ranges=partial(scoring.ranges, shape.levels),
        better=scoring.better(shape.levels),
        predict_batch=config.predict.batch_size,
        read_new=partial(reading.read_new, spec, config.data),
        training_range=predictions.training_range,
    )
    if config.classifier.network:
        return system(
            init=partial(model.init, shape, True),
            stages=model.classification(shape, spec.rows),
            predict=partial(predictions.predict_outcome, shape),
            baselines=scoring.outcome_baselines,
            columns={"probability": ("probability",)},
            extra_parts=("validation",),
        )
    series_fields = ("imputed", "disagreement", *(("sd",) if config.predict.draws else ()))
    return system(
        init=partial(model.init, shape, False),
        stages=model.pretraining(shape, spec.rows),
        predict=partial(predictions.predict_imputation, shape),
        predict_new=partial(predictions.predict_new_imputation, shape),
        imputes={"imputed": "series"},
        prediction_warnings=partial(predictions.clipped_warnings, spec.features["series"]),
        baselines=partial(scoring.imputation_baselines, held, shape.levels),
        columns=dict.fromkeys(series_fields, spec.features["series"]),
        extra_parts=("train",) if probes else (),
        probes=probes,
    )


def shape_of(config: ConfigDict, spec: DataSpec) -> ModelShape:
    """The shape of the model for one config and one shape of data."""
    levels = tuple(f"{round(100 * rate)}" for rate in config.held_out)
    if "truth" in spec.features:
        levels = (GIVEN,)
    sizes = (len(spec.features.get(name, ())) for name in ("hours", "series", "static"))
    return ModelShape(config, *sizes, levels)


def check_config(config: ConfigDict) -> None:
    """Refuses a config with invalid values."""
    check_values(config, {**SETTINGS, "tables.strategies": choices(*config.strategies)})
    _check_held_out(tuple(config.held_out))
    if config.predict.draws == 1:
        raise UserError(
            "config.predict.draws is 1, of which there is no s.d.; give 2 or more, or 0 for none"
        )
    if config.model.channels % config.model.heads or config.model.channels % 2:
        raise UserError(
            f"config.model.channels is {config.model.channels}; give an even multiple of "
            f"config.model.heads ({config.model.heads})"
        )


def _check_held_out(rates: tuple[float | int, ...]) -> None:
    """Refuses shares out of order, or whose names (whole percents) are the same."""
    percents = [round(100 * rate) for rate in rates]
    if not rates or not np.all(np.diff((0, *rates, 1)) > 0) or len(set(percents)) < len(percents):
        raise UserError(
            f"config.held_out is {rates}; give increasing shares between 0 and 1 a hundredth or "
            "more apart, as (.1, .5)"
        )
