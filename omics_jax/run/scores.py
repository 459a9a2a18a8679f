"""From predictions to `metrics.json` and `tables/`: every replicate scored beside its baselines,
then summed up.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from omics_jax.durable import load_arrays, write_atomically
from omics_jax.evaluation.comparisons import summarize
from omics_jax.evaluation.tables import Frame, Table
from omics_jax.study.system import MODEL, Arm, Findings, Results
from omics_jax.training.stage import Replicate


def score_arms(
    arms: Sequence[Arm],
    file: Callable[[Arm, int, str], Path],
    on_progress: Callable[[int, int, str], None] = lambda *_: None,
) -> Results:
    """Scores of every replicate of every arm and of its baselines, by the system's own `evaluate`.

    file: (arm, replicate, part) -> the npz of its predictions of that part, "test" or one of
      `System.extra_parts`.
    """
    scores, frames = [], {}
    total, done = sum(len(arm.replicates) for arm in arms), 0
    for arm in arms:
        for r, replicate in enumerate(arm.replicates):
            own_scores, own_frames = _score_replicate(arm, r, partial(file, arm, r))
            scores += own_scores
            for name, frame in own_frames:
                frames.setdefault(name, []).append(frame)
            done += 1
            on_progress(done, total, f"{arm.name}: {replicate.name}")
    pooled = {
        name: Frame(parts[0].kind, pd.concat([part.rows for part in parts], ignore_index=True))
        for name, parts in frames.items()
    }
    labels = {arm.name: arm.labels for arm in arms}
    return Results(pd.DataFrame(scores), pooled, _sizes(main_arm(arms)), labels)


def _score_replicate(
    arm: Arm, index: int, file: Callable[[str], Path]
) -> tuple[list[dict[str, Any]], list[tuple[str, Frame]]]:
    """The lines of the table of scores, and the named frames if it is of the first repeat."""
    system, replicate = arm.system, arm.replicates[index]
    train, test = arm.dataset.take(rows_of(replicate, "train")), arm.dataset.take(replicate.test)
    saved = {part: load_arrays(file(part))[0] for part in ("test", *system.extra_parts)}
    predictions = {MODEL: saved["test"]}
    if arm.with_baselines:
        learned_from = rows_of(replicate, "train", system.baseline_slots)
        predictions |= system.baselines(arm.dataset.take(learned_from), test)
    if system.probes:
        predictions |= system.probes(saved["train"], train, saved["test"], test)
    place = _place(arm, index, replicate)
    where = {key: place[key] for key in ("arm", "group", "fold")}
    scores, frames = [], []
    for model, predicted in predictions.items():
        _check_finite(predicted, model, arm, replicate)
        found = system.evaluate(predicted, test, train)
        scores += _score_lines(place, model, found.metrics)
        if place["repeat"] == 0:
            frames += [
                (name, frame._replace(rows=frame.rows.assign(model=model, **where)))
                for name, frame in found.frames.items()
            ]
    if "validation" in saved:
        validation = arm.dataset.take(rows_of(replicate, "validation"))
        found = system.evaluate(saved["validation"], validation, train).metrics
        scores += _score_lines(place, MODEL, {f"validation_{k}": v for k, v in found.items()})
    return scores, frames


def _score_lines(
    place: Mapping[str, Any], model: str, metrics: Mapping[str, float]
) -> list[dict[str, Any]]:
    return [{**place, "model": model, "metric": k, "value": v} for k, v in metrics.items()]


def rows_of(replicate: Replicate, part: str, slots: Sequence[str] = ()) -> np.ndarray:
    """The rows of a replicate's "test", "validation" or "train" part, ascending.

    A validation row that a stage is calibrated on is no training row: nothing that the network is
    compared with has learned from it.

    slots: of the training part, those to take; () for all.
    """
    if part == "test":
        return replicate.test
    none = np.array([], int)
    held_out = np.concatenate([none, *replicate.validation.values()])
    if part == "validation":
        return np.unique(held_out)
    trained = [rows for slot, rows in replicate.rows.items() if slot in slots or not slots]
    return np.setdiff1d(np.concatenate([none, *trained]), held_out)


def _check_finite(predicted: Mapping[str, np.ndarray], model: str, arm: Arm, replicate) -> None:
    """A mean over rows must not hide a broken prediction: that is a fault of ours, and is said
    loudly.
    """
    for field, values in predicted.items():
        broken = ~np.isfinite(np.asarray(values).reshape(len(values), -1)).all(axis=1)
        if broken.any():
            ids = ", ".join(map(str, arm.dataset.ids[replicate.test[broken]][:5]))
            raise RuntimeError(
                f"{arm.name}, {replicate.name}: {field!r} of {model!r} is not finite for {ids}"
            )


def _place(arm: Arm, index: int, replicate: Replicate) -> dict[str, Any]:
    labels = {"group": "all", "fold": 0, "repeat": 0, **replicate.labels}
    # What the corrected test calls n_train: rows of the kind that is tested, here those of the slot
    # the test is of.
    return {
        "arm": arm.name,
        "replicate": index,
        "seed": replicate.seed,
        "n_train": len(next(iter(replicate.rows.values()))),
        "n_test": len(replicate.test),
        **labels,
    }


def _sizes(arm: Arm) -> dict[str, tuple[int, int]]:
    rows: dict[str, set[int]] = {}
    for replicate in arm.replicates:
        rows.setdefault(str(replicate.labels.get("group", "all")), set()).update(
            replicate.test.tolist()
        )
    return {
        g: (len(set(arm.dataset.groups[sorted(i)].astype(str))), len(i)) for g, i in rows.items()
    }


def main_arm(arms: Sequence[Arm]) -> Arm:
    """The arm that the summary speaks of: the one that says so, the first that no other starts
    from, or the first.
    """
    sources = {arm.start_from for arm in arms}
    named = [arm for arm in arms if arm.main]
    return next(iter([*named, *(arm for arm in arms if arm.name not in sources)]), arms[0])


def metrics_json(
    config: Any,
    arms: Sequence[Arm],
    results: Results,
    findings: Findings,
    timing: Mapping[str, float],
) -> dict[str, Any]:
    """The contract of `metrics.json`: summaries of the main arm at the top, all arms and replicates
    below.
    """
    main = main_arm(arms)
    in_order = [main, *(arm for arm in arms if arm is not main)]
    by_arm = {arm.name: summaries(results.scores, arm.name, findings) for arm in in_order}
    first = by_arm[main.name]
    return {
        "system": config.system,
        "experiment": config.experiment,
        "summary": first["summary"],
        "baselines": first["baselines"],
        "comparisons": list(findings.comparisons),
        "arms": by_arm,
        "replicates": _replicates(arms, results.scores),
        "timing": dict(timing),
        "better": dict(main.system.better),
    }


def summaries(scores: pd.DataFrame, arm: str, findings: Findings = Findings()) -> dict[str, Any]:
    """{"summary": {metric: ...}, "baselines": {name: {metric: ...}}} of one arm, groups averaged
    within each split.
    """
    out: dict[str, dict[str, Any]] = {}
    for (model, metric), part in scores[scores["arm"] == arm].groupby(
        ["model", "metric"], sort=False
    ):
        splits = part.groupby(["repeat", "fold"])[["value", "n_test", "n_train"]].mean()
        ratio = float((splits["n_test"] / splits["n_train"]).mean())
        found = summarize(splits["value"].to_numpy(np.float64), ratio)
        if findings.intervals is not None:
            given = findings.intervals.get((arm, model, metric))
            method = findings.method if given else "none, all trainings are tested on the same rows"
            found |= {"ci95": list(given or (np.nan, np.nan)), "ci_method": method}
        out.setdefault(str(model), {})[str(metric)] = found
    return {"summary": out.pop(MODEL), "baselines": out}


def _replicates(arms: Sequence[Arm], scores: pd.DataFrame) -> list[dict[str, Any]]:
    model = scores[scores["model"] == MODEL]
    out = []
    for arm in arms:
        part = model[model["arm"] == arm.name]
        for index, rows in part.groupby("replicate"):
            replicate = arm.replicates[int(index)]
            split = {
                "train": {slot: len(r) for slot, r in replicate.rows.items()},
                "validation": {slot: len(r) for slot, r in replicate.validation.items()},
                "test": len(replicate.test),
            }
            found = dict(zip(rows["metric"], rows["value"], strict=True))
            out.append(
                {
                    "arm": arm.name,
                    **arm.labels,
                    **replicate.labels,
                    "seed": replicate.seed,
                    "split": split,
                    **found,
                }
            )
    return out


def save_tables(folder: Path, tables: Mapping[str, Table], results: Results) -> None:
    """`tables/NAME.csv` with their index, and `tables/scores.csv`, every score of every model."""
    folder.mkdir(exist_ok=True)
    for name, table in tables.items():
        write_atomically(folder / f"{name}.csv", table.frame.to_csv(index=False))
    write_atomically(folder / "scores.csv", results.scores.to_csv(index=False))
    keys = ("kind", "title", "caption", "x_label", "y_label")
    index = [
        {"name": name, **{key: getattr(table, key) for key in keys}}
        for name, table in tables.items()
    ]
    write_atomically(folder / "index.json", json.dumps(index, indent=1))
