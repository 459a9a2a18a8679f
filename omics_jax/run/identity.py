"""What tells the files of one training from those of another.

Checkpoints and predictions say of which arm they are, and the digest of all that decides what it
learns; `training.json` has this digest and what a prediction of new rows needs to know of each arm.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omics_jax.run.directory import read_json, to_json
from omics_jax.run.manifest import check_files
from omics_jax.study.records import to_record
from omics_jax.study.system import Arm

Origin = Mapping[str, str]  # {"arm", "training"}: what stands in every file of an arm's training


def training_record(arm: Arm, fingerprint: str) -> dict[str, Any]:
    """An arm's entry in `training.json`.

    fingerprint: of the data of the run.
    """
    record = {
        "spec": to_record(arm.spec),
        "config": arm.config.to_dict(),
        "labels": [replicate.labels for replicate in arm.replicates],
    }
    return {**record, "identity": _identity(arm, record, fingerprint)}


def origins(folder: Path) -> dict[str, Origin]:
    """Arm -> its origin, as `training.json` has it.

    Raises:
      UserError: the file is missing or damaged.
    """
    check_files(folder, ["training.json"])
    records = read_json(folder / "training.json")
    return {name: {"arm": name, "training": r["identity"]} for name, r in records.items()}


def _identity(arm: Arm, record: Mapping[str, Any], fingerprint: str) -> str:
    """A digest of the parts of a record that determine the variables, and of the data.

    The experiment's name and the section `run` do not determine them.
    """
    config = record["config"]
    sections = arm.sections or tuple(config)
    decisive = {name: config.get(name) for name in sections if name not in ("experiment", "run")}
    content = to_json({**record, "config": decisive, "data": fingerprint})
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
