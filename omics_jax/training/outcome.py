"""`StageOutcome`: how a stage ended for one replicate, as its monitor saw it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from omics_jax.training.freezing import path_part, trainable_labels
from omics_jax.training.job import Training
from omics_jax.training.state import TrainState


@dataclass(frozen=True)
class StageOutcome:
    """The monitored values (lower is better) by which a stage can be judged.

    Attributes:
      stage: its name.
      trained_before: whether earlier stages, or the training that this one starts from, had trained
        all parameters that it trains.
      epochs: the most that it may have.
      start: the value before the first step.
      best: the value of the variables that were kept; infinite if it was never a number.
      best_epoch: their epoch; -1 for those that the stage started from.
      start_loss, best_loss: the validation loss at both, where it is not the monitor itself.
    """

    stage: str
    trained_before: bool
    epochs: int
    start: float
    best: float
    best_epoch: int
    start_loss: float
    best_loss: float


def stage_outcomes(
    training: Training, index: int, params: Any, state: TrainState
) -> list[StageOutcome]:
    """How the stage of that index ended for every replicate; [] without a monitor.

    params: of one replicate, or their shapes. state: all leaves (c, ...).
    """
    stage = training.stages[index]
    if stage.monitor is None:
        return []
    before = _trained_before(training, index, params)
    fields = {
        "start": state.start_value,
        "best": state.best_value,
        "best_epoch": state.best_epoch,
        "start_loss": state.start_loss,
        "best_loss": state.best_loss,
    }
    values = {name: np.asarray(column).tolist() for name, column in fields.items()}
    return [
        StageOutcome(stage.name, before, stage.epochs, **dict(zip(values, row, strict=True)))
        for row in zip(*values.values(), strict=True)
    ]


def _trained_before(training: Training, index: int, params: Any) -> bool:
    patterns = [pattern for stage in training.stages[:index] for pattern in stage.trainable]
    if training.start is not None:
        modules = params.keys() & training.start["params"].keys()
        patterns += [f"{re.escape(path_part(module))}(/.*)?" for module in modules]
    own, earlier = (
        jax.tree.leaves(trainable_labels(chosen, params))
        for chosen in (training.stages[index].trainable, patterns)
    )
    return all(e == "train" for o, e in zip(own, earlier, strict=True) if o == "train")
