"""Training the arms of an experiment in order, and saving the predictions of each replicate.

An arm that starts from another takes over its final variables; an arm that is tuned is tuned first.
The training itself is `training.loop.fit`, which resumes from its checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np

from omics_jax.durable import save_arrays
from omics_jax.errors import Stopped
from omics_jax.run.directory import (
    OF_VARIABLES,
    checkpoint_folder,
    environment,
    prediction_file,
    tuning_file,
    write_json,
)
from omics_jax.run.identity import Origin, origins
from omics_jax.run.inspection import rows_used
from omics_jax.run.progress import duration, print_and_log, progress
from omics_jax.run.scores import rows_of
from omics_jax.run.tuning import choices, choose_constants, with_constants
from omics_jax.study.starts import start_of
from omics_jax.study.system import Arm, Rows
from omics_jax.training import signals
from omics_jax.training.history import History
from omics_jax.training.loop import RunContext, fit, is_finished
from omics_jax.training.plan import Options, Plan, Training, estimate_seconds, make_plan
from omics_jax.training.rows import apply_to_rows, compile_row_function
from omics_jax.training.stage import Variables

Stop = Callable[[], int | None]  # the number of the signal that asks to stop


def train_arms(
    arms: Sequence[Arm], options: Options, folder: Path, tune_only: bool = False
) -> dict[str, float]:
    """Trains all arms and saves each replicate's predictions.

    tune_only: where an arm is tuned, stop at the choice of its constants.

    Returns:
      seconds: {"compile_s", "train_s"}.

    Raises:
      UserError: what lies in the folder is damaged or belongs to another training, or cannot be
        written.
      Stopped: a signal came; the state is saved.
      TrainingDiverged: a step was not finite.
    """
    devices = f"{jax.device_count()} x {jax.devices()[0].device_kind}"
    write_json(folder / "environment.json", environment(devices))
    timing = {"compile_s": 0.0, "train_s": 0.0}
    trained: dict[str, Variables] = {}
    origin_of = origins(folder)
    with signals.stop_signals() as request:

        def stop() -> int | None:
            return request.received

        for arm in arms:
            start = start_of(arm, trained)
            origin = origin_of[arm.name]
            if arm.tuning:
                arm = _tune_arm(arm, start, options, folder, stop, origin)
                if tune_only:
                    continue
            seconds, trained[arm.name] = _train_arm(arm, start, options, folder, stop, origin)
            timing = {name: timing[name] + seconds[name] for name in timing}
        _leave_if_asked(stop)
    return timing


def _leave_if_asked(stop: Stop) -> None:
    """Raises Stopped if a signal came since the last block of a training."""
    signum = stop()
    if signum is not None:
        raise Stopped(signum)


def _tune_arm(
    arm: Arm, start: Variables | None, options: Options, folder: Path, stop: Stop, origin: Origin
) -> Arm:
    """The arm with the constants that its tuning chooses, or chose before."""
    file = tuning_file(folder, arm)
    with progress(f"tuning {arm.name}") as on_progress:
        constants, trials = choose_constants(arm, start, options, file, stop, on_progress, origin)
    for sentence in choices(arm, trials):
        print_and_log(sentence)
    return with_constants(arm, constants)


def _train_arm(
    arm: Arm, start: Variables | None, options: Options, folder: Path, stop: Stop, origin: Origin
) -> tuple[dict[str, float], Variables]:
    """Trains one arm; returns the seconds it took and its final variables (R, ...)."""
    system, dataset = arm.system, arm.dataset
    table, ids = system.arrays(dataset), dataset.ids
    training = Training(system.stages, system.init, table, ids, arm.replicates, start, arm.starts)
    plan = make_plan(training, options)
    checkpoints = checkpoint_folder(folder, arm)
    compile_s = 0.0 if is_finished(plan, checkpoints) else _announce(arm, plan)
    save_predictions = _prediction_saver(arm, plan.table, folder, origin)
    history = History(folder / "history.jsonl", {"arm": arm.name})
    last_stage = system.stages[-1].name
    chunks = []
    with progress(arm.name) as on_progress:
        context = RunContext(checkpoints, history, on_progress, stop, origin=origin)
        for chunk, variables_by_stage in fit(plan, context):
            variables = variables_by_stage[last_stage]
            save_predictions(chunk, variables)
            _leave_if_asked(stop)
            chunks.append(variables)
    variables = jax.tree.map(lambda *parts: np.concatenate(parts), *chunks)
    return {"compile_s": compile_s, "train_s": context.train_s}, variables


def _announce(arm: Arm, plan: Plan) -> float:
    """Compiles the plan and says what is trained and how long at most; the seconds it compiled."""
    compile_s, train_s = estimate_seconds(plan)
    replicates = f"{len(arm.replicates)} replicates, together on {rows_used(arm)}"
    print_and_log(f"{arm.name}: {replicates}, at most {duration(train_s)} of training")
    return compile_s


def _prediction_saver(
    arm: Arm, table: Rows, folder: Path, origin: Origin
) -> Callable[[Sequence[int], Variables], None]:
    """A function of a chunk's replicates and variables that saves what they predict.

    table: field -> (N, ...) the rows of the arm's dataset, on the device or the host.
    """
    system = arm.system
    parts = ("test", *system.extra_parts)
    most = max(len(rows_of(replicate, part)) for replicate in arm.replicates for part in parts)
    width = min(system.predict_batch, most)
    predictor = compile_row_function(system.predict, width)
    of_variables = jax.jit(system.of_variables) if system.of_variables else None

    def save(chunk: Sequence[int], variables: Variables) -> None:
        for part in parts:
            rows = [rows_of(arm.replicates[r], part) for r in chunk]
            predictions = apply_to_rows(predictor, width, variables, table, rows)
            for r, fields in zip(chunk, predictions, strict=True):
                meta = {**origin, "replicate": r, "part": part}
                save_arrays(prediction_file(folder, arm, r, part), fields, meta)
        for place, r in enumerate(chunk if of_variables else ()):
            fields = of_variables(jax.tree.map(lambda leaf, i=place: leaf[i], variables))
            meta = {**origin, "replicate": r, "part": OF_VARIABLES}
            named = {name: np.asarray(values) for name, values in fields.items()}
            save_arrays(prediction_file(folder, arm, r, OF_VARIABLES), named, meta)

    return save
