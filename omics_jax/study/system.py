"""`System`: one method as a value of pure functions. `Arm`: one way of running it in an experiment.

The folder (or file) of a system, `omics_jax/systems/NAME`, exports

  read(config, on_progress) -> Dataset      from the user's files or the simulator
  build(config, spec) -> System             the method for one config and one shape of data
  EXPERIMENTS: name -> Experiment           the first is the default
  Spec                                      its subclass of `DataSpec`, if it has one

and nothing else: `run` and `report` know no system by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd
from jaxtyping import PRNGKeyArray

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.formats.annotated import AnnotatedMatrix
from omics_jax.errors import UserError
from omics_jax.evaluation.tables import Evaluation, Frame, Table
from omics_jax.study.doubts import Span
from omics_jax.training.stage import Batch, Replicate, Stage, Variables

Predictions = Mapping[str, np.ndarray]
Pooled = tuple[np.ndarray, np.ndarray]  # a value over replicates, and its s.d. between them
Rows = Mapping[str, jax.Array]  # field -> (n, ...)
# In the column "model" of scores and tables: the model that the arm trained. Other values are the
# names of simple models.
MODEL = "model"
LEAST_BASELINE_ROWS = 2  # training rows that a regression or a principal component needs


@dataclass(frozen=True)
class DataSpec:
    """What building a system needs to know of its data.

    It is stored with a run, so that prediction does not need the training data. A system that needs
    more fields adds them in a subclass; they hold text, numbers, tuples, mappings and dataclasses,
    and `study.records` restores them by their types.

    features: modality -> feature names, in order.
    rows: slot -> the most training rows that any replicate has.
    """

    features: Mapping[str, tuple[str, ...]]
    rows: Mapping[str, int]


def _no_new_rows(config: Any) -> Dataset:
    raise UserError(f"{config.system} cannot predict new rows; use another system or experiment")


@dataclass(frozen=True)
class System:
    """One method, built for one config and one shape of data.

    Attributes:
      arrays: dataset -> field -> (N, ...), the rows as arrays for the device.
      init: (key, batch, constants) -> {"params", "batch_stats"}.
      stages: trained in order; each passes its variables on to the next.
      predict: (variables, rows of one slot) -> field -> (n, ...). Deterministic; a row's prediction
        depends on that row alone, and observed values are never changed.
      evaluate: (predictions, test, train) -> Evaluation; on the host.
      baselines: (train, test) -> name -> predictions, scored by the same `evaluate`. They are given
        `LEAST_BASELINE_ROWS` training rows at least: fewer are refused before the training.
      baseline_slots: the slots whose training rows `baselines` learn from; () for all.
      columns: field of a prediction -> names of its columns; `--mode=predict` writes these fields.
      matrices: fields of `columns` that `--mode=predict` also writes as AnnData.
      annotated: (predictions of one replicate, their rows) -> name -> matrix, written as AnnData:
        for new rows, as the first replicate of each group predicts them, and once for an arm, of
        its first replicate; then the fields of `of_variables` are among its predictions.
      ranges: dataset -> field of a prediction -> the range of the observed values that it predicts,
        in the same units; predictions far outside are reported (`study.doubts`).
      imputes: field of a prediction -> the modality whose observed cells it returns bit for bit.
      better: metric -> "higher" or "lower", for metrics that have a better side.
      predict_batch: rows predicted at once.
      of_variables: variables of one replicate -> field -> array of any shape: what a trained
        network says by itself, whatever the rows. `evaluate` is given these fields beside the
        predictions of test rows.
      extra_parts: rows of a replicate that are predicted besides its test rows: "validation", which
        are scored under metrics named "validation_...", and "train", to which `probes` are fitted.
      probes: (predictions of the training rows, these rows, predictions of the test rows, these
        rows) -> name -> predictions: classical models on the network's predictions, scored as
        baselines.
      read_new: config of the command -> new rows in the units of the user's files, on the features
        of the training.
      sources: config of the command -> the files of the new rows, by which output files are named.
      prepare_new: new rows in the user's units -> new rows as `read` would return them.
      predict_new: `predict` for new rows, without fields that only scoring reads; None for
        `predict` itself.
      training_range: variables of one replicate -> modality -> the smallest and the largest value
        (f,) of each feature in its training rows, in the units of `prepare_new`, nan for a feature
        that it does not use; rows outside those of all replicates are reported.
      prediction_range: variables of one replicate -> field of `predict` -> the smallest and the
        largest value (f,) that a prediction of new rows can have, in the user's units; others are
        set to the nearer of them, and reported.
      prediction_warnings: the predictions of new rows by all replicates of a group -> sentences on
        what looks wrong; fields of `columns`, and those whose name ends with "clipped".
      finish_new: (predictions, new rows in the user's units) -> predictions in these units.
      pool_new: every replicate's predictions of the new rows -> field -> (value (n,), s.d. between
        replicates (n,)), of fields whose value over replicates is not the mean of theirs.
      bounds: (field of `columns`, its values for new rows over the replicates of a group, the rows
        of this arm and group in the run's table `study.conformal.QUANTILES`) -> name -> further
        columns (n,) beside the field's own, such as the ends of an interval; None for none.
    """

    arrays: Callable[[Dataset], Mapping[str, np.ndarray]]
    init: Callable[[PRNGKeyArray, Batch, Variables], Variables]
    stages: tuple[Stage, ...]
    predict: Callable[[Variables, Rows], Rows]
    evaluate: Callable[[Predictions, Dataset, Dataset], Evaluation]
    baselines: Callable[[Dataset, Dataset], Mapping[str, Predictions]]
    baseline_slots: tuple[str, ...] = ()
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    matrices: tuple[str, ...] = ()
    annotated: Callable[[Predictions, Dataset], Mapping[str, AnnotatedMatrix]] = (
        lambda predictions, rows: {}
    )
    ranges: Callable[[Dataset], Mapping[str, Span]] = lambda dataset: {}
    imputes: Mapping[str, str] = field(default_factory=dict)
    better: Mapping[str, str] = field(default_factory=dict)
    predict_batch: int = 64
    of_variables: Callable[[Variables], Mapping[str, jax.Array]] | None = None
    extra_parts: tuple[str, ...] = ()
    probes: (
        Callable[[Predictions, Dataset, Predictions, Dataset], Mapping[str, Predictions]] | None
    ) = None
    read_new: Callable[[Any], Dataset] = _no_new_rows
    sources: Callable[[Any], Sequence[str]] = lambda config: (config.data.path,)
    prepare_new: Callable[[Dataset], Dataset] = lambda new: new
    predict_new: Callable[[Variables, Rows], Rows] | None = None
    training_range: Callable[[Variables], Mapping[str, tuple[np.ndarray, np.ndarray]]] = (
        lambda variables: {}
    )
    prediction_range: Callable[[Variables], Mapping[str, tuple[np.ndarray, np.ndarray]]] = (
        lambda variables: {}
    )
    prediction_warnings: Callable[[Sequence[Predictions]], Sequence[str]] = lambda replicates: ()
    finish_new: Callable[[Predictions, Dataset], Predictions] = lambda predictions, new: predictions
    pool_new: Callable[[Sequence[Predictions]], Mapping[str, Pooled]] | None = None
    bounds: Callable[[str, np.ndarray, pd.DataFrame], Mapping[str, np.ndarray]] | None = None


@dataclass(frozen=True)
class Range:
    """The range of a tuned constant, from `low` to `high`.

    log: whether draws are uniform in the logarithm of the constant, or else in the constant itself.

    Raises:
      UserError: an empty range, or a `log` range that starts at 0 or below.
    """

    low: float
    high: float
    log: bool = True

    def __post_init__(self) -> None:
        if not self.low < self.high or (self.log and self.low <= 0):
            condition = "0 < low < high" if self.log else "low < high"
            raise UserError(
                f"the range of a tuned constant is {self.low} to {self.high}; it must have "
                f"{condition}"
            )


@dataclass(frozen=True)
class Tuning:
    """The search for constants of an arm's replicates, before these are trained; see `run.tuning`.

    space: constant -> its range.
    seed: of the draws.
    trials: number of sets of constants that every replicate tries on its own rows.
    replicate: index of the one replicate that tries them and whose choice serves all; the others'
      test rows may be among those it chose by. None where every replicate makes its own choice.
    watch: the monitored value of the last stage that is minimised.

    Raises:
      UserError: less than one trial.
    """

    space: Mapping[str, Range]
    seed: int
    trials: int = 20
    replicate: int | None = None
    watch: str = "validation_loss"

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise UserError(f"the number of trials of a tuning is {self.trials}; give 1 or more")


@dataclass(frozen=True)
class Arm:
    """A system with the rows and replicates it is trained on.

    config, spec: the arguments of `build` that made the system.
    dataset: the rows that the replicates index.
    start_from: name of an earlier arm, from whose final variables this arm starts; or names of
      several, each of which gives the modules that the ones before it lack.
    takes: the modules that it takes over from these; () for all that it has.
    starts: for each replicate, the index of the earlier arm's replicate from which it starts; ()
      for the replicate with the same index.
    labels: what distinguishes the arm, for the tables of all arms, e.g. {"latent": 20}.
    tuning: the search for the constants of its replicates, before it is trained; None for none.
    sections: the parts of `config` on which its training depends; () for all of them.
    main: whether the summary is of this arm; without such an arm it is of the first arm from which
      no other starts.
    with_baselines: whether its simple models are scored; False where another arm of the experiment
      has the same ones.
    is_null: whether it is trained on outcomes that were permuted or drawn anew, so that it may
      learn nothing.
    notes: sentences for the user on rows that the experiment leaves out, on what it cannot show,
      and on what its simple models do not read.
    """

    name: str
    system: System
    config: Any
    spec: DataSpec
    dataset: Dataset
    replicates: Sequence[Replicate]
    start_from: str | tuple[str, ...] | None = None
    takes: tuple[str, ...] = ()
    starts: Sequence[int] = ()
    labels: Mapping[str, Any] = field(default_factory=dict)
    tuning: Tuning | None = None
    sections: tuple[str, ...] = ()
    main: bool = False
    with_baselines: bool = True
    is_null: bool = False
    notes: tuple[str, ...] = ()

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of the arms in `start_from`."""
        if isinstance(self.start_from, tuple):
            return self.start_from
        return (self.start_from,) if self.start_from else ()


@dataclass(frozen=True)
class Results:
    """All replicates of all arms, scored.

    scores: tidy, with the columns arm, model (`MODEL` or a simple model's name), replicate, group,
      fold, repeat, seed, metric, value, n_train, n_test, constant (see `Evaluation`). The members
      of an ensemble are scored together, under replicate and seed of the first.
    frames: name -> the frames of that name from the first repeat's evaluations, concatenated, with
      columns for arm, model, group and fold; those of `Frame.every_repeat` from all repeats, with a
      column for the repeat.
    sizes: group -> (number of data groups such as cell lines, number of rows) that all folds of a
      repeat test.
    labels: arm -> what distinguishes it, such as {"latent": 20}.
    """

    scores: pd.DataFrame
    frames: Mapping[str, Frame]
    sizes: Mapping[str, tuple[int, int]]
    labels: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Findings:
    """What an experiment concludes from all its replicates.

    comparisons: tests, as in metrics.json.
    tables: name -> table of the report.
    intervals: (arm, model, metric) -> 95 % interval of the mean by `method`, for splits that share
      their test rows, where the corrected t-test does not hold; other metrics then have no
      interval. None for intervals by the corrected t-test.
    """

    comparisons: Sequence[Mapping[str, Any]] = ()
    tables: Mapping[str, Table] = field(default_factory=dict)
    intervals: Mapping[tuple[str, str, str], tuple[float, float]] | None = None
    method: str = ""


class Experiment(NamedTuple):
    """The arms that are trained, and the conclusions from their scores.

    arms: (config, dataset) -> the arms, in the order of training.
    conclude: the scored replicates of all arms -> comparisons and tables.
    """

    arms: Callable[[Any, Dataset], Sequence[Arm]]
    conclude: Callable[[Results], Findings]
