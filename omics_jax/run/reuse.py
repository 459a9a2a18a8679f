"""Reuse of another run: its trained arms are copied, so that this run need not train them again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omics_jax.errors import UserError
from omics_jax.run.directory import checkpoint_folder, read_json, tuning_file
from omics_jax.study.system import Arm
from omics_jax.training.history import History


def copy_trained_arms(other: Path, arms: Sequence[Arm], folder: Path) -> list[str]:
    """Copies the checkpoints, tuning and history of arms with the same name, config and data.

    Partly trained arms are copied too. Files that this run already has are not replaced.

    Returns:
      names of the arms of which something was copied.

    Raises:
      UserError: `other` holds no run or other data, or the runs have no arm in common.
    """
    if not (other / "training.json").exists():
        raise UserError(
            f"config.run.reuse is {str(other)!r}, which holds no run; name the directory of a run"
        )
    if _fingerprint(other) != _fingerprint(folder):
        raise UserError(
            f"config.run.reuse: the data of {other} differ from those of this run; train without it"
        )
    own_records = read_json(folder / "training.json")
    other_records = read_json(other / "training.json")
    shared_names = [arm for arm in arms if arm.name in other_records]
    same = [
        arm
        for arm in shared_names
        if _training_record(arm, other_records) == _training_record(arm, own_records)
    ]
    if not same:
        raise UserError(
            f"config.run.reuse: {other} has no arm of the same name and config; its arms: "
            f"{list(other_records)}"
        )
    return [arm.name for arm in same if _copy(other, arm, folder)]


def _fingerprint(run: Path) -> str:
    return read_json(run / "data.json")["fingerprint"]


def _copy(other: Path, arm: Arm, folder: Path) -> bool:
    """Copies an arm's tuning and its checkpoints; False if there was nothing to copy.

    The folder of checkpoints gets its final name last, so that an interrupted copy is repeated.
    """
    tuning, tuning_here = tuning_file(other, arm), tuning_file(folder, arm)
    copies_tuning = tuning.exists() and not tuning_here.exists()
    if copies_tuning:
        tuning_here.parent.mkdir(exist_ok=True)
        shutil.copy(tuning, tuning_here)
    trained, trained_here = checkpoint_folder(other, arm), checkpoint_folder(folder, arm)
    if not trained.exists() or trained_here.exists():
        return copies_tuning
    History(folder / "history.jsonl", {"arm": arm.name}).adopt(other / "history.jsonl")
    part = trained_here.with_name(f"{trained_here.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(trained, part)
    os.replace(part, trained_here)
    return True


def _training_record(arm: Arm, records: Mapping[str, Any]) -> dict[str, Any]:
    """The part of an arm's record that determines its variables.

    The experiment's name and the section `run` do not.
    """
    record = records[arm.name]
    config = record["config"]
    sections = arm.sections or tuple(config)
    decisive = {name: config.get(name) for name in sections if name not in ("experiment", "run")}
    return {**record, "config": decisive}
