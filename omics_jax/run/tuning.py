"""Choosing hyper-parameters that are constants of a replicate, with Optuna.

Every replicate (fold) chooses its own on its own training and validation rows: its test rows reach
nothing that is fitted for them. `Tuning.replicate` lets one choice serve all instead. All trials
are replicates of one training: those of a fold have its rows, seed and start, each with its own
constants, and all share a program. Hyperband prunes them as they train, fold by fold. All are
drawn before any has ended, so that the sampler (TPE) cannot learn from one trial for the next and
draws at random from the ranges, the same draws for every fold. Left out: hyper-parameters that
change a shape.
"""

from __future__ import annotations

import math
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from omics_jax.durable import as_user_error, check_origin, read_record, write_record
from omics_jax.errors import UserError
from omics_jax.evaluation.tables import Table
from omics_jax.run.directory import to_json, tuning_file
from omics_jax.run.progress import OnProgress
from omics_jax.study.system import Arm, Tuning
from omics_jax.training.history import History
from omics_jax.training.loop import RunContext, fit
from omics_jax.training.plan import Options, Plan, Training, make_plan
from omics_jax.training.stage import Replicate, Variables

if TYPE_CHECKING:
    from optuna import Study
    from optuna import Trial as Draw
    from optuna.distributions import FloatDistribution

Constants = Mapping[str, np.ndarray]
STATES = ("complete", "pruned", "diverged")  # how a trial ends


class Trial(NamedTuple):
    """One set of constants that is tried on one replicate.

    replicate: its index among those of the arm.
    number: of the trial among those of the replicate.
    draw: Optuna's trial.
    """

    replicate: int
    number: int
    draw: Draw

    @property
    def parameters(self) -> Mapping[str, float]:
        """Constant -> the value that is tried."""
        return self.draw.params


def choose_constants(
    arm: Arm,
    start: Variables | None,
    options: Options,
    file: Path,
    stop: Callable[[], int | None] = lambda: None,
    on_progress: OnProgress = lambda done, total, doing: None,
    origin: Mapping[str, str] = MappingProxyType({}),
) -> tuple[list[dict[str, np.ndarray]], pd.DataFrame]:
    """Each replicate's constants: those of its best trial that was neither pruned nor diverged.

    A trial's value is its least watched value over the epochs; the best trial has the least. The
    choice is written to `file` (JSON) at the end, and read from there by a later call. Until then
    the folder of the same name beside it holds the trials' checkpoints and history; an interrupted
    tuning goes on from these and ends with the same choice.

    Args:
      arm: one with a tuning.
      start: variables (R, ...) of the arm's replicates to start from, see `Training.start`.
      stop, on_progress, origin: as in `RunContext`; the choice says its origin, too.

    Returns:
      (for each of the arm's replicates constant -> () float32, frame with the columns replicate
      (its index), one per label of the replicate, trial, one per constant, state (of `STATES`),
      value, epochs (trained until its end), best (the one that the replicate chose)).

    Raises:
      UserError: no Optuna, a watched value that is not monitored or, in a replicate, never finite,
        or a file of another tuning.
      Stopped: as `fit`. TrainingDiverged: in a stage before the last, where nothing is tuned.
    """
    tuning = arm.tuning
    if file.exists():
        table = _read_trials(file, tuning, origin)
        return _best_constants(arm, table), table
    trials = _draw_trials(arm)
    plan = _trial_plan(arm, start, options, trials)
    _check_watched(arm, plan)
    folder = file.with_suffix("")
    with as_user_error(folder):
        folder.mkdir(parents=True, exist_ok=True)
    pruned: set[int] = set()
    history = History(folder / "history.jsonl")
    prune = _pruner(tuning.watch, trials, pruned)
    context = RunContext(
        folder / "checkpoints",
        history,
        on_progress,
        stop,
        prune=prune,
        origin={**origin, "tuning": True},
    )
    for _ in fit(plan, context):
        pass
    table = _trial_table(arm, trials, pruned, history)
    record = {"arm": arm.name, "tuning": asdict(tuning), "trials": table.to_dict("records")}
    write_record(file, to_json({**record, **origin}))
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return _best_constants(arm, table), table


def with_constants(arm: Arm, constants: Sequence[Constants]) -> Arm:
    """The arm with these constants in its replicates, one mapping for each."""
    pairs = zip(arm.replicates, constants, strict=True)
    return replace(arm, replicates=[_add_constants(*pair) for pair in pairs])


