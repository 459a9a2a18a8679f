"""New rows through a finished run: a file in, tables of predictions out.

A prediction is the mean over the replicates (folds) of a group, with their s.d. beside it; of a
cell that some cannot speak of (nan), having been trained on other features, over the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from omics_jax.errors import UserError
from omics_jax.run.directory import read_json, slug
from omics_jax.settings.sections import AT_PREDICTION, at_prediction

if TYPE_CHECKING:
    import pandas as pd


def predict(method: ModuleType, config: Any, folder: Path) -> str:
    """Predicts new rows (`config.data.path`) with every trained replicate of an arm of the run in
    the directory.

    The arm is `config.run.arm`, or the one that the run's summary speaks of. Writes
    `predictions-ARM-FILE/`: for each group of replicates (drug) GROUP.FIELD.csv, the mean over its
    replicates (of a series, a line per row and step), and their s.d. as FIELD_between_replicates;
    and for each replicate GROUP-N.npz with every field.

    Returns:
      what was written, in words.

    Raises:
      UserError: no finished training here, no arm of that name, or data that lack what it was
        trained on.
    """
    from ml_collections import ConfigDict

    from omics_jax.study.records import from_record
    from omics_jax.study.system import DataSpec
    from omics_jax.training.rows import apply_to_rows, compile_row_function
    from omics_jax.training.stage_files import load_variables

    name, record = _trained_arm(folder, config.run.arm)
    _check_version(config.to_dict(), record["config"], folder)
    trained = at_prediction(ConfigDict(record["config"]), config)
    spec = from_record(getattr(method, "Spec", DataSpec), record["spec"])
    system = method.build(trained, spec)
    new = system.read_new(config)
    rows, table = np.arange(len(new)), system.arrays(system.prepare_new(new))
    width = min(system.predict_batch, len(rows))
    predictor = compile_row_function(system.predict_new or system.predict, width)
    out = folder / f"predictions-{slug(name)}-{slug(Path(system.sources(config)[0]).stem)}"
    replaced = _of_others(out, new.ids)
    out.mkdir(exist_ok=True)
    by_group: dict[str, list[dict[str, np.ndarray]]] = {}
    for r, variables in load_variables(folder / "checkpoints" / slug(name), system.stages[-1].name):
        group = str(record["labels"][r].get("group", "all"))
        found = system.finish_new(apply_to_rows(predictor, width, variables, table, [rows])[0], new)
        np.savez(out / f"{slug(group)}-{r}.npz", id=new.ids.astype(str), **found)
        by_group.setdefault(group, []).append({field: found[field] for field in system.columns})
    for group, found in by_group.items():
        for field, columns in system.columns.items():
            stacked = np.stack([f[field] for f in found])
            for suffix, values in zip(
                ("", "_between_replicates"), over_replicates(stacked), strict=True
            ):
                frame = as_frame(new.ids, values, columns)
                frame.to_csv(out / f"{slug(group)}.{field}{suffix}.csv", index=False)
    notes = "".join(f"note: {note}\n" for note in new.notes)
    return (
        f"{notes}{len(rows)} rows predicted by {name!r} for {', '.join(by_group)}: {out}{replaced}"
    )


def _of_others(out: Path, ids: np.ndarray) -> str:
    """What is to be said where the directory holds predictions of other rows, which these replace."""
    earlier = next(iter(sorted(out.glob("*.npz"))), None)
    if earlier is None or np.array_equal(np.load(earlier)["id"], ids.astype(str)):
        return ""
    return "\nnote: it held the predictions of other rows, from files of the same name, and they are replaced"


def over_replicates(stacked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and s.d. (n, ...) float32 over the replicates (r, n, ...) that are not nan; nan where
    all are.

    In double precision the mean of equal numbers is that number: what was observed comes out as it
      came in.
    """
    said = ~np.isnan(stacked)
    total = lambda values: np.where(said, values, 0).sum(axis=0, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        mean = total(stacked) / said.sum(axis=0)
        sd = np.sqrt(total((stacked - mean) ** 2) / said.sum(axis=0))
    return mean.astype(np.float32), sd.astype(np.float32)


def _trained_arm(folder: Path, wanted: str) -> tuple[str, dict[str, Any]]:
    """Name and record of the arm to predict with."""
    if not (folder / "metrics.json").exists():
        raise UserError(
            f"{folder} holds no finished training; name one with --workdir, or finish it with "
            "--mode=train"
        )
    record = read_json(folder / "training.json")
    name = wanted or next(iter(read_json(folder / "metrics.json")["arms"]))
    if name not in record:
        raise UserError(
            f"the run in {folder} has no arm {name!r}; set config.run.arm to one of "
            f"{', '.join(record)}"
        )
    return name, record[name]


def _check_version(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], folder: Path, place: str = "config"
) -> None:
    """Refuses a run whose config lacks what this version's has."""
    for key, value in ours.items():
        if key not in theirs:
            raise UserError(
                f"the run in {folder} is of an older version, which knew no {place}.{key}; predict "
                "with the version that its environment.json names, or train it again"
            )
        if (
            isinstance(value, Mapping)
            and isinstance(theirs[key], Mapping)
            and key not in AT_PREDICTION
        ):
            _check_version(value, theirs[key], folder, f"{place}.{key}")


def as_frame(ids: np.ndarray, values: np.ndarray, columns: Sequence[str]) -> pd.DataFrame:
    """Values (n,), (n, columns) or, a line per row and step, (n, steps, columns) beside their ids."""
    import pandas as pd

    values = values.reshape(len(values), 1) if values.ndim == 1 else values
    index = {"id": np.asarray(ids).astype(str)}
    if values.ndim == 3:
        n, steps = values.shape[:2]
        index = {"id": np.repeat(index["id"], steps), "step": np.tile(np.arange(steps), n)}
    cells = pd.DataFrame(values.reshape(-1, values.shape[-1]), columns=list(columns))
    return pd.concat([pd.DataFrame(index), cells], axis=1)
