"""Which inputs every prediction stands on, and arms of networks that learned permuted outcomes.

Attributions are integrated gradients (Sundararajan et al. 2017) of a task's score; their null are
networks trained on the same rows with each outcome dealt anew, so that no input is related to any.
What is concluded from both stands in `interpretation`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float, Int

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.evaluation.attribution import integrated_gradients, mean_attribution
from omics_jax.evaluation.tables import Frame
from omics_jax.nn import mtlr
from omics_jax.study.system import Arm, Predictions
from omics_jax.tasks.task import Task

NETWORK, PERMUTED = "network", "permuted"  # the arms
ATTRIBUTION = "attribution"  # the kind of the frames of `attribution_frames`

Inputs = Mapping[str, Float[Array, "n _"]]  # modality -> values
Outputs = Mapping[str, Float[Array, "n _"]]  # task -> the outputs of its head


# --- attributions ---------------------------------------------------------------------------------


def attributions(
    tasks: Sequence[Task],
    outputs: Callable[[Inputs], Outputs],
    x: Inputs,
    baseline: Mapping[str, Float[Array, " _"]],
    *,
    steps: int,
    hazard: str,
) -> dict[str, Array]:
    """TASK_attribution_M (n, F): what each feature of modality M adds to a task's score.

    The sum over all features is the row's score minus that of the baseline. Score: the
    log-probability of the class that is predicted of the row; the value in standard deviations; the
    risk.

    Args:
      outputs: x -> the outputs of every head.
      baseline: modality -> (F,), such as the average training row.
      steps: gradients on the way from the baseline to a row.
      hazard: of the risk, see `mtlr.risk`.
    """
    predicted, fields = outputs(x), {}
    for task in tasks:

        def task_score(x: Inputs, task: Task = task) -> Float[Array, " n"]:
            return score(task, predicted[task.name], outputs(x)[task.name], hazard)

        parts = integrated_gradients(task_score, x, baseline, steps)
        fields |= {f"{task.name}_attribution_{name}": parts[name] for name in x}
    return fields


def score(
    task: Task, predicted: Float[Array, "n K"], output: Float[Array, "n K"], hazard: str
) -> Float[Array, " n"]:
    """The number that is attributed, from a head's output; the class is that of `predicted`."""
    if task.kind == "classification":
        chosen = jnp.argmax(predicted, axis=1)[:, None]
        return jnp.take_along_axis(jax.nn.log_softmax(output), chosen, axis=1)[:, 0]
    return output[:, 0] if task.kind == "regression" else mtlr.risk(output, hazard)


def attribution_frames(
    tasks: Sequence[Task], modalities: Sequence[str], predictions: Predictions, test: Dataset
) -> dict[str, Frame]:
    """ "attribution_TASK" -> the `magnitudes` of every task that has attributions."""
    frames = {}
    for task in tasks:
        if all(f"{task.name}_attribution_{name}" in predictions for name in modalities):
            rows = magnitudes(modalities, task.name, predictions, test)
            frames[f"attribution_{task.name}"] = Frame(ATTRIBUTION, rows)
    return frames


def magnitudes(
    modalities: Sequence[str], task: str, predictions: Predictions, test: Dataset
) -> pd.DataFrame:
    """modality, feature, magnitude, signed: a task's mean |attribution| and mean attribution over
    test rows, whether or not their outcome is known.

    A modality's rows are those in which it was measured: what the network reads of an imputed one
    comes from its sources. nan where no test row has the modality.
    """
    frames = []
    for name in modalities:
        modality = test.modalities[name]
        measured = modality.observed_rows.astype(float)
        means = mean_attribution(predictions[f"{task}_attribution_{name}"], measured)
        columns = {"modality": name, "feature": modality.features.astype(str), **means._asdict()}
        frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)


# --- the null -------------------------------------------------------------------------------------


def permuted(arm: Arm, tasks: Sequence[Task], slot: str) -> Arm:
    """The arm's first replicate, `config.interpret.permutations` times, each with its own outcomes
    and seed.

    What was fitted to the outcomes (scales, bins of time) stays: a permutation of the training rows
    does not change it. All start from what the first replicate starts from, which no outcome has
    taught.
    """
    first, config = arm.replicates[0], arm.config
    table = arm.system.arrays(arm.dataset)
    parts = (first.rows[slot], first.validation[slot])
    deal = partial(permuted_outcomes, tasks, table, parts)
    replicates = [
        replace(
            first,
            seed=config.seed + 1000 * (config.repeats + number),
            constants={**first.constants, **deal((config.seed, number))},
            labels={**first.labels, "group": f"permutation {number + 1}"},
        )
        for number in range(config.interpret.permutations)
    ]
    return replace(
        arm,
        name=PERMUTED,
        replicates=replicates,
        starts=[0] * len(replicates) if arm.start_from else (),
        labels={"permuted": True},
        with_baselines=False,
    )


def permuted_outcomes(
    tasks: Sequence[Task],
    table: Mapping[str, np.ndarray],
    parts: Sequence[Int[np.ndarray, " _"]],
    seed: Sequence[int],
) -> dict[str, np.ndarray]:
    """y_T (and e_T) (N,) of every task, dealt anew among the rows of each part whose outcome is
    known.

    Time and event of a row stay together; tasks are permuted independently of each other.

    table: y_T, k_T (and e_T) of all N rows; rows in no part keep theirs.
    """
    rng, fields = np.random.default_rng(seed), {}
    for task in tasks:
        is_known = table[f"k_{task.name}"]
        source = np.arange(len(is_known))
        for rows in parts:
            known = rows[is_known[rows]]
            source[known] = rng.permutation(known)
        names = [f"{field}_{task.name}" for field in task.fields]
        fields |= {name: table[name][source] for name in names}
    return fields
