"""`System`: one method as a value of pure functions. `Arm`: one way of running it in an experiment.

The folder (or file) of a system, `omics_jax/systems/NAME`, exports

  read(config, on_progress) -> Dataset      the user's files, or the simulator
  build(config, spec) -> System             the method for one config and one shape of data
  EXPERIMENTS: name -> Experiment           the first is the default
  Spec                                      its kind of `DataSpec`, where it has one of its own

and nothing else: `run` and `report` know no system by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.errors import UserError
from omics_jax.evaluation.tables import Evaluation, Frame, Table
from omics_jax.training.stage import Batch, Replicate, Stage, Variables

Predictions = Mapping[str, np.ndarray]
Rows = Mapping[str, jax.Array]  # field -> (n, ...)
MODEL = "model"  # in the column "model" of scores and tables: the arm's own; else a simple model


@dataclass(frozen=True)
class DataSpec:
    """What building a system needs to know of its data; kept with a run, which predicts without
    them.

    A system that needs more than this adds fields in a dataclass of its own; they hold text,
    numbers, tuples, mappings and dataclasses, and `study.records` restores them by their types.

    features: modality -> feature names, in order.
    rows: slot -> the most training rows that any replicate has.
    """

    features: Mapping[str, tuple[str, ...]]
    rows: Mapping[str, int]


def _no_new_rows(config: Any) -> Dataset:
    raise UserError(f"{config.system} predicts no new rows; use another system or experiment")


@dataclass(frozen=True)
class System:
    """One method, built for one config and one shape of data.

    Attributes:
      arrays: dataset -> field -> (N, ...), the rows as the device sees them.
      init: (key, batch, constants) -> {"params", "batch_stats"}.
      stages: trained in order; each hands its variables to the next.
      predict: (variables, rows of one slot) -> field -> (n, ...). Deterministic; a row's prediction
        depends on that row alone and never changes what was observed.
      evaluate: (predictions, test, train) -> Evaluation; on the host.
      baselines: (train, test) -> name -> predictions, scored by the same `evaluate`.
      baseline_slots: the slots whose training rows `baselines` learn from; () for all.
      columns: field of a prediction -> names of its columns; `--mode=predict` writes these fields.
      imputes: field of a prediction -> the modality whose observed cells it returns bit for bit.
      better: metric -> "higher" or "lower", for those that have a better side.
      predict_batch: rows predicted at once.
      extra_parts: other rows of a replicate that are predicted: "validation", which are scored
        under metrics named "validation_...", and "train", from which `probes` learn.
      probes: (predictions of the training rows, these, predictions of the test rows, these) ->
        name -> predictions: classical models on what the network makes of the rows, scored as
        baselines.
      read_new: config of the command -> new rows in the units of the user's files, on the features
        of the training.
      sources: config of the command -> the files that hold the new rows, for the name of what is
        written.
      prepare_new: new rows in the user's units -> as `read` would have left them.
      predict_new: `predict` for new rows, where `predict` also gives what only scoring reads; None
        for `predict` itself.
      finish_new: (predictions, new rows in the user's units) -> predictions in these units.
    """

    arrays: Callable[[Dataset], Mapping[str, np.ndarray]]
    init: Callable[[jax.Array, Batch, Variables], Variables]
    stages: tuple[Stage, ...]
    predict: Callable[[Variables, Rows], Rows]
    evaluate: Callable[[Predictions, Dataset, Dataset], Evaluation]
    baselines: Callable[[Dataset, Dataset], Mapping[str, Predictions]]
    baseline_slots: tuple[str, ...] = ()
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    imputes: Mapping[str, str] = field(default_factory=dict)
    better: Mapping[str, str] = field(default_factory=dict)
    predict_batch: int = 64
    extra_parts: tuple[str, ...] = ()
    probes: (
        Callable[[Predictions, Dataset, Predictions, Dataset], Mapping[str, Predictions]] | None
    ) = None
    read_new: Callable[[Any], Dataset] = _no_new_rows
    sources: Callable[[Any], Sequence[str]] = lambda config: (config.data.path,)
    prepare_new: Callable[[Dataset], Dataset] = lambda new: new
    predict_new: Callable[[Variables, Rows], Rows] | None = None
    finish_new: Callable[[Predictions, Dataset], Predictions] = lambda predictions, new: predictions


@dataclass(frozen=True)
class Range:
    """What a tuned constant may be: from `low` to `high`, uniform in its logarithm, or (`log`
    False) in itself.

    Raises:
      UserError: an empty range, or one from 0 or below whose logarithm is wanted.
    """

    low: float
    high: float
    log: bool = True

    def __post_init__(self):
        if not self.low < self.high or (self.log and self.low <= 0):
            wanted = "0 < low < high" if self.log else "low < high"
            raise UserError(
                f"the range of a tuned constant is {self.low} to {self.high}; it must have {wanted}"
            )


@dataclass(frozen=True)
class Tuning:
    """Constants of an arm's replicates that are chosen on one of them before all are trained, see
    `run.tuning`.

    space: constant -> its range.
    seed: of the draws.
    trials: sets of constants tried.
    replicate: index of the one they are tried on.
    watch: monitored value of the last stage that is to become least.

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

    config, spec: what the system was built from.
    dataset: the rows that the replicates index.
    start_from: name of an earlier arm whose final variables this one starts from.
    starts: the replicate of it that each of this arm's starts from; () for the one in the same
      place.
    labels: what distinguishes the arm, for the tables of all arms, e.g. {"latent": 20}.
    tuning: how constants of all its replicates are chosen before it is trained.
    sections: the parts of `config` that what it learns depends on; () for all of them.
    main: the summary speaks of it; where no arm says so, of the first that no other starts from.
    with_baselines: False where another arm of the experiment has the same simple models.
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
    with_baselines: bool = True


@dataclass(frozen=True)
class Results:
    """All replicates of all arms, scored.

    scores: tidy, with the columns arm, model (`MODEL` or a simple model's name), replicate, group,
      fold, repeat, seed, metric, value, n_train, n_test.
    frames: name -> the frames of that name from the first repeat's evaluations, one below the
      other, with arm, model, group and fold added.
    sizes: group -> (number of data groups such as cell lines, number of rows) tested over all folds
      of a repeat.
    labels: arm -> what distinguishes it, such as {"latent": 20}.
    """

    scores: pd.DataFrame
    frames: Mapping[str, Frame]
    sizes: Mapping[str, tuple[int, int]]
    labels: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Findings:
    """What an experiment concludes over all its replicates: comparisons (see metrics.json) and
    tables.

    intervals: (arm, model, metric) -> 95 % interval of the mean, by `method`, where splits share
      their test rows, so that the corrected t-test does not hold; metrics without one then have
      none. None: by the corrected t-test.
    """

    comparisons: Sequence[Mapping[str, Any]] = ()
    tables: Mapping[str, Table] = field(default_factory=dict)
    intervals: Mapping[tuple[str, str, str], tuple[float, float]] | None = None
    method: str = ""


class Experiment(NamedTuple):
    """What is trained, and what is concluded from it.

    arms: (config, dataset) -> the arms, in the order of training.
    conclude: the scored replicates of all arms -> comparisons and tables.
    """

    arms: Callable[[Any, Dataset], Sequence[Arm]]
    conclude: Callable[[Results], Findings]
