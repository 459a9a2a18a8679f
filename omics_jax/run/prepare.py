"""From a config to the arms of its experiment, ready to train.

It also writes the first files of the run directory: `config.json` is the config, and
`training.json` has what a prediction of new rows needs to know of each arm. For `data.json` see
`description`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.memory import memory_limit
from omics_jax.errors import UserError
from omics_jax.run.description import describe_data, write_summary
from omics_jax.run.directory import write_json
from omics_jax.run.identity import training_record
from omics_jax.run.manifest import BEGUN_WITH, list_files
from omics_jax.run.options import run_options
from omics_jax.run.progress import print_and_log, progress
from omics_jax.run.reuse import copy_trained_arms
from omics_jax.run.scores import rows_of
from omics_jax.settings.words import split_list
from omics_jax.study.members import with_members
from omics_jax.study.system import LEAST_BASELINE_ROWS, Arm
from omics_jax.training.history import History
from omics_jax.training.plan import Options


def read_data(method: ModuleType, config: Any) -> Dataset:
    """The data, with progress while they are read."""
    with memory_limit(config.run.memory_gb), progress("reading") as on_progress:
        return method.read(config, on_progress)


def arms_of(method: ModuleType, config: Any, dataset: Dataset) -> Sequence[Arm]:
    """The arms of the config's experiment on these data.

    Raises:
      UserError: the data do not suffice for it.
    """
    arms = method.EXPERIMENTS[config.experiment].arms(config, dataset)
    for arm in arms:
        if arm.with_baselines:
            _check_baseline_rows(arm)
    return [with_members(arm, config.members) for arm in arms]


def _check_baseline_rows(arm: Arm) -> None:
    """Refuses a fold with too few rows for the simple models, which are fitted after training."""
    for replicate in arm.replicates:
        count = len(rows_of(replicate, "train", arm.system.baseline_slots))
        if count < LEAST_BASELINE_ROWS:
            raise UserError(
                f"{arm.name}, {replicate.name}: {count} training row is left, and the simple "
                f"models beside the network need {LEAST_BASELINE_ROWS}; give rows of more groups, "
                "or set more folds (--config.folds)"
            )


def notes_of(arms: Sequence[Arm]) -> tuple[str, ...]:
    """What the arms note on the data, each note once."""
    return tuple(dict.fromkeys(note for arm in arms for note in arm.notes))


def with_notes(dataset: Dataset, arms: Sequence[Arm]) -> Dataset:
    """The dataset with the notes of the arms after those of its reader."""
    return replace(dataset, notes=(*dataset.notes, *notes_of(arms)))


def prepare_arms(
    method: ModuleType, config: Any, folder: Path, to_tune: bool = False
) -> tuple[Sequence[Arm], Options]:
    """The arms of the experiment and how to run them; begins the run directory.

    to_tune: refuse an experiment of which nothing is tuned.

    Raises:
      UserError: something in the command or in the data is wrong.
    """
    dataset = read_data(method, config)
    arms = arms_of(method, config, dataset)
    options = run_options(config)
    if to_tune and not any(arm.tuning for arm in arms):
        raise UserError(
            f"no arm of {config.experiment!r} is tuned; choose another experiment, or --mode=train"
        )
    # The run begins only here, after every mistake in the command has been refused.
    description = describe_data(dataset)
    write_summary(folder, with_notes(dataset, arms), description)
    for warning in description.warnings:
        print_and_log(f"warning: {warning}")
    if not (folder / "config.json").exists():
        write_json(folder / "config.json", config.to_dict())
    records = {arm.name: training_record(arm, description.fingerprint) for arm in arms}
    write_json(folder / "training.json", records)
    list_files(folder, BEGUN_WITH)
    for note in notes_of(arms):
        print_and_log(f"note: {note}")
    _drop_strange_lines(folder, arms)
    _reuse_other_runs(config.run.reuse, arms, folder)
    return arms, options


def _drop_strange_lines(folder: Path, arms: Sequence[Arm]) -> None:
    """Drops lines of the history that are of no training of this run: damage made them so."""
    places = {
        (arm.name, stage.name, r)
        for arm in arms
        for stage in arm.system.stages
        for r in range(len(arm.replicates))
    }
    history = History(folder / "history.jsonl")
    history.keep(lambda line: (line.get("arm"), line["stage"], line["replicate"]) in places)


def _reuse_other_runs(reuse: str, arms: Sequence[Arm], folder: Path) -> None:
    """Copies what the runs named in `config.run.reuse` (A, B) have already trained."""
    for name in filter(None, split_list(reuse)):
        copied = copy_trained_arms(Path(name), arms, folder)
        print_and_log(f"taken over from {Path(name)}: {', '.join(copied) or 'nothing new'}")
