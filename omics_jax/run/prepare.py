"""From a config to the arms of its experiment, ready to train.

It also writes the first files of the run directory: `data.json` describes the data, `config.json`
is the config, and `training.json` has what a prediction of new rows needs to know of each arm.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.dataset.summary import summary
from omics_jax.errors import UserError
from omics_jax.run.directory import check_data, json_text, write_json
from omics_jax.run.identity import training_record
from omics_jax.run.manifest import BEGUN_WITH, list_files, restore_file
from omics_jax.run.options import run_options
from omics_jax.run.progress import print_and_log, progress
from omics_jax.run.reuse import copy_trained_arms
from omics_jax.study.system import Arm
from omics_jax.training.history import History
from omics_jax.training.plan import Options


def read_data(method: ModuleType, config: Any) -> Dataset:
    """The data, with progress while they are read."""
    with progress("reading") as on_progress:
        return method.read(config, on_progress)


def arms_of(method: ModuleType, config: Any, dataset: Dataset) -> Sequence[Arm]:
    """The arms of the config's experiment on these data."""
    return method.EXPERIMENTS[config.experiment].arms(config, dataset)


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
    fingerprint = write_summary(folder, dataset)["fingerprint"]
    if not (folder / "config.json").exists():
        write_json(folder / "config.json", config.to_dict())
    records = {arm.name: training_record(arm, fingerprint) for arm in arms}
    write_json(folder / "training.json", records)
    list_files(folder, BEGUN_WITH)
    _drop_strange_lines(folder, arms)
    _reuse_other_runs(config.run.reuse, arms, folder)
    return arms, options


def write_summary(folder: Path, dataset: Dataset) -> dict[str, Any]:
    """`data.json`, what was understood of the data; written unless it stands in a run.

    Raises:
      UserError: the run in this directory was begun with other data, or the file is damaged.
    """
    content = {
        "summary": summary(dataset),
        "notes": dataset.notes,
        "fingerprint": dataset.fingerprint(),
    }
    begun = (folder / "config.json").exists()
    if begun:
        restore_file(folder, "data.json", json_text(content))
        check_data(folder, content["fingerprint"])
    if not begun or not (folder / "data.json").exists():
        write_json(folder / "data.json", content)
    return content


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
    for name in filter(None, (word.strip() for word in reuse.split(","))):
        copied = copy_trained_arms(Path(name), arms, folder)
        print_and_log(f"taken over from {Path(name)}: {', '.join(copied) or 'nothing new'}")
