"""Reuse of another run: its trained arms are copied, so that this run need not train them again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from omics_jax.durable import as_user_error
from omics_jax.errors import UserError
from omics_jax.run.directory import checkpoint_folder, read_json, tuning_file
from omics_jax.run.identity import origins
from omics_jax.run.manifest import check_files, check_version
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
    check_version(other)
    if _fingerprint(other) != _fingerprint(folder):
        raise UserError(
            f"config.run.reuse: the data of {other} differ from those of this run; train without it"
        )
    ours, theirs = origins(folder), origins(other)
    same = [arm for arm in arms if theirs.get(arm.name) == ours[arm.name]]
    if not same:
        raise UserError(
            f"config.run.reuse: {other} has no arm of the same name and config; its arms: "
            f"{list(theirs)}"
        )
    return [arm.name for arm in same if _copy(other, arm, folder)]


def _fingerprint(run: Path) -> str:
    check_files(run, ["data.json"])
    return read_json(run / "data.json")["fingerprint"]


def _copy(other: Path, arm: Arm, folder: Path) -> bool:
    """Copies an arm's tuning and its checkpoints; False if there was nothing to copy.

    The folder of checkpoints gets its final name last, so that an interrupted copy is repeated.
    """
    tuning, tuning_here = tuning_file(other, arm), tuning_file(folder, arm)
    copies_tuning = tuning.exists() and not tuning_here.exists()
    if copies_tuning:
        _copy_whole(tuning, tuning_here)
    trained, trained_here = checkpoint_folder(other, arm), checkpoint_folder(folder, arm)
    if not trained.exists() or trained_here.exists():
        return copies_tuning
    History(folder / "history.jsonl", {"arm": arm.name}).adopt(other / "history.jsonl")
    _copy_whole(trained, trained_here)
    return True


def _copy_whole(source: Path, target: Path) -> None:
    """Copies a file or a folder, which gets its name when it is complete."""
    part = target.with_name(f"{target.name}.part")
    with as_user_error(target):
        shutil.rmtree(part, ignore_errors=True)
        part.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, part)
        else:
            shutil.copy(source, part)
        os.replace(part, target)
