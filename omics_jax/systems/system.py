"""`System`: what one method is, as a value of pure functions; `Arm`: one way of running it in an experiment.

A file of this folder exports
  read(config, tell) -> Dataset: the user's files, or the simulator; tell(done, total, what) reports progress;
  build(config, spec) -> System;
  read_new(config, spec) -> Dataset: new rows to predict, on the features and levels a run was trained with;
  EXPERIMENTS: name -> (config, dataset) -> [Arm, ...], the first arm being the one that the summary speaks of;
and nothing else: `run.py` and `report/` know no system by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
import pandas as pd

from omics_jax.data.dataset import Dataset
from omics_jax.errors import UserError
from omics_jax.evaluation.tables import Evaluation, Table
from omics_jax.training.stage import Batch, Replicate, Stage, Variables

Predictions = Mapping[str, np.ndarray]
MODEL = "model"  # what the column "model" of scores and tables calls an arm's own; else it names a baseline


@dataclass(frozen=True)
class DataSpec:
    """What building a system needs to know of its data; kept with a run, so that it can predict without them.

    features: modality -> feature names, in order. rows: slot -> the most training rows of any replicate.
    levels: annotation -> its values in the order in which the network counts them.
    """

    features: Mapping[str, tuple[str, ...]]
    rows: Mapping[str, int]
    levels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Results:
    """All replicates of all arms, scored.

    scores: tidy, with the columns arm, model (`MODEL` or a baseline's name), replicate, group, fold, repeat, seed,
      metric, value, n_train, n_test.
    tables: name -> the frames of that name from the first repeat's evaluations, with arm, group, fold added.
    labels: arm -> what distinguishes it, such as {"latent": 20}.
    sizes: group -> (number of data groups such as cell lines, number of rows) tested over all folds of a repeat.
    """

    scores: pd.DataFrame
    tables: Mapping[str, pd.DataFrame]
    sizes: Mapping[str, tuple[int, int]]
    labels: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Findings:
    """What an experiment concludes over all its replicates: comparisons (see metrics.json) and tables.

    intervals: (arm, model, metric) -> 95 % interval of the mean, found by `method`, where splits share their test rows,
      so that the corrected t-test does not hold; metrics without one then have none. None: by the corrected t-test.
    """

    comparisons: Sequence[Mapping[str, Any]] = ()
    tables: Mapping[str, Table] = field(default_factory=dict)
    intervals: Mapping[tuple[str, str, str], tuple[float, float]] | None = None
    method: str = ""


@dataclass(frozen=True)
class System:
    """One method.

    Attributes:
      arrays: dataset -> field -> (N, ...), the rows as the device sees them.
      init: (key, batch, constants) -> {"params", "batch_stats"}.
      stages: trained in order; each hands its variables to the next.
      predict: (variables, batch of one slot) -> field -> (width, ...). Deterministic; a row's prediction depends on
        that row alone and never changes what was observed.
      predict_new: the same of new rows, where `predict` also gives what only scoring reads; None for `predict` itself.
      finish_new: (predictions of new rows, these) -> predictions in the user's units, where the network has others.
      evaluate: (predictions, test, train) -> Evaluation; host side.
      baselines: (train, test) -> name -> predictions, scored by the same `evaluate`.
      conclude: what the experiment says over all replicates; the first arm's is called.
      columns: field of a prediction -> names of its columns; these fields are what `--mode=predict` writes.
      better: metric -> "higher" or "lower", for those that have a better side.
      predict_batch: rows predicted at once.
      also: other rows of a replicate that are predicted beside its test rows: "validation", which are scored under
        metrics named "validation_...", and "train", which `probes` learn from.
      probes: (predictions of the training rows, these, predictions of the test rows, these) -> name -> predictions:
        classical models on what the network makes of the rows, scored as baselines.
    """

    arrays: Callable[[Dataset], Mapping[str, np.ndarray]]
    init: Callable[[jax.Array, Batch, Variables], Variables]
    stages: tuple[Stage, ...]
    predict: Callable[[Variables, Mapping[str, jax.Array]], Mapping[str, jax.Array]]
    evaluate: Callable[[Predictions, Dataset, Dataset], Evaluation]
    baselines: Callable[[Dataset, Dataset], Mapping[str, Predictions]]
    conclude: Callable[[Results], Findings] = lambda results: Findings()
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    better: Mapping[str, str] = field(default_factory=dict)
    predict_batch: int = 64
    predict_new: Callable[[Variables, Mapping[str, jax.Array]], Mapping[str, jax.Array]] | None = None
    finish_new: Callable[[Predictions, Dataset], Predictions] = lambda predictions, new: predictions
    also: tuple[str, ...] = ()
    probes: Callable[[Predictions, Dataset, Predictions, Dataset], Mapping[str, Predictions]] | None = None


@dataclass(frozen=True)
class Range:
    """What a tuned constant may be: from `low` to `high`, uniform in its logarithm, or (`log` False) in itself.

    Raises:
      UserError: an empty range, or one from 0 or below whose logarithm is wanted.
    """

    low: float
    high: float
    log: bool = True

    def __post_init__(self):
        if not self.low < self.high or (self.log and self.low <= 0):
            wanted = "0 < low < high" if self.log else "low < high"
            raise UserError(f"the range of a tuned constant is {self.low} to {self.high}; it must have {wanted}")


@dataclass(frozen=True)
class Tuning:
    """Constants of an arm's replicates that are chosen on one of them before all are trained, see `tuning.tune`.

    space: constant -> its range. seed: of the draws. trials: sets of constants tried. replicate: index of the one
    they are tried on. watch: monitored value of the last stage that is to become least.

    Raises:
      UserError: less than one trial.
    """

    space: Mapping[str, Range]
    seed: int
    trials: int = 20
    replicate: int = 0
    watch: str = "validation_loss"

    def __post_init__(self):
        if self.trials < 1:
            raise UserError(f"the number of trials of a tuning is {self.trials}; give 1 or more")


@dataclass(frozen=True)
class Arm:
    """A system with the rows and replicates it is trained on.

    config, spec: what the system was built from. dataset: the rows that the replicates index.
    start_from: name of an earlier arm whose final variables this one starts from. starts: the replicate of it that each
      of this arm's starts from; () for the one in the same place.
    labels: what distinguishes the arm, for the tables of all arms, e.g. {"latent": 20}.
    tuning: how constants of all its replicates are chosen before it is trained.
    sections: the parts of `config` that what it learns depends on; () for all of them.
    main: the summary speaks of it; where no arm says so, of the first that no other starts from.
    """

    name: str
    system: System
    config: Any
    spec: DataSpec
    dataset: Dataset
    replicates: Sequence[Replicate]
    start_from: str | None = None
    starts: Sequence[int] = ()
    labels: Mapping[str, Any] = field(default_factory=dict)
    tuning: Tuning | None = None
    sections: tuple[str, ...] = ()
    main: bool = False
