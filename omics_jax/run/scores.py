"""Scores of every replicate and of its baselines, and their summary in `metrics.json`.

The saved predictions are scored, by the system's own `evaluate`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from omics_jax.evaluation.few_events import too_few_events
from omics_jax.evaluation.tables import Frame
from omics_jax.run.directory import OF_VARIABLES
from omics_jax.run.progress import OnProgress
from omics_jax.study.comparisons import summary_of
from omics_jax.study.members import ensembles, mean_prediction, split_labels
from omics_jax.study.system import MODEL, Arm, Findings, Predictions, Results
from omics_jax.training.stage import Replicate

NO_INTERVAL = "none, all trainings are tested on the same rows"


def score_arms(
    arms: Sequence[Arm],
    load: Callable[[Arm, int, str], Predictions],
    on_progress: OnProgress = lambda done, total, doing: None,
) -> Results:
    """Scores of every replicate of every arm and of its baselines, by the system's own `evaluate`.

    The members of an ensemble are scored together, as the first of them.

    load: (arm, replicate, part) -> its predictions of that part, "test" or one of
      `System.extra_parts`.
    """
    scores: list[dict[str, Any]] = []
    frames: dict[str, list[Frame]] = {}
    scored = [(arm, members) for arm in arms for members in ensembles(arm.replicates)]
    for done, (arm, members) in enumerate(scored, start=1):
        new_scores, new_frames = _score_replicate(arm, members, partial(load, arm))
        scores += new_scores
        for name, frame in new_frames:
            frames.setdefault(name, []).append(frame)
        on_progress(done, len(scored), f"{arm.name}: {arm.replicates[members[0]].name}")
    pooled = {name: _concatenate(parts) for name, parts in frames.items()}
    labels = {arm.name: arm.labels for arm in arms}
    return Results(pd.DataFrame(scores), pooled, _test_sizes(main_arm(arms)), labels)


def _concatenate(frames: Sequence[Frame]) -> Frame:
    rows = pd.concat([frame.rows for frame in frames], ignore_index=True)
    return Frame(frames[0].kind, rows)


def _score_replicate(
    arm: Arm, members: Sequence[int], load: Callable[[int, str], Predictions]
) -> tuple[list[dict[str, Any]], list[tuple[str, Frame]]]:
    """The lines of the table of scores, and the named frames.

    Of later repeats only frames that are kept of every repeat, see `Frame`.

    members: the places of the replicates whose mean prediction is scored.
    load: (replicate, part) -> its predictions of that part.
    """
    system, replicate = arm.system, arm.replicates[members[0]]
    train = arm.dataset.take(rows_of(replicate, "train"))
    test = arm.dataset.take(replicate.test)
    saved = {
        part: mean_prediction(system, [load(r, part) for r in members])
        for part in ("test", *system.extra_parts)
    }
    of_variables = {}
    if system.of_variables:
        of_variables = mean_prediction(system, [load(r, OF_VARIABLES) for r in members])
    predictions = {MODEL: saved["test"]}
    if arm.with_baselines:
        baseline_rows = rows_of(replicate, "train", system.baseline_slots)
        predictions |= system.baselines(arm.dataset.take(baseline_rows), test)
    if system.probes:
        predictions |= system.probes(saved["train"], train, saved["test"], test)
    columns = _columns_of(arm, members[0])
    frame_columns = {name: columns[name] for name in ("arm", "group", "fold")}
    scores, frames = [], []
    for model, predicted in predictions.items():
        _check_finite(predicted, model, arm, replicate)
        given = {**predicted, **of_variables} if model == MODEL else predicted
        evaluation = system.evaluate(given, test, train)
        scores += _score_lines(columns, model, evaluation.metrics, evaluation.constant)
        for name, frame in evaluation.frames.items():
            if frame.every_repeat:
                own = {**frame_columns, "repeat": columns["repeat"]}
            elif columns["repeat"] == 0:
                own = frame_columns
            else:
                continue
            rows = frame.rows.assign(model=model, **own)
            frames.append((name, frame._replace(rows=rows)))
    if "validation" in saved:
        validation = arm.dataset.take(rows_of(replicate, "validation"))
        evaluation = system.evaluate(saved["validation"], validation, train)
        renamed = {f"validation_{metric}": v for metric, v in evaluation.metrics.items()}
        constant = {f"validation_{metric}" for metric in evaluation.constant}
        scores += _score_lines(columns, MODEL, renamed, constant)
    return scores, frames


def _score_lines(
    columns: Mapping[str, Any], model: str, metrics: Mapping[str, float], constant: Collection[str]
) -> list[dict[str, Any]]:
    """The lines of the table of scores; constant: see `Evaluation`."""
    return [
        {**columns, "model": model, "metric": metric, "value": v, "constant": metric in constant}
        for metric, v in metrics.items()
    ]


def rows_of(replicate: Replicate, part: str, slots: Sequence[str] = ()) -> np.ndarray:
    """The rows of a replicate's "test", "validation" or "train" part, ascending.

    A validation row that a stage is calibrated on is no training row, so that nothing the network
    is compared with has learned from it.

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


