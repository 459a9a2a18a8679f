"""The doubtful trainings of a run: a table of them, a sentence for every arm, and means without.

See `study.doubts` for what makes a training doubtful. All of it follows from the saved stages and
predictions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from omics_jax.durable import load_arrays
from omics_jax.evaluation.tables import Table
from omics_jax.run.directory import checkpoint_folder, prediction_file
from omics_jax.study.doubts import (
    NO_PROGRESS,
    Doubt,
    Span,
    doubts_of_null,
    doubts_of_predictions,
    doubts_of_training,
)
from omics_jax.study.members import MEMBER, ensembles
from omics_jax.study.system import MODEL, Arm
from omics_jax.training.stage_files import load_outcome

COLUMNS = ("arm", "replicate", "training", "kind", "doubt")


def find_doubts(arms: Sequence[Arm], folder: Path) -> pd.DataFrame:
    """A row for every doubt about a training: `replicate` is that of the scores that it is part of,
    `training` its name.
    """
    rows = []
    for arm in arms:
        ranges = arm.system.ranges(arm.dataset)
        for members in ensembles(arm.replicates):
            for index in members:
                name = arm.replicates[index].name
                doubts = _doubts_of(arm, index, ranges, folder)
                rows += [(arm.name, members[0], name, *doubt) for doubt in doubts]
    return pd.DataFrame(rows, columns=COLUMNS)


def _doubts_of(arm: Arm, index: int, ranges: Mapping[str, Span], folder: Path) -> list[Doubt]:
    checkpoints = checkpoint_folder(folder, arm)
    outcomes = [load_outcome(checkpoints, stage.name, index) for stage in arm.system.stages]
    predictions, _ = load_arrays(prediction_file(folder, arm, index))
    groups = arm.dataset.groups[arm.replicates[index].test]
    doubts = [
        *doubts_of_training([outcome for outcome in outcomes if outcome is not None]),
        *doubts_of_predictions(predictions, ranges, groups),
    ]
    return doubts_of_null(doubts) if arm.is_null else doubts


def doubt_tables(doubts: pd.DataFrame) -> dict[str, Table]:
    """The table of the report, {} where nothing is doubtful."""
    if doubts.empty:
        return {}
    caption = (
        "Broken: it broke down, or predicts what cannot be. Learned nothing: it was never better "
        "than before training or after its first epoch, or predicts the same for all. No progress: "
        "a stage added nothing to what was trained before. The means include all of them, because "
        "leaving some out would choose trainings by their result."
    )
    return {"doubtful_trainings": Table("table", doubts, "Doubtful trainings", caption)}


def doubt_records(
    doubts: pd.DataFrame, trainings: Mapping[str, int], scores: pd.DataFrame
) -> list[dict[str, Any]]:
    """A record for every arm with a doubt: which trainings, the means without the doubtful ones,
    and a sentence.

    trainings: arm -> their number.
    """
    records = []
    for arm, number in trainings.items():
        of_arm = doubts[doubts["arm"] == arm]
        if len(of_arm):
            of_model = scores[(scores["arm"] == arm) & (scores["model"] == MODEL)]
            records.append(_record(arm, number, of_arm, of_model))
    return records


def _record(arm: str, number: int, doubts: pd.DataFrame, scores: pd.DataFrame) -> dict[str, Any]:
    """doubts, scores: of the arm's own trainings, of which there are `number`."""
    doubtful = doubts[doubts["kind"] != NO_PROGRESS]
    means = _means(scores)
    means_without = _means(scores[~scores["replicate"].isin(doubtful["replicate"])])
    sentences = []
    if len(doubtful):
        sentences.append(_sentence(arm, number, doubtful, means, means_without))
    unchanged = doubts.loc[doubts["kind"] == NO_PROGRESS, "training"].nunique()
    if unchanged:
        sentences.append(
            f"In {unchanged} of {number} trainings of {arm} a stage added nothing to what was "
            "trained before."
        )
    return {
        "arm": arm,
        "doubtful": doubtful["training"].unique().tolist(),
        "mean_without": means_without if len(doubtful) else {},
        "sentence": " ".join(sentences),
    }


def _means(scores: pd.DataFrame) -> dict[str, float]:
    """Metric -> its mean, the groups of a split averaged before splits are."""
    splits = scores.groupby(["metric", "repeat", "fold"], sort=False)["value"].mean()
    return splits.groupby("metric", sort=False).mean().to_dict()


def _sentence(
    arm: str,
    number: int,
    doubtful: pd.DataFrame,
    means: Mapping[str, float],
    means_without: Mapping[str, float],
) -> str:
    count, first = doubtful["training"].nunique(), doubtful.iloc[0]
    are, them = ("is", "it") if count == 1 else ("are", "them")
    such_as = "" if count == 1 else "such as "
    text = (
        f"{count} of {number} trainings of {arm} {are} doubtful, "
        f"{such_as}{first['training']} ({first['doubt']}); all reasons are in "
        f"tables/doubtful_trainings.csv. The means include {them}"
    )
    metric = next((name for name in means if np.isfinite(means[name])), None)
    if metric is None or metric not in means_without:
        return f"{text}."
    with_them, without = means[metric], means_without[metric]
    if f"{MEMBER} " in first["training"]:
        them = f"the ensembles of {them}"
    return f"{text}; without {them} the mean {metric} is {without:.3f} instead of {with_them:.3f}."
