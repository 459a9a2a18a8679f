"""How alike the findings of different folds are: the chosen sites, and the first pathways.

For every disease pathways are ranked in each fold as in `findings`, by the difference of their
activity between cases and controls among the test people. Agreement is the index of Nogueira et al.
(2018), 1 for the same findings in all folds and 0 for chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Bool

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.methylation.simulate import MODALITY
from omics_jax.evaluation.selections import Stability, largest, nogueira_stability
from omics_jax.evaluation.tables import Evaluation, Frame, Table
from omics_jax.study.system import MODEL, Arm, Predictions, Results, System
from omics_jax.systems.miracle.cohort import Cohort
from omics_jax.systems.miracle.explained import (
    PATHWAYS,
    Units,
    differences,
    predict_compared,
)
from omics_jax.systems.miracle.findings import by_replicate, number_of_first
from omics_jax.systems.miracle.model import ModelShape
from omics_jax.systems.miracle.pathways import with_scoring
from omics_jax.tasks.network import TaskNetwork
from omics_jax.training.stage import Variables

CHOSEN = "chosen sites"  # name and kind of a frame
Rows = Mapping[str, Array]


def with_stability(arm: Arm, cohort: Cohort) -> Arm:
    """The arm, whose scoring also keeps its chosen sites and the differences of its pathways."""
    return with_scoring(arm, cohort, predict_with_sites, evaluate_with_sites)


def predict_with_sites(
    shape: ModelShape, network: TaskNetwork, variables: Variables, rows: Rows
) -> dict[str, Array]:
    """`predict_compared`, and columns (n, w), the chosen sites, the same in every row."""
    columns = variables["constants"]["columns"]
    predictions = predict_compared(shape, network, variables, rows)
    predictions["columns"] = jnp.broadcast_to(columns, (len(rows["row"]), len(columns)))
    return predictions


def evaluate_with_sites(
    system: System, units: Units, predictions: Predictions, test: Dataset, train: Dataset
) -> Evaluation:
    """The scores, and of the network the differences of pathways and the chosen sites."""
    scored = system.evaluate(predictions, test, train)
    if "columns" not in predictions:  # of a simple model
        return scored
    features = test.modalities[MODALITY].features
    columns = np.asarray(predictions["columns"])[0]
    names = features[columns[columns < len(features)]].astype(str)
    chosen = pd.DataFrame({"site": names, "of": len(features)})
    frames = {
        **scored.frames,
        **differences(units, predictions, test),
        CHOSEN: Frame(CHOSEN, chosen, every_repeat=True),
    }
    return replace(scored, frames=frames)


def stability_table(results: Results, arms: Sequence[str]) -> Table:
    """The stability of the findings of these arms, see `with_stability`."""
    chosen = results.frames[CHOSEN].rows
    lines = []
    for arm in arms:
        found = {"sites": nogueira_stability(chosen_sites(of_network(chosen, arm)))}
        for name, frame in results.frames.items():
            if frame.kind == PATHWAYS:
                task = name.removeprefix(f"{PATHWAYS} ")
                found[f"{task}: pathways"] = pathway_stability(of_network(frame.rows, arm))
        for series, stability in found.items():
            lines.append({"label": arm, "series": series, **_as_line(stability)})
    caption = (
        "Index of Nogueira et al. (2018) over all folds and repeats: of the sites that are chosen, "
        "and of the first pathways of every disease by the difference of their activity in test "
        "people. 1: the same in all folds; 0: chance. The folds share training people, so that "
        "agreement is partly theirs, and the 95 % intervals are too narrow."
    )
    frame = pd.DataFrame(lines)
    return Table("intervals", frame, "Stability of the findings", caption, "stability")


def of_network(rows: pd.DataFrame, arm: str) -> pd.DataFrame:
    """The rows of an arm's network."""
    return rows[(rows["arm"] == arm) & (rows["model"] == MODEL)]


def chosen_sites(rows: pd.DataFrame) -> Bool[np.ndarray, "m s"]:
    """Which of all sites every fold chose; those that none chose come last."""
    folds = rows.groupby(["repeat", "fold"]).ngroup().to_numpy()
    place, _ = pd.factorize(rows["site"])
    chosen = np.zeros((folds.max() + 1, rows["of"].iloc[0]), bool)
    chosen[folds, place] = True
    return chosen


def pathway_stability(rows: pd.DataFrame) -> Stability:
    """The stability of the first pathways of a disease; one without any difference is never first.

    Pathways without a chosen site are such: ties of them would be the same in every fold.
    """
    z = by_replicate(rows, "z", ["repeat", "fold"])
    differs = np.where(z > 0, z, np.nan)
    return nogueira_stability(largest(differs, number_of_first(z.shape[1])))


def _as_line(stability: Stability) -> dict[str, float]:
    return {"value": stability.index, "low": stability.low, "high": stability.high}
