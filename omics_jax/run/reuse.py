"""Arms of another run that this one need not train again, or need only finish."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omics_jax.errors import UserError
from omics_jax.run.directory import read_json, slug, tuning_file
from omics_jax.training.history import History


def take_over(other: Path, arms: Sequence[Any], folder: Path) -> list[str]:
    """Copies what another run's arms of the same name, config and data have trained, with their
    history.

    What is here already stays.

    Returns:
      Names of the arms of which something was copied.

    Raises:
      UserError: no run there, other data, or no arm in common.
    """
    if not (other / "training.json").exists():
        raise UserError(
            f"config.run.reuse is {str(other)!r}, where no run is; name the directory of one"
        )
    if (
        read_json(other / "data.json")["fingerprint"]
        != read_json(folder / "data.json")["fingerprint"]
    ):
        raise UserError(
            f"config.run.reuse: the data of {other} are not those of this run; train without it"
        )
    here, there = read_json(folder / "training.json"), read_json(other / "training.json")
    same = [
        arm
        for arm in arms
        if arm.name in there and _learned_from(arm, there) == _learned_from(arm, here)
    ]
    if not same:
        raise UserError(
            f"config.run.reuse: {other} has no arm of the same name and config; its arms: "
            f"{list(there)}"
        )
    return [arm.name for arm in same if _copy(other, arm, folder)]


def _copy(other: Path, arm: Any, folder: Path) -> bool:
    """Whether there was anything: a tuning, or checkpoints, which come last and all at once."""
    tuned, chosen = tuning_file(other, arm), tuning_file(folder, arm)
    copies = tuned.exists() and not chosen.exists()
    if copies:
        chosen.parent.mkdir(exist_ok=True)
        shutil.copy(tuned, chosen)
    trained, target = (run / "checkpoints" / slug(arm.name) for run in (other, folder))
    if not trained.exists() or target.exists():
        return copies
    History(folder / "history.jsonl", {"arm": arm.name}).adopt(other / "history.jsonl")
    part = target.with_name(f"{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(trained, part)
    os.replace(part, target)
    return True


def _learned_from(arm: Any, record: dict[str, Any]) -> dict[str, Any]:
    """What of an arm's record its variables depend on; not which experiment it was for, nor how it
    was run.
    """
    config = record[arm.name]["config"]
    sections = arm.sections or tuple(config)
    return {
        **record[arm.name],
        "config": {k: config.get(k) for k in sections if k not in ("experiment", "run")},
    }