def choices(arm: Arm, trials: pd.DataFrame) -> list[str]:
    """What was chosen, a sentence per choice. trials: as of `choose_constants`."""
    tuning = arm.tuning
    sentences = []
    for best in trials[trials["best"]].to_dict("records"):
        values = ", ".join(f"{name} {best[name]:.3g}" for name in tuning.space)
        tried_on = arm.replicates[best["replicate"]].name
        chosen_for = tried_on if tuning.replicate is None else f"all replicates, on {tried_on}"
        sentences.append(
            f"{arm.name}: {values} for {chosen_for}, the best of {tuning.trials} trials"
        )
    return sentences


def tuning_tables(
    folder: Path, arms: Sequence[Arm], origin_of: Mapping[str, Mapping[str, str]]
) -> dict[str, Table]:
    """The report's table of what was chosen, and of how many trials; none where nothing was tuned.

    origin_of: arm -> its origin.

    Raises:
      UserError: a file of trials is damaged or belongs elsewhere.
    """
    frames = []
    for arm in arms:
        file = tuning_file(folder, arm)
        if arm.tuning and file.exists():
            frames.append(_choice_frame(arm, _read_trials(file, arm.tuning, origin_of[arm.name])))
    if not frames:
        return {}
    caption = (
        "What the tuning chose for each training: the trial with the least watched value on the "
        "training's own validation rows. An arm with one line chose once for all its trainings. "
        "Every trial is in the folder tuning."
    )
    return {"tuning": Table("table", pd.concat(frames, ignore_index=True), "Tuning", caption)}


def _choice_frame(arm: Arm, trials: pd.DataFrame) -> pd.DataFrame:
    """A line per choice, with the number of its replicate's trials in every state."""
    counts = pd.crosstab(trials["replicate"], trials["state"])
    counts = counts.reindex(columns=list(STATES), fill_value=0)
    chosen = trials[trials["best"]].drop(columns=["best", "state"])
    chosen = chosen.merge(counts.reset_index(), on="replicate").drop(columns="replicate")
    chosen.insert(0, "arm", arm.name)
    return chosen


def _add_constants(replicate: Replicate, constants: Constants) -> Replicate:
    return replace(replicate, constants={**replicate.constants, **constants})


def _read_trials(file: Path, tuning: Tuning, origin: Mapping[str, str]) -> pd.DataFrame:
    """The trials of a finished tuning; refuses those of another one."""
    record = read_record(file)
    check_origin(file, record, origin)
    if record["tuning"] != asdict(tuning):
        raise UserError(
            f"{file} is of another tuning; give the config of that run, or another --workdir"
        )
    return pd.DataFrame(record["trials"])


def _create_study(tuning: Tuning, epochs: int) -> Study:
    """An Optuna study in memory. Its name is fixed, for Hyperband assigns brackets by it."""
    try:
        import optuna
    except ImportError:
        raise UserError(
            "tuning needs Optuna; install it with pip install 'omics_jax[tune]'"
        ) from None
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(seed=tuning.seed)
            # max_resource="auto" would prune nothing before a first trial is complete, and all end
            # together.
            pruner = optuna.pruners.HyperbandPruner(
                min_resource=1, max_resource=epochs, reduction_factor=3
            )
            return optuna.create_study(study_name="tuning", sampler=sampler, pruner=pruner)
    finally:
        optuna.logging.set_verbosity(verbosity)


def _distributions(tuning: Tuning) -> dict[str, FloatDistribution]:
    from optuna.distributions import FloatDistribution

    return {name: FloatDistribution(r.low, r.high, log=r.log) for name, r in tuning.space.items()}


def _draw_trials(arm: Arm) -> list[Trial]:
    """The trials, one replicate's after the other's; those of a replicate are a study of theirs."""
    tuning, epochs = arm.tuning, arm.system.stages[-1].epochs
    every = range(len(arm.replicates))
    trials = []
    for replicate in every if tuning.replicate is None else [tuning.replicate]:
        study = _create_study(tuning, epochs)
        draws = [study.ask(_distributions(tuning)) for _ in range(tuning.trials)]
        trials += [Trial(replicate, number, draw) for number, draw in enumerate(draws)]
    return trials