def _check_finite(predicted: Predictions, model: str, arm: Arm, replicate: Replicate) -> None:
    """Raises RuntimeError for a prediction that is not finite: a mean over rows would hide it."""
    for field, values in predicted.items():
        by_row = np.asarray(values).reshape(len(values), -1)
        broken = ~np.isfinite(by_row).all(axis=1)
        if broken.any():
            ids = ", ".join(map(str, arm.dataset.ids[replicate.test[broken]][:5]))
            raise RuntimeError(
                f"{arm.name}, {replicate.name}: {field!r} of {model!r} is not finite for {ids}"
            )


def _columns_of(arm: Arm, index: int) -> dict[str, Any]:
    """What all lines of a replicate in the table of scores have in common."""
    replicate = arm.replicates[index]
    # The corrected t-test takes n_train as rows of the kind that is tested; the test is of the
    # first slot.
    n_train = len(next(iter(replicate.rows.values())))
    return {
        "arm": arm.name,
        "replicate": index,
        "seed": replicate.seed,
        "n_train": n_train,
        "n_test": len(replicate.test),
        **{"group": "all", "fold": 0, "repeat": 0, **split_labels(replicate)},
    }


def _test_sizes(arm: Arm) -> dict[str, tuple[int, int]]:
    """Group of replicates -> (number of data groups, number of rows) that it tests."""
    tested: dict[str, set[int]] = {}
    for replicate in arm.replicates:
        group = str(replicate.labels.get("group", "all"))
        tested.setdefault(group, set()).update(replicate.test.tolist())
    return {group: (_count_groups(arm, rows), len(rows)) for group, rows in tested.items()}


def _count_groups(arm: Arm, rows: set[int]) -> int:
    return len(set(arm.dataset.groups[sorted(rows)].astype(str)))


def main_arm(arms: Sequence[Arm]) -> Arm:
    """The arm that the summary speaks of.

    It is the one marked `main`, else the first that no other arm starts from, else the first.
    """
    sources = {name for arm in arms for name in arm.sources}
    marked = [arm for arm in arms if arm.main]
    final = [arm for arm in arms if arm.name not in sources]
    return [*marked, *final, *arms][0]


def metrics_json(
    config: Any,
    arms: Sequence[Arm],
    results: Results,
    findings: Findings,
    timing: Mapping[str, float],
) -> dict[str, Any]:
    """The content of `metrics.json`: the main arm's summaries, then all arms and replicates."""
    main = main_arm(arms)
    main_first = [main, *(arm for arm in arms if arm is not main)]
    by_arm = {arm.name: summaries(results.scores, arm.name, findings) for arm in main_first}
    return {
        "system": config.system,
        "experiment": config.experiment,
        "summary": by_arm[main.name]["summary"],
        "baselines": by_arm[main.name]["baselines"],
        "comparisons": list(findings.comparisons),
        "cautions": too_few_events(results.frames),
        "arms": by_arm,
        "replicates": _replicate_records(arms, results.scores),
        "timing": dict(timing),
        "better": dict(main.system.better),
    }


def summaries(scores: pd.DataFrame, arm: str, findings: Findings = Findings()) -> dict[str, Any]:
    """{"summary": {metric: ...}, "baselines": {name: {metric: ...}}} of one arm."""
    by_model: dict[str, dict[str, Any]] = {}
    of_arm = scores[scores["arm"] == arm]
    for (model, metric), lines in of_arm.groupby(["model", "metric"], sort=False):
        summary = summary_of(lines, str(metric))
        if findings.intervals is not None:
            interval = findings.intervals.get((arm, model, metric))
            summary["ci95"] = list(interval or (np.nan, np.nan))
            summary["ci_method"] = findings.method if interval else NO_INTERVAL
        if "constant" in lines and lines["constant"].all():
            summary["constant"] = True  # every row was predicted to be the same
        by_model.setdefault(str(model), {})[str(metric)] = summary
    return {"summary": by_model.pop(MODEL), "baselines": by_model}


def _replicate_records(arms: Sequence[Arm], scores: pd.DataFrame) -> list[dict[str, Any]]:
    """Every replicate's labels, sizes and scores, arm by arm."""
    of_model = scores[scores["model"] == MODEL]
    return [
        _replicate_record(arm, arm.replicates[int(index)], lines)
        for arm in arms
        for index, lines in of_model[of_model["arm"] == arm.name].groupby("replicate")
    ]


def _replicate_record(arm: Arm, replicate: Replicate, lines: pd.DataFrame) -> dict[str, Any]:
    split = {
        "train": {slot: len(rows) for slot, rows in replicate.rows.items()},
        "validation": {slot: len(rows) for slot, rows in replicate.validation.items()},
        "test": len(replicate.test),
    }
    return {
        "arm": arm.name,
        **arm.labels,
        **split_labels(replicate),
        "seed": replicate.seed,
        "split": split,
        **dict(zip(lines["metric"], lines["value"], strict=True)),
    }