def _trial_plan(
    arm: Arm, start: Variables | None, options: Options, trials: Sequence[Trial]
) -> Plan:
    """The trials as replicates of one training; those of a replicate share a chunk."""
    system = arm.system
    table, ids = system.arrays(arm.dataset), arm.dataset.ids
    places = arm.starts or range(len(arm.replicates))
    training = Training(
        system.stages,
        system.init,
        table,
        ids,
        [_as_replicate(arm, trial) for trial in trials],
        start,
        starts=[places[trial.replicate] for trial in trials],
        together=arm.tuning.trials,
    )
    return make_plan(training, options)


def _as_replicate(arm: Arm, trial: Trial) -> Replicate:
    replicate = _add_constants(arm.replicates[trial.replicate], _as_constants(trial.parameters))
    return replace(replicate, labels={**replicate.labels, "trial": trial.number})


def _check_watched(arm: Arm, plan: Plan) -> None:
    """Refuses a watched value that the last stage does not monitor."""
    last = plan.stages[-1]
    monitored = ("monitor", *last.shape.monitored) if last.stage.monitor is not None else ()
    if arm.tuning.watch not in monitored:
        raise UserError(
            f"the tuning of {arm.name} watches {arm.tuning.watch!r}, which stage "
            f"{last.stage.name!r} does not monitor; watch one of "
            f"{', '.join(monitored) or 'a stage with a monitor'}"
        )


def _pruner(
    watch: str, trials: Sequence[Trial], pruned: set[int]
) -> Callable[[int, int, Mapping[str, float]], bool]:
    """`RunContext.prune` by Optuna's pruner; adds the trials that it stops, by their place."""

    def prune(place: int, epoch: int, values: Mapping[str, float]) -> bool:
        value, draw = values.get(watch, math.nan), trials[place].draw
        if not math.isnan(value):  # it is in an epoch without monitor
            draw.report(value, epoch)
            if draw.should_prune():
                pruned.add(place)
        return place in pruned

    return prune


def _trial_table(
    arm: Arm, trials: Sequence[Trial], pruned: set[int], history: History
) -> pd.DataFrame:
    """The trials as `choose_constants` returns them, from what they logged."""
    stage, watch = arm.system.stages[-1], arm.tuning.watch
    watched: dict[int, list[float]] = {place: [] for place in range(len(trials))}
    diverged = set()
    for place, _, values in history.values(stage.name, list(watched), stage.epochs):
        if "diverged" in values:
            diverged.add(place)
        else:
            watched[place].append(values[watch])

    def state(place: int) -> str:
        if place in pruned:
            return "pruned"
        return "diverged" if place in diverged else "complete"

    records = [
        {
            "replicate": trial.replicate,
            **arm.replicates[trial.replicate].labels,
            "trial": trial.number,
            **trial.parameters,
            "state": state(place),
            "value": _least(watched[place]),
            "epochs": len(watched[place]),
        }
        for place, trial in enumerate(trials)
    ]
    return _mark_best(arm, pd.DataFrame(records))


def _mark_best(arm: Arm, table: pd.DataFrame) -> pd.DataFrame:
    """The table of trials with the column best."""
    complete = table["value"].where(table["state"] == "complete")
    best = []
    for replicate, values in complete.groupby(table["replicate"]):
        if values.isna().all():
            raise UserError(
                f"no trial of the tuning of {arm.name} ended with a finite {arm.tuning.watch!r} "
                f"for {arm.replicates[replicate].name}; narrow its ranges"
            )
        best.append(values.idxmin())
    return table.assign(best=table.index.isin(best))


def _least(values: Sequence[float]) -> float:
    """The least of the numbers, NaN where there is none."""
    return pd.Series(values, dtype=float).min()


def _best_constants(arm: Arm, table: pd.DataFrame) -> list[dict[str, np.ndarray]]:
    """The constants of each of the arm's replicates."""
    space, one_for_all = arm.tuning.space, arm.tuning.replicate
    best = table[table["best"]].set_index("replicate")[list(space)].to_dict("index")
    every = range(len(arm.replicates))
    choosers = every if one_for_all is None else [one_for_all] * len(every)
    return [_as_constants(best[chooser]) for chooser in choosers]


def _as_constants(values: Mapping[str, float]) -> dict[str, np.ndarray]:
    return {name: np.asarray(value, np.float32) for name, value in values.items()}
